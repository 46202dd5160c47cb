// How much a graph computes and how many bytes it moves.
#pragma once

#include <cstdint>

#include "graph/graph.h"

namespace narrow::evaluation {

// Multiply-adds by the numbers that are multiplied, and bytes read and written by one run.
struct Work {
  double f32 = 0, f16 = 0, int8 = 0;   // multiply-adds; f16 holds bfloat16 too
  double weight_bytes = 0;             // of constants, each read once
  double activation_bytes = 0;         // each value written once and read by each of its readers, as the runtime keeps it
  double multiply_adds() const { return f32 + f16 + int8; }
};

// Of convolutions, matrix products and recurrent layers, of integers too; subgraphs count once. A dimension that is not
// fixed counts as 1. In QDQ form a product of two dequantized values of 8 bits counts as int8, and the values around it
// as the integers that they are. The graph must have been through infer_types.
Work count_work(const graph::Graph& graph);

}  // namespace narrow::evaluation
