// Small language models with random weights, for the tests of this folder.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "language/architectures/architectures.h"
#include "language/weights.h"

namespace narrow::language::testing {

class RandomWeights final : public WeightSource {
 public:
  void add(const std::string& name, Shape shape, float around = 0) {
    std::normal_distribution<float> normal(around, 0.3f);
    Tensor tensor = *Tensor::create(DType::kF32, std::move(shape));
    for (float& x : tensor.mutable_data<float>()) x = normal(random_);
    tensors_[name] = std::move(tensor);
  }
  bool has(const std::string& name) const override { return tensors_.contains(name); }
  Result<Tensor> tensor(const std::string& name) const override {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) return not_found("no tensor '" + name + "'");
    return found->second;
  }
  bool has_matrix(const std::string& module) const override { return has(module + ".weight"); }
  Result<StoredWeight> matrix(const std::string& module) const override {
    NARROW_TRY(const Tensor found, tensor(module + ".weight"));
    StoredWeight weight;
    weight.plain = found;
    return weight;
  }
  void release(const std::string&) const override {}
  std::map<std::string, Tensor>& tensors() { return tensors_; }

 private:
  std::mt19937 random_{7};
  std::map<std::string, Tensor> tensors_;
};

struct SmallModel {
  Spec spec;
  std::shared_ptr<RandomWeights> weights = std::make_shared<RandomWeights>();
  std::string config;  // config.json
};

// 2 layers of 32 numbers, 4 heads of 2 keys. `settings` go over config.json's usual fields.
inline SmallModel small_model(const std::string& family, const nlohmann::json& settings = nlohmann::json::object()) {
  nlohmann::json config = {{"model_type", family}, {"vocab_size", 53}, {"hidden_size", 32}, {"num_hidden_layers", 2}, {"num_attention_heads", 4}, {"num_key_value_heads", 2},
                           {"intermediate_size", 48}, {"max_position_embeddings", 64}, {"hidden_act", "silu"}, {"n_embd", 32}, {"n_layer", 2}, {"n_head", 4}, {"n_positions", 64}, {"n_inner", 48}};
  if (family == "gpt_neox" || family == "gpt2") config["num_key_value_heads"] = 4;
  config.update(settings);
  const auto spec = read_spec(wire::Fields(config, "config.json"));
  EXPECT_TRUE(spec.ok()) << spec.error().to_string();
  SmallModel model;
  model.spec = *spec;
  model.config = config.dump();
  const Names& names = spec->names;
  const std::int64_t h = spec->hidden, q = spec->heads * spec->head_size, k = spec->key_heads * spec->head_size, i = spec->intermediate;
  const auto add = [&](const std::string& pattern, std::int64_t layer, Shape shape, float around = 0) {
    if (!pattern.empty()) model.weights->add(layer_name(pattern, layer) + ".weight", std::move(shape), around);
  };
  const auto add_norm = [&](const std::string& pattern, std::int64_t layer, std::int64_t size) {
    if (spec->norm_has_weight) add(pattern, layer, {size}, spec->norm_plus_one ? 0.0f : 1.0f);
    if (spec->norm == NormKind::kLayer && spec->norm_has_weight && !pattern.empty()) model.weights->add(layer_name(pattern, layer) + ".bias", {size});
  };
  add(names.embedding, 0, {spec->vocabulary, h});
  add(names.positions, 0, {spec->max_positions, h});
  add_norm(names.final_norm, 0, h);
  if (!spec->tied_head) add(names.head, 0, {spec->vocabulary, h});
  for (std::int64_t layer = 0; layer < spec->layers; ++layer) {
    for (const std::string* norm : {&names.attention_norm, &names.post_attention_norm, &names.mlp_norm, &names.post_mlp_norm}) add_norm(*norm, layer, h);
    add_norm(names.q_norm, layer, spec->qk_norm_whole ? q : spec->head_size);
    add_norm(names.k_norm, layer, spec->qk_norm_whole ? k : spec->head_size);
    add(names.q, layer, {q, h});
    add(names.k, layer, {k, h});
    add(names.v, layer, {k, h});
    add(names.qkv, layer, {q + 2 * k, h});
    add(names.o, layer, {h, q});
    add(names.gate, layer, {i, h});
    add(names.up, layer, {i, h});
    add(names.gate_up, layer, {2 * i, h});
    add(names.down, layer, {h, i});
    for (const std::string* biased : {&names.v, &names.up}) {  // some have them, some not
      if (!biased->empty()) model.weights->add(layer_name(*biased, layer) + ".bias", {biased == &names.v ? k : i});
    }
  }
  return model;
}

}  // namespace narrow::language::testing
