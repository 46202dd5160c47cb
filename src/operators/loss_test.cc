// Losses against their formulas, over shapes, weights, reductions and ignored labels; determinants by permutations.
#include <numeric>

#include "operators/test_support.h"

namespace narrow::operators::testing {
namespace {

Tensor scores(const Shape& shape) {
  std::mt19937 random(3);
  return fill(DType::kF32, shape, [&](std::int64_t) { return static_cast<double>(random() % 1000) / 250 - 2; });
}

TEST(Loss, EqualsItsFormula) {
  for (const Shape& shape : {Shape{4, 5}, Shape{2, 3, 6}, Shape{2, 4, 3, 2}}) {
    for (const bool softmax : {false, true}) {
      for (const bool weighted : {false, true}) {
        for (const bool ignoring : {false, true}) {
          const Tensor x = scores(shape);
          const std::int64_t classes = shape[1], inner = x.size() / shape[0] / classes;
          Shape label_shape = shape;
          label_shape.erase(label_shape.begin() + 1);
          const Tensor labels = fill(DType::kS64, label_shape, [&](std::int64_t i) { return ignoring && i % 3 == 0 ? -7 : static_cast<double>(i * 2 % classes); });
          const Tensor weights = weighted ? fill(DType::kF32, {classes}, [](std::int64_t c) { return 0.5 + static_cast<double>(c); }) : Tensor();
          std::vector<double> each;
          double total_weight = 0;
          for (std::int64_t i = 0; i < labels.size(); ++i) {
            const auto at = [&](std::int64_t c) { return x.at_as_double((i / inner * classes + c) * inner + i % inner); };
            const std::int64_t c = static_cast<std::int64_t>(labels.at_as_double(i));
            if (c < 0) {
              each.push_back(0);
              continue;
            }
            double sum = 0;
            for (std::int64_t k = 0; k < classes; ++k) sum += std::exp(at(k));
            const double w = weighted ? 0.5 + static_cast<double>(c) : 1;
            each.push_back(-w * (softmax ? at(c) - std::log(sum) : at(c)));
            total_weight += w;
          }
          const double sum = std::accumulate(each.begin(), each.end(), 0.0);
          const auto loss = [&](const char* reduction) {
            Attributes attributes = {{"reduction", std::string(reduction)}};
            if (ignoring) attributes.push_back({"ignore_index", std::int64_t{-7}});
            return run1(softmax ? "SoftmaxCrossEntropyLoss" : "NegativeLogLikelihoodLoss", {x, labels, weights}, attributes);
          };
          EXPECT_NEAR(loss("sum").at_as_double(0), sum, 1e-4);
          EXPECT_NEAR(loss("mean").at_as_double(0), sum / total_weight, 1e-4);
          const Tensor none = loss("none");
          ASSERT_EQ(none.shape(), label_shape);
          for (std::int64_t i = 0; i < none.size(); ++i) EXPECT_NEAR(none.at_as_double(i), each[static_cast<std::size_t>(i)], 1e-4);
        }
      }
    }
  }
}

TEST(Loss, GivesLogProbabilitiesAndRefusesUnknownLabels) {
  const Tensor x = scores({2, 3});
  const auto both = run("SoftmaxCrossEntropyLoss", {x, ints({0, 2})}, {}, 2);
  ASSERT_TRUE(both.ok());
  for (std::int64_t row = 0; row < 2; ++row) {
    double sum = 0;
    for (std::int64_t c = 0; c < 3; ++c) sum += std::exp((*both)[1].at_as_double(row * 3 + c));
    EXPECT_NEAR(sum, 1, 1e-5);
  }
  EXPECT_FALSE(run("SoftmaxCrossEntropyLoss", {x, ints({0, 3})}).ok());
  EXPECT_FALSE(run("NegativeLogLikelihoodLoss", {x, ints({0, -1})}).ok());
  EXPECT_FALSE(run("NegativeLogLikelihoodLoss", {x, ints({0})}).ok());
  EXPECT_FALSE(run("NegativeLogLikelihoodLoss", {x, ints({0, 1})}, {{"reduction", std::string("max")}}).ok());
  EXPECT_EQ(inferred("SoftmaxCrossEntropyLoss", {f32({sym("N"), 3, 4}), s64({sym("N"), 4})}, {{"reduction", std::string("none")}}), "f32[N,4]");
}

TEST(Det, EqualsTheSumOverPermutations) {
  for (std::int64_t n = 0; n <= 5; ++n) {
    const Tensor x = small_numbers(DType::kF64, {3, n, n}, static_cast<unsigned>(n));
    const Tensor y = run1("Det", {x});
    ASSERT_EQ(y.shape(), Shape{3});
    for (std::int64_t b = 0; b < 3; ++b) {
      std::vector<int> order(static_cast<std::size_t>(n));
      std::iota(order.begin(), order.end(), 0);
      double sum = 0;
      do {
        double product = 1;
        for (std::int64_t i = 0; i < n; ++i) {
          product *= x.at_as_double((b * n + i) * n + order[i]);
          for (std::int64_t j = i + 1; j < n; ++j) product *= order[i] > order[j] ? -1 : 1;
        }
        sum += product;
      } while (std::next_permutation(order.begin(), order.end()));
      EXPECT_NEAR(y.at_as_double(b), sum, 1e-9);
    }
  }
  EXPECT_FALSE(run("Det", {small_numbers(DType::kF32, {2, 3}, 1)}).ok());
}

}  // namespace
}  // namespace narrow::operators::testing
