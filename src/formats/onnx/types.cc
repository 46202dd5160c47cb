#include "formats/onnx/types.h"

#include <fmt/format.h>

#include <array>

#include "formats/onnx/schema.h"

namespace narrow::formats::onnx {
namespace {

using wire::ProtoField;
using wire::ProtoReader;
using wire::WireType;

constexpr int kMaxTypeDepth = 8;  // of sequences in optionals in …

struct Row {
  DType dtype;
  std::string_view name;
};

// In the order of TensorProto.DataType, from 1.
constexpr std::array kRows = {
    Row{DType::kF32, "FLOAT"},          Row{DType::kU8, "UINT8"},           Row{DType::kS8, "INT8"},
    Row{DType::kU16, "UINT16"},         Row{DType::kS16, "INT16"},          Row{DType::kS32, "INT32"},
    Row{DType::kS64, "INT64"},          Row{DType::kString, "STRING"},      Row{DType::kBool, "BOOL"},
    Row{DType::kF16, "FLOAT16"},        Row{DType::kF64, "DOUBLE"},         Row{DType::kU32, "UINT32"},
    Row{DType::kU64, "UINT64"},         Row{DType::kC64, "COMPLEX64"},      Row{DType::kC128, "COMPLEX128"},
    Row{DType::kBF16, "BFLOAT16"},      Row{DType::kF8E4M3FN, "FLOAT8E4M3FN"},
    Row{DType::kF8E4M3FNUZ, "FLOAT8E4M3FNUZ"}, Row{DType::kF8E5M2, "FLOAT8E5M2"},
    Row{DType::kF8E5M2FNUZ, "FLOAT8E5M2FNUZ"}, Row{DType::kU4, "UINT4"},    Row{DType::kS4, "INT4"},
    Row{DType::kF4E2M1, "FLOAT4E2M1"},  Row{DType::kF8E8M0, "FLOAT8E8M0"},  Row{DType::kU2, "UINT2"},
    Row{DType::kS2, "INT2"},
};

Result<graph::Dim> read_dim(const ProtoField& message, const std::string& who) {
  graph::Dim dim;
  ProtoReader reader(message);
  ProtoField field;
  while (true) {
    NARROW_TRY(const bool more, reader.next(field));
    if (!more) break;
    if (field.number == type_field::kDimValue) {
      NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kVarint, "dim_value"));
      if (field.as_int() < -1) return corrupt(fmt::format("'{}' is declared with the dimension {}", who, field.as_int()));
      dim = graph::Dim(field.as_int());  // -1 is how some exporters write "unknown"
    } else if (field.number == type_field::kDimParam) {
      NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kBytes, "dim_param"));
      dim = graph::Dim(std::string(field.text()));
    }
  }
  return dim;
}

Result<graph::Type> read_tensor_type(const ProtoField& message, const std::string& who) {
  graph::Type type = graph::Type::tensor(DType::kUndefined);
  ProtoReader reader(message);
  ProtoField field;
  while (true) {
    NARROW_TRY(const bool more, reader.next(field));
    if (!more) break;
    if (field.number == type_field::kElemType) {
      NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kVarint, "elem_type"));
      if (field.value == 0) continue;
      const auto dtype = dtype_from_onnx(field.as_int());
      if (!dtype) return unsupported(fmt::format("'{}' has the element type {}, which is not known", who, field.as_int()));
      type.dtype = *dtype;
    } else if (field.number == type_field::kShape) {
      NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kBytes, "shape"));
      type.ranked = true;
      ProtoReader dims(field);
      ProtoField dim;
      while (true) {
        NARROW_TRY(const bool more_dims, dims.next(dim));
        if (!more_dims) break;
        if (dim.number != type_field::kDim) continue;
        NARROW_RETURN_IF_ERROR(wire::expect(dim, WireType::kBytes, "dim"));
        NARROW_TRY(graph::Dim parsed, read_dim(dim, who));
        type.dims.push_back(std::move(parsed));
      }
    }
  }
  return type;
}

graph::Type foreign_type(wire::ByteSpan bytes) {
  graph::Type type;
  type.kind = graph::TypeKind::kOther;
  type.foreign.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return type;
}

// TypeProto.Sequence and TypeProto.Optional: what is inside, kUnknown when nothing is said.
Result<graph::Type> read_inner_type(const ProtoField& message, const std::string& who, int depth);

// A TypeProto. Types that hold something else than tensors are kept as bytes.
Result<graph::Type> read_type(wire::ByteSpan bytes, const std::string& who, int depth) {
  using graph::Type;
  using graph::TypeKind;
  Type type;
  ProtoReader reader(bytes);
  ProtoField field;
  while (true) {
    NARROW_TRY(const bool more, reader.next(field));
    if (!more) return type;
    switch (field.number) {
      case type_field::kTensor: {
        NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kBytes, "tensor_type"));
        NARROW_TRY(type, read_tensor_type(field, who));
        break;
      }
      case type_field::kSequence:
      case type_field::kOptional: {
        NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kBytes, "type"));
        const bool sequence = field.number == type_field::kSequence;
        Type inner;
        if (depth < kMaxTypeDepth) { NARROW_TRY(inner, read_inner_type(field, who, depth + 1)); }
        if (inner.kind == TypeKind::kTensor) type = sequence ? Type::sequence(inner) : Type::optional(inner);
        else if (inner.kind == TypeKind::kSequence && !sequence) type = Type::optional(inner);
        else type = foreign_type(bytes);
        break;
      }
      case type_field::kMap:
      case type_field::kOpaque:
      case type_field::kSparseTensor:
        NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kBytes, "type"));
        type = foreign_type(bytes);
        break;
      default: break;
    }
  }
}

Result<graph::Type> read_inner_type(const ProtoField& message, const std::string& who, int depth) {
  graph::Type type;
  ProtoReader reader(message);
  ProtoField field;
  while (true) {
    NARROW_TRY(const bool more, reader.next(field));
    if (!more) return type;
    if (field.number != type_field::kInner) continue;
    NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kBytes, "elem_type"));
    NARROW_TRY(type, read_type(field.bytes, who, depth));
  }
}

}  // namespace

std::optional<DType> dtype_from_onnx(std::int64_t data_type) {
  if (data_type < 1 || data_type > static_cast<std::int64_t>(kRows.size())) return std::nullopt;
  return kRows[static_cast<std::size_t>(data_type - 1)].dtype;
}

std::int64_t dtype_to_onnx(DType dtype) {
  for (std::size_t i = 0; i < kRows.size(); ++i) {
    if (kRows[i].dtype == dtype) return static_cast<std::int64_t>(i + 1);
  }
  return 0;
}

std::optional<std::int64_t> data_type_from_name(std::string_view name) {
  for (std::size_t i = 0; i < kRows.size(); ++i) {
    if (kRows[i].name == name) return static_cast<std::int64_t>(i + 1);
  }
  return std::nullopt;
}

Result<graph::Type> read_type(wire::ByteSpan bytes, const std::string& who) { return read_type(bytes, who, 0); }

wire::ProtoMessage write_type(const graph::Type& type) {
  wire::ProtoMessage message;
  if (type.kind == graph::TypeKind::kUnknown || type.kind == graph::TypeKind::kOther) {
    message.add_encoded(type.foreign);
    return message;
  }
  if (type.kind != graph::TypeKind::kTensor) {
    wire::ProtoMessage inner;
    inner.add_message(type_field::kInner, write_type(type.element()));
    message.add_message(type.kind == graph::TypeKind::kSequence ? type_field::kSequence : type_field::kOptional, inner);
    return message;
  }
  wire::ProtoMessage tensor;
  tensor.add_int(type_field::kElemType, dtype_to_onnx(type.dtype));
  if (type.ranked) {
    wire::ProtoMessage shape;
    for (const graph::Dim& dim : type.dims) {
      wire::ProtoMessage one;
      if (dim.known()) one.add_int(type_field::kDimValue, dim.size);
      else if (!dim.symbol.empty()) one.add_string(type_field::kDimParam, dim.symbol);
      shape.add_message(type_field::kDim, one);
    }
    tensor.add_message(type_field::kShape, shape);
  }
  message.add_message(type_field::kTensor, tensor);
  return message;
}

}  // namespace narrow::formats::onnx
