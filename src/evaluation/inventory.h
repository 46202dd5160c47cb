// What a graph consists of: operators, parameters, and which tensors take the bytes.
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

bool is_quantized(const graph::Graph& graph);

}  // namespace narrow::evaluation
