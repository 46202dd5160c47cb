// Bias correction (Nagel et al. 2019, "Data-Free Quantization through Weight Equalization and Bias Correction", section
// 4.2, with means that calibration measured). Rounding a weight moves the mean of each output channel by the error of
// the weights times the mean of the inputs; that shift is known, so the bias takes it back.
#pragma once

#include <map>
#include <string>

#include "calibration/statistics.h"
#include "graph/graph.h"
#include "passes/insert_qdq.h"
#include "quantizers/static_int8/plan.h"

namespace narrow::quantizers::static_int8 {

// Whether correct_biases() can do something for the node.
bool corrects_mean(const graph::Graph& graph, const Plan& plan, std::size_t node);

// The inputs whose channel means correct_biases() needs, with the axis of their channels (1): those of every quantized
// Conv, ConvTranspose and Gemm that has a constant weight and a constant bias.
std::map<std::string, int> correction_inputs(const graph::Graph& graph, const Plan& plan);

// Changes the bias codes of `parameters`, and the float bias itself where the target keeps it float (as a constant of
// its own: other layers may share the old one). A layer without channel means (a channel count that changed between
// samples, NaN in its input) keeps its bias.
void correct_biases(graph::Graph& graph, const Plan& plan, const calibration::CalibrationTable& table, passes::QdqPlan& parameters);

}  // namespace narrow::quantizers::static_int8
