// From QDQ form to operators that compute on integers directly.
#pragma once

#include <span>
#include <string_view>

#include "graph/graph.h"
#include "narrow/result.h"

namespace narrow::passes {

// DequantizeLinear → operator → QuantizeLinear becomes QLinearConv, QLinearMatMul, or the operator of that kind in
// com.microsoft (QGemm, QLinearAdd, QLinearMul, QLinearConcat, QLinearAveragePool, QLinearGlobalAveragePool,
// QLinearSigmoid, QLinearLeakyRelu, QLinearSoftmax); what moves codes (MaxPool, Reshape, Transpose, …) moves them
// undressed. Whatever does not match keeps its QDQ form.
Status qdq_to_qoperator(graph::Model& model);

// The last rule alone, for the operators named: what stands between equal DequantizeLinear and QuantizeLinear moves
// codes itself. Pad with zeros pads with the zero point. Returns the number of nodes moved.
Result<int> move_codes(graph::Graph& graph, std::span<const std::string_view> operators);

}  // namespace narrow::passes
