// The operators of the ai.onnx standard: which exist, and since when.
#pragma once

#include <cstdint>
#include <string_view>

#include "graph/graph.h"
#include "narrow/result.h"

namespace narrow::formats::onnx {

// The first opset that has the operator, 0 when none does.
int first_opset(std::string_view op_type);

// Every ai.onnx operator exists in the model's opset, and has inputs and outputs as its row says where there is one;
// every domain is imported. Other domains' operators pass. Errors: unsupported, corrupt.
Status check_operators(const graph::Model& model);

}  // namespace narrow::formats::onnx
