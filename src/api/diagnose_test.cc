// Damage planted in a small convolutional model is named first, with the float model and the quantized one alone to go by.
#include "narrow/diagnose.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <set>

#include "api/data_impl.h"
#include "api/model_impl.h"
#include "diagnosis/calibration_data.h"
#include "evaluation/accuracy.h"
#include "evaluation/test_models.h"
#include "runtime/session.h"

namespace narrow {
namespace {

using diagnosis::InputChange;
using evaluation::testing::MemoryData;
using graph::Graph;
using graph::ValueId;

class NetBuilder {
 public:
  explicit NetBuilder(unsigned seed) : random_(seed) {
    graph_.inputs = {graph_.add_value("x", graph::Type::tensor(DType::kF32, {graph::Dim("N"), 3, 16, 16}))};
    at_ = graph_.inputs[0];
  }

  void conv(const std::string& name, std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t group = 1) {
    const ValueId w = constant(name + "_w", {out, in / group, kernel, kernel}, 1.0f / std::sqrt(static_cast<float>(in / group * kernel * kernel)));
    const ValueId b = constant(name + "_b", {out}, 0.2f);
    node("Conv", name, {at_, w, b});
    graph_.nodes.back().set("group", group);
    graph_.nodes.back().set("pads", std::vector<std::int64_t>(4, kernel / 2));
    node("Relu", name + "_relu", {at_});
  }
  void head(std::int64_t in, std::int64_t classes) {
    node("GlobalAveragePool", "pool", {at_});
    node("Flatten", "flat", {at_});
    const ValueId w = constant("head_w", {in, classes}, 1.0f), b = constant("head_b", {classes}, 0.1f);
    node("Gemm", "head", {at_, w, b});
  }
  Graph finish() {
    graph_.outputs = {at_};
    return std::move(graph_);
  }
  Graph& graph() { return graph_; }

 private:
  ValueId constant(const std::string& name, Shape shape, float spread) {
    Tensor tensor = *Tensor::create(DType::kF32, std::move(shape));
    std::normal_distribution<float> normal(0, spread);
    for (float& x : tensor.mutable_data<float>()) x = normal(random_);
    return graph_.add_constant(name, tensor);
  }
  void node(const std::string& op, const std::string& name, std::vector<ValueId> inputs) {
    at_ = evaluation::testing::append(graph_, op, name, std::move(inputs));
  }

  Graph graph_;
  std::mt19937 random_;
  ValueId at_ = graph::kNoValue;
};

Model as_model(Graph graph) {
  graph::Model model;
  model.graph = std::move(graph);
  model.opsets[""] = 17;
  model.ir_version = 8;
  return Model(std::make_shared<Model::Impl>(std::move(model)));
}

// Multiplies the slice `channel` along `axis` of a constant.
void scale_slice(Graph& graph, const std::string& name, std::size_t axis, std::int64_t channel, float factor) {
  Tensor tensor = graph.constant(graph.find_value(name))->clone();
  std::int64_t inner = 1;
  for (std::size_t i = axis + 1; i < tensor.shape().size(); ++i) inner *= tensor.shape()[i];
  std::span<float> values = tensor.mutable_data<float>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    if ((static_cast<std::int64_t>(i) / inner) % tensor.shape()[axis] == channel) values[i] *= factor;
  }
  graph.value(graph.find_value(name)).constant = tensor;
}

Graph make_net(bool outlier = false) {
  NetBuilder builder(5);
  builder.conv("first", 3, 16, 3);
  builder.conv("depthwise", 16, 16, 3, 16);
  builder.conv("point", 16, 24, 1);
  builder.conv("last", 24, 24, 3);
  builder.head(24, 6);
  // Depthwise channels of very different size, as trained ones are; what reads them makes up for it.
  for (std::int64_t c = 0; c < 16; ++c) {
    const float factor = std::pow(4.0f, static_cast<float>(c % 6) - 3);
    scale_slice(builder.graph(), "first_w", 0, c, 1 / factor);
    scale_slice(builder.graph(), "first_b", 0, c, 1 / factor);
    scale_slice(builder.graph(), "depthwise_w", 0, c, factor * (c % 6 == 0 ? 0.05f : 1.0f));
  }
  if (outlier) {
    scale_slice(builder.graph(), "point_w", 0, 7, 200);
    scale_slice(builder.graph(), "point_b", 0, 7, 200);
    scale_slice(builder.graph(), "last_w", 1, 7, 1.0f / 200);
  }
  return builder.finish();
}

// Pictures in [0, 1] whose channels, light and contrast differ.
std::vector<datasets::Sample> pictures(std::size_t count) {
  std::mt19937 random(11);
  std::uniform_real_distribution<float> uniform(0, 1);
  std::vector<datasets::Sample> samples;
  for (std::size_t i = 0; i < count; ++i) {
    Tensor tensor = *Tensor::create(DType::kF32, {1, 3, 16, 16});
    std::span<float> values = tensor.mutable_data<float>();
    const float light = uniform(random), contrast = 0.2f + 0.8f * uniform(random), fx = 1 + 5 * uniform(random), fy = 1 + 5 * uniform(random);
    const float tint[3] = {0.9f, 0.5f, 0.2f};
    for (std::size_t p = 0; p < values.size(); ++p) {
      const std::size_t c = p / 256, y = p % 256 / 16, x = p % 16;
      const float wave = 0.5f + 0.5f * std::sin(fx * static_cast<float>(x) / 3 + fy * static_cast<float>(y) / 3 + static_cast<float>(c));
      values[p] = std::clamp(tint[c] * (light * (1 - contrast) + contrast * wave) + 0.03f * uniform(random), 0.0f, 1.0f);
    }
    datasets::Sample sample;
    sample.inputs.emplace_back("x", tensor);
    sample.name = "picture " + std::to_string(i);
    samples.push_back(std::move(sample));
  }
  return samples;
}

Data as_data(std::shared_ptr<const datasets::Dataset> samples) {
  auto impl = std::make_shared<Data::Impl>();
  impl->samples = std::move(samples);
  return Data(std::move(impl));
}

std::shared_ptr<const datasets::Dataset> live() {
  static const auto data = std::make_shared<MemoryData>(pictures(64));
  return data;
}

struct Plant {
  bool outlier = false;
  bool per_channel = true;
  InputChange change;
  std::size_t samples = 64;
  std::string form = "qdq", observer = "min_max";
};

Quantization quantize_planted(const Model& model, const Plant& plant) {
  QuantizeOptions options;
  options.method = "static";
  options.per_channel = plant.per_channel;
  options.form = plant.form;
  options.observer = plant.observer;
  options.threads = 1;
  std::vector<datasets::Sample> chosen = pictures(64);
  if (plant.samples < chosen.size()) {  // copies of the darkest
    const auto light = [](const datasets::Sample& sample) {
      const std::span<const float> values = sample.inputs[0].second.data<float>();
      return std::accumulate(values.begin(), values.end(), 0.0);
    };
    const datasets::Sample darkest = *std::min_element(chosen.begin(), chosen.end(), [&](const auto& a, const auto& b) { return light(a) < light(b); });
    chosen.assign(plant.samples, darkest);
  }
  const Data data = as_data(diagnosis::changed(std::make_shared<MemoryData>(std::move(chosen)), plant.change));
  auto made = quantize(model, &data, options);
  EXPECT_TRUE(made.ok()) << made.error().to_string();
  return *std::move(made);
}

Diagnosis diagnose_planted(const Plant& plant) {
  const Model model = as_model(make_net(plant.outlier));
  const Quantization made = quantize_planted(model, plant);
  auto found = diagnose(model, made.model, as_data(live()), {"", 1, {}});
  EXPECT_TRUE(found.ok()) << found.error().to_string();
  return *std::move(found);
}

std::string first_cause(const Diagnosis& diagnosis) { return diagnosis.findings.empty() ? "none" : diagnosis.findings.front().cause; }

TEST(Diagnose, FindsNothingInAnIntactModel) {
  for (const char* observer : {"min_max", "mse"}) {
    Plant plant;
    plant.observer = observer;
    const Diagnosis found = diagnose_planted(plant);
    for (const Finding& f : found.findings) {
      EXPECT_FALSE(f.cause.starts_with("calibration_") || f.cause.starts_with("input_") || f.cause == "per_tensor_weights" || f.cause == "weights_differ" ||
                   f.cause == "biases_differ")
          << observer << ": " << f.cause << ": " << f.evidence;
    }
    EXPECT_GE(found.layers.size(), 5u);
    EXPECT_GT(*found.quantized->sqnr_db, 20);
  }
}

TEST(Diagnose, NamesWhatWasPlanted) {
  const std::vector<std::pair<std::string, Plant>> plants = {
      {"per_tensor_weights", {false, false, {}, 64, "qdq", "min_max"}},
      {"outlier_channels", {true, true, {}, 64, "qdq", "min_max"}},
      {"calibration_value_range", {false, true, {"", "", false, 255, 0}, 64, "qdq", "min_max"}},
      {"calibration_mean", {false, true, {"", "", false, 1, -0.5}, 64, "qdq", "min_max"}},
      {"calibration_channel_order", {false, true, {"", "", true, 1, 0}, 64, "qdq", "min_max"}},
      {"calibration_samples", {false, true, {}, 3, "qdq", "min_max"}},
  };
  for (const auto& [cause, plant] : plants) {
    for (const char* form : {"qdq", "qoperator"}) {
      Plant formed = plant;
      formed.form = form;
      const Diagnosis found = diagnose_planted(formed);
      EXPECT_EQ(first_cause(found), cause) << form << ": " << (found.findings.empty() ? "" : found.findings.front().evidence) << " gain " << (found.findings.empty() ? 0.0 : found.findings.front().gain_db.value_or(-1));
    }
  }
}

// Moves the last bias so that every class has the same mean score: labels then differ between pictures.
void balance_head(Graph& graph) {
  const auto session = runtime::Session::create(graph, {});
  ASSERT_TRUE(session.ok());
  Tensor bias = graph.constant(graph.find_value("head_b"))->clone();
  for (const datasets::Sample& sample : pictures(64)) {
    const auto outputs = (*session)->run(sample.inputs);
    ASSERT_TRUE(outputs.ok());
    for (std::size_t c = 0; c < 6; ++c) bias.mutable_data<float>()[c] -= (*outputs)[0].data<float>()[c] / 64;
  }
  graph.value(graph.find_value("head_b")).constant = bias;
}

TEST(Diagnose, TellsWrongLiveDataByItsLabels) {
  Graph net = make_net();
  balance_head(net);
  const Model model = as_model(net.clone());
  const Quantization made = quantize_planted(model, {});
  // The labels are what the float model says of the pictures as they should be.
  std::vector<datasets::Sample> samples = pictures(64);
  const auto session = runtime::Session::create(net, {});
  ASSERT_TRUE(session.ok());
  std::set<std::int64_t> classes;
  for (datasets::Sample& sample : samples) {
    const auto outputs = (*session)->run(sample.inputs);
    ASSERT_TRUE(outputs.ok());
    sample.label = evaluation::best_classes((*outputs)[0].data<float>(), 1)[0];
    classes.insert(*sample.label);
  }
  ASSERT_GT(classes.size(), 1u);
  const auto right = std::make_shared<MemoryData>(std::move(samples));
  const auto found = diagnose(model, made.model, as_data(diagnosis::changed(right, {"", "", false, 255, 0})), {"", 1, {}});
  ASSERT_TRUE(found.ok()) << found.error().to_string();
  EXPECT_EQ(first_cause(*found), "input_value_range");
  EXPECT_NE(first_cause(*diagnose(model, made.model, as_data(right), {"", 1, {}})), "input_value_range");
}

TEST(Diagnose, SeesForeignWeightsAndBrokenBiases) {
  const Model model = as_model(make_net());
  const Quantization made = quantize_planted(model, {});
  graph::Model damaged = made.model.impl().model;
  damaged.graph = damaged.graph.clone();
  // An overflowed bias: all channels of one layer pushed far up.
  const ValueId bias = damaged.graph.find_value("last_b_q");
  ASSERT_NE(bias, graph::kNoValue);
  Tensor codes = damaged.graph.constant(bias)->clone();
  for (std::int32_t& code : codes.mutable_data<std::int32_t>()) code += 40000;
  damaged.graph.value(bias).constant = codes;
  auto found = diagnose(model, Model(std::make_shared<Model::Impl>(std::move(damaged))), as_data(live()), {"", 1, {}});
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(first_cause(*found), "biases_differ");

  Graph other = make_net();
  Tensor weight = other.constant(other.find_value("point_w"))->clone();
  for (float& x : weight.mutable_data<float>()) x = -x;
  other.value(other.find_value("point_w")).constant = weight;
  found = diagnose(as_model(std::move(other)), made.model, as_data(live()), {"", 1, {}});
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(first_cause(*found), "weights_differ");
}

TEST(Diagnose, MendsWhatItFound) {
  Plant plant;
  plant.per_channel = false;
  const Model model = as_model(make_net());
  const Quantization made = quantize_planted(model, plant);
  const Data data = as_data(live());
  const auto before = diagnose(model, made.model, data, {"", 1, {}});
  ASSERT_TRUE(before.ok());
  const auto mended = quantize(model, &data, mending_options(*before, made.model));
  ASSERT_TRUE(mended.ok()) << mended.error().to_string();
  const auto after = diagnose(model, mended->model, data, {"", 1, {}});
  ASSERT_TRUE(after.ok());
  EXPECT_GT(*after->quantized->sqnr_db, *before->quantized->sqnr_db + 1);
  EXPECT_NE(first_cause(*after), "per_tensor_weights");
}

TEST(Diagnose, RefusesModelsThatDoNotPair) {
  const Model model = as_model(make_net());
  const auto found = diagnose(model, model, as_data(live()), {"", 1, {}});
  ASSERT_FALSE(found.ok());
  EXPECT_EQ(found.error().code(), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace narrow
