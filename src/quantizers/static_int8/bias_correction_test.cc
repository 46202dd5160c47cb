#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>

#include "quantizers/small_models.h"

namespace narrow::quantizers {
namespace {

using namespace testing;
using Ints = std::vector<std::int64_t>;

// The mean over samples and positions of each output channel (axis 1), float minus quantized.
std::vector<double> mean_shift(const Model& model, const Recipe& recipe, const datasets::Dataset& data) {
  const Result<Outcome> outcome = quantize(model, recipe, &data);
  if (!outcome.ok()) {
    ADD_FAILURE() << outcome.error().to_string();
    return {};
  }
  std::vector<double> shift;
  for (std::size_t i = 0; i < data.size(); ++i) {
    const auto before = run_model(model.graph, *data.read(i)), after = run_model(outcome->model.graph, *data.read(i));
    const Shape shape = (*before)[0].shape();
    const std::vector<float> a = (*before)[0].to_float(), b = (*after)[0].to_float();
    const auto channels = static_cast<std::size_t>(shape[1]), inner = a.size() / channels / static_cast<std::size_t>(shape[0]);
    shift.resize(channels);
    for (std::size_t k = 0; k < a.size(); ++k) shift[k / inner % channels] += (a[k] - b[k]) / static_cast<double>(data.size() * inner) / static_cast<double>(shape[0]);
  }
  return shift;
}

double length(const std::vector<double>& x) {
  double sum = 0;
  for (double v : x) sum += v * v;
  return std::sqrt(sum);
}

// Inputs far from zero on average: rounding the weights per tensor moves every output.
void expect_corrected(const Model& model, Recipe recipe, const std::string& context) {
  SCOPED_TRACE(context);
  const RandomData data(model.graph, 12, 0.5f, 3.0f);
  recipe.per_channel = false;
  recipe.bias_correction = false;
  const double before = length(mean_shift(model, recipe, data));
  recipe.bias_correction = true;
  const double after = length(mean_shift(model, recipe, data));
  EXPECT_LT(after, before * 0.35) << "mean shift " << before << " became " << after;
}

TEST(BiasCorrection, TakesTheShiftOfConvolutionsBack) {
  for (const char* target : {"onnxruntime", "tensorrt"}) {  // bias as s32, bias as float
    for (std::int64_t group : {1, 2, 8}) {
      for (std::int64_t pad : {0, 2}) {
        for (std::int64_t stride : {1, 2}) {
          ModelBuilder b;
          const ValueId x = b.input("x", {1, 8, 9, 7});
          const Model model = b.finish({b.node("Conv", "y", {x, b.weight("w", {16, 8 / group, 5, 3}), b.weight("c", {16}, 3)},
                                               {{"group", group}, {"pads", Ints{pad, pad, pad, pad}}, {"strides", Ints{stride, stride}}})});
          Recipe recipe;
          recipe.target = target;
          expect_corrected(model, recipe, fmt::format("{} group {} pad {} stride {}", target, group, pad, stride));
        }
      }
    }
  }
}

TEST(BiasCorrection, TakesTheShiftOfTransposedConvolutionsBack) {
  for (const char* target : {"openvino", "tensorrt"}) {
    for (std::int64_t group : {1, 2}) {
      for (std::int64_t stride : {1, 2}) {
        ModelBuilder b;
        const ValueId x = b.input("x", {1, 8, 6, 5});
        const Model model = b.finish({b.node("ConvTranspose", "y", {x, b.weight("w", {8, 12 / group, 3, 2}), b.weight("c", {12}, 3)},
                                             {{"group", group}, {"strides", Ints{stride, stride}}})});
        Recipe recipe;
        recipe.target = target;
        expect_corrected(model, recipe, fmt::format("{} group {} stride {}", target, group, stride));
      }
    }
  }
}

TEST(BiasCorrection, TakesTheShiftOfGemmBack) {
  for (std::int64_t tb : {0, 1}) {
    for (float alpha : {1.0f, -2.0f}) {
      ModelBuilder b;
      const ValueId x = b.input("x", {4, 24});
      const Model model = b.finish({b.node("Gemm", "y", {x, b.weight("w", tb ? Shape{10, 24} : Shape{24, 10}), b.weight("c", {10}, 3)}, {{"transB", tb}, {"alpha", alpha}})});
      expect_corrected(model, {}, fmt::format("transB {} alpha {}", tb, alpha));
    }
  }
}

// The second of two layers runs channels-last after the first: its channel means must be of channels all the same.
TEST(BiasCorrection, FindsTheChannelsOfReorderedActivations) {
  ModelBuilder b;
  ValueId x = b.input("x", {1, 3, 8, 8});
  Tensor wide = random_tensor({16, 3, 3, 3}, 1, 0, 1);
  x = b.node("Conv", "first", {x, b.constant("w1", std::move(wide)), b.weight("c1", {16}, 4)});
  x = b.node("Relu", "relu", {x});
  const Model model = b.finish({b.node("Conv", "y", {x, b.weight("w2", {9, 16, 3, 3}, 5), b.weight("c2", {9}, 6)})});
  expect_corrected(model, {}, "two layers");
}

TEST(BiasCorrection, LeavesABiasThatTwoLayersShareToEach) {
  ModelBuilder b;
  const ValueId x = b.input("x", {1, 4, 6, 6}), c = b.weight("c", {5}, 3);
  const ValueId one = b.node("Conv", "one", {x, b.weight("w1", {5, 4, 3, 3}, 1), c});
  const ValueId two = b.node("Conv", "two", {x, b.weight("w2", {5, 4, 3, 3}, 2), c});
  const Model model = b.finish({b.node("Add", "y", {one, two})});
  Recipe recipe;
  recipe.target = "tensorrt";
  expect_corrected(model, recipe, "shared float bias");
}

TEST(BiasCorrection, AnInputWithNaNKeepsTheBias) {
  ModelBuilder b;
  const ValueId x = b.input("x", {1, 4, 6, 6});
  const Model model = b.finish({b.node("Conv", "y", {x, b.weight("w", {5, 4, 3, 3}), b.weight("c", {5}, 3)})});
  class Poisoned final : public datasets::Dataset {
   public:
    explicit Poisoned(const RandomData& data) : data_(data) {}
    std::size_t size() const override { return data_.size(); }
    bool labelled() const override { return false; }
    std::string describe() const override { return "poisoned"; }
    Result<datasets::Sample> read(std::size_t index) const override {
      auto sample = data_.read(index);
      sample->inputs[0].second.mutable_data<float>()[5] = std::nanf("");
      return sample;
    }

   private:
    const RandomData& data_;
  };
  const RandomData clean(model.graph, 4, 0.5f, 3.0f);
  const Poisoned data(clean);
  Recipe with, without;
  without.bias_correction = false;
  const auto a = quantize(model, with, &data), o = quantize(model, without, &data);
  ASSERT_TRUE(a.ok() && o.ok());
  const datasets::Sample sample = *clean.read(0);
  EXPECT_EQ((*run_model(a->model.graph, sample))[0].to_float(), (*run_model(o->model.graph, sample))[0].to_float());
}

}  // namespace
}  // namespace narrow::quantizers
