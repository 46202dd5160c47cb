// What a graph consists of: operators, parameters, multiply-adds, and which tensors take the bytes.
#pragma once

#include <cstdint>
#include <vector>

#include "graph/graph.h"
#include "narrow/figures.h"

namespace narrow::evaluation {

// Subgraphs included. Most frequent first, then by name.
std::vector<OperatorCount> count_operators(const graph::Graph& graph);

// Bytes of constants (subgraphs included) by what they are for, largest first.
std::vector<SizeClass> size_by_class(const graph::Graph& graph);

// Elements of weights and biases.
std::uint64_t count_parameters(const graph::Graph& graph);

// Of convolutions and matrix products whose shapes are known; a dimension that is not fixed counts as 1. The graph must
// have been through infer_types.
std::uint64_t count_multiply_adds(const graph::Graph& graph);

bool is_quantized(const graph::Graph& graph);

}  // namespace narrow::evaluation
