#include "language/encoder.h"

#include "language/decoder.h"
#include "language/quantize/block_pass.h"
#include "language/test_models.h"
#include "runtime/session.h"

namespace narrow::language {
namespace {

using testing::SmallModel;

constexpr std::int64_t kLength = 11;

SmallModel small_encoder(const std::string& family) {
  nlohmann::json config = {{"model_type", family}, {"vocab_size", 53}, {"hidden_size", 32}, {"num_hidden_layers", 2}, {"num_attention_heads", 4}, {"intermediate_size", 48},
                           {"max_position_embeddings", 40}, {"hidden_act", "gelu"}, {"pad_token_id", 1}, {"dim", 32}, {"n_layers", 2}, {"n_heads", 4}, {"hidden_dim", 48}, {"activation", "gelu"}};
  const auto spec = read_spec(wire::Fields(config, "config.json"));
  EXPECT_TRUE(spec.ok()) << spec.error().to_string();
  SmallModel model;
  model.spec = *spec;
  const Names& names = spec->names;
  const auto add = [&](const std::string& module, Shape shape, bool bias, float around = 0) {
    if (module.empty()) return;
    if (bias) model.weights->add(module + ".bias", {shape.front()});
    model.weights->add(module + ".weight", std::move(shape), around);
  };
  add(names.embedding, {53, 32}, false);
  add(names.positions, {40, 32}, false);
  add(names.token_types, {spec->token_types, 32}, false);
  add(names.embedding_norm, {32}, true, 1);
  add(names.relative_bias, {spec->relative_buckets, 4}, false);
  add(names.head_dense, {32, 32}, true);
  add(names.head_norm, {32}, true, 1);
  if (!names.head_bias.empty()) model.weights->add(names.head_bias, {53});
  for (std::int64_t layer = 0; layer < 2; ++layer) {
    for (const std::string* pattern : {&names.q, &names.k, &names.v, &names.o}) add(layer_name(*pattern, layer), {32, 32}, true);
    add(layer_name(names.up, layer), {48, 32}, true);
    add(layer_name(names.down, layer), {32, 48}, true);
    for (const std::string* pattern : {&names.attention_norm, &names.mlp_norm}) add(layer_name(*pattern, layer), {32}, true, 1);
  }
  return model;
}

std::vector<std::int64_t> some_ids() {
  std::vector<std::int64_t> ids;
  for (std::int64_t i = 0; i < kLength; ++i) ids.push_back(2 + (7 * i + 3) % 50);
  return ids;
}

std::vector<Tensor> run(const graph::Graph& graph, const std::vector<runtime::NamedTensor>& given) {
  const auto session = runtime::Session::create(graph, {.threads = 1});
  EXPECT_TRUE(session.ok()) << session.error().to_string();
  std::vector<runtime::NamedTensor> inputs;
  for (const auto& entry : given) {
    for (const graph::ValueId id : (*session)->graph().inputs) {
      if ((*session)->graph().value(id).name == entry.first) inputs.push_back(entry);
    }
  }
  auto out = (*session)->run(inputs);
  EXPECT_TRUE(out.ok()) << out.error().to_string();
  std::vector<Tensor> copies;
  for (const Tensor& tensor : *out) copies.push_back(tensor.clone());
  return copies;
}

// The whole model on `ids` with `padding` tokens behind that the mask leaves out.
std::vector<Tensor> run_whole(const SmallModel& model, Form form, std::int64_t padding) {
  std::vector<std::int64_t> ids = some_ids(), mask(ids.size(), 1);
  ids.resize(ids.size() + static_cast<std::size_t>(padding), 1);
  mask.resize(ids.size(), 0);
  const std::vector<std::int64_t> types(ids.size(), 0);
  const auto tensor = [&](const std::vector<std::int64_t>& values) { return Tensor::from<std::int64_t>({1, static_cast<std::int64_t>(values.size())}, std::span<const std::int64_t>(values)); };
  const auto graph = build_encoder(model.spec, *model.weights, form);
  EXPECT_TRUE(graph.ok()) << graph.error().to_string();
  return run(*graph, {{"input_ids", tensor(ids)}, {"attention_mask", tensor(mask)}, {"token_type_ids", tensor(types)}});
}

void expect_near(std::span<const float> a, std::span<const float> b, const std::string& what) {
  ASSERT_LE(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 1e-4f * (1 + std::abs(a[i]))) << what << ", " << i;
}

constexpr const char* kFamilies[] = {"bert", "roberta", "xlm-roberta", "distilbert", "mpnet"};

TEST(Encoder, PaddingAndTheFormChangeNothing) {
  for (const char* family : kFamilies) {
    const SmallModel model = small_encoder(family);
    const std::vector<Tensor> plain = run_whole(model, Form::kRun, 0);
    ASSERT_EQ(plain.size(), 2u) << family;
    EXPECT_EQ(plain[0].shape(), (Shape{1, kLength, 32}));
    EXPECT_EQ(plain[1].shape(), (Shape{1, kLength, 53}));
    for (const auto& [form, padding] : {std::pair{Form::kRun, std::int64_t{5}}, {Form::kOnnx, std::int64_t{0}}, {Form::kOnnx, std::int64_t{5}}}) {
      const std::vector<Tensor> other = run_whole(model, form, padding);
      for (std::size_t i = 0; i < 2; ++i) expect_near(plain[i].data<float>(), other[i].data<float>(), family);
    }
  }
}

// What block-by-block work runs is the model.
TEST(Encoder, PiecesGiveTheWhole) {
  for (const char* family : kFamilies) {
    const SmallModel model = small_encoder(family);
    auto states = embed_sequences(model.spec, *model.weights, {some_ids()}, 1);
    ASSERT_TRUE(states.ok()) << states.error().to_string();
    for (std::int64_t layer = 0; layer < 2; ++layer) {
      BlockPass pass(model.spec, layer, *states, 1);
      for (const LinearLevel& level : linears_of(model.spec, layer)) {
        std::vector<std::string> fronts;
        for (const LinearGroup& group : level) fronts.push_back(group.front());
        ASSERT_TRUE(pass.reach(*model.weights, fronts));
      }
      ASSERT_TRUE(pass.finish(*model.weights, *states));
    }
    const std::vector<Tensor> whole = run_whole(model, Form::kRun, 0);
    expect_near(whole[0].data<float>(), states->values, family);
    const auto head = build_head(model.spec, *model.weights);
    ASSERT_TRUE(head.ok()) << head.error().to_string();
    expect_near(whole[1].data<float>(), run(*head, {{"hidden", whole[0]}})[0].data<float>(), family);
  }
}

TEST(Encoder, ConfigsThatItDoesNotKnowAreRefused) {
  const nlohmann::json bert = {{"model_type", "bert"}, {"vocab_size", 53}, {"hidden_size", 32}, {"num_hidden_layers", 2}, {"num_attention_heads", 4}, {"intermediate_size", 48}, {"max_position_embeddings", 40}};
  const auto refused = [&](const char* key, const nlohmann::json& value) {
    nlohmann::json config = bert;
    config[key] = value;
    return read_spec(wire::Fields(config, "config.json"));
  };
  EXPECT_TRUE(read_spec(wire::Fields(bert, "config.json")).ok());
  EXPECT_EQ(refused("position_embedding_type", "relative_key").error().code(), ErrorCode::kUnsupported);
  EXPECT_EQ(refused("is_decoder", true).error().code(), ErrorCode::kUnsupported);
  EXPECT_EQ(refused("num_attention_heads", 5).error().code(), ErrorCode::kCorrupt);
  EXPECT_EQ(refused("hidden_size", 0).error().code(), ErrorCode::kCorrupt);
  EXPECT_EQ(refused("hidden_act", "quick").error().code(), ErrorCode::kUnsupported);
  nlohmann::json roberta = bert;
  roberta["model_type"] = "roberta";
  roberta["max_position_embeddings"] = 2;
  EXPECT_EQ(read_spec(wire::Fields(roberta, "config.json")).error().code(), ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace narrow::language
