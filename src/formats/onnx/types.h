// ONNX element types and TypeProto to and from the graph's types.
#pragma once

#include <optional>

#include "graph/graph.h"
#include "narrow/result.h"
#include "wire/protobuf.h"

namespace narrow::formats::onnx {

// TensorProto.DataType. Null for numbers that narrow does not know.
std::optional<DType> dtype_from_onnx(std::int64_t data_type);
std::int64_t dtype_to_onnx(DType dtype);
// "FLOAT", "INT64": how opset 1 to 5 named types in attributes.
std::optional<std::int64_t> data_type_from_name(std::string_view name);

// Errors: corrupt (negative dimension, wrong wire type), unsupported (element type). `who` names the value.
Result<graph::Type> read_type(wire::ByteSpan bytes, const std::string& who);
// An empty message for an unknown type.
wire::ProtoMessage write_type(const graph::Type& type);

}  // namespace narrow::formats::onnx
