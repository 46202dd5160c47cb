#include "evaluation/accuracy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "evaluation/test_models.h"

namespace narrow::evaluation {
namespace {

using testing::make_net;
using testing::make_samples;
using testing::MemoryData;

datasets::Sample labelled(std::int64_t label) {
  datasets::Sample sample;
  sample.label = label;
  return sample;
}

TEST(BestClasses, OrdersByScoreThenIndexAndPutsNanLast) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> scores = {nan, 1, 3, 3, nan, -2};
  EXPECT_EQ(best_classes(scores, 5), (std::vector<std::int64_t>{2, 3, 1, 5, 0}));
  EXPECT_EQ(best_classes(scores, 99).size(), 6u);
}

TEST(ClassScores, HaveOneDimensionLargerThanOne) {
  EXPECT_TRUE(is_class_scores(Shape{1, 1000, 1, 1}));
  EXPECT_TRUE(is_class_scores(Shape{10}));
  EXPECT_FALSE(is_class_scores(Shape{1, 3549, 85}));
  EXPECT_FALSE(is_class_scores(Shape{1, 1}));
}

TEST(Metrics, CountTopOneAndTopFive) {
  const std::vector<Tensor> outputs = {Tensor::from<float>({1, 7}, {0, 6, 5, 4, 3, 2, 1})};
  std::vector<SampleRecord> records;
  for (const std::int64_t label : {1, 2, 5, 6}) records.push_back(*record_sample(labelled(label), outputs, {}));
  const Metrics metrics = summarize(records, false);
  EXPECT_EQ(metrics.top1, 25.0);
  EXPECT_EQ(metrics.top5, 75.0);
  EXPECT_FALSE(metrics.agreement);
  EXPECT_FALSE(metrics.sqnr_db);
}

TEST(Metrics, RefuseLabelsThatAreNoClass) {
  const std::vector<Tensor> outputs = {Tensor::from<float>({1, 3}, {1, 2, 3})};
  const auto record = record_sample(labelled(3), outputs, {});
  ASSERT_FALSE(record.ok());
  EXPECT_EQ(record.error().code(), ErrorCode::kInvalidArgument);
  EXPECT_NE(record.error().message().find("label 3"), std::string::npos);
}

// Float margins 0.1, 0.2, … of the reference's best class; in the other model all have moved down by `shift`.
Metrics moved(float shift, std::optional<std::int64_t> label) {
  std::vector<SampleRecord> records;
  for (int i = 1; i <= 200; ++i) {
    const float margin = 0.01f * static_cast<float>(i);
    datasets::Sample sample;
    sample.label = label;
    records.push_back(*record_sample(sample, std::vector{Tensor::from<float>({1, 2}, {margin, shift})}, std::vector{Tensor::from<float>({1, 2}, {margin, 0})}));
  }
  return summarize(records, true);
}

TEST(Metrics, ExpectedDropIsTheShareOfMarginsThatTheChangesExceed) {
  EXPECT_NEAR(*moved(0, {}).expected_drop, 0.0, 1e-9);
  EXPECT_NEAR(*moved(0.5f, {}).expected_drop, 24.5, 0.6);
  EXPECT_NEAR(*moved(0.5f, 0).expected_drop, 24.5, 0.6);
  EXPECT_NEAR(*moved(-0.5f, 1).expected_drop, 0.0, 1e-9);  // never right, and further away
  EXPECT_NEAR(*moved(0.5f, 1).expected_drop, -24.5, 0.6);  // comes back as often
}

TEST(Metrics, AgreementNeedsClassScoresButDistanceDoesNot) {
  const std::vector<Tensor> a = {Tensor::from<float>({2, 2}, {1, 2, 3, 4})}, b = {Tensor::from<float>({2, 2}, {1, 2, 3, 5})};
  const std::vector<SampleRecord> records = {*record_sample({}, b, a)};
  const Metrics metrics = summarize(records, true);
  EXPECT_FALSE(metrics.agreement);
  EXPECT_NEAR(*metrics.sqnr_db, 10 * std::log10(30.0), 1e-9);
  EXPECT_EQ(metrics.max_error, 1.0);
}

TEST(Metrics, AreTheSameForAnyNumberOfThreads) {
  const graph::Graph reference = make_net(6), other = make_net(6, 0.05f);
  const MemoryData data(make_samples(23, 6));
  const graph::Graph* const models[] = {&reference, &other};
  std::vector<Metrics> first;
  for (const int threads : {1, 2, 5}) {
    SweepOptions options;
    options.threads = threads;
    const auto metrics = measure_metrics(models, data, options);
    ASSERT_TRUE(metrics.ok()) << metrics.error().to_string();
    EXPECT_EQ((*metrics)[0].samples, 23u);
    EXPECT_FALSE((*metrics)[0].sqnr_db);
    ASSERT_TRUE((*metrics)[1].sqnr_db && (*metrics)[1].agreement);
    EXPECT_LT(*(*metrics)[1].sqnr_db, 60);
    EXPECT_GT(*(*metrics)[1].agreement, 50);
    if (first.empty()) first = *metrics;
    EXPECT_EQ(*(*metrics)[1].sqnr_db, *first[1].sqnr_db);
    EXPECT_EQ(*(*metrics)[1].cosine, *first[1].cosine);
  }
}

TEST(Metrics, SpearmanOfScoredPairs) {
  graph::Graph net;
  const graph::ValueId x = net.add_value("x", graph::Type::tensor(DType::kF32, {1, 2}));
  net.inputs = {x};
  net.outputs = {testing::append(net, "Identity", "embedding", {x})};
  // Angles between the two of each pair grow, so likeness falls; the scores fall too but for one exchange.
  const std::vector<double> scores = {5, 4, 2, 3, 1};
  std::vector<datasets::Sample> samples;
  for (std::size_t i = 0; i < 10; ++i) {
    datasets::Sample sample;
    const float angle = i % 2 == 0 ? 0 : 0.2f * static_cast<float>(i);
    sample.inputs.emplace_back("x", Tensor::from<float>({1, 2}, {std::cos(angle), std::sin(angle)}));
    sample.score = scores[i / 2];
    samples.push_back(std::move(sample));
  }
  const graph::Graph* const models[] = {&net, &net};
  const auto metrics = measure_metrics(models, MemoryData(samples), {});
  ASSERT_TRUE(metrics.ok()) << metrics.error().to_string();
  EXPECT_NEAR(*(*metrics)[0].spearman, 90, 1e-9);  // 1 - 6 · 2 / (5 · 24)
  EXPECT_NEAR(*(*metrics)[1].spearman, 90, 1e-9);
  EXPECT_FALSE((*metrics)[1].agreement) << "embeddings are no class scores";
  samples.pop_back();
  EXPECT_FALSE(measure_metrics(models, MemoryData(samples), {})->front().spearman) << "a pair is broken";
}

TEST(Sweep, NamesTheFirstBrokenSampleWhateverTheThreads) {
  const graph::Graph net = make_net(4);
  const graph::Graph* const models[] = {&net};
  MemoryData data(make_samples(40, 4));
  data.broken_ = 31;
  data.also_broken_ = 9;
  for (const int threads : {1, 3}) {
    SweepOptions options;
    options.threads = threads;
    const auto metrics = measure_metrics(models, data, options);
    ASSERT_FALSE(metrics.ok());
    EXPECT_NE(metrics.error().message().find("sample 9 "), std::string::npos) << metrics.error().to_string();
  }
  EXPECT_FALSE(measure_metrics(models, MemoryData({}), {}).ok());
}

TEST(Sweep, SaysWhichSampleDoesNotFitTheModel) {
  const graph::Graph net = make_net(4);
  const graph::Graph* const models[] = {&net};
  auto samples = make_samples(3, 4);
  samples[1] = make_samples(1, 5)[0];
  samples[1].name = "odd\x1b one";
  const auto metrics = measure_metrics(models, MemoryData(samples), {});
  ASSERT_FALSE(metrics.ok());
  const std::string text = metrics.error().to_string();
  EXPECT_NE(text.find("sample 1"), std::string::npos) << text;
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
}

TEST(Sweep, ReportsProgressToTheEnd) {
  const graph::Graph net = make_net(4);
  const graph::Graph* const models[] = {&net};
  std::size_t last = 0, total = 0;
  SweepOptions options;
  options.threads = 2;
  options.progress = [&](std::string_view, std::size_t done, std::size_t all) {
    last = done;
    total = all;
  };
  ASSERT_TRUE(measure_metrics(models, MemoryData(make_samples(12, 4)), options).ok());
  EXPECT_EQ(last, 12u);
  EXPECT_EQ(total, 12u);
}

}  // namespace
}  // namespace narrow::evaluation
