// Copies of the quantized model with one thing mended: what a cause costs is measured by taking it away.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include "diagnosis/pairing.h"
#include "graph/graph.h"

namespace narrow::diagnosis {

// Other ranges for some sites. The storage type stays, and with it whether the zero point may move.
graph::Graph with_ranges(const graph::Graph& quantized, std::span<const std::pair<const ActivationSite*, std::pair<double, double>>> ranges);

// Some sites left in float, cut to their ranges.
graph::Graph without_quantization(const graph::Graph& quantized, std::span<const ActivationSite* const> sites);

// Other numbers for some weights or biases.
graph::Graph with_constants(const graph::Graph& quantized, std::span<const std::pair<const ConstantSite*, Tensor>> constants);

// `original` rounded to 8 bits with a scale for each channel: what per-channel quantization would make of it.
Tensor rounded_per_channel(const ConstantSite& site);

}  // namespace narrow::diagnosis
