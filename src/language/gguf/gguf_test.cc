// Models of every family written as GGUF and opened again, and the shared ones against their copies.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "formats/gguf/gguf.h"
#include "formats/safetensors/checkpoint.h"
#include "formats/safetensors/writer.h"
#include "language/gguf/export.h"
#include "language/gguf/mixture.h"
#include "support/shared_data.h"

namespace narrow::language {
namespace {

namespace fs = std::filesystem;
using encodings::GgmlType;

class GgufModel : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "narrow-ggufmodel-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string path(std::string_view name) const { return (folder_ / name).string(); }

  // A folder of random weights: every tensor that the family can have, with the biases named.
  void make(const std::string& config, const std::vector<std::pair<std::string, Shape>>& tensors) const {
    std::ofstream(path("config.json")) << config;
    std::vector<formats::TensorSpec> specs;
    for (const auto& [name, shape] : tensors) specs.push_back({name, DType::kF32, shape});
    auto writer = formats::safetensors::FileWriter::create(path("model.safetensors"), specs);
    ASSERT_TRUE(writer.ok()) << writer.error().to_string();
    std::mt19937 random(3);
    for (std::size_t i = 0; i < specs.size(); ++i) {
      Tensor tensor = *Tensor::create(DType::kF32, specs[i].shape);
      for (float& v : tensor.mutable_data<float>()) v = static_cast<float>(static_cast<int>(random() % 4001) - 2000) / 1024.0f;
      ASSERT_TRUE(writer->write(i, tensor).ok());
    }
    ASSERT_TRUE(writer->finish().ok());
  }

  Status write(const Checkpoint& model, const std::string& type, std::string_view name, base::ThreadPool* pool = nullptr) const {
    GgufRequest request;
    request.model = &model;
    request.weights = model.weights.get();
    request.path = path(name);
    request.type = type;
    request.pool = pool;
    return write_gguf(request);
  }

  fs::path folder_;
};

// Hidden 64, 4 heads of 16, 2 of keys, intermediate 96, vocabulary 32, 2 layers.
constexpr const char* kAttention = "self_attn.q_proj.weight:64,64 self_attn.k_proj.weight:32,64 self_attn.v_proj.weight:32,64 self_attn.o_proj.weight:64,64 ";
constexpr const char* kDense = "mlp.gate_proj.weight:96,64 mlp.up_proj.weight:96,64 mlp.down_proj.weight:64,96 ";
constexpr const char* kNorms = "input_layernorm.weight:64 post_attention_layernorm.weight:64 ";
const std::string kLlamaLayer = std::string(kAttention) + kDense + kNorms;
const std::string kBiases = "self_attn.q_proj.bias:64 self_attn.k_proj.bias:32 self_attn.v_proj.bias:32 ";
const std::string kHeadNorms = "self_attn.q_norm.weight:16 self_attn.k_norm.weight:16 ";
const std::string kMixtral = "block_sparse_moe.gate.weight:2,64 block_sparse_moe.experts.0.w1.weight:96,64 block_sparse_moe.experts.0.w2.weight:64,96 block_sparse_moe.experts.0.w3.weight:96,64 "
                             "block_sparse_moe.experts.1.w1.weight:96,64 block_sparse_moe.experts.1.w2.weight:64,96 block_sparse_moe.experts.1.w3.weight:96,64 ";
const std::string kQwenExperts = "mlp.gate.weight:2,64 mlp.experts.0.gate_proj.weight:48,64 mlp.experts.0.up_proj.weight:48,64 mlp.experts.0.down_proj.weight:64,48 "
                                 "mlp.experts.1.gate_proj.weight:48,64 mlp.experts.1.up_proj.weight:48,64 mlp.experts.1.down_proj.weight:64,48 ";
const std::string kShared = "mlp.shared_expert_gate.weight:1,64 mlp.shared_expert.gate_proj.weight:96,64 mlp.shared_expert.up_proj.weight:96,64 mlp.shared_expert.down_proj.weight:64,96 ";
const std::string kFourNorms = "input_layernorm.weight:64 post_attention_layernorm.weight:64 pre_feedforward_layernorm.weight:64 post_feedforward_layernorm.weight:64 ";
const std::string kOuter = "model.embed_tokens.weight:32,64 model.norm.weight:64 ", kHead = "lm_head.weight:32,64 ";

struct FamilyCase {
  std::string model_type, more, layer, outer;
};
const FamilyCase kFamilyCases[] = {
    {"llama", R"("rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":64})", kLlamaLayer, kOuter + kHead},
    {"llama", R"("tie_word_embeddings":true,"attention_bias":true,"rope_scaling":{"rope_type":"linear","factor":2.0})", kLlamaLayer + kBiases + "self_attn.o_proj.bias:64 ", kOuter},
    {"mistral", R"("sliding_window":24)", kLlamaLayer, kOuter + kHead},
    {"mixtral", R"("num_local_experts":2,"num_experts_per_tok":1)", kAttention + kMixtral + kNorms, kOuter + kHead},
    {"qwen2", R"("tie_word_embeddings":true,"rope_scaling":{"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":32})", kLlamaLayer + kBiases, kOuter},
    {"qwen3", R"("tie_word_embeddings":true)", kLlamaLayer + kHeadNorms, kOuter},
    {"qwen2_moe", R"("num_experts":2,"num_experts_per_tok":1,"moe_intermediate_size":48,"shared_expert_intermediate_size":96,"norm_topk_prob":false)", kAttention + kBiases + kQwenExperts + kShared + kNorms, kOuter + kHead},
    {"qwen3_moe", R"("num_experts":2,"num_experts_per_tok":1,"moe_intermediate_size":48,"norm_topk_prob":true)", kAttention + kHeadNorms + kQwenExperts + kNorms, kOuter + kHead},
    {"gemma", R"("hidden_activation":"gelu_pytorch_tanh")", kLlamaLayer, kOuter},
    {"gemma2", R"("hidden_activation":"gelu_pytorch_tanh","sliding_window":24,"query_pre_attn_scalar":16,"attn_logit_softcapping":50.0,"final_logit_softcapping":30.0)", kAttention + std::string(kDense) + kFourNorms, kOuter},
    {"gemma3_text", R"("hidden_activation":"gelu_pytorch_tanh","sliding_window":24,"query_pre_attn_scalar":16,"rope_theta":1000000.0)", kAttention + std::string(kDense) + kFourNorms + kHeadNorms, kOuter},
    {"phi3", R"("original_max_position_embeddings":64,"rope_scaling":{"type":"longrope","short_factor":[1.0,1.1,1.2,1.3,1.4,1.5,1.6,1.7],"long_factor":[1.0,2.0,3.0,4.0,5.0,6.0,7.0,8.0]})",
     "self_attn.qkv_proj.weight:128,64 self_attn.o_proj.weight:64,64 mlp.gate_up_proj.weight:192,64 mlp.down_proj.weight:64,96 " + std::string(kNorms), kOuter + kHead},
    {"olmo", R"("clip_qkv":8.0)", kAttention + std::string(kDense), "model.embed_tokens.weight:32,64 " + kHead},
    {"olmo2", R"("rms_norm_eps":1e-6)", kAttention + std::string(kDense) + "post_attention_layernorm.weight:64 post_feedforward_layernorm.weight:64 self_attn.q_norm.weight:64 self_attn.k_norm.weight:32 ", kOuter + kHead},
};

std::vector<std::pair<std::string, Shape>> tensors_of(const FamilyCase& family) {
  std::vector<std::pair<std::string, Shape>> tensors;
  const auto add = [&](const std::string& prefix, const std::string& list) {
    std::istringstream words(list);
    for (std::string word; words >> word;) {
      const std::size_t colon = word.find(':'), comma = word.find(',');
      Shape shape = {std::stoll(word.substr(colon + 1))};
      if (comma != std::string::npos) shape.push_back(std::stoll(word.substr(comma + 1)));
      tensors.emplace_back(prefix + word.substr(0, colon), shape);
    }
  };
  add("", family.outer);
  for (const char* layer : {"model.layers.0.", "model.layers.1."}) add(layer, family.layer);
  return tensors;
}

std::string config_of(const FamilyCase& family) {
  return R"({"model_type":")" + family.model_type + R"(","vocab_size":32,"hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":16,)" +
         R"("max_position_embeddings":128,"hidden_act":"silu","rms_norm_eps":1e-5,"bos_token_id":1,"eos_token_id":2,)" + family.more + "}";
}

TEST_F(GgufModel, EveryFamilyComesBack) {
  for (const FamilyCase& family : kFamilyCases) {
    SCOPED_TRACE(family.model_type + " " + family.more);
    const auto tensors = tensors_of(family);
    make(config_of(family), tensors);
    const auto model = open_checkpoint(folder_.string());
    ASSERT_TRUE(model.ok()) << model.error().to_string();
    base::ThreadPool pool(2);
    const Status written = write(*model, "f32", "model.gguf", &pool);
    ASSERT_TRUE(written.ok()) << written.error().to_string();
    const auto again = open_checkpoint(path("model.gguf"));
    ASSERT_TRUE(again.ok()) << again.error().to_string();
    EXPECT_EQ(again->tensor_names.size(), tensors.size());
    for (const auto& [name, shape] : tensors) {
      ASSERT_TRUE(again->weights->has(name)) << name;
      const Tensor want = *model->weights->tensor(name);
      const auto found = again->weights->tensor(name);
      ASSERT_TRUE(found.ok()) << found.error().to_string();
      ASSERT_EQ(found->shape(), shape) << name;
      for (std::int64_t i = 0; i < want.size(); ++i) {
        // Norms of Gemma went through "plus one": what is lost is the last bit of a number near 1.
        ASSERT_NEAR(found->at_as_double(i), want.at_as_double(i), model->spec.norm_plus_one && shape.size() == 1 ? 2.5e-7 : 0) << name << " " << i;
      }
      if (shape.size() != 2) continue;
      EXPECT_TRUE(again->weights->matrix(name.substr(0, name.size() - 7)).ok()) << name;
    }
    const Spec &a = model->spec, &b = again->spec;
    EXPECT_EQ(a.hidden, b.hidden);
    EXPECT_EQ(a.layers, b.layers);
    EXPECT_EQ(a.key_heads, b.key_heads);
    EXPECT_EQ(a.head_size, b.head_size);
    EXPECT_EQ(a.intermediate, b.intermediate);
    EXPECT_EQ(a.vocabulary, b.vocabulary);
    EXPECT_EQ(a.tied_head, b.tied_head);
    EXPECT_EQ(a.activation, b.activation);
    EXPECT_FLOAT_EQ(static_cast<float>(a.norm_epsilon), static_cast<float>(b.norm_epsilon));
    EXPECT_FLOAT_EQ(static_cast<float>(a.attention_scale), static_cast<float>(b.attention_scale));
    EXPECT_EQ(a.attention_softcap, b.attention_softcap);
    EXPECT_EQ(a.logit_softcap, b.logit_softcap);
    EXPECT_EQ(a.clip_qkv, b.clip_qkv);
    EXPECT_EQ(a.experts.count, b.experts.count);
    EXPECT_EQ(a.experts.chosen, b.experts.chosen);
    EXPECT_EQ(a.experts.normalize, b.experts.normalize);
    for (std::int64_t layer = 0; layer < a.layers; ++layer) EXPECT_EQ(a.window(layer), b.window(layer));
    const Angles want = make_angles(a.rope, 128), found = make_angles(b.rope, 128);
    for (std::size_t i = 0; i < want.cosines.size(); ++i) {
      ASSERT_NEAR(want.cosines[i], found.cosines[i], 2e-5) << i;
      ASSERT_NEAR(want.sines[i], found.sines[i], 2e-5) << i;
    }
  }
}

TEST_F(GgufModel, ThreadsDoNotChangeTheFile) {
  make(config_of(kFamilyCases[0]), tensors_of(kFamilyCases[0]));
  const auto model = open_checkpoint(folder_.string());
  ASSERT_TRUE(model.ok());
  base::ThreadPool pool(3);
  ASSERT_TRUE(write(*model, "Q4_0", "one.gguf").ok());
  ASSERT_TRUE(write(*model, "Q4_0", "three.gguf", &pool).ok());
  const auto one = formats::gguf::File::open(path("one.gguf")), three = formats::gguf::File::open(path("three.gguf"));
  ASSERT_TRUE(one.ok() && three.ok());
  for (const auto& entry : one->entries()) EXPECT_TRUE(std::ranges::equal(one->bytes(entry), three->bytes(*three->find(entry.name)))) << entry.name;
}

TEST_F(GgufModel, ImportanceLowersTheWeightedError) {
  make(config_of(kFamilyCases[0]), tensors_of(kFamilyCases[0]));
  const auto model = open_checkpoint(folder_.string());
  ASSERT_TRUE(model.ok());
  std::vector<float> importance(64);
  for (std::size_t i = 0; i < 64; ++i) importance[i] = i % 8 == 0 ? 100.0f : 0.1f;
  const auto error = [&](bool weighted) {
    GgufRequest request{.model = &*model, .weights = model->weights.get(), .path = path("w.gguf"), .type = "Q4_0"};
    if (weighted) request.importance = [&](const std::string& module) { return module.ends_with("down_proj") ? std::vector<float>() : importance; };
    EXPECT_TRUE(write_gguf(request).ok());
    const auto again = open_checkpoint(path("w.gguf"));
    const Tensor want = *model->weights->tensor("model.layers.0.self_attn.v_proj.weight"), found = *again->weights->tensor("model.layers.0.self_attn.v_proj.weight");
    double sum = 0;
    for (std::int64_t i = 0; i < want.size(); ++i) sum += importance[static_cast<std::size_t>(i % 64)] * std::pow(want.at_as_double(i) - found.at_as_double(i), 2);
    return sum;
  };
  EXPECT_LT(error(true), error(false) * 0.8);
}

// Weights that came as groups of 32 keep their codes.
class GroupedSource final : public WeightSource {
 public:
  GroupedSource(const WeightSource& plain, int bits) : plain_(plain), bits_(bits) {}
  bool has(const std::string& name) const override { return plain_.has(name); }
  Result<Tensor> tensor(const std::string& name) const override { return plain_.tensor(name); }
  bool has_matrix(const std::string& module) const override { return plain_.has_matrix(module); }
  void release(const std::string&) const override {}
  Result<StoredWeight> matrix(const std::string& module) const override {
    NARROW_TRY(StoredWeight weight, plain_.matrix(module));
    if (!module.ends_with("_proj")) return weight;
    auto m = std::make_shared<encodings::GroupedMatrix>();
    *m = {.rows = weight.rows(), .columns = weight.columns(), .bits = bits_, .group_size = 32};
    std::mt19937 random(static_cast<unsigned>(module.size() * 7 + static_cast<std::size_t>(m->columns)));
    for (std::int64_t i = 0; i < m->rows * m->row_bytes(); ++i) m->codes.push_back(static_cast<std::uint8_t>(random()));
    for (std::int64_t i = 0; i < m->rows * m->groups(); ++i) m->scales.push_back(base::to_float(base::to_float16(0.01f + static_cast<float>(random() % 100) / 1000.0f)));
    StoredWeight grouped;
    grouped.grouped = std::move(m);
    return grouped;
  }

 private:
  const WeightSource& plain_;
  int bits_;
};

TEST_F(GgufModel, GroupsOf32KeepTheirCodes) {
  make(config_of(kFamilyCases[0]), tensors_of(kFamilyCases[0]));
  const auto model = open_checkpoint(folder_.string());
  ASSERT_TRUE(model.ok());
  for (const int bits : {4, 8}) {
    const GroupedSource source(*model->weights, bits);
    GgufRequest request{.model = &*model, .weights = &source, .path = path("g.gguf"), .type = bits == 4 ? "Q4_0" : "Q8_0"};
    ASSERT_TRUE(write_gguf(request).ok());
    const auto again = open_checkpoint(path("g.gguf"));
    ASSERT_TRUE(again.ok());
    for (const char* module : {"model.layers.1.self_attn.q_proj", "model.layers.0.self_attn.k_proj", "model.layers.0.mlp.down_proj"}) {
      const StoredWeight want = *source.matrix(module);
      std::vector<float> values(static_cast<std::size_t>(want.rows() * want.columns()));
      to_float_rows(want, 0, want.rows(), values.data());
      EXPECT_EQ(again->weights->tensor(std::string(module) + ".weight")->to_float(), values) << module;
    }
  }
}

TEST_F(GgufModel, SaysWhichWeightIsNotFinite) {
  make(config_of(kFamilyCases[0]), tensors_of(kFamilyCases[0]));
  {
    std::fstream file(path("model.safetensors"), std::ios::in | std::ios::out | std::ios::binary);
    const auto checkpoint = formats::safetensors::Checkpoint::open(folder_.string());
    const auto* entry = checkpoint->find("model.layers.1.mlp.up_proj.weight");
    file.seekp(static_cast<std::streamoff>(entry->offset + 4 * (5 * 64 + 7)));
    const std::uint32_t nan = 0x7FC00000;
    file.write(reinterpret_cast<const char*>(&nan), 4);
  }
  const auto model = open_checkpoint(folder_.string());
  ASSERT_TRUE(model.ok());
  const Status written = write(*model, "Q8_0", "m.gguf");
  ASSERT_FALSE(written.ok());
  EXPECT_NE(written.error().message().find("model.layers.1.mlp.up_proj' is nan at row 5, column 7"), std::string::npos) << written.error().to_string();
  EXPECT_FALSE(fs::exists(path("m.gguf")));
  EXPECT_EQ(write(*model, "Q9_0", "m.gguf").error().code(), ErrorCode::kInvalidArgument);
}

// Every byte of the head changed: an error, or a model whose tensors can be asked for.
TEST_F(GgufModel, ChangedHeadsAreErrorsOrModels) {
  for (const std::size_t which : {std::size_t{3}, std::size_t{9}}) {
    make(config_of(kFamilyCases[which]), tensors_of(kFamilyCases[which]));
    const auto model = open_checkpoint(folder_.string());
    ASSERT_TRUE(model.ok());
    ASSERT_TRUE(write(*model, "Q8_0", "whole.gguf").ok());
    std::ostringstream text;
    text << std::ifstream(path("whole.gguf"), std::ios::binary).rdbuf();
    const std::string whole = text.str();
    const std::size_t head = formats::gguf::File::open(path("whole.gguf"))->entries()[0].offset;
    int opened = 0;
    for (std::size_t at = 0; at < head; at += 3) {
      std::string changed = whole;
      changed[at] = static_cast<char>(changed[at] ^ (at % 2 == 0 ? 0xFF : 0x01));
      std::ofstream(path("changed.gguf"), std::ios::binary) << changed;
      const auto again = open_checkpoint(path("changed.gguf"));
      if (!again.ok()) continue;
      ++opened;
      for (const std::string& name : again->tensor_names) {
        const auto tensor = again->weights->tensor(name);
        EXPECT_TRUE(!tensor.ok() || tensor->size() > 0);
        if (name.ends_with(".weight")) (void)again->weights->form(name.substr(0, name.size() - 7)).ok();
      }
    }
    EXPECT_GT(opened, 20);
  }
}

TEST(GgufMixture, FollowsTheRules) {
  Spec spec{.family = "llama", .layers = 16, .heads = 8, .key_heads = 4};
  const auto type = [&](const char* mixture, GgufPart part, std::int64_t layer, std::int64_t row = 256, bool importance = false) {
    return gguf_tensor_type(**find_gguf_mixture(mixture), spec, {.name = "x", .part = part, .layer = layer}, {8, row}, importance);
  };
  EXPECT_EQ(type("q4_k_m", GgufPart::kOther, 5), GgmlType::kQ4K);
  EXPECT_EQ(type("Q4_K", GgufPart::kValue, 0), GgmlType::kQ6K);    // the first eighth
  EXPECT_EQ(type("Q4_K_M", GgufPart::kValue, 2), GgmlType::kQ4K);
  EXPECT_EQ(type("Q4_K_M", GgufPart::kDown, 4), GgmlType::kQ6K);   // every third
  EXPECT_EQ(type("Q4_K_M", GgufPart::kDown, 14), GgmlType::kQ6K);  // the last eighth
  EXPECT_EQ(type("Q4_K_S", GgufPart::kValue, 3), GgmlType::kQ5K);
  EXPECT_EQ(type("Q4_K_S", GgufPart::kDown, 1), GgmlType::kQ5K);
  EXPECT_EQ(type("Q4_K_S", GgufPart::kDown, 2), GgmlType::kQ4K);
  EXPECT_EQ(type("Q5_K_M", GgufPart::kQkv, 9), GgmlType::kQ6K);
  EXPECT_EQ(type("Q4_0", GgufPart::kOutput, -1), GgmlType::kQ6K);
  EXPECT_EQ(type("Q8_0", GgufPart::kOutput, -1), GgmlType::kQ8_0);
  EXPECT_EQ(type("Q4_0", GgufPart::kEmbedding, -1), GgmlType::kQ4_0);
  EXPECT_EQ(type("Q4_0", GgufPart::kDown, 0, 256, true), GgmlType::kQ4_1);
  EXPECT_EQ(type("Q4_K_M", GgufPart::kOther, 5, 96), GgmlType::kQ5_0);
  EXPECT_EQ(type("Q6_K", GgufPart::kOther, 5, 96), GgmlType::kQ8_0);
  EXPECT_EQ(type("Q4_0", GgufPart::kOther, 5, 40), GgmlType::kF16);
  EXPECT_EQ(type("Q4_0", GgufPart::kRouter, 5), GgmlType::kF32);
  EXPECT_EQ(type("F16", GgufPart::kOther, 5), GgmlType::kF16);
  spec.tied_head = true;
  EXPECT_EQ(type("Q4_0", GgufPart::kEmbedding, -1), GgmlType::kQ6K);
}

TEST_F(GgufModel, TheSharedModelIsWrittenAsTheSharedFile) {
  const auto shared = tests::shared_data("llm/stories260K");
  if (!shared) GTEST_SKIP() << "skipped: shared data not found";
  const auto model = open_checkpoint((*shared / "hf").string());
  ASSERT_TRUE(model.ok()) << model.error().to_string();
  for (const auto& [type, file] : {std::pair{"F32", "stories260K-f32.gguf"}, std::pair{"F16", "stories260K-f16.gguf"}}) {
    ASSERT_TRUE(write(*model, type, "model.gguf").ok());
    const auto found = formats::gguf::File::open(path("model.gguf")), want = formats::gguf::File::open((*shared / "gguf" / file).string());
    ASSERT_TRUE(found.ok() && want.ok());
    EXPECT_EQ(found->entries().size(), want->entries().size());
    for (const auto& entry : want->entries()) {
      const auto* at = found->find(entry.name);
      ASSERT_NE(at, nullptr) << entry.name;
      EXPECT_EQ(at->type->name, entry.type->name) << entry.name;
      EXPECT_TRUE(std::ranges::equal(found->bytes(*at), want->bytes(entry))) << entry.name;
    }
    EXPECT_EQ(*found->metadata().texts("tokenizer.ggml.tokens"), *want->metadata().texts("tokenizer.ggml.tokens"));
    EXPECT_EQ(*found->metadata().reals("tokenizer.ggml.scores"), *want->metadata().reals("tokenizer.ggml.scores"));
    EXPECT_EQ(*found->metadata().wholes("tokenizer.ggml.token_type"), *want->metadata().wholes("tokenizer.ggml.token_type"));
    for (const char* key : {"llama.block_count", "llama.attention.head_count_kv", "llama.rope.dimension_count", "llama.vocab_size", "general.file_type", "tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id"}) {
      EXPECT_EQ(*found->metadata().whole(key), *want->metadata().whole(key)) << key;
    }
  }
}

}  // namespace
}  // namespace narrow::language
