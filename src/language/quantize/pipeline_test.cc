#include "language/quantize/pipeline.h"

#include "language/quantize/fold.h"
#include "language/test_folder.h"

namespace narrow::language {
namespace {

using testing::random_sequences;
using testing::save;
using testing::small_model;
using testing::SmallModel;
using testing::TemporaryFolder;
using Kind = encodings::InputRounding::Kind;

LanguageJob make_job(const Checkpoint& model, const std::string& out, const std::string& method) {
  LanguageJob job;
  job.model = &model;
  job.recipe.method = method;
  job.recipe.weights.group_size = 16;
  job.sequences = random_sequences(model.spec.vocabulary, 6, 12);
  job.out = out;
  job.threads = 2;
  return job;
}

// What all blocks make of the calibration sequences.
std::vector<float> run_blocks(const Checkpoint& model) {
  auto states = embed_sequences(model.spec, *model.weights, random_sequences(model.spec.vocabulary, 3, 10), 1);
  EXPECT_TRUE(states.ok());
  for (std::int64_t layer = 0; layer < model.spec.layers; ++layer) EXPECT_TRUE(advance(model.spec, layer, *model.weights, *states, 1));
  return states->values;
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double off = 0, whole = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    off += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
    whole += static_cast<double>(a[i]) * a[i];
  }
  return off / whole;
}

// Channels of the norms that are far larger than the others: what SmoothQuant is for.
SmallModel model_with_outliers() {
  SmallModel model = small_model("llama");
  for (auto& [name, tensor] : model.weights->tensors()) {
    if (name.find("input_layernorm") != std::string::npos || name.find("post_attention_layernorm") != std::string::npos) tensor.mutable_data<float>()[5] = 60.0f;
    if (tensor.rank() == 2 && tensor.shape()[1] == 32 && name.find("o_proj") == std::string::npos) {
      for (std::int64_t r = 0; r < tensor.shape()[0]; ++r) tensor.mutable_data<float>()[static_cast<std::size_t>(r * 32 + 5)] /= 60.0f;
    }
  }
  return model;
}

TEST(Pipeline, SmoothQuantWritesWhatItReadsBackAndBeatsPlainRounding) {
  const TemporaryFolder folder;
  const Checkpoint model = save(model_with_outliers(), folder / "model");
  const std::vector<float> exact = run_blocks(model);
  for (const char* kind : {"dynamic", "static"}) {
    LanguageJob job = make_job(model, folder / kind, "smooth-quant");
    job.recipe.weights.activations = kind;
    job.sequences = random_sequences(model.spec.vocabulary, 60, 12);
    const auto made = quantize_checkpoint(job);
    ASSERT_TRUE(made.ok()) << made.error().to_string();
    EXPECT_EQ(made->format, "compressed-tensors");
    const auto opened = open_checkpoint(job.out);
    ASSERT_TRUE(opened.ok()) << opened.error().to_string();
    for (const std::string& name : all_linears(opened->spec)) {
      const auto weight = opened->weights->matrix(name);
      ASSERT_TRUE(weight.ok()) << weight.error().to_string();
      EXPECT_EQ(weight->grouped->bits, 8);
      EXPECT_EQ(weight->inputs.kind, kind == std::string("static") ? Kind::kTensor : Kind::kToken);
      EXPECT_EQ(weight->inputs.scale > 0, kind == std::string("static"));
    }
    LanguageJob plain = make_job(model, folder / (std::string(kind) + "-plain"), "rounding");
    plain.recipe.weights.bits = 8;
    plain.recipe.weights.group_size = 0;
    plain.recipe.weights.symmetric = true;
    plain.recipe.weights.activations = kind;
    plain.sequences = job.sequences;
    const auto rounded = quantize_checkpoint(plain);
    ASSERT_TRUE(rounded.ok()) << rounded.error().to_string();
    const double lost = distance(exact, run_blocks(*opened)), lost_plainly = distance(exact, run_blocks(*open_checkpoint(plain.out)));
    EXPECT_LT(lost, kind == std::string("static") ? 3e-2 : 2e-3) << kind;
    EXPECT_LT(lost, 0.6 * lost_plainly) << kind;
  }
}

TEST(Pipeline, RoundedInputsNeedAFormatThatSaysSo) {
  const TemporaryFolder folder;
  const Checkpoint model = save(small_model("llama"), folder / "model");
  LanguageJob job = make_job(model, folder / "out", "smooth-quant");
  job.format = "gptq";
  auto made = quantize_checkpoint(job);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code(), ErrorCode::kUnsupported);
  EXPECT_NE(made.error().to_string().find("compressed-tensors"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(job.out));
  // Asked for with weights of 4 bits.
  job.format = "";
  job.recipe.method = "rounding";
  job.recipe.weights.activations = "dynamic";
  made = quantize_checkpoint(job);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code(), ErrorCode::kInvalidArgument);
  // Nor does a file that has them become one that cannot.
  job.recipe.method = "smooth-quant";
  ASSERT_TRUE(quantize_checkpoint(job).ok());
  const auto opened = open_checkpoint(job.out);
  ASSERT_TRUE(opened.ok());
  ConvertJob convert{.model = &*opened, .out = folder / "out.onnx", .format = "onnx", .threads = 1, .progress = {}};
  EXPECT_EQ(convert_checkpoint(convert).error().code(), ErrorCode::kUnsupported);
}

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

TEST(Pipeline, SpilledTokensGiveTheSameBytes) {
  const TemporaryFolder folder;
  for (const char* family : {"llama", "gpt_neox"}) {
    const Checkpoint model = save(small_model(family), folder / (std::string(family) + "-model"));
    for (const std::string kind : {"gptq", "awq-gptq", "budget"}) {
      const std::string method = kind == "budget" ? "gptq" : kind;
      LanguageJob job = make_job(model, folder / (std::string(family) + kind), method);
      if (kind == "budget") job.recipe.weights.bits_per_weight = 5;
      job.sequences = random_sequences(model.spec.vocabulary, 64, 48);
      job.format = "compressed-tensors";
      const LanguageEstimate whole = estimate(job);
      EXPECT_EQ(whole.spilled, 0u);
      const auto made = quantize_checkpoint(job);
      ASSERT_TRUE(made.ok()) << made.error().to_string();
      LanguageJob spilling = job;
      spilling.out += "-spilled";
      spilling.max_memory = whole.memory - 1;
      EXPECT_GT(estimate(spilling).spilled, 0u);
      EXPECT_LT(estimate(spilling).memory, whole.memory);
      const auto spilled = quantize_checkpoint(spilling);
      ASSERT_TRUE(spilled.ok()) << spilled.error().to_string();
      EXPECT_EQ(contents(job.out + "/model.safetensors"), contents(spilling.out + "/model.safetensors")) << family << ", " << kind;
      EXPECT_EQ(made->recipe, spilled->recipe);
      spilling.out += "-again";
      spilling.max_memory = 1 << 20;
      const auto refused = quantize_checkpoint(spilling);
      ASSERT_FALSE(refused.ok());
      EXPECT_EQ(refused.error().code(), ErrorCode::kResourceExhausted);
    }
  }
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) EXPECT_TRUE(entry.is_directory()) << entry.path();  // nothing was left behind
}

// AWQ's config has one group size for all.
TEST(Pipeline, AFormatThatCannotMixSaysSo) {
  const TemporaryFolder folder;
  const Checkpoint model = save(small_model("llama"), folder / "model");
  LanguageJob job = make_job(model, folder / "out", "rounding");
  job.format = "awq";
  quantizers::Rule rule;
  rule.name_pattern = "*.down_proj";
  rule.group_size = 8;
  job.recipe.rules.push_back(rule);
  const auto made = quantize_checkpoint(job);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code(), ErrorCode::kUnsupported);
  EXPECT_NE(made.error().to_string().find("cannot mix"), std::string::npos);
}

}  // namespace
}  // namespace narrow::language
