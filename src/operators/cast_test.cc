// Casts between all types, against conversion through double and tables of codes.
#include <bit>

#include "operators/element_type.h"
#include "operators/test_support.h"

namespace narrow::operators {
namespace {

using namespace testing;

Tensor cast(const Tensor& x, DType to, Attributes attributes = {}) {
  attributes.push_back({"to", number_of(to)});
  return run1("Cast", {x}, std::move(attributes));
}

TEST(Cast, EveryPairOfTypes) {
  std::vector<DType> types = numeric_types();
  types.push_back(DType::kBool);
  for (DType from : types) {
    const Tensor x = from == DType::kBool ? fill(from, {8}, [](std::int64_t i) { return double(i % 2); }) : small_numbers(from, {8}, 3);
    for (DType to : types) {
      const Tensor y = cast(x, to);
      ASSERT_EQ(y.dtype(), to);
      for (std::int64_t i = 0; i < 8; ++i) {
        double expected = x.at_as_double(i);
        if (to == DType::kBool) expected = expected != 0;
        if (is_integer(to) && !is_signed_integer(to) && expected < 0) expected += std::ldexp(1.0, bits_of(to));
        ASSERT_EQ(y.at_as_double(i), expected) << to_string(from) << " to " << to_string(to);
      }
    }
  }
}

TEST(Cast, EdgesOfFloatToInteger) {
  const float inf = std::numeric_limits<float>::infinity();
  const Tensor x = Tensor::from<float>({6}, {2.9f, -2.9f, std::nanf(""), inf, -inf, 3e9f});
  const std::int64_t most = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(cast(x, DType::kS64).to_int64(), (std::vector<std::int64_t>{2, -2, 0, most, -most - 1, 3000000000}));
  EXPECT_EQ(cast(x, DType::kS32).to_int64()[5], static_cast<std::int32_t>(3000000000u));
  EXPECT_EQ(cast(Tensor::scalar(1.5e19), DType::kU64).to_int64()[0], std::bit_cast<std::int64_t>(std::uint64_t{15000000000000000000u}));
}

TEST(Cast, HalfPrecisionRoundsOnceToEven) {
  // 1 + 2^-11 lies between two halves; a little more must go up even when f32 cannot hold the difference.
  EXPECT_EQ(cast(Tensor::scalar(1.0 + 0x1p-11), DType::kF16).at_as_double(0), 1.0);
  EXPECT_EQ(cast(Tensor::scalar(1.0 + 0x1p-11 + 0x1p-40), DType::kF16).at_as_double(0), 1.0 + 0x1p-10);
  EXPECT_EQ(cast(Tensor::scalar(-1.0 - 0x1p-11 - 0x1p-40), DType::kF16).at_as_double(0), -1.0 - 0x1p-10);
  EXPECT_EQ(cast(Tensor::scalar(1.0f + 0x1p-8f), DType::kBF16).at_as_double(0), 1.0);
  EXPECT_EQ(cast(Tensor::scalar(70000.0f), DType::kF16).at_as_double(0), std::numeric_limits<double>::infinity());
}

// Every code of a small float must survive the way through f32, and what lies between codes go to the nearer one.
TEST(Cast, SmallFloatsRoundTripAndRound) {
  for (DType dtype : {DType::kF8E4M3FN, DType::kF8E4M3FNUZ, DType::kF8E5M2, DType::kF8E5M2FNUZ, DType::kF4E2M1, DType::kF8E8M0}) {
    const int codes = 1 << bits_of(dtype);
    Tensor x = *Tensor::create(dtype, {codes});
    auto* bytes = static_cast<std::uint8_t*>(x.mutable_raw());
    for (int i = 0; i < codes; ++i) {
      if (bits_of(dtype) == 8) bytes[i] = static_cast<std::uint8_t>(i);
      else bytes[i / 2] |= static_cast<std::uint8_t>(i << (4 * (i % 2)));
    }
    const Tensor wide = cast(x, DType::kF32), back = cast(wide, dtype);
    std::vector<double> finite;
    for (int i = 0; i < codes; ++i) {
      const double a = x.at_as_double(i), b = back.at_as_double(i);
      // Infinity saturates by default.
      if (std::isinf(a)) EXPECT_EQ(std::fabs(b), 57344) << to_string(dtype);
      else EXPECT_TRUE(a == b || (a != a && b != b)) << to_string(dtype) << " code " << i << ": " << a << " became " << b;
      if (std::isfinite(a)) finite.push_back(a);
    }
    if (dtype == DType::kF8E8M0) continue;
    std::sort(finite.begin(), finite.end());
    for (std::size_t i = 1; i < finite.size(); ++i) {
      if (finite[i] == finite[i - 1]) continue;
      const float low = static_cast<float>(finite[i - 1] * 0.75 + finite[i] * 0.25), high = static_cast<float>(finite[i - 1] * 0.25 + finite[i] * 0.75);
      EXPECT_EQ(cast(Tensor::scalar(low), dtype).at_as_double(0), finite[i - 1]) << to_string(dtype);
      EXPECT_EQ(cast(Tensor::scalar(high), dtype).at_as_double(0), finite[i]) << to_string(dtype);
    }
    EXPECT_EQ(cast(Tensor::scalar(1e9f), dtype).at_as_double(0), finite.back());
    EXPECT_EQ(cast(Tensor::scalar(-1e9f), dtype).at_as_double(0), finite.front());
  }
  const Attributes loud{{"saturate", std::int64_t{0}}};
  EXPECT_TRUE(std::isnan(cast(Tensor::scalar(1e9f), DType::kF8E4M3FN, loud).at_as_double(0)));
  EXPECT_TRUE(std::isinf(cast(Tensor::scalar(1e9f), DType::kF8E5M2, loud).at_as_double(0)));
}

TEST(Cast, ScalesRoundAsAsked) {
  const auto code = [](float v, const char* mode) { return cast(Tensor::scalar(v), DType::kF8E8M0, {{"round_mode", std::string(mode)}}).at_as_double(0); };
  EXPECT_EQ(code(3.0f, "up"), 4);
  EXPECT_EQ(code(3.0f, "down"), 2);
  EXPECT_EQ(code(2.9f, "nearest"), 2);
  EXPECT_EQ(code(3.1f, "nearest"), 4);
  EXPECT_EQ(code(0.25f, "up"), 0.25);
  EXPECT_FALSE(run("Cast", {Tensor::scalar(1.0f)}, {{"to", number_of(DType::kF8E8M0)}, {"round_mode", std::string("odd")}}).ok());
}

TEST(Cast, PackedIntegersAndStrings) {
  const Tensor x = Tensor::from<float>({5}, {-8, 7, -1, 0, 3});
  const Tensor packed = cast(x, DType::kS4);
  EXPECT_EQ(packed.bytes(), 3);
  EXPECT_EQ(cast(packed, DType::kS32).to_int64(), (std::vector<std::int64_t>{-8, 7, -1, 0, 3}));
  EXPECT_EQ(cast(Tensor::from<std::uint8_t>({3}, {15, 2, 1}), DType::kU4).to_int64(), (std::vector<std::int64_t>{15, 2, 1}));
  const Tensor text = Tensor::from_strings({4}, {"1.5", "-2e3", "+7", "INF"});
  EXPECT_EQ(cast(text, DType::kF32).to_float(), (std::vector<float>{1.5f, -2000, 7, std::numeric_limits<float>::infinity()}));
  EXPECT_FALSE(run("Cast", {Tensor::from_strings({1}, {"one"})}, {{"to", number_of(DType::kF32)}}).ok());
  EXPECT_EQ(cast(Tensor::from<std::int64_t>({2}, {-5, 12}), DType::kString).strings(), (std::vector<std::string>{"-5", "12"}));
}

TEST(Cast, FourBitFloatsSaturateAndHaveNoNan) {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor y = cast(Tensor::from<float>({8}, {nan, -nan, inf, -inf, 9, -0.0f, 0.25f, 0.75f}), DType::kF4E2M1);
  const std::vector<double> expected = {-0.0, -0.0, 6, -6, 6, -0.0, 0, 1};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(y.at_as_double(static_cast<std::int64_t>(i)), expected[i]);
    EXPECT_EQ(std::signbit(y.at_as_double(static_cast<std::int64_t>(i))), std::signbit(expected[i])) << i;
  }
}

TEST(BitCast, KeepsEveryBit) {
  for (const auto& [from, to] : {std::pair{DType::kF32, DType::kS32}, std::pair{DType::kF64, DType::kU64}, std::pair{DType::kBF16, DType::kF16},
                                 std::pair{DType::kS8, DType::kF8E4M3FN}, std::pair{DType::kS4, DType::kF4E2M1}, std::pair{DType::kBool, DType::kU8}}) {
    Tensor x = *Tensor::create(from, {3, 5});
    for (std::uint64_t i = 0; i < x.bytes(); ++i) static_cast<std::uint8_t*>(x.mutable_raw())[i] = static_cast<std::uint8_t>(i * 37 + 11);
    const Tensor y = run1("BitCast", {x}, {{"to", number_of(to)}});
    ASSERT_EQ(y.dtype(), to);
    ASSERT_EQ(y.shape(), x.shape());
    EXPECT_TRUE(std::equal(y.byte_span().begin(), y.byte_span().end(), x.byte_span().begin()));
  }
  EXPECT_EQ(run1("BitCast", {Tensor::scalar(1.0f)}, {{"to", number_of(DType::kS32)}}).to_int64()[0], 0x3F800000);
  EXPECT_FALSE(run("BitCast", {Tensor::scalar(1.0f)}, {{"to", number_of(DType::kS64)}}).ok());
  EXPECT_FALSE(run("BitCast", {Tensor::from_strings({1}, {"a"})}, {{"to", number_of(DType::kS64)}}).ok());
  EXPECT_NE(inferred("BitCast", {f32({2})}, {{"to", std::int64_t{11}}}).find("as many bits"), std::string::npos);
}

TEST(Cast, TypesAndMistakes) {
  EXPECT_EQ(inferred("Cast", {f32({sym("N")})}, {{"to", std::int64_t{7}}}), "s64[N]");
  EXPECT_NE(inferred("Cast", {f32({2})}, {{"to", std::int64_t{99}}}).find("to = 99"), std::string::npos);
  EXPECT_NE(inferred("Cast", {f32({2})}).find("to = 0"), std::string::npos);
  EXPECT_EQ(inferred("CastLike", {f32({sym("N")}), s64({})}), "s64[N]");
  EXPECT_EQ(run1("CastLike", {Tensor::scalar(2.5f), Tensor::scalar<std::int32_t>(0)}).to_int64()[0], 2);
}

}  // namespace
}  // namespace narrow::operators
