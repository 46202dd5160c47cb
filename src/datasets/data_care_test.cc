#include "datasets/data_care.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <random>

namespace narrow::datasets {
namespace {

class Made : public Dataset {
 public:
  Made(std::size_t count, std::function<std::vector<float>(std::size_t)> make, bool pictures = false)
      : count_(count), make_(std::move(make)), pictures_(pictures) {}
  std::size_t size() const override { return count_; }
  bool labelled() const override { return false; }
  bool pictures() const override { return pictures_; }
  std::string describe() const override { return "made"; }
  Result<Sample> read(std::size_t index) const override {
    const std::vector<float> x = make_(index);
    Sample sample;
    sample.name = "made " + std::to_string(index);
    sample.inputs.emplace_back("x", Tensor::from<float>({1, static_cast<std::int64_t>(x.size())}, x));
    return sample;
  }

 private:
  std::size_t count_;
  std::function<std::vector<float>(std::size_t)> make_;
  bool pictures_;
};

std::vector<float> noise(std::size_t seed, float mean, float spread) {
  std::mt19937 random(static_cast<unsigned>(seed));
  std::normal_distribution<float> normal(mean, spread);
  std::vector<float> x(3000);
  for (float& v : x) v = normal(random);
  return x;
}

using Maker = std::function<std::vector<float>(std::size_t)>;

// With a preprocess text the samples count as pictures.
std::vector<std::string> kinds(std::size_t count, const Maker& make, const std::string& preprocess = "") {
  const Made data(count, make, !preprocess.empty());
  DataCareOptions options;
  options.samples = 64;
  options.preprocess = *parse_preprocess(preprocess);
  const auto warnings = check_data(data, options);
  EXPECT_TRUE(warnings.ok());
  std::vector<std::string> out;
  for (const DataWarning& w : *warnings) out.push_back(w.kind);
  return out;
}

using Kinds = std::vector<std::string>;

TEST(DataCare, SoundDataIsQuiet) {
  EXPECT_EQ(kinds(100, [](auto i) { return noise(i, 0, 1); }), Kinds{});
  EXPECT_EQ(kinds(100, [](auto i) { return noise(i, 0, 1); }, "imagenet-224"), Kinds{});
  EXPECT_EQ(kinds(100, [](auto i) { return noise(i, 0, 60); }, "caffe-bgr-227"), Kinds{});
}

TEST(DataCare, BadNumbersAreErrorsThatNameTheSample) {
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    const Made data(100, [&](std::size_t i) {
      auto x = noise(i, 0, 1);
      if (i == 50) x[7] = bad;
      return x;
    });
    DataCareOptions options;
    options.samples = 100;
    const auto result = check_data(data, options);
    ASSERT_FALSE(result.ok());
    EXPECT_NE(result.error().to_string().find("made 50"), std::string::npos);
    EXPECT_NE(result.error().to_string().find("element 7"), std::string::npos);
  }
}

TEST(DataCare, FewConstantAndSimilarSamples) {
  EXPECT_EQ(kinds(5, [](auto i) { return noise(i, 0, 1); }), Kinds{"few_samples"});
  EXPECT_EQ(kinds(50, [](auto i) { return i == 3 ? std::vector<float>(3000, 2.0f) : noise(i, 0, 1); }), Kinds{"constant_input"});
  EXPECT_EQ(kinds(50, [](auto i) { return noise(i / 2, 0, 1); }), Kinds{"similar_samples"});
  // The same picture, a little noise added.
  EXPECT_EQ(kinds(50, [](auto i) {
              auto x = noise(1, 0, 1);
              const auto n = noise(i + 100, 0, 0.01f);
              for (std::size_t k = 0; k < x.size(); ++k) x[k] += n[k];
              return x;
            }),
            Kinds{"similar_samples"});
}

TEST(DataCare, ARangeThatDoesNotFitThePreprocessing) {
  // Pictures scaled to 0..1 already, though pixels were expected.
  EXPECT_EQ(kinds(50, [](auto i) { auto x = noise(i, 0.5f, 0.2f); for (float& v : x) v = std::clamp(v, 0.0f, 1.0f); return x; }, "rgb-255-224"), Kinds{"range"});
  // imagenet's mean and std with pixels of 0..255.
  EXPECT_EQ(kinds(50, [](auto i) { return noise(i, 500, 250); }, "mean=0.485/0.456/0.406,std=0.229/0.224/0.225"), Kinds{"range"});
  EXPECT_EQ(kinds(50, [](auto i) { return noise(i, 120, 60); }, "mean=0.485/0.456/0.406"), Kinds{"range"});
  // One absurd value among arrays.
  EXPECT_EQ(kinds(50, [](auto i) { auto x = noise(i, 0, 1); if (i == 0) x[0] = 1e9f; return x; }), Kinds{"range"});
}

}  // namespace
}  // namespace narrow::datasets
