#include "formats/onnx/types.h"

#include <gtest/gtest.h>

#include "wire/protobuf.h"

namespace narrow::formats::onnx {
namespace {

using graph::Dim;
using graph::Type;
using graph::TypeKind;
using wire::ProtoMessage;

constexpr std::uint32_t kSequenceField = 4, kMapField = 5, kOptionalField = 9;

Result<Type> read(const std::string& bytes) { return read_type({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}, "x"); }

// A TypeProto whose field `kind` holds `inner` as its element.
ProtoMessage wrap(std::uint32_t kind, const ProtoMessage& inner) {
  ProtoMessage element, type;
  element.add_message(1, inner);
  type.add_message(kind, element);
  return type;
}

TEST(OnnxTypes, TensorsSequencesAndOptionalsAreWrittenAsRead) {
  const Type tensor = Type::tensor(DType::kF16, {Dim(std::string("N")), 3, Dim()});
  for (const Type& type : {tensor, Type::sequence(tensor), Type::optional(tensor), Type::optional(Type::sequence(tensor)),
                           Type::sequence(Type::tensor(DType::kString)), Type::optional(Type::tensor(DType::kS64, std::vector<Dim>{}))}) {
    const auto again = read(write_type(type).to_string());
    ASSERT_TRUE(again.ok()) << again.error().to_string();
    EXPECT_EQ(*again, type) << graph::to_string(type);
  }
  EXPECT_EQ(graph::to_string(Type::optional(Type::sequence(tensor))), "optional(sequence(f16[N,3,?]))");
}

TEST(OnnxTypes, WhatHoldsNoTensorsIsKeptAsBytes) {
  const ProtoMessage tensor = write_type(Type::tensor(DType::kF32));
  ProtoMessage map;
  map.add_int(1, 7);
  map.add_message(2, tensor);
  ProtoMessage map_type;
  map_type.add_message(kMapField, map);
  for (const ProtoMessage& message : {map_type, wrap(kSequenceField, map_type), wrap(kSequenceField, wrap(kSequenceField, tensor)),
                                      wrap(kOptionalField, wrap(kOptionalField, tensor)), wrap(kSequenceField, {})}) {
    const std::string bytes = message.to_string();
    const auto type = read(bytes);
    ASSERT_TRUE(type.ok()) << type.error().to_string();
    EXPECT_EQ(type->kind, TypeKind::kOther);
    EXPECT_EQ(write_type(*type).to_string(), bytes);
  }
}

TEST(OnnxTypes, NestingWithoutEndIsCarriedNotFollowed) {
  ProtoMessage type = write_type(Type::tensor(DType::kF32));
  for (int depth = 0; depth < 20000; ++depth) type = wrap(depth % 2 == 0 ? kSequenceField : kOptionalField, type);
  const auto read_back = read(type.to_string());
  ASSERT_TRUE(read_back.ok()) << read_back.error().to_string();
  EXPECT_EQ(read_back->kind, TypeKind::kOther);
}

TEST(OnnxTypes, ImpossibleElementsAreRefusedAtAnyDepth) {
  ProtoMessage tensor, type;
  tensor.add_int(1, 999);
  type.add_message(1, tensor);
  EXPECT_EQ(read(type.to_string()).error().code(), ErrorCode::kUnsupported);
  EXPECT_EQ(read(wrap(kOptionalField, wrap(kSequenceField, type)).to_string()).error().code(), ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace narrow::formats::onnx
