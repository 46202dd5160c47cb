// From QDQ form to operators that compute on integers directly.
#pragma once

#include "graph/graph.h"
#include "narrow/result.h"

namespace narrow::passes {

// DequantizeLinear → operator → QuantizeLinear becomes QLinearConv, QLinearMatMul, or the operator of that kind in
// com.microsoft (QGemm, QLinearAdd, QLinearMul, QLinearConcat, QLinearAveragePool, QLinearGlobalAveragePool,
// QLinearSigmoid, QLinearLeakyRelu, QLinearSoftmax); what moves codes (MaxPool, Reshape, Transpose, …) moves them
// undressed. Whatever does not match keeps its QDQ form.
Status qdq_to_qoperator(graph::Model& model);

}  // namespace narrow::passes
