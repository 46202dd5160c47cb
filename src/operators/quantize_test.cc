#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/float8.h"
#include "operators/element_type.h"
#include "operators/infer.h"
#include "operators/operator.h"

namespace narrow::operators {
namespace {

graph::Node node_of(std::string op, std::size_t inputs, std::size_t outputs = 1) {
  graph::Node node;
  node.name = "n";
  node.op_type = std::move(op);
  for (std::size_t i = 0; i < inputs; ++i) node.inputs.push_back(static_cast<int>(i));
  for (std::size_t i = 0; i < outputs; ++i) node.outputs.push_back(static_cast<int>(10 + i));
  return node;
}

Result<std::vector<Tensor>> evaluate(const graph::Node& node, std::vector<const Tensor*> inputs) {
  return evaluate_node(node, inputs);
}

Tensor codes_tensor(DType dtype, Shape shape, std::mt19937& random) {
  Tensor t = *Tensor::create(dtype, std::move(shape));
  auto* bytes = static_cast<std::uint8_t*>(t.mutable_raw());
  for (std::uint64_t i = 0; i < t.bytes(); ++i) bytes[i] = static_cast<std::uint8_t>(random());
  if (bits_of(dtype) == 4 && t.size() % 2 == 1) bytes[t.bytes() - 1] &= 0x0F;
  return t;
}

struct Granular {
  const char* name;
  Shape x, scale;
  std::int64_t axis, block;
};
const Granular kGranularities[] = {
    {"per tensor", {2, 5, 3}, {}, 1, 0},       {"one-element", {2, 5, 3}, {1}, 1, 0},   {"axis 1", {2, 5, 3}, {5}, 1, 0},
    {"axis -1", {2, 5, 3}, {3}, -1, 0},        {"axis 0", {4, 7}, {4}, 0, 0},           {"blocks inside", {2, 6, 3}, {2, 3, 3}, 1, 2},
    {"blocks last", {3, 10}, {3, 3}, 1, 4},    {"blocks first", {6, 4}, {2, 4}, 0, 3},
};

std::size_t scale_index(const Granular& g, std::size_t flat) {
  if (g.scale.size() <= 1 && (g.scale.empty() || g.scale[0] == 1)) return 0;
  const int rank = static_cast<int>(g.x.size());
  const int axis = static_cast<int>(g.axis < 0 ? g.axis + rank : g.axis);
  std::vector<std::size_t> at(rank);
  for (int d = rank - 1; d >= 0; --d) {
    at[d] = flat % g.x[d];
    flat /= g.x[d];
  }
  if (g.block == 0) return at[axis];
  at[axis] /= g.block;
  std::size_t index = 0;
  for (int d = 0; d < rank; ++d) index = index * g.scale[d] + at[d];
  return index;
}

TEST(QuantizeLinear, EveryTypeAndGranularityFollowsTheFormula) {
  std::mt19937 random(3);
  for (const Granular& g : kGranularities) {
    for (DType dtype : {DType::kU8, DType::kS8, DType::kU16, DType::kS16, DType::kU4, DType::kS4, DType::kU2, DType::kS2}) {
      Tensor x = *Tensor::create(DType::kF32, g.x);
      Tensor scale = *Tensor::create(DType::kF32, g.scale);
      Tensor zero = *Tensor::create(dtype, g.scale);
      for (float& s : scale.mutable_data<float>()) s = 0.25f + static_cast<float>(random() % 100) / 64;
      const IntegerRange range = integer_range(dtype);
      const double reach = static_cast<double>(range.max - range.min);
      for (float& v : x.mutable_data<float>()) {
        v = static_cast<float>((static_cast<double>(random() % 2001) / 1000 - 1) * reach);
        if (random() % 3 == 0) v = std::floor(v) * 0.25f + 0.125f;
      }
      if (bits_of(dtype) == 8) {
        for (std::int64_t i = 0; i < zero.size(); ++i) static_cast<std::uint8_t*>(zero.mutable_raw())[i] = static_cast<std::uint8_t>(random());
      }
      graph::Node node = node_of("QuantizeLinear", 3);
      node.set("axis", g.axis);
      if (g.block != 0) node.set("block_size", g.block);
      auto q = evaluate(node, {&x, &scale, &zero});
      ASSERT_TRUE(q.ok()) << g.name << q.error().to_string();
      ASSERT_EQ((*q)[0].dtype(), dtype);
      node.op_type = "DequantizeLinear";
      auto back = evaluate(node, {&(*q)[0], &scale, &zero});
      ASSERT_TRUE(back.ok()) << back.error().to_string();
      for (std::int64_t i = 0; i < x.size(); ++i) {
        const std::size_t s = scale_index(g, static_cast<std::size_t>(i));
        const float step = scale.data<float>()[s];
        const double z = zero.at_as_double(static_cast<std::int64_t>(s));
        const double want = std::clamp(std::nearbyint(static_cast<double>(x.data<float>()[i] / step)) + z,
                                       static_cast<double>(range.min), static_cast<double>(range.max));
        ASSERT_EQ((*q)[0].at_as_double(i), want) << g.name << " " << to_string(dtype) << " element " << i;
        ASSERT_EQ((*back)[0].data<float>()[i], static_cast<float>(want - z) * step);
      }
    }
  }
}

TEST(QuantizeLinear, TheOutputTypeComesFromZeroPointOrAttribute) {
  const Tensor x = Tensor::from<float>({2}, {1.0f, -1.0f}), scale = Tensor::scalar<float>(0.5f);
  graph::Node node = node_of("QuantizeLinear", 2);
  auto plain = evaluate(node, {&x, &scale});
  EXPECT_EQ((*plain)[0].dtype(), DType::kU8);
  EXPECT_EQ((*plain)[0].at_as_double(1), 0);
  node.set("output_dtype", number_of(DType::kS8));
  auto asked = evaluate(node, {&x, &scale});
  EXPECT_EQ((*asked)[0].dtype(), DType::kS8);
  EXPECT_EQ((*asked)[0].at_as_double(1), -2);
}

TEST(QuantizeLinear, HalfPrecisionInputsAndScales) {
  const Tensor x = Tensor::from<base::Float16>({2}, {base::to_float16(1.5f), base::to_float16(-3.0f)});
  const Tensor scale = Tensor::scalar<base::Float16>(base::to_float16(0.5f));
  const Tensor zero = Tensor::scalar<std::int8_t>(1);
  auto q = evaluate(node_of("QuantizeLinear", 3), {&x, &scale, &zero});
  ASSERT_TRUE(q.ok()) << q.error().to_string();
  EXPECT_EQ((*q)[0].data<std::int8_t>()[0], 4);
  auto back = evaluate(node_of("DequantizeLinear", 3), {&(*q)[0], &scale, &zero});
  ASSERT_EQ((*back)[0].dtype(), DType::kF16);
  EXPECT_EQ((*back)[0].at_as_double(1), -3.0);
}

TEST(QuantizeLinear, ScalesThatDoNotFitAreNamed) {
  const Tensor x = *Tensor::create(DType::kF32, {2, 5}), scale = *Tensor::create(DType::kF32, {4});
  auto q = evaluate(node_of("QuantizeLinear", 2), {&x, &scale});
  ASSERT_FALSE(q.ok());
  EXPECT_NE(q.error().message().find("expected 5"), std::string::npos) << q.error().message();
}

TEST(DequantizeLinear, IntegersOf32BitsAndSmallFloats) {
  const Tensor bias = Tensor::from<std::int32_t>({2}, {-70000, 70001}), scale = Tensor::scalar<float>(0.001f);
  auto real = evaluate(node_of("DequantizeLinear", 2), {&bias, &scale});
  EXPECT_EQ((*real)[0].data<float>()[1], 70001.0f * 0.001f);
  std::mt19937 random(1);
  for (DType dtype : {DType::kF8E4M3FN, DType::kF8E5M2, DType::kF8E4M3FNUZ, DType::kF8E5M2FNUZ, DType::kF4E2M1}) {
    const Tensor codes = codes_tensor(dtype, {64}, random);
    auto values = evaluate(node_of("DequantizeLinear", 2), {&codes, &scale});
    ASSERT_TRUE(values.ok());
    for (int i = 0; i < 64; ++i) {
      const double code = codes.at_as_double(i);
      if (!std::isfinite(code)) continue;
      EXPECT_EQ((*values)[0].data<float>()[i], static_cast<float>(code) * 0.001f);
    }
  }
}

// Every code's value must come back as that code, and values between two codes as the nearer one.
TEST(SmallFloat, RoundsToTheNearestCode) {
  const std::pair<DType, const base::SmallFloat*> types[] = {{DType::kF8E4M3FN, &base::kE4M3FN}, {DType::kF8E4M3FNUZ, &base::kE4M3FNUZ},
      {DType::kF8E5M2, &base::kE5M2}, {DType::kF8E5M2FNUZ, &base::kE5M2FNUZ}, {DType::kF4E2M1, &base::kE2M1}};
  for (const auto& [dtype, format] : types) {
    const int codes = 1 << (format->exponent_bits + format->mantissa_bits);
    const auto value = [&](int code) {
      Tensor t = *Tensor::create(dtype, {1});
      *static_cast<std::uint8_t*>(t.mutable_raw()) = static_cast<std::uint8_t>(code);
      return static_cast<float>(t.at_as_double(0));
    };
    for (int code = 0; code <= format->largest; ++code) {
      EXPECT_EQ(base::to_small_float(value(code), *format, true), code);
      if (code != 0) {
        EXPECT_EQ(base::to_small_float(-value(code), *format, true), code | codes);
      }
      if (code == format->largest) break;
      const float low = value(code), high = value(code + 1), middle = (low + high) / 2;
      EXPECT_EQ(base::to_small_float(middle, *format, true), code % 2 == 0 ? code : code + 1) << to_string(dtype);
      EXPECT_EQ(base::to_small_float(std::nextafter(middle, 0.0f), *format, true), code);
      EXPECT_EQ(base::to_small_float(std::nextafter(middle, high), *format, true), code + 1);
    }
    EXPECT_EQ(base::to_small_float(1e30f, *format, true), format->largest);
    EXPECT_EQ(base::to_small_float(INFINITY, *format, false), format->overflow);
  }
  EXPECT_EQ(base::to_small_float(-0.0f, base::kE4M3FNUZ, true), 0);
  EXPECT_EQ(base::to_small_float(NAN, base::kE5M2, true) & 0x7F, 0x7F);
}

TEST(DynamicQuantizeLinear, CoversTheRangeAndZero) {
  const Tensor x = Tensor::from<float>({6}, {0, 2, -3, -2.5f, 1.34f, 0.5f});  // the specification's own example
  auto out = evaluate(node_of("DynamicQuantizeLinear", 1, 3), {&x});
  ASSERT_TRUE(out.ok()) << out.error().to_string();
  EXPECT_FLOAT_EQ((*out)[1].data<float>()[0], 0.0196078438f);
  EXPECT_EQ((*out)[2].data<std::uint8_t>()[0], 153);
  EXPECT_EQ((*out)[0].to_int64(), (std::vector<std::int64_t>{153, 255, 0, 26, 221, 179}));
  const Tensor positive = Tensor::from<float>({2}, {1, 2});
  EXPECT_EQ((*evaluate(node_of("DynamicQuantizeLinear", 1, 3), {&positive}))[2].data<std::uint8_t>()[0], 0);
  const Tensor zeros = *Tensor::create(DType::kF32, {3});
  EXPECT_EQ((*evaluate(node_of("DynamicQuantizeLinear", 1, 3), {&zeros}))[1].data<float>()[0], 1.0f);
}

}  // namespace
}  // namespace narrow::operators
