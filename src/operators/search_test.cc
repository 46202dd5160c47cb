// Operators that search, scatter, accumulate and select, against straightforward loops.
#include <algorithm>

#include "operators/test_support.h"

namespace narrow::operators {
namespace {

using namespace testing;
using Integers = std::vector<std::int64_t>;

TEST(Arg, EveryAxisWithTiesBothWays) {
  for (DType dtype : numeric_types()) {
    const Tensor x = small_numbers(dtype, {3, 4, 5}, 7);
    for (std::int64_t axis = -3; axis < 3; ++axis) {
      for (std::int64_t last : {0, 1}) {
        for (const bool largest : {true, false}) {
          const std::size_t a = static_cast<std::size_t>(axis < 0 ? axis + 3 : axis);
          const Tensor y = run1(largest ? "ArgMax" : "ArgMin", {x}, {{"axis", axis}, {"select_last_index", last}});
          Shape shape{3, 4, 5};
          shape[a] = 1;
          ASSERT_EQ(y.shape(), shape);
          for (std::int64_t i = 0; i < y.size(); ++i) {
            auto at = unravel(i, shape);
            std::int64_t best = -1;
            double value = 0;
            for (std::int64_t k = 0; k < x.shape()[a]; ++k) {
              at[a] = k;
              const double v = x.at_as_double(ravel(at, x.shape())) * (largest ? 1 : -1);
              if (best < 0 || v > value || (last && v == value)) best = k, value = v;
            }
            ASSERT_EQ(y.at_as_double(i), static_cast<double>(best));
          }
        }
      }
    }
  }
  EXPECT_EQ(run1("ArgMax", {Tensor::from<float>({3}, {1, std::nanf(""), 9})}).to_int64()[0], 1);
  EXPECT_FALSE(run("ArgMax", {*Tensor::create(DType::kF32, {2, 0})}, {{"axis", std::int64_t{1}}}).ok());
  EXPECT_EQ(inferred("ArgMax", {f32({sym("N"), 4})}, {{"axis", std::int64_t{1}}, {"keepdims", std::int64_t{0}}}), "s64[N]");
}

TEST(TopK, LargestAndSmallestWithPlaces) {
  const Tensor x = small_numbers(DType::kF32, {3, 6, 2}, 9);
  for (const bool largest : {true, false}) {
    for (std::int64_t k : {0, 1, 4, 6}) {
      auto result = run("TopK", {x, ints({k})}, {{"axis", std::int64_t{1}}, {"largest", std::int64_t{largest}}}, 2);
      ASSERT_TRUE(result.ok());
      const Tensor &values = (*result)[0], &places = (*result)[1];
      ASSERT_EQ(values.shape(), (Shape{3, k, 2}));
      for (std::int64_t o = 0; o < 3; ++o) {
        for (std::int64_t c = 0; c < 2; ++c) {
          std::vector<std::pair<double, std::int64_t>> all;
          for (std::int64_t i = 0; i < 6; ++i) all.emplace_back(x.at_as_double((o * 6 + i) * 2 + c) * (largest ? -1 : 1), i);
          std::sort(all.begin(), all.end());
          for (std::int64_t i = 0; i < k; ++i) {
            EXPECT_EQ(values.at_as_double((o * k + i) * 2 + c), all[i].first * (largest ? -1 : 1));
            EXPECT_EQ(places.at_as_double((o * k + i) * 2 + c), static_cast<double>(all[i].second));
          }
        }
      }
    }
  }
  EXPECT_FALSE(run("TopK", {x, ints({7})}, {{"axis", std::int64_t{1}}}, 2).ok());
  EXPECT_FALSE(run("TopK", {x, ints({-1})}, {{"axis", std::int64_t{1}}}, 2).ok());
  EXPECT_EQ(inferred("TopK", {f32({sym("N"), 9}), s64({1})}, {}, {Tensor(), ints({3})}, 1, 2), "s64[N,3]");
}

TEST(NonZero, ListsEveryPlace) {
  const Tensor x = Tensor::from<float>({2, 3}, {0, 1, 0, -2, 0, std::nanf("")});
  const Tensor y = run1("NonZero", {x});
  ASSERT_EQ(y.shape(), (Shape{2, 3}));
  EXPECT_EQ(y.to_int64(), (Integers{0, 1, 1, 1, 0, 2}));
  EXPECT_EQ(inferred("NonZero", {f32({sym("N"), 3})}), "s64[2,?]");
}

double reduced(const std::string& how, double a, double b) {
  return how == "none" ? b : how == "add" ? a + b : how == "mul" ? a * b : how == "max" ? std::max(a, b) : std::min(a, b);
}

TEST(Scatter, ElementsAndSlicesWithEveryReduction) {
  for (const char* how : {"none", "add", "mul", "max", "min"}) {
    for (DType dtype : numeric_types()) {
      const Tensor x = fill(dtype, {3, 4}, [](std::int64_t i) { return double(i % 3 + 1); });
      const Tensor at = Tensor::from<std::int64_t>({2, 4}, {0, 1, 2, -1, 0, 0, 2, 1});
      const Tensor updates = fill(dtype, {2, 4}, [](std::int64_t i) { return double(i % 4 + 1); });
      std::vector<double> expected;
      for (std::int64_t i = 0; i < 12; ++i) expected.push_back(x.at_as_double(i));
      for (std::int64_t i = 0; i < 8; ++i) {
        const auto row = static_cast<std::int64_t>(at.at_as_double(i));
        double& target = expected[(row < 0 ? row + 3 : row) * 4 + i % 4];
        target = reduced(how, target, updates.at_as_double(i));
      }
      const Tensor y = run1("ScatterElements", {x, at, updates}, {{"reduction", std::string(how)}});
      for (std::int64_t i = 0; i < 12; ++i) ASSERT_EQ(y.at_as_double(i), expected[i]) << how << " " << to_string(dtype);

      const Tensor nd = run1("ScatterND", {x, Tensor::from<std::int64_t>({2, 1}, {2, -3}), updates}, {{"reduction", std::string(how)}});
      for (std::int64_t i = 0; i < 12; ++i) {
        const double old = x.at_as_double(i);
        ASSERT_EQ(nd.at_as_double(i), i >= 8 ? reduced(how, old, updates.at_as_double(i - 8)) : i < 4 ? reduced(how, old, updates.at_as_double(i + 4)) : old);
      }
    }
  }
  const Tensor x = small_numbers(DType::kF32, {3, 4}, 1);
  EXPECT_FALSE(run("ScatterElements", {x, Tensor::from<std::int64_t>({1, 4}, {0, 0, 0, 3}), *Tensor::create(DType::kF32, {1, 4})}).ok());
  EXPECT_FALSE(run("ScatterElements", {x, Tensor::from<std::int64_t>({1, 4}, {0, 0, 0, 0}), *Tensor::create(DType::kF32, {1, 3})}).ok());
  EXPECT_FALSE(run("ScatterND", {x, Tensor::from<std::int64_t>({1, 3}, {0, 0, 0}), Tensor::scalar(1.0f)}).ok());
  EXPECT_FALSE(run("ScatterND", {x, Tensor::from<std::int64_t>({1, 1}, {3}), *Tensor::create(DType::kF32, {1, 4})}).ok());
}

TEST(CumSum, DirectionsAndExclusion) {
  for (DType dtype : numeric_types()) {
    const Tensor x = small_numbers(dtype, {3, 4, 2}, 4);
    for (std::int64_t axis : {0, 1, -1}) {
      for (std::int64_t exclusive : {0, 1}) {
        for (std::int64_t reverse : {0, 1}) {
          const Tensor y = run1("CumSum", {x, Tensor::scalar(axis)}, {{"exclusive", exclusive}, {"reverse", reverse}});
          const std::size_t a = static_cast<std::size_t>(axis < 0 ? axis + 3 : axis);
          for (std::int64_t i = 0; i < y.size(); ++i) {
            auto at = unravel(i, x.shape());
            const std::int64_t own = at[a];
            double sum = 0;
            for (std::int64_t k = 0; k < x.shape()[a]; ++k) {
              at[a] = k;
              if (reverse ? k > own : k < own) sum += x.at_as_double(ravel(at, x.shape()));
              if (k == own && !exclusive) sum += x.at_as_double(ravel(at, x.shape()));
            }
            ASSERT_EQ(y.at_as_double(i), sum);
          }
        }
      }
    }
  }
  EXPECT_FALSE(run("CumSum", {small_numbers(DType::kF32, {2}, 1), Tensor::scalar<std::int64_t>(1)}).ok());
}

TEST(CumProd, MultipliesAlong) {
  EXPECT_EQ(run1("CumProd", {Tensor::from<std::int32_t>({2, 3}, {1, 2, 3, 4, 5, 6}), Tensor::scalar<std::int64_t>(1)}).to_int64(), (Integers{1, 2, 6, 4, 20, 120}));
  EXPECT_EQ(run1("CumProd", {Tensor::from<float>({3}, {2, 3, 4}), Tensor::scalar<std::int64_t>(0)}, {{"exclusive", std::int64_t{1}}, {"reverse", std::int64_t{1}}}).to_float(),
            (std::vector<float>{12, 4, 1}));
}

TEST(Trilu, EveryDiagonal) {
  const Tensor x = fill(DType::kS32, {2, 3, 4}, [](std::int64_t i) { return double(i + 1); });
  for (std::int64_t k : {std::numeric_limits<std::int64_t>::min(), std::int64_t{-5}, std::int64_t{-1}, std::int64_t{0}, std::int64_t{2}, std::int64_t{7}, std::numeric_limits<std::int64_t>::max()}) {
    for (std::int64_t upper : {0, 1}) {
      const Tensor y = run1("Trilu", {x, Tensor::scalar(k)}, {{"upper", upper}});
      for (std::int64_t i = 0; i < y.size(); ++i) {
        const double row = static_cast<double>(i / 4 % 3), column = static_cast<double>(i % 4), d = static_cast<double>(k);
        const bool keep = upper ? column - row >= d : column - row <= d;
        ASSERT_EQ(y.at_as_double(i), keep ? x.at_as_double(i) : 0) << k << " " << upper << " at " << i;
      }
    }
  }
}

TEST(ReverseSequence, EachByItsLength) {
  const Tensor x = fill(DType::kF32, {4, 3, 2}, [](std::int64_t i) { return double(i); });
  const Integers lengths{4, 1, 3};
  const Tensor y = run1("ReverseSequence", {x, ints(lengths)});
  for (std::int64_t i = 0; i < y.size(); ++i) {
    auto at = unravel(i, x.shape());
    if (at[0] < lengths[at[1]]) at[0] = lengths[at[1]] - 1 - at[0];
    EXPECT_EQ(y.at_as_double(i), x.at_as_double(ravel(at, x.shape())));
  }
  EXPECT_FALSE(run("ReverseSequence", {x, ints({5, 1, 1})}).ok());
  EXPECT_FALSE(run("ReverseSequence", {x, ints({1, 1})}).ok());
}

TEST(Unique, FlatAndByAxis) {
  const Tensor x = Tensor::from<float>({6}, {2, 1, 1, 3, 4, 3});
  auto sorted = *run("Unique", {x}, {}, 4);
  EXPECT_EQ(sorted[0].to_float(), (std::vector<float>{1, 2, 3, 4}));
  EXPECT_EQ(sorted[1].to_int64(), (Integers{1, 0, 3, 4}));
  EXPECT_EQ(sorted[2].to_int64(), (Integers{1, 0, 0, 2, 3, 2}));
  EXPECT_EQ(sorted[3].to_int64(), (Integers{2, 1, 2, 1}));
  auto plain = *run("Unique", {x}, {{"sorted", std::int64_t{0}}}, 4);
  EXPECT_EQ(plain[0].to_float(), (std::vector<float>{2, 1, 3, 4}));
  EXPECT_EQ(plain[2].to_int64(), (Integers{0, 1, 1, 2, 3, 2}));
  const Tensor rows = Tensor::from<std::int64_t>({3, 2}, {5, 6, 1, 2, 5, 6});
  auto by_row = *run("Unique", {rows}, {{"axis", std::int64_t{0}}}, 4);
  EXPECT_EQ(by_row[0].shape(), (Shape{2, 2}));
  EXPECT_EQ(by_row[0].to_int64(), (Integers{1, 2, 5, 6}));
  EXPECT_EQ(by_row[3].to_int64(), (Integers{1, 2}));
}

TEST(NonMaxSuppression, KeepsTheBestOfEachHeap) {
  const Tensor boxes = Tensor::from<float>({1, 6, 4}, {0, 0, 1, 1, 0, 0.1f, 1, 1.1f, 0, -0.1f, 1, 0.9f, 0, 10, 1, 11, 0, 10.1f, 1, 11.1f, 0, 100, 1, 101});
  const Tensor scores = Tensor::from<float>({1, 1, 6}, {0.9f, 0.75f, 0.6f, 0.95f, 0.5f, 0.3f});
  const auto nms = [&](std::int64_t most, float iou, float score) {
    return run1("NonMaxSuppression", {boxes, scores, Tensor::scalar(most), Tensor::scalar(iou), Tensor::scalar(score)}).to_int64();
  };
  EXPECT_EQ(nms(3, 0.5f, 0.0f), (Integers{0, 0, 3, 0, 0, 0, 0, 0, 5}));
  EXPECT_EQ(nms(2, 0.5f, 0.0f), (Integers{0, 0, 3, 0, 0, 0}));
  EXPECT_EQ(nms(30, 0.5f, 0.4f), (Integers{0, 0, 3, 0, 0, 0}));
  EXPECT_EQ(run1("NonMaxSuppression", {boxes, scores}).size(), 0);
  EXPECT_FALSE(run("NonMaxSuppression", {boxes, Tensor::from<float>({1, 1, 2}, {1, 2})}).ok());
}

TEST(Einsum, AgainstLoops) {
  const Tensor a = small_numbers(DType::kF32, {2, 3, 4}, 1), b = small_numbers(DType::kF32, {2, 4, 5}, 2);
  const auto einsum = [](const char* equation, std::vector<Tensor> inputs) { return run1("Einsum", inputs, {{"equation", std::string(equation)}}); };
  for (const char* equation : {"bij,bjk->bik", "bij, bjk -> bik", "...ij,...jk->...ik"}) {
    const Tensor y = einsum(equation, {a, b});
    ASSERT_EQ(y.shape(), (Shape{2, 3, 5}));
    for (std::int64_t i = 0; i < 30; ++i) {
      double sum = 0;
      for (std::int64_t j = 0; j < 4; ++j) sum += a.at_as_double((i / 15 * 3 + i / 5 % 3) * 4 + j) * b.at_as_double((i / 15 * 4 + j) * 5 + i % 5);
      ASSERT_EQ(y.at_as_double(i), sum);
    }
  }
  EXPECT_EQ(einsum("bij,bjk", {a, b}).shape(), (Shape{3, 5}));  // b occurs twice: summed
  const Tensor square = small_numbers(DType::kF64, {3, 3}, 5);
  EXPECT_EQ(einsum("ii->i", {square}).at_as_double(2), square.at_as_double(8));
  EXPECT_EQ(einsum("ii", {square}).at_as_double(0), square.at_as_double(0) + square.at_as_double(4) + square.at_as_double(8));
  EXPECT_EQ(einsum("ij->ji", {square}).at_as_double(1), square.at_as_double(3));
  for (const char* bad : {"ij,jk->ik", "i->i", "ij->k", "i.j->ij", "ij->ii", "i1->i"}) {
    EXPECT_FALSE(run("Einsum", {square}, {{"equation", std::string(bad)}}).ok()) << bad;
    EXPECT_EQ(inferred("Einsum", {f32({3, 3})}, {{"equation", std::string(bad)}}).substr(0, 6), "error:") << bad;
  }
  EXPECT_EQ(inferred("Einsum", {f32({sym("N"), 3, 4}), f32({4, 5})}, {{"equation", std::string("...j,jk->...k")}}), "f32[N,3,5]");
}

}  // namespace
}  // namespace narrow::operators
