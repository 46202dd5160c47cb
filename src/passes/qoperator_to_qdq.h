// From operators that compute on integers directly back to QDQ form, where scales and zero points stand beside float operators.
#pragma once

#include "graph/graph.h"
#include "narrow/result.h"

namespace narrow::passes {

// QLinearConv, QLinearMatMul and com.microsoft's QGemm, QLinearAdd, QLinearMul, QLinearConcat, QLinearAveragePool,
// QLinearGlobalAveragePool, QLinearSigmoid, QLinearLeakyRelu and QLinearSoftmax become DequantizeLinear, operator,
// QuantizeLinear; whatever else works on codes stays. The float value of codes called "x_quantized" (or
// "x_QuantizeLinear_Output") is called "x", where that name is free. Returns the number of operators rewritten.
Result<int> qoperator_to_qdq(graph::Graph& graph);

}  // namespace narrow::passes
