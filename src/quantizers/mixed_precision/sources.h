// The roundings of a QDQ graph, seen from the float graph it was made of. Private to this folder.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "tensor/tensor.h"

namespace narrow::quantizers::mixed_precision {

// The constants of one float node as the quantized graph has them, dequantized: input index -> tensor.
struct RoundedWeights {
  int node = -1;                             // index into the float graph
  std::map<int, Tensor> inputs;
};

struct RoundedActivation {
  graph::ValueId value = graph::kNoValue;    // in the float graph
  float scale = 1;
  std::int32_t zero_point = 0;
  DType storage_type = DType::kU8;

  Tensor round(const Tensor& values) const;  // f32 in, f32 out
};

std::vector<RoundedWeights> rounded_weights(const graph::Graph& reference, const graph::Graph& quantized);
std::vector<RoundedActivation> rounded_activations(const graph::Graph& reference, const graph::Graph& quantized);

// What of the float graph runs when `from` is given: the nodes behind it, reading other values that must be given too.
// Outputs are those of the graph that depend on it; `outputs` are their places in the graph's list.
struct Remainder {
  graph::Graph graph;
  std::vector<std::string> inputs;           // names, `from` among them
  std::vector<std::size_t> outputs;
};
Remainder behind_value(const graph::Graph& reference, graph::ValueId from);
// The same with node `node` itself as the first to run, its constants replaced.
Remainder from_node(const graph::Graph& reference, const RoundedWeights& weights);

}  // namespace narrow::quantizers::mixed_precision
