// Elementwise operators against plain loops in double, over every type and many broadcasts.
#include <numbers>

#include "operators/test_support.h"

namespace narrow::operators {
namespace {

using namespace testing;

struct Shapes { Shape a, b, out; };
const std::vector<Shapes> kShapes = {
    {{}, {}, {}},
    {{5}, {}, {5}},
    {{1}, {7}, {7}},
    {{2, 3, 4, 5}, {3, 1, 1}, {2, 3, 4, 5}},
    {{2, 3, 4, 5}, {2, 3, 4, 5}, {2, 3, 4, 5}},
    {{4, 1, 3}, {1, 5, 1}, {4, 5, 3}},
    {{6, 17}, {17}, {6, 17}},
    {{6, 1}, {6, 17}, {6, 17}},
    {{0, 3}, {1, 3}, {0, 3}},
    {{2, 1, 3}, {2, 9, 1}, {2, 9, 3}},
};

// What is left of a result in an integer type of up to 32 bits.
double wrapped(DType dtype, double v) {
  if (!is_integer(dtype) || bits_of(dtype) >= 64) return v;
  const double range = std::ldexp(1.0, bits_of(dtype)), low = is_signed_integer(dtype) ? -range / 2 : 0;
  return v - range * std::floor((v - low) / range);
}

TEST(ElementwiseBinary, MatchesLoopsForEveryTypeAndBroadcast) {
  const std::vector<std::pair<std::string, std::function<double(double, double)>>> functions = {
      {"Add", [](double a, double b) { return a + b; }},
      {"Sub", [](double a, double b) { return a - b; }},
      {"Mul", [](double a, double b) { return a * b; }},
      {"Max", [](double a, double b) { return std::max(a, b); }},
      {"Min", [](double a, double b) { return std::min(a, b); }},
  };
  for (const auto& [name, f] : functions) {
    for (DType dtype : numeric_types()) {
      for (const Shapes& shapes : kShapes) {
        const Tensor a = small_numbers(dtype, shapes.a, 1), b = small_numbers(dtype, shapes.b, 2);
        const Tensor y = run1(name, {a, b});
        ASSERT_EQ(y.shape(), shapes.out) << name;
        ASSERT_EQ(y.dtype(), dtype);
        for (std::int64_t i = 0; i < y.size(); ++i) {
          const auto at = unravel(i, y.shape());
          const double expected = f(broadcast_at(a, at), broadcast_at(b, at));
          if (bits_of(dtype) == 64 && !is_signed_integer(dtype) && !is_float(dtype) && expected < 0) continue;
          ASSERT_EQ(y.at_as_double(i), wrapped(dtype, expected)) << name << " " << to_string(dtype) << " at " << i;
        }
      }
    }
  }
}

TEST(ElementwiseBinary, DivisionAndRemainder) {
  for (DType dtype : numeric_types()) {
    const Tensor a = fill(dtype, {6}, [](std::int64_t i) { return static_cast<double>(i + 1); });
    const Tensor b = fill(dtype, {6}, [](std::int64_t i) { return static_cast<double>(i % 3 + 1); });
    const Tensor y = run1("Div", {a, b});
    const Tensor m = run1("Mod", {a, b}, {{"fmod", std::int64_t{1}}});
    for (std::int64_t i = 0; i < 6; ++i) {
      const double q = a.at_as_double(i) / b.at_as_double(i);
      EXPECT_NEAR(y.at_as_double(i), is_integer(dtype) ? std::trunc(q) : q, dtype == DType::kBF16 ? 0.02 : dtype == DType::kF16 ? 0.002 : 1e-6);
      EXPECT_EQ(m.at_as_double(i), std::fmod(a.at_as_double(i), b.at_as_double(i)));
    }
  }
  const auto s32 = [](std::initializer_list<std::int32_t> v) { return Tensor::from<std::int32_t>({static_cast<std::int64_t>(v.size())}, v); };
  const Tensor a = s32({7, -7, 7, -7, 5, std::numeric_limits<std::int32_t>::min()}), b = s32({3, 3, -3, -3, 0, -1});
  const Tensor floor = run1("Mod", {a, b}), trunc = run1("Mod", {a, b}, {{"fmod", std::int64_t{1}}}), quotient = run1("Div", {a, b});
  EXPECT_EQ(floor.to_int64(), (std::vector<std::int64_t>{1, 2, -2, -1, 0, 0}));
  EXPECT_EQ(trunc.to_int64(), (std::vector<std::int64_t>{1, -1, 1, -1, 0, 0}));
  EXPECT_EQ(quotient.to_int64(), (std::vector<std::int64_t>{2, -2, -2, 2, 0, std::numeric_limits<std::int32_t>::min()}));
  // Floats too follow the sign of the divisor, zeros included.
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<float> m = run1("Mod", {Tensor::from<float>({6}, {5.3f, -5.3f, 5.3f, 4.0f, -4.0f, -1.0f}), Tensor::from<float>({6}, {2.0f, 2.0f, -2.0f, -2.0f, 2.0f, inf})}).to_float();
  EXPECT_NEAR(m[0], 1.3f, 1e-6);
  EXPECT_NEAR(m[1], 0.7f, 1e-6);
  EXPECT_NEAR(m[2], -0.7f, 1e-6);
  EXPECT_TRUE(m[3] == 0 && std::signbit(m[3]));
  EXPECT_TRUE(m[4] == 0 && !std::signbit(m[4]));
  EXPECT_EQ(m[5], inf);
}

TEST(ElementwiseBinary, Power) {
  const Tensor base = Tensor::from<float>({4}, {2.0f, 3.0f, 0.25f, -2.0f});
  EXPECT_EQ(run1("Pow", {base, Tensor::scalar(2.0f)}).to_float(), (std::vector<float>{4, 9, 0.0625f, 4}));
  EXPECT_EQ(run1("Pow", {base, Tensor::scalar<std::int64_t>(3)}).to_float(), (std::vector<float>{8, 27, 0.015625f, -8}));
  EXPECT_EQ(run1("Pow", {Tensor::from<std::int32_t>({3}, {2, -3, 10}), Tensor::from<std::int32_t>({3}, {10, 3, -1})}).to_int64(),
            (std::vector<std::int64_t>{1024, -27, 0}));
  EXPECT_EQ(run1("Pow", {Tensor::from<std::int64_t>({2}, {4, 9}), Tensor::scalar(0.5f)}).to_int64(), (std::vector<std::int64_t>{2, 3}));
}

TEST(ElementwiseBinary, VariadicFoldsAllInputs) {
  for (DType dtype : float_types()) {
    const Tensor a = small_numbers(dtype, {2, 1, 3}, 1), b = small_numbers(dtype, {4, 1}, 2), c = small_numbers(dtype, {2, 4, 3}, 3);
    const Tensor sum = run1("Sum", {a, b, c}), mean = run1("Mean", {a, b, c}), max = run1("Max", {a, b, c});
    ASSERT_EQ(sum.shape(), (Shape{2, 4, 3}));
    for (std::int64_t i = 0; i < sum.size(); ++i) {
      const auto at = unravel(i, sum.shape());
      const double x = broadcast_at(a, at), y = broadcast_at(b, at), z = broadcast_at(c, at);
      EXPECT_EQ(sum.at_as_double(i), x + y + z);
      EXPECT_NEAR(mean.at_as_double(i), (x + y + z) / 3, dtype == DType::kBF16 ? 0.03 : 0.003);
      EXPECT_EQ(max.at_as_double(i), std::max({x, y, z}));
    }
    EXPECT_EQ(run1("Sum", {a}).to_float(), a.to_float());
  }
}

TEST(ElementwiseBinary, NanWins) {
  const float nan = std::nanf("");
  for (const char* op : {"Max", "Min"}) {
    const Tensor y = run1(op, {Tensor::from<float>({3}, {nan, 1, nan}), Tensor::from<float>({3}, {1, nan, nan})});
    for (float v : y.to_float()) EXPECT_TRUE(std::isnan(v)) << op;
  }
}

TEST(ElementwiseBinary, RefusesWhatCannotBeBroadcast) {
  const auto bad = run("Add", {small_numbers(DType::kF32, {2, 3}, 1), small_numbers(DType::kF32, {4}, 1)});
  ASSERT_FALSE(bad.ok());
  EXPECT_NE(bad.error().message().find("[2,3] and [4]"), std::string::npos) << bad.error().message();
  EXPECT_FALSE(run("Add", {small_numbers(DType::kF32, {2}, 1), small_numbers(DType::kS64, {2}, 1)}).ok());
}

TEST(ElementwiseUnary, MatchesTheLibrary) {
  struct Row { const char* op; double (*f)(double); double low, high; };
  const std::vector<Row> rows = {
      {"Sqrt", [](double x) { return std::sqrt(x); }, 0, 9}, {"Exp", [](double x) { return std::exp(x); }, -5, 5},
      {"Log", [](double x) { return std::log(x); }, 0.1, 9}, {"Neg", [](double x) { return -x; }, -4, 4},
      {"Abs", [](double x) { return std::fabs(x); }, -4, 4}, {"Floor", [](double x) { return std::floor(x); }, -4, 4},
      {"Ceil", [](double x) { return std::ceil(x); }, -4, 4}, {"Sign", [](double x) { return double((x > 0) - (x < 0)); }, -2, 2},
      {"Reciprocal", [](double x) { return 1 / x; }, 0.5, 4}, {"Erf", [](double x) { return std::erf(x); }, -3, 3},
      {"Sin", [](double x) { return std::sin(x); }, -3, 3}, {"Cos", [](double x) { return std::cos(x); }, -3, 3},
      {"Tan", [](double x) { return std::tan(x); }, -1, 1}, {"Asin", [](double x) { return std::asin(x); }, -0.9, 0.9},
      {"Acos", [](double x) { return std::acos(x); }, -0.9, 0.9}, {"Atan", [](double x) { return std::atan(x); }, -3, 3},
      {"Sinh", [](double x) { return std::sinh(x); }, -2, 2}, {"Cosh", [](double x) { return std::cosh(x); }, -2, 2},
      {"Asinh", [](double x) { return std::asinh(x); }, -2, 2}, {"Acosh", [](double x) { return std::acosh(x); }, 1.1, 4},
      {"Atanh", [](double x) { return std::atanh(x); }, -0.8, 0.8},
      {"Sigmoid", [](double x) { return 1 / (1 + std::exp(-x)); }, -6, 6}, {"Tanh", [](double x) { return std::tanh(x); }, -3, 3},
      {"Relu", [](double x) { return std::max(x, 0.0); }, -3, 3}, {"LeakyRelu", [](double x) { return x < 0 ? 0.01 * x : x; }, -3, 3},
      {"Elu", [](double x) { return x < 0 ? std::exp(x) - 1 : x; }, -3, 3},
      {"Selu", [](double x) { return 1.0507009873554805 * (x < 0 ? 1.6732632423543772 * (std::exp(x) - 1) : x); }, -3, 3},
      {"Celu", [](double x) { return x < 0 ? std::exp(x) - 1 : x; }, -3, 3},
      {"HardSigmoid", [](double x) { return std::clamp(0.2 * x + 0.5, 0.0, 1.0); }, -4, 4},
      {"HardSwish", [](double x) { return x * std::clamp(x / 6 + 0.5, 0.0, 1.0); }, -4, 4},
      {"Softplus", [](double x) { return std::log1p(std::exp(x)); }, -4, 4},
      {"Softsign", [](double x) { return x / (1 + std::fabs(x)); }, -4, 4},
      {"ThresholdedRelu", [](double x) { return x > 1 ? x : 0; }, -4, 4},
      {"Mish", [](double x) { return x * std::tanh(std::log1p(std::exp(x))); }, -4, 4},
      {"Swish", [](double x) { return x / (1 + std::exp(-x)); }, -4, 4},
      {"Gelu", [](double x) { return 0.5 * x * (1 + std::erf(x / std::numbers::sqrt2)); }, -4, 4},
      {"Shrink", [](double x) { return x < -0.5 || x > 0.5 ? x : 0; }, -4, 4},
  };
  for (const Row& row : rows) {
    for (DType dtype : float_types()) {
      for (std::int64_t n : {0, 1, 7, 8, 37}) {
        const Tensor x = fill(dtype, {n}, [&](std::int64_t i) { return row.low + (row.high - row.low) * static_cast<double>(i) / 36.0; });
        const Tensor y = run1(row.op, {x});
        ASSERT_EQ(y.shape(), x.shape());
        const double tolerance = dtype == DType::kF64 ? 1e-7 : dtype == DType::kF32 ? 1e-6 : dtype == DType::kF16 ? 1e-3 : 8e-3;
        for (std::int64_t i = 0; i < n; ++i) {
          const double expected = row.f(x.at_as_double(i));
          ASSERT_NEAR(y.at_as_double(i), expected, tolerance * std::max(1.0, std::fabs(expected)))
              << row.op << " " << to_string(dtype) << " of " << x.at_as_double(i);
        }
      }
    }
  }
}

TEST(ElementwiseUnary, RoundsHalvesToEven) {
  const Tensor y = run1("Round", {Tensor::from<float>({7}, {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 2.4f, 2.6f})});
  EXPECT_EQ(y.to_float(), (std::vector<float>{0, 2, 2, -0.0f, -2, 2, 3}));
}

TEST(ElementwiseUnary, IntegersKeepTheirType) {
  for (DType dtype : {DType::kS8, DType::kS16, DType::kS32, DType::kS64}) {
    const Tensor x = fill(dtype, {3}, [](std::int64_t i) { return static_cast<double>(i - 1); });
    EXPECT_EQ(run1("Neg", {x}).to_int64(), (std::vector<std::int64_t>{1, 0, -1}));
    EXPECT_EQ(run1("Abs", {x}).to_int64(), (std::vector<std::int64_t>{1, 0, 1}));
    EXPECT_EQ(run1("Relu", {x}).to_int64(), (std::vector<std::int64_t>{0, 0, 1}));
  }
  const Tensor lowest = Tensor::scalar(std::numeric_limits<std::int32_t>::min());
  EXPECT_EQ(run1("Abs", {lowest}).to_int64()[0], std::numeric_limits<std::int32_t>::min());
  EXPECT_FALSE(run("Sqrt", {lowest}).ok());
}

TEST(Activation, ParametersAreRead) {
  const Tensor x = Tensor::from<float>({2}, {-2, 3});
  EXPECT_EQ(run1("LeakyRelu", {x}, {{"alpha", 0.5f}}).to_float(), (std::vector<float>{-1, 3}));
  EXPECT_EQ(run1("PRelu", {x, Tensor::from<float>({1}, {0.25f})}).to_float(), (std::vector<float>{-0.5f, 3}));
  EXPECT_NEAR(run1("Swish", {x}, {{"alpha", 2.0f}}).to_float()[1], 3 / (1 + std::exp(-6.0)), 1e-6);
  const double inner = std::sqrt(2 / std::numbers::pi) * (3 + 0.044715 * 27);
  EXPECT_NEAR(run1("Gelu", {x}, {{"approximate", std::string("tanh")}}).to_float()[1], 1.5 * (1 + std::tanh(inner)), 1e-6);
  EXPECT_EQ(run1("HardSigmoid", {x}, {{"alpha", 0.25f}, {"beta", 0.75f}}).to_float(), (std::vector<float>{0.25f, 1}));
}

TEST(Dropout, IsIdentityUnlessItWouldDrop) {
  const Tensor x = Tensor::from<float>({2}, {-2, 3});
  EXPECT_EQ(run1("Dropout", {x, Tensor::scalar(0.5f), Tensor::scalar(false)}).to_float(), x.to_float());
  EXPECT_EQ(run1("Dropout", {x, Tensor::scalar(0.0f), Tensor::scalar(true)}).to_float(), x.to_float());
  EXPECT_FALSE(run("Dropout", {x, Tensor::scalar(0.5f), Tensor::scalar(true)}).ok());
}

TEST(Activation, PReluSlopeBroadcastsToTheChannels) {
  const Tensor x = small_numbers(DType::kF32, {2, 3, 4}, 5), slope = Tensor::from<float>({3, 1}, {0.5f, 2, -1});
  const Tensor y = run1("PRelu", {x, slope});
  for (std::int64_t i = 0; i < x.size(); ++i) {
    const double v = x.at_as_double(i);
    EXPECT_EQ(y.at_as_double(i), v < 0 ? v * broadcast_at(slope, unravel(i, x.shape())) : v);
  }
  EXPECT_FALSE(run("PRelu", {slope, x}).ok());
}

TEST(Select, ClipWithAndWithoutBounds) {
  for (DType dtype : numeric_types()) {
    const Tensor x = fill(dtype, {6}, [](std::int64_t i) { return static_cast<double>(i); });
    const auto number = [&](double v) { return fill(dtype, {}, [v](std::int64_t) { return v; }); };
    EXPECT_EQ(run1("Clip", {x, number(2), number(4)}).to_float(), (std::vector<float>{2, 2, 2, 3, 4, 4}));
    EXPECT_EQ(run1("Clip", {x, Tensor(), number(4)}).to_float(), (std::vector<float>{0, 1, 2, 3, 4, 4}));
    EXPECT_EQ(run1("Clip", {x, number(2)}).to_float(), (std::vector<float>{2, 2, 2, 3, 4, 5}));
    EXPECT_EQ(run1("Clip", {x}).to_float(), x.to_float());
  }
  EXPECT_FALSE(run("Clip", {small_numbers(DType::kF32, {2}, 1), small_numbers(DType::kF32, {2}, 1)}).ok());
}

TEST(Select, WhereBroadcastsAllThree) {
  for (DType dtype : numeric_types()) {
    const Tensor c = fill(DType::kBool, {3, 1}, [](std::int64_t i) { return static_cast<double>(i % 2); });
    const Tensor a = small_numbers(dtype, {2, 1, 4}, 1), b = small_numbers(dtype, {3, 4}, 2);
    const Tensor y = run1("Where", {c, a, b});
    ASSERT_EQ(y.shape(), (Shape{2, 3, 4}));
    for (std::int64_t i = 0; i < y.size(); ++i) {
      const auto at = unravel(i, y.shape());
      EXPECT_EQ(y.at_as_double(i), broadcast_at(c, at) != 0 ? broadcast_at(a, at) : broadcast_at(b, at));
    }
  }
}

TEST(Logic, ComparisonsForEveryType) {
  const std::vector<std::pair<const char*, std::function<bool(double, double)>>> functions = {
      {"Equal", std::equal_to<double>()}, {"Less", std::less<double>()}, {"LessOrEqual", std::less_equal<double>()},
      {"Greater", std::greater<double>()}, {"GreaterOrEqual", std::greater_equal<double>()}};
  for (const auto& [name, f] : functions) {
    for (DType dtype : numeric_types()) {
      const Tensor a = small_numbers(dtype, {5, 4}, 1), b = small_numbers(dtype, {4}, 2);
      const Tensor y = run1(name, {a, b});
      ASSERT_EQ(y.dtype(), DType::kBool);
      for (std::int64_t i = 0; i < y.size(); ++i) {
        const auto at = unravel(i, y.shape());
        EXPECT_EQ(y.at_as_double(i) != 0, f(broadcast_at(a, at), broadcast_at(b, at))) << name;
      }
    }
  }
}

TEST(Logic, TruthTablesBitsAndShifts) {
  const Tensor a = fill(DType::kBool, {4}, [](std::int64_t i) { return static_cast<double>(i / 2); });
  const Tensor b = fill(DType::kBool, {4}, [](std::int64_t i) { return static_cast<double>(i % 2); });
  const auto values = [](const Tensor& t) { return t.to_int64(); };
  EXPECT_EQ(values(run1("And", {a, b})), (std::vector<std::int64_t>{0, 0, 0, 1}));
  EXPECT_EQ(values(run1("Or", {a, b})), (std::vector<std::int64_t>{0, 1, 1, 1}));
  EXPECT_EQ(values(run1("Xor", {a, b})), (std::vector<std::int64_t>{0, 1, 1, 0}));
  EXPECT_EQ(values(run1("Not", {a})), (std::vector<std::int64_t>{1, 1, 0, 0}));
  const Tensor x = Tensor::from<std::uint8_t>({3}, {0b1100, 0xFF, 1}), y = Tensor::from<std::uint8_t>({3}, {0b1010, 0x0F, 9});
  EXPECT_EQ(values(run1("BitwiseAnd", {x, y})), (std::vector<std::int64_t>{0b1000, 0x0F, 1}));
  EXPECT_EQ(values(run1("BitwiseOr", {x, y})), (std::vector<std::int64_t>{0b1110, 0xFF, 9}));
  EXPECT_EQ(values(run1("BitwiseXor", {x, y})), (std::vector<std::int64_t>{0b0110, 0xF0, 8}));
  EXPECT_EQ(values(run1("BitwiseNot", {x})), (std::vector<std::int64_t>{0xF3, 0, 0xFE}));
  const Tensor by = Tensor::from<std::uint8_t>({3}, {2, 4, 200});
  EXPECT_EQ(values(run1("BitShift", {x, by}, {{"direction", std::string("LEFT")}})), (std::vector<std::int64_t>{0b110000, 0xF0, 0}));
  EXPECT_EQ(values(run1("BitShift", {x, by}, {{"direction", std::string("RIGHT")}})), (std::vector<std::int64_t>{0b11, 0x0F, 0}));
  const Tensor sx = Tensor::from<std::int8_t>({5}, {-128, -3, 3, 64, -1}), sy = Tensor::from<std::int8_t>({5}, {1, -1, -1, 1, 8});
  EXPECT_EQ(values(run1("BitShift", {sx, sy}, {{"direction", std::string("LEFT")}})), (std::vector<std::int64_t>{0, 0, 0, -128, 0}));
  EXPECT_EQ(values(run1("BitShift", {sx, sy}, {{"direction", std::string("RIGHT")}})), (std::vector<std::int64_t>{-64, -1, 0, 32, -1}));
}

TEST(Logic, NanAndInfinity) {
  const float inf = std::numeric_limits<float>::infinity();
  const Tensor x = Tensor::from<float>({4}, {1, std::nanf(""), inf, -inf});
  EXPECT_EQ(run1("IsNaN", {x}).to_int64(), (std::vector<std::int64_t>{0, 1, 0, 0}));
  EXPECT_EQ(run1("IsInf", {x}).to_int64(), (std::vector<std::int64_t>{0, 0, 1, 1}));
  EXPECT_EQ(run1("IsInf", {x}, {{"detect_negative", std::int64_t{0}}}).to_int64(), (std::vector<std::int64_t>{0, 0, 1, 0}));
}

TEST(ElementwiseTypes, SymbolsSurviveAndConflictsAreNamed) {
  EXPECT_EQ(inferred("Add", {f32({sym("N"), 3}), f32({sym("N"), 3})}), "f32[N,3]");
  EXPECT_EQ(inferred("Add", {f32({sym("N"), 3}), f32({3})}), "f32[N,3]");
  EXPECT_EQ(inferred("Add", {f32({sym("N"), 1}), f32({sym("M"), 4})}), "f32[?,4]");
  EXPECT_EQ(inferred("Add", {graph::Type::tensor(DType::kF32), f32({3})}), "f32[*]");
  EXPECT_EQ(inferred("Add", {graph::Type(), graph::Type()}), "?");
  EXPECT_NE(inferred("Add", {f32({2, 3}), f32({4})}).find("dimensions 3 and 4"), std::string::npos);
  EXPECT_NE(inferred("Add", {f32({2}), s64({2})}).find("expected the same element type"), std::string::npos);
  EXPECT_NE(inferred("Sqrt", {s64({2})}).find("input 0 is s64"), std::string::npos);
  EXPECT_EQ(inferred("Equal", {s64({sym("N")}), s64({})}), "bool[N]");
  EXPECT_EQ(inferred("Where", {graph::Type::tensor(DType::kBool, {sym("N"), 1}), f32({3}), f32({})}), "f32[N,3]");
  EXPECT_NE(inferred("BitShift", {graph::Type::tensor(DType::kU8, {2}), graph::Type::tensor(DType::kU8, {2})}).find("direction"), std::string::npos);
}

}  // namespace
}  // namespace narrow::operators
