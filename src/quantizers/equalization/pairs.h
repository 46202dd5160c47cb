// Layers whose channels may be scaled between them without the model noticing.
#pragma once

#include <optional>
#include <vector>

#include "graph/graph.h"
#include "tensor/tensor.h"

namespace narrow::quantizers::equalization {

// `first` makes channels that reach `second` through operators f with f(s x) = s f(x), s > 0, channel by channel, and
// nobody else.
struct Pair {
  int first = -1, second = -1;              // nodes: Conv or Gemm with constant f32 weights
  std::int64_t channels = 0;
  graph::ValueId made = graph::kNoValue;    // what `first` writes
  graph::ValueId read = graph::kNoValue;    // what `second` reads
};

// In graph order. Precondition: types are inferred.
std::vector<Pair> find_pairs(const graph::Graph& graph);

// A layer's weight as a matrix of blocks: element (out channel o, in channel i, tap k).
struct Layout {
  std::int64_t outputs = 0, inputs = 0, taps = 1, groups = 1;  // inputs of all groups together
  bool outputs_first = true;                                   // false: Gemm without transB, [in, out]
  std::int64_t inputs_per_group() const { return inputs / groups; }
  // Visits every element: visit(index, out channel, in channel).
  template <typename Visit>
  void for_each(const Visit& visit) const {
    std::size_t at = 0;
    if (!outputs_first) {
      for (std::int64_t i = 0; i < inputs; ++i) {
        for (std::int64_t o = 0; o < outputs; ++o) visit(at++, o, i);
      }
      return;
    }
    for (std::int64_t o = 0; o < outputs; ++o) {
      const std::int64_t first = o / (outputs / groups) * inputs_per_group();
      for (std::int64_t i = 0; i < inputs_per_group(); ++i) {
        for (std::int64_t k = 0; k < taps; ++k) visit(at++, o, first + i);
      }
    }
  }
};
// Nothing for a node that is no Conv or Gemm with constant f32 weights and bias.
std::optional<Layout> layout_of(const graph::Graph& graph, const graph::Node& node);

// Largest |w| by output channel, by input channel.
std::vector<float> output_extents(const Layout& layout, const Tensor& weight);
std::vector<float> input_extents(const Layout& layout, const Tensor& weight);

// The node's constant input i as a copy of its own that may be written. Precondition: it is a constant f32.
std::span<float> own_constant(graph::Graph& graph, int node, int input);

// The first layer's channels divided by `factors`, the second's inputs multiplied by them.
void scale_between(graph::Graph& graph, const Pair& pair, const std::vector<float>& factors);

}  // namespace narrow::quantizers::equalization
