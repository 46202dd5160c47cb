#include "language/decoder.h"

#include "language/generation.h"
#include "language/quantize/overlay.h"
#include "language/test_models.h"
#include "quantizers/matrix/plain_rounding.h"
#include "runtime/session.h"

namespace narrow::language {
namespace {

using testing::small_model;
using testing::SmallModel;

constexpr std::int64_t kLength = 9;
const char* const kFamilies[] = {"llama", "qwen3", "phi3", "gemma", "gemma2", "gemma3_text", "olmo", "olmo2", "gpt2", "gpt_neox"};

std::vector<std::int64_t> some_tokens(std::int64_t count) {
  std::vector<std::int64_t> tokens;
  for (std::int64_t i = 0; i < count; ++i) tokens.push_back((i * 17 + 5) % 53);
  return tokens;
}

Tensor positions(std::int64_t first, std::int64_t count) {
  Tensor tensor = *Tensor::create(DType::kS64, {1, count});
  for (std::int64_t i = 0; i < count; ++i) tensor.mutable_data<std::int64_t>()[static_cast<std::size_t>(i)] = first + i;
  return tensor;
}

Tensor run(const graph::Graph& graph, const std::string& input, const Tensor& value) {
  const auto session = runtime::Session::create(graph, {});
  EXPECT_TRUE(session.ok()) << session.error().to_string();
  std::vector<runtime::NamedTensor> inputs;
  for (const graph::ValueId id : graph.inputs) {
    const std::string& name = graph.value(id).name;
    inputs.emplace_back(name, name == input ? value : positions(0, kLength));
  }
  auto out = (*session)->run(inputs);
  EXPECT_TRUE(out.ok()) << out.error().to_string();
  return (*out)[0].clone();
}

Tensor ids() {
  const std::vector<std::int64_t> tokens = some_tokens(kLength);
  return Tensor::from<std::int64_t>({1, kLength}, std::span<const std::int64_t>(tokens));
}

void expect_near(const Tensor& a, const Tensor& b, float tolerance, const std::string& what) {
  ASSERT_EQ(a.shape(), b.shape()) << what;
  float largest = 0;
  for (const float x : a.data<float>()) largest = std::max(largest, std::abs(x));
  ASSERT_GT(largest, 0.01f) << what;
  for (std::size_t i = 0; i < a.data<float>().size(); ++i) ASSERT_NEAR(a.data<float>()[i], b.data<float>()[i], tolerance * largest) << what << ", element " << i;
}

TEST(Decoder, ItsPiecesAreTheWhole) {
  for (const char* family : kFamilies) {
    const SmallModel model = small_model(family);
    Tensor x = run(*build_embedding(model.spec, *model.weights), "input_ids", ids());
    for (std::int64_t layer = 0; layer < model.spec.layers; ++layer) x = run(*build_block(model.spec, *model.weights, layer, {}), "hidden", x);
    x = run(*build_head(model.spec, *model.weights), "hidden", x);
    expect_near(run(*build_decoder(model.spec, *model.weights, {}), "input_ids", ids()), x, 1e-5f, family);
  }
}

TEST(Decoder, WhatOnnxRuntimeHasGivesTheSame) {
  for (const char* family : kFamilies) {
    const SmallModel model = small_model(family);
    const Tensor own = run(*build_decoder(model.spec, *model.weights, {}), "input_ids", ids());
    expect_near(own, run(*build_decoder(model.spec, *model.weights, {.form = Form::kOnnx}), "input_ids", ids()), 1e-5f, family);
  }
}

// All Linears rounded: every form of a matrix of few bits is the same matrix.
TEST(Decoder, FormsOfFewBitsAgree) {
  const SmallModel model = small_model("llama");
  for (const int bits : {2, 3, 4, 8}) {
    for (const bool symmetric : {false, true}) {
      OverlayWeights rounded(model.weights);
      for (std::int64_t layer = 0; layer < model.spec.layers; ++layer) {
        for (const LinearLevel& level : linears_of(model.spec, layer)) {
          for (const LinearGroup& group : level) {
            for (const std::string& name : group) {
              const StoredWeight plain = *model.weights->matrix(name);
              auto made = quantizers::round_rows([&](std::int64_t row, float* out) { to_float_rows(plain, row, 1, out); }, plain.rows(), plain.columns(), {.bits = bits, .group_size = 16, .symmetric = symmetric});
              ASSERT_TRUE(made.ok());
              StoredWeight weight;
              weight.grouped = std::make_shared<const encodings::GroupedMatrix>(std::move(made->matrix));
              rounded.set_matrix(name, std::move(weight));
            }
          }
        }
      }
      const Tensor own = run(*build_decoder(model.spec, rounded, {}), "input_ids", ids());
      expect_near(own, run(*build_decoder(model.spec, rounded, {.form = Form::kOnnx}), "input_ids", ids()), 1e-5f, "MatMulNBits");
      expect_near(own, run(*build_decoder(model.spec, rounded, {.form = Form::kOnnxQdq}), "input_ids", ids()), 1e-5f, "DequantizeLinear");
    }
  }
}

TEST(Generator, ItsCacheChangesNothing) {
  for (const char* family : kFamilies) {
    const SmallModel model = small_model(family, {{"sliding_window", 4}});
    const std::vector<std::int64_t> tokens = some_tokens(kLength);
    auto whole = Generator::create(model.spec, *model.weights, 1), pieces = Generator::create(model.spec, *model.weights, 1);
    ASSERT_TRUE(whole.ok() && pieces.ok());
    const auto expected = whole->append(tokens);
    ASSERT_TRUE(expected.ok()) << expected.error().to_string();
    std::span<const float> found;
    for (const std::size_t end : {4u, 5u, 6u, 9u}) {
      const std::size_t begin = static_cast<std::size_t>(pieces->length());
      const auto logits = pieces->append(std::span(tokens).subspan(begin, end - begin));
      ASSERT_TRUE(logits.ok()) << logits.error().to_string();
      found = *logits;
    }
    for (std::size_t i = 0; i < found.size(); ++i) ASSERT_NEAR((*expected)[i], found[i], 1e-4f * (1 + std::abs(found[i]))) << family;
  }
}

TEST(Generator, RefusesWhatTheModelCannotTake) {
  const SmallModel model = small_model("llama");
  auto generator = Generator::create(model.spec, *model.weights, 1);
  ASSERT_TRUE(generator.ok());
  EXPECT_FALSE(generator->append({}).ok());
  const std::int64_t unknown[] = {53};
  EXPECT_FALSE(generator->append(unknown).ok());
  EXPECT_FALSE(generator->append(some_tokens(65)).ok());
}

TEST(Spec, NamesTheFieldThatIsWrong) {
  const auto error_of = [](nlohmann::json config) {
    const auto spec = read_spec(wire::Fields(config, "config.json"));
    return spec.ok() ? std::string("ok") : spec.error().to_string();
  };
  const nlohmann::json llama = {{"model_type", "llama"}, {"vocab_size", 53}, {"hidden_size", 32}, {"num_hidden_layers", 2}, {"num_attention_heads", 4}, {"intermediate_size", 48}, {"max_position_embeddings", 64}};
  const auto with = [&](const char* name, nlohmann::json value) {
    nlohmann::json config = llama;
    config[name] = std::move(value);
    return error_of(std::move(config));
  };
  EXPECT_EQ(error_of(llama), "ok");
  EXPECT_NE(with("model_type", "lama").find("llama"), std::string::npos);
  EXPECT_NE(with("hidden_size", -1).find("hidden_size"), std::string::npos);
  EXPECT_NE(with("num_hidden_layers", 0).find("num_hidden_layers"), std::string::npos);
  EXPECT_NE(with("num_key_value_heads", 3).find("cannot share"), std::string::npos);
  EXPECT_NE(with("head_dim", 7).find("rotated"), std::string::npos);
  EXPECT_NE(with("hidden_act", "swoosh").find("swoosh"), std::string::npos);
  EXPECT_NE(with("rope_scaling", {{"rope_type", "spiral"}}).find("spiral"), std::string::npos);
  EXPECT_NE(with("rope_scaling", {{"rope_type", "longrope"}, {"short_factor", {1.0}}, {"long_factor", {1.0}}}).find("factors"), std::string::npos);
}

}  // namespace
}  // namespace narrow::language
