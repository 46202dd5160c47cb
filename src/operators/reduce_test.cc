// Reductions against loops over every element, for every set of axes.
#include "operators/test_support.h"

namespace narrow::operators {
namespace {

using namespace testing;

struct Reduction {
  const char* op;
  double start;
  std::function<double(double, double)> step;
  std::function<double(double, double)> finish;  // total, count
};

const std::vector<Reduction>& reductions() {
  static const auto same = [](double s, double) { return s; };
  static const double inf = std::numeric_limits<double>::infinity();
  static const std::vector<Reduction> rows = {
      {"ReduceSum", 0, std::plus<double>(), same},
      {"ReduceMean", 0, std::plus<double>(), [](double s, double n) { return s / n; }},
      {"ReduceMax", -inf, [](double s, double x) { return std::max(s, x); }, same},
      {"ReduceMin", inf, [](double s, double x) { return std::min(s, x); }, same},
      {"ReduceProd", 1, std::multiplies<double>(), same},
      {"ReduceL1", 0, [](double s, double x) { return s + std::fabs(x); }, same},
      {"ReduceL2", 0, [](double s, double x) { return s + x * x; }, [](double s, double) { return std::sqrt(s); }},
      {"ReduceSumSquare", 0, [](double s, double x) { return s + x * x; }, same},
      {"ReduceLogSum", 0, std::plus<double>(), [](double s, double) { return std::log(s); }},
      {"ReduceLogSumExp", 0, [](double s, double x) { return s + std::exp(x); }, [](double s, double) { return std::log(s); }},
  };
  return rows;
}

TEST(Reduce, EverySubsetOfAxesAndType) {
  const Shape shape{2, 3, 1, 4};
  for (const Reduction& reduction : reductions()) {
    for (DType dtype : numeric_types()) {
      for (int mask = 0; mask < 16; ++mask) {
        for (std::int64_t keep : {0, 1}) {
          // Ones and twos: no type overflows and no logarithm is of zero.
          const Tensor x = fill(dtype, shape, [](std::int64_t i) { return static_cast<double>(1 + (i * 5 + 2) % 7 % 2); });
          std::vector<std::int64_t> axes;
          Shape out;
          for (int d = 0; d < 4; ++d) {
            if (mask & (1 << d)) axes.push_back(d % 2 ? d : d - 4);
            if (!(mask & (1 << d))) out.push_back(shape[d]);
            else if (keep) out.push_back(1);
          }
          const Attributes attributes{{"keepdims", keep}, {"noop_with_empty_axes", std::int64_t{1}}};
          const Tensor y = run1(reduction.op, {x, ints(axes)}, attributes);
          ASSERT_EQ(y.shape(), out) << reduction.op;
          std::vector<double> total(static_cast<std::size_t>(y.size()), reduction.start), count(total.size(), 0);
          for (std::int64_t i = 0; i < x.size(); ++i) {
            std::vector<std::int64_t> target;
            const auto at = unravel(i, shape);
            for (int d = 0; d < 4; ++d) {
              if (!(mask & (1 << d))) target.push_back(at[d]);
              else if (keep) target.push_back(0);
            }
            const auto o = static_cast<std::size_t>(ravel(target, out));
            total[o] = reduction.step(total[o], x.at_as_double(i));
            ++count[o];
          }
          if (dtype == DType::kS8 && std::string_view(reduction.op) == "ReduceProd") continue;  // wraps
          for (std::int64_t i = 0; i < y.size(); ++i) {
            double expected = reduction.finish(total[i], count[i]);
            if (is_integer(dtype)) {
              expected = std::trunc(expected + 1e-9);
              if (std::fabs(expected) > static_cast<double>(std::int64_t{1} << (std::min(bits_of(dtype), 60) - 1))) continue;
            }
            const double tolerance = dtype == DType::kBF16 ? 8e-3 : dtype == DType::kF16 ? 1e-3 : 1e-6;
            ASSERT_NEAR(y.at_as_double(i), expected, tolerance * std::max(1.0, std::fabs(expected)))
                << reduction.op << " " << to_string(dtype) << " axes " << to_string(axes);
          }
        }
      }
    }
  }
}

TEST(Reduce, LongRunsStayAccurate) {
  // 0.1 summed a million times: naive f32 is off by percents.
  const Tensor x = fill(DType::kF32, {4, 250000}, [](std::int64_t) { return 0.1; });
  const double expected = static_cast<double>(0.1f) * 250000;
  for (float v : run1("ReduceSum", {x, ints({1})}).to_float()) EXPECT_NEAR(v, expected, expected * 1e-6);
  EXPECT_NEAR(run1("ReduceMean", {x}).to_float()[0], 0.1f, 1e-7);
  const Tensor columns = fill(DType::kF32, {250000, 3}, [](std::int64_t) { return 0.1; });
  for (float v : run1("ReduceSum", {columns, ints({0})}).to_float()) EXPECT_NEAR(v, expected, expected * 1e-6);
}

TEST(Reduce, NothingAndSpecialNumbers) {
  const Tensor empty = *Tensor::create(DType::kF32, {2, 0, 3});
  EXPECT_EQ(run1("ReduceSum", {empty, ints({1})}).to_float(), std::vector<float>(6, 0.0f));
  EXPECT_EQ(run1("ReduceMax", {empty, ints({1})}).to_float()[0], -std::numeric_limits<float>::infinity());
  EXPECT_EQ(run1("ReduceProd", {empty, ints({0, 1, 2})}).to_float()[0], 1);
  EXPECT_EQ(run1("ReduceSum", {empty, ints({0})}).shape(), (Shape{1, 0, 3}));
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(run1("ReduceLogSumExp", {Tensor::from<float>({2}, {1000, 1000})}).to_float()[0], 1000 + std::log(2.0f));
  EXPECT_EQ(run1("ReduceLogSumExp", {Tensor::from<float>({2}, {-inf, -inf})}).to_float()[0], -inf);
  EXPECT_EQ(run1("ReduceLogSumExp", {Tensor::from<float>({3}, {1, inf, 2})}).to_float()[0], inf);
  EXPECT_TRUE(std::isnan(run1("ReduceMax", {Tensor::from<float>({3}, {1, std::nanf(""), 2})}).to_float()[0]));
  EXPECT_EQ(run1("ReduceMax", {fill(DType::kBool, {2, 2}, [](std::int64_t i) { return double(i == 3); }), ints({1})}).to_int64(),
            (std::vector<std::int64_t>{0, 1}));
}

TEST(Reduce, TypesAndMistakes) {
  EXPECT_EQ(inferred("ReduceMean", {f32({sym("N"), 3, sym("T")}), s64({1})}, {}, {Tensor(), ints({-2})}), "f32[N,1,T]");
  EXPECT_EQ(inferred("ReduceMean", {f32({sym("N"), 3}), s64({1})}, {{"keepdims", std::int64_t{0}}}, {Tensor(), ints({1})}), "f32[N]");
  EXPECT_EQ(inferred("ReduceMean", {f32({sym("N"), 3})}), "f32[1,1]");
  EXPECT_EQ(inferred("ReduceMean", {f32({sym("N"), 3}), s64({1})}), "f32[?,?]");
  EXPECT_NE(inferred("ReduceMean", {f32({2, 3}), s64({1})}, {}, {Tensor(), ints({2})}).find("axis 2 is outside"), std::string::npos);
  EXPECT_NE(inferred("ReduceMean", {f32({2, 3}), s64({2})}, {}, {Tensor(), ints({1, -1})}).find("given twice"), std::string::npos);
  EXPECT_FALSE(run("ReduceSum", {small_numbers(DType::kF32, {2}, 1), ints({1})}).ok());
}

}  // namespace
}  // namespace narrow::operators
