// GraphProto to Graph: names resolved to ids, captures found, nodes named and put in order. The operators still mean
// what the model's opset says; normalise.h lifts them.
#pragma once

#include <string>

#include "formats/onnx/functions.h"
#include "formats/onnx/tensor_reader.h"
#include "graph/graph.h"
#include "narrow/result.h"

namespace narrow::formats::onnx {

// A graph being read and the graphs around it.
struct Scope {
  graph::Graph* graph = nullptr;
  Scope* parent = nullptr;
  int depth = 1;
};

struct GraphContext {
  TensorSource tensors;
  std::string label;         // the file, for messages
  std::string* annotations;  // encoded quantization annotations of the main graph are appended here
  FunctionTable* functions;  // null: none
};

// Fills `scope.graph`. Errors: corrupt (undefined or twice defined names, a cycle, nesting too deep), unsupported.
Status read_graph(const wire::ProtoField& message, Scope& scope, const GraphContext& context);

}  // namespace narrow::formats::onnx
