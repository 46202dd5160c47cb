#include "formats/onnx/tensor_reader.h"

#include <gtest/gtest.h>

#include <cstring>

#include "support/onnx_builder.h"

namespace narrow::formats::onnx {
namespace {

using namespace narrow::tests;

Result<NamedTensor> read(const ProtoMessage& message) {
  static std::vector<std::string> kept;  // views stay valid
  kept.push_back(message.to_string());
  wire::ProtoField field;
  field.type = wire::WireType::kBytes;
  field.bytes = as_bytes(kept.back());
  return read_tensor(field, {});
}

ProtoMessage typed(int type, const std::vector<std::int64_t>& dims, std::uint32_t field, const std::vector<std::int64_t>& values, bool packed = true) {
  ProtoMessage t = tensor_header("t", type, dims);
  if (packed) t.add_packed(field, values);
  else for (std::int64_t v : values) t.add_int(field, v);
  return t;
}

std::vector<double> values_of(const Result<NamedTensor>& read) {
  std::vector<double> out;
  if (!read.ok()) {
    ADD_FAILURE() << read.error().to_string();
    return out;
  }
  for (std::int64_t i = 0; i < read->tensor.size(); ++i) out.push_back(read->tensor.at_as_double(i));
  return out;
}

TEST(TensorReader, ReadsEveryStorageField) {
  using V = std::vector<double>;
  for (bool packed : {true, false}) {
    EXPECT_EQ(values_of(read(typed(kInt32, {3}, 5, {1, -2, 3}, packed))), (V{1, -2, 3}));
    EXPECT_EQ(values_of(read(typed(kInt8, {3}, 5, {-128, 0, 127}, packed))), (V{-128, 0, 127}));
    EXPECT_EQ(values_of(read(typed(kUint8, {2}, 5, {0, 255}, packed))), (V{0, 255}));
    EXPECT_EQ(values_of(read(typed(kBool, {3}, 5, {0, 1, 7}, packed))), (V{0, 1, 1}));
    EXPECT_EQ(values_of(read(typed(kFloat16, {2}, 5, {0x3C00, 0xC000}, packed))), (V{1, -2}));
    EXPECT_EQ(values_of(read(typed(kBfloat16, {2}, 5, {0x3F80, 0xC000}, packed))), (V{1, -2}));
    EXPECT_EQ(values_of(read(typed(kInt4, {3}, 5, {0x21, 0x0F}, packed))), (V{1, 2, -1}));   // low nibble first
    EXPECT_EQ(values_of(read(typed(kUint4, {3}, 5, {0x21, 0x0F}, packed))), (V{1, 2, 15}));
    EXPECT_EQ(values_of(read(typed(kInt64, {2}, 7, {-5, 1LL << 40}, packed))), (V{-5, 1099511627776.0}));
    EXPECT_EQ(values_of(read(typed(kUint64, {1}, 11, {9}, packed))), (V{9}));
  }
  ProtoMessage floats = tensor_header("t", kFloat, {2});
  floats.add_packed(4, std::vector<float>{1.5f, -2.0f});
  EXPECT_EQ(values_of(read(floats)), (V{1.5, -2}));
  ProtoMessage doubles = tensor_header("t", kDouble, {1});
  const double pi = 3.140625;
  doubles.add_string(10, {reinterpret_cast<const char*>(&pi), 8});
  EXPECT_EQ(values_of(read(doubles)), (V{3.140625}));
  ProtoMessage strings = tensor_header("t", kString, {2});
  strings.add_string(6, "a");
  strings.add_string(6, "");
  const auto text = read(strings);
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(text->tensor.strings(), (std::vector<std::string>{"a", ""}));
}

TEST(TensorReader, RawDataIsAViewWhenAligned) {
  // int8 is aligned everywhere; f32 is copied when its bytes are not on a multiple of 4.
  std::string message = raw_tensor("t", kInt8, {4}, "abcd").to_string();
  wire::ProtoField field;
  field.type = wire::WireType::kBytes;
  field.bytes = as_bytes(message);
  auto tensor = read_tensor(field, {});
  ASSERT_TRUE(tensor.ok());
  const auto* data = static_cast<const char*>(tensor->tensor.raw());
  EXPECT_TRUE(data >= message.data() && data < message.data() + message.size());

  for (std::size_t shift = 0; shift < 4; ++shift) {
    const std::string body = float_tensor("t", {2}, {1.0f, 2.0f}).to_string();
    std::vector<std::uint8_t> buffer(shift + body.size());
    std::memcpy(buffer.data() + shift, body.data(), body.size());
    field.bytes = std::span(buffer).subspan(shift);
    tensor = read_tensor(field, {});
    ASSERT_TRUE(tensor.ok());
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor->tensor.raw()) % 4, 0u);
    EXPECT_EQ(tensor->tensor.to_float(), (std::vector<float>{1.0f, 2.0f}));
  }
}

TEST(TensorReader, EmptyAndScalarTensors) {
  EXPECT_EQ(read(raw_tensor("t", kFloat, {0, 5}, ""))->tensor.size(), 0);
  EXPECT_EQ(read(tensor_header("t", kInt64, {0}))->tensor.size(), 0);
  EXPECT_EQ(values_of(read(float_tensor("t", {}, {4.0f}))), (std::vector<double>{4}));
}

TEST(TensorReader, OddBoolBytesBecomeTrue) {
  EXPECT_EQ(values_of(read(raw_tensor("t", kBool, {3}, std::string("\x00\x02\xFF", 3)))), (std::vector<double>{0, 1, 1}));
}

struct Bad {
  const char* what;
  ProtoMessage message;
  ErrorCode code = ErrorCode::kCorrupt;
};

TEST(TensorReader, RefusesWhatDoesNotFit) {
  ProtoMessage both = float_tensor("t", {1}, {1.0f});
  both.add_packed(4, std::vector<float>{1.0f});
  ProtoMessage two_fields = typed(kInt32, {2}, 5, {1});
  two_fields.add_packed(7, std::vector<std::int64_t>{1});
  ProtoMessage raw_strings = raw_tensor("t", kString, {1}, "abc");
  ProtoMessage segment = float_tensor("t", {1}, {1.0f});
  segment.add_string(3, "");
  ProtoMessage wrong_wire = tensor_header("t", kFloat, {1});
  wrong_wire.add_int(9, 3);
  ProtoMessage no_location = tensor_header("t", kFloat, {1});
  no_location.add_int(14, 1);
  std::vector<std::int64_t> deep(65, 1);
  const std::vector<Bad> cases = {
      {"short raw", raw_tensor("t", kFloat, {2, 2}, "1234567")},
      {"long raw", raw_tensor("t", kInt8, {2}, "abc")},
      {"short typed", typed(kInt32, {3}, 5, {1, 2})},
      {"long typed", typed(kInt32, {1}, 5, {1, 2})},
      {"no data", tensor_header("t", kFloat, {2})},
      {"negative", raw_tensor("t", kFloat, {-2, -2}, "")},
      {"overflow", raw_tensor("t", kFloat, {1LL << 40, 1LL << 40}, "")},
      {"overflow of bytes", raw_tensor("t", kFloat, {1LL << 62}, "")},
      {"huge without data", raw_tensor("t", kFloat, {1LL << 40}, "")},
      {"rank 65", raw_tensor("t", kInt8, deep, "a")},
      {"int4 of 3 in 1 byte", raw_tensor("t", kInt4, {3}, "a")},
      {"int4 of 2 in 2 bytes", raw_tensor("t", kInt4, {2}, "ab")},
      {"raw and typed", both},
      {"two typed", two_fields},
      {"wrong field", typed(kInt64, {1}, 5, {1})},
      {"raw strings", raw_strings},
      {"no type", raw_tensor("t", 0, {1}, "a")},
      {"type 99", raw_tensor("t", 99, {1}, "a"), ErrorCode::kUnsupported},
      {"segment", segment, ErrorCode::kUnsupported},
      {"wire type", wrong_wire},
      {"external without location", no_location},
  };
  for (const Bad& bad : cases) {
    const auto result = read(bad.message);
    ASSERT_FALSE(result.ok()) << bad.what;
    EXPECT_EQ(result.error().code(), bad.code) << bad.what << ": " << result.error().to_string();
  }
}

Result<NamedTensor> read_sparse(const ProtoMessage& message) {
  static std::vector<std::string> kept;
  kept.push_back(message.to_string());
  wire::ProtoField field;
  field.type = wire::WireType::kBytes;
  field.bytes = as_bytes(kept.back());
  return read_sparse_tensor(field, {});
}

ProtoMessage sparse(const std::vector<float>& values, const std::vector<std::int64_t>& shape, const std::vector<std::int64_t>& indices,
                    const std::vector<std::int64_t>& dims) {
  ProtoMessage s;
  s.add_message(1, float_tensor("s", {static_cast<std::int64_t>(values.size())}, values));
  s.add_message(2, int64_tensor("", shape, indices));
  s.add_packed(3, dims);
  return s;
}

TEST(TensorReader, SparseTensorsBecomeDense) {
  const std::vector<double> expected = {0, 5, 0, 0, 0, 7};
  EXPECT_EQ(values_of(read_sparse(sparse({5, 7}, {2}, {1, 5}, {2, 3}))), expected);
  EXPECT_EQ(values_of(read_sparse(sparse({5, 7}, {2, 2}, {0, 1, 1, 2}, {2, 3}))), expected);
}

TEST(TensorReader, RefusesBadSparseTensors) {
  EXPECT_FALSE(read_sparse(sparse({5}, {1}, {6}, {2, 3})).ok());
  EXPECT_FALSE(read_sparse(sparse({5}, {1}, {-1}, {2, 3})).ok());
  EXPECT_FALSE(read_sparse(sparse({5}, {1, 2}, {0, 3}, {2, 3})).ok());
  EXPECT_FALSE(read_sparse(sparse({5}, {2}, {0, 1}, {2, 3})).ok());
  EXPECT_FALSE(read_sparse(sparse({5}, {1}, {0}, {})).ok());
  const auto bomb = read_sparse(sparse({5}, {1}, {0}, {1LL << 38}));
  ASSERT_FALSE(bomb.ok());
  EXPECT_EQ(bomb.error().code(), ErrorCode::kResourceExhausted);
}

}  // namespace
}  // namespace narrow::formats::onnx
