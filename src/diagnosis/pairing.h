// Where a quantized model holds integers, set beside the float model it was made from. Both are matched by names, so files
// of other quantizers pair as well.
#pragma once

#include <string>
#include <vector>

#include "graph/graph.h"
#include "narrow/result.h"

namespace narrow::diagnosis {

// An activation between QuantizeLinear and DequantizeLinear, quantized per tensor.
struct ActivationSite {
  std::string value;                              // in the float model
  graph::ValueId reference = graph::kNoValue;     // that value
  graph::ValueId quantized = graph::kNoValue;     // what is quantized, in the quantized model
  int quantize = -1;                              // node
  std::vector<int> dequantize;                    // nodes
  double scale = 1, zero_point = 0;
  DType storage_type = DType::kUndefined;

  double low() const;                             // smallest and largest number it can hold
  double high() const;
};

// Which slice along an axis each element of a row-major tensor lies in.
struct Channels {
  std::size_t count = 1, inner = 1;
  std::size_t of(std::size_t element) const { return element / inner % count; }
};

// The constant weight or bias of a layer, behind a DequantizeLinear.
struct ConstantSite {
  std::string layer, op_type;                     // the node in the float model
  int input = 1;                                  // of that node: 1 weight, 2 bias
  int reference_node = -1, quantized_node = -1;
  graph::ValueId dequantized = graph::kNoValue;   // in the quantized model
  Tensor original;                                // f32, as in the float model
  Tensor restored;                                // f32, what the integers say
  int scales = 1;                                 // 1: per tensor
  int axis = 0;                                   // of the output channels, in `original`
  bool depthwise = false;
  DType storage_type = DType::kUndefined;
  double zero_point_largest = 0;                  // of all zero points, by size

  Channels channels() const;                      // along `axis`
};

// A layer with weights that the quantized model still computes in float.
struct FloatLayer {
  std::string layer, op_type;
  std::uint64_t bytes = 0;                        // of its float weights
  int quantized_node = -1;
  graph::ValueId reference_input = graph::kNoValue;   // in the float model
};

struct Pairing {
  std::vector<ActivationSite> activations;        // in graph order
  std::vector<ConstantSite> weights, biases;
  std::vector<ConstantSite> factors;              // of BatchNormalization: scale and shift
  std::vector<FloatLayer> floats;
};

// Precondition: both have BatchNormalization folded or neither, `quantized` is in QDQ form. Errors: corrupt, when a quantized
// constant cannot be read.
Result<Pairing> pair(const graph::Graph& reference, const graph::Graph& quantized);

// The layer that makes `value`, looking through activations that are folded into ranges; the value's name for an input.
std::string layer_of(const graph::Graph& graph, const graph::Uses& uses, graph::ValueId value);

}  // namespace narrow::diagnosis
