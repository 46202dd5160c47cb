// Writes a quantization into a float graph: QuantizeLinear and DequantizeLinear around activations, integers and
// DequantizeLinear in place of constants. It decides nothing; see quantizers/static_int8/plan.h for what goes where.
#pragma once

#include <vector>

#include "graph/graph.h"
#include "narrow/result.h"
#include "tensor/quant_type.h"

namespace narrow::passes {

struct Reader {
  int node;    // index into graph.nodes
  int input;
};

// An activation: v → QuantizeLinear → DequantizeLinear → readers.
struct ActivationQdq {
  graph::ValueId value = graph::kNoValue;
  QuantType type;                  // per tensor
  QuantParams params;
  // True: the dequantized value takes over v's name and every reader, graph output included. False: v stays as it is
  // and only `readers` read the dequantized one.
  bool replaces = false;
  std::vector<Reader> readers;
};

// A constant: its codes → DequantizeLinear → readers. The float constant goes when nobody reads it any more.
struct ConstantQdq {
  graph::ValueId value = graph::kNoValue;
  QuantType type;
  QuantParams params;
  Tensor codes;
  std::vector<Reader> readers;
};

struct QdqPlan {
  std::vector<ActivationQdq> activations;
  std::vector<ConstantQdq> constants;
};

// The graph is sorted and verified after. Scale and zero point initializers of equal content are stored once.
Status insert_qdq(graph::Graph& graph, const QdqPlan& plan);

}  // namespace narrow::passes
