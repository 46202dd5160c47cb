#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <cmath>

namespace narrow {
namespace {

TEST(DType, NamesParseBack) {
  for (int i = 1; i < kDTypeCount; ++i) {
    const DType dtype = static_cast<DType>(i);
    EXPECT_EQ(parse_dtype(to_string(dtype)), dtype);
  }
  EXPECT_FALSE(parse_dtype("float").has_value());
}

TEST(DType, IntegerRanges) {
  EXPECT_EQ(integer_range(DType::kS4).min, -8);
  EXPECT_EQ(integer_range(DType::kU4).max, 15);
  EXPECT_EQ(integer_range(DType::kS8).min, -128);
  EXPECT_EQ(integer_range(DType::kU16).max, 65535);
  EXPECT_EQ(integer_range(DType::kU32).max, 4294967295);
}

TEST(StorageBytes, PackedTypesRoundUpAndOverflowIsSeen) {
  EXPECT_EQ(storage_bytes(DType::kS4, 5), 3u);
  EXPECT_EQ(storage_bytes(DType::kU2, 5), 2u);
  EXPECT_EQ(storage_bytes(DType::kF32, 5), 20u);
  EXPECT_FALSE(storage_bytes(DType::kC128, std::int64_t{1} << 60).has_value());
}

TEST(Tensor, BadShapesAreErrors) {
  EXPECT_EQ(Tensor::create(DType::kF32, {2, -1}).error().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(Tensor::create(DType::kF32, {1LL << 32, 1LL << 32}).error().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(Tensor::create(DType::kF32, {1LL << 45}).error().code(), ErrorCode::kInvalidArgument);
}

TEST(Tensor, ZeroSizedAndScalar) {
  const Tensor empty = *Tensor::create(DType::kF32, {3, 0, 1LL << 62});
  EXPECT_EQ(empty.size(), 0);
  EXPECT_EQ(empty.bytes(), 0u);
  const Tensor one = Tensor::scalar<float>(2.5f);
  EXPECT_EQ(one.rank(), 0);
  EXPECT_EQ(one.size(), 1);
  EXPECT_EQ(one.data<float>()[0], 2.5f);
}

TEST(Tensor, PackedElementsLowNibbleFirst) {
  Tensor t = *Tensor::create(DType::kS4, {3});
  auto* bytes = static_cast<std::uint8_t*>(t.mutable_raw());
  bytes[0] = 0x8F;
  bytes[1] = 0x07;
  EXPECT_EQ(t.to_int64(), (std::vector<std::int64_t>{-1, -8, 7}));
}

TEST(Tensor, Float8TablesAtTheirEdges) {
  const auto value = [](DType dtype, std::uint8_t code) {
    Tensor t = *Tensor::create(dtype, {1});
    *static_cast<std::uint8_t*>(t.mutable_raw()) = code;
    return t.at_as_double(0);
  };
  EXPECT_EQ(value(DType::kF8E4M3FN, 0x7E), 448);       // largest
  EXPECT_TRUE(std::isnan(value(DType::kF8E4M3FN, 0x7F)));
  EXPECT_EQ(value(DType::kF8E4M3FN, 0x01), 0x1p-9);    // smallest subnormal
  EXPECT_EQ(value(DType::kF8E5M2, 0x7B), 57344);
  EXPECT_TRUE(std::isinf(value(DType::kF8E5M2, 0x7C)));
  EXPECT_EQ(value(DType::kF8E4M3FNUZ, 0x7F), 240);
  EXPECT_TRUE(std::isnan(value(DType::kF8E5M2FNUZ, 0x80)));
  EXPECT_EQ(value(DType::kF8E8M0, 127), 1);
}

TEST(Tensor, SharingCloningAndReshaping) {
  Tensor a = Tensor::from<float>({2, 3}, {1, 2, 3, 4, 5, 6});
  const Tensor view = a.reshaped({3, 2});
  EXPECT_EQ(view.raw(), a.raw());
  Tensor copy = a.clone();
  copy.mutable_data<float>()[0] = 9;
  EXPECT_EQ(a.data<float>()[0], 1);
  EXPECT_EQ(view.to_float()[5], 6);
}

TEST(Tensor, LargeIntegersKeepEveryBit) {
  const Tensor t = Tensor::from<std::int64_t>({2}, {9007199254740993LL, -9223372036854775807LL - 1});
  EXPECT_EQ(t.to_int64()[0], 9007199254740993LL);
  EXPECT_EQ(t.to_int64()[1], INT64_MIN);
}

}  // namespace
}  // namespace narrow
