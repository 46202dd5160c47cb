#include "calibration/calibrator.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "calibration/value_observer.h"

namespace narrow::calibration {
namespace {

using graph::Type;

// x -> Identity -> y, any shape [1, N].
graph::Graph identity() {
  graph::Graph graph;
  const auto x = graph.add_value("x", Type::tensor(DType::kF32, {1, graph::Dim("N")}));
  const auto y = graph.add_value("y", Type::tensor(DType::kF32, {1, graph::Dim("N")}));
  graph::Node node;
  node.name = "same";
  node.op_type = "Identity";
  node.inputs = {x};
  node.outputs = {y};
  graph.nodes.push_back(node);
  graph.inputs = {x};
  graph.outputs = {y};
  return graph;
}

// Samples of different length and scale; `bad` names one that holds a NaN, `broken` one that cannot be read.
class Numbers : public datasets::Dataset {
 public:
  explicit Numbers(std::size_t count, std::size_t bad = SIZE_MAX, std::size_t broken = SIZE_MAX) : count_(count), bad_(bad), broken_(broken) {}
  std::size_t size() const override { return count_; }
  bool labelled() const override { return false; }
  std::string describe() const override { return "numbers"; }
  Result<datasets::Sample> read(std::size_t index) const override {
    datasets::Sample sample;
    sample.name = "number " + std::to_string(index);
    if (index >= broken_) return corrupt(sample.name + ": cannot be read");
    std::vector<float> x = values(index);
    if (index == bad_) x[0] = std::numeric_limits<float>::quiet_NaN();
    const Shape shape{1, static_cast<std::int64_t>(x.size())};
    sample.inputs.emplace_back("x", Tensor::from<float>(shape, x));
    return sample;
  }
  static std::vector<float> values(std::size_t index) {
    std::mt19937 random(static_cast<unsigned>(index));
    std::normal_distribution<float> normal(0.3f, 1.0f + static_cast<float>(index % 17));
    std::vector<float> x(100 + 37 * (index % 60));
    for (float& v : x) v = normal(random);
    return x;
  }

 private:
  std::size_t count_, bad_, broken_;
};

CalibrateOptions options(int threads, std::string observer = "entropy") {
  CalibrateOptions o;
  o.observer = std::move(observer);
  o.values = {"x", "y"};
  o.threads = threads;
  return o;
}

TEST(Calibrator, TakesModelsThatReturnSequences) {
  graph::Graph graph = identity();
  graph::Node node;
  node.name = "pair";
  node.op_type = "SequenceConstruct";
  node.inputs = {graph.outputs[0], graph.outputs[0]};
  node.outputs = {graph.add_value("s", {})};
  graph.nodes.push_back(node);
  graph.outputs = node.outputs;
  const auto table = calibrate(graph, Numbers(40), options(1));
  ASSERT_TRUE(table.ok()) << table.error().to_string();
  EXPECT_EQ(table->samples, 40u);
  ASSERT_NE(table->find("y"), nullptr);
}

TEST(Calibrator, AddsUpWhatTheSamplesHold) {
  const auto table = calibrate(identity(), Numbers(150), options(2));
  ASSERT_TRUE(table.ok()) << table.error().to_string();
  EXPECT_EQ(table->samples, 150u);
  const ValueStatistics* y = table->find("y");
  ASSERT_NE(y, nullptr);
  ValueStatistics want;
  for (std::size_t i = 0; i < 150; ++i) {
    for (float v : Numbers::values(i)) {
      want.seen = want.count == 0 ? Range{v, v} : Range{std::min(want.seen.min, v), std::max(want.seen.max, v)};
      ++want.count;
      want.sum += v;
      want.sum_squares += static_cast<double>(v) * v;
    }
  }
  EXPECT_EQ(y->seen, want.seen);
  EXPECT_EQ(y->count, want.count);
  EXPECT_NEAR(y->sum, want.sum, 1e-6 * want.count);
  EXPECT_NEAR(y->sum_squares / want.sum_squares, 1, 1e-9);
  std::uint64_t counted = 0;
  for (std::uint64_t c : y->histogram.counts) counted += c;
  EXPECT_EQ(counted, want.count);
}

TEST(Calibrator, KeepsChannelMeansOfTheAxisAsked) {
  std::vector<float> x(2 * 3 * 70);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 11) - 2.5f * static_cast<float>(i % 3);
  for (const auto& [shape, axis] : std::vector<std::pair<Shape, int>>{{{2, 3, 70}, 0}, {{2, 3, 70}, 1}, {{2, 70, 3}, 2}, {{420}, 0}, {{1, 420, 1}, 1}}) {
    std::vector<double> sums, want(static_cast<std::size_t>(shape[axis]));
    std::int64_t inner = 1;
    for (std::size_t i = static_cast<std::size_t>(axis) + 1; i < shape.size(); ++i) inner *= shape[i];
    for (std::size_t i = 0; i < x.size(); ++i) want[i / static_cast<std::size_t>(inner) % want.size()] += x[i];
    add_channels(x, shape, axis, sums);
    ASSERT_EQ(sums.size(), want.size());
    for (std::size_t c = 0; c < want.size(); ++c) EXPECT_NEAR(sums[c], want[c], 1e-3) << "axis " << axis << " channel " << c;
  }
  // Over samples of different lengths the channels of axis 0 stay comparable, those of axis 1 do not.
  CalibrateOptions o = options(2, "min_max");
  o.channel_axes = {{"x", 0}, {"y", 1}};
  const auto table = calibrate(identity(), Numbers(40), o);
  ASSERT_TRUE(table.ok()) << table.error().to_string();
  ASSERT_EQ(table->find("x")->channel_means().size(), 1u);
  EXPECT_NEAR(table->find("x")->channel_means()[0], table->find("x")->sum / static_cast<double>(table->find("x")->count), 1e-4);
  EXPECT_TRUE(table->find("y")->channel_means().empty());
  const auto spoilt = calibrate(identity(), Numbers(40, 7), o);
  ASSERT_TRUE(spoilt.ok());
  EXPECT_TRUE(spoilt->find("x")->channel_means().empty());
}

TEST(Calibrator, TheNumberOfThreadsDoesNotMatter) {
  const Numbers data(200, 70);
  const auto one = calibrate(identity(), data, options(1));
  ASSERT_TRUE(one.ok());
  for (int threads : {2, 3, 7}) {
    const auto many = calibrate(identity(), data, options(threads));
    ASSERT_TRUE(many.ok());
    for (const auto& [name, s] : one->values) {
      const ValueStatistics& t = many->values.at(name);
      EXPECT_EQ(t.seen, s.seen);
      EXPECT_EQ(t.moving_average, s.moving_average);
      EXPECT_EQ(t.sum, s.sum);
      EXPECT_EQ(t.sum_squares, s.sum_squares);
      EXPECT_EQ(t.histogram.low, s.histogram.low);
      EXPECT_EQ(t.histogram.counts, s.histogram.counts);
      EXPECT_EQ(t.first_non_finite, s.first_non_finite);
    }
  }
  EXPECT_EQ(one->find("x")->non_finite, 1u);
  EXPECT_EQ(one->find("x")->first_non_finite, "number 70");
}

TEST(Calibrator, KeepsHistogramsOnlyWhereTheyAreNeeded) {
  auto table = calibrate(identity(), Numbers(3), options(1, "min_max"));
  ASSERT_TRUE(table.ok());
  EXPECT_TRUE(table->find("x")->histogram.counts.empty());
  CalibrateOptions always = options(1, "min_max");
  always.always_histogram = true;
  table = calibrate(identity(), Numbers(3), always);
  ASSERT_TRUE(table.ok());
  EXPECT_FALSE(table->find("x")->histogram.counts.empty());
}

TEST(Calibrator, TakesSamplesSpreadOverTheSet) {
  CalibrateOptions some = options(2, "min_max");
  some.samples = 4;
  const auto table = calibrate(identity(), Numbers(100), some);
  ASSERT_TRUE(table.ok());
  std::uint64_t count = 0;
  for (std::size_t i : {0, 25, 50, 75}) count += Numbers::values(i).size();
  EXPECT_EQ(table->find("x")->count, count);
}

TEST(Calibrator, NamesWhatIsWrong) {
  const auto broken = calibrate(identity(), Numbers(90, SIZE_MAX, 80), options(2));
  ASSERT_FALSE(broken.ok());
  EXPECT_EQ(broken.error().code(), ErrorCode::kCorrupt);
  EXPECT_NE(broken.error().to_string().find("number 8"), std::string::npos);
  CalibrateOptions unknown = options(1);
  unknown.values.push_back("nowhere");
  const auto missing = calibrate(identity(), Numbers(2), unknown);
  ASSERT_FALSE(missing.ok());
  EXPECT_NE(missing.error().to_string().find("nowhere"), std::string::npos);
  EXPECT_FALSE(calibrate(identity(), Numbers(0), options(1)).ok());
}

TEST(Calibrator, ReportsProgress) {
  CalibrateOptions o = options(2, "min_max");
  std::size_t calls = 0, last = 0;
  o.progress = [&](std::size_t done, std::size_t total) {
    ++calls;
    last = done;
    EXPECT_EQ(total, 130u);
  };
  ASSERT_TRUE(calibrate(identity(), Numbers(130), o).ok());
  EXPECT_EQ(calls, 130u);
  EXPECT_EQ(last, 130u);
}

}  // namespace
}  // namespace narrow::calibration
