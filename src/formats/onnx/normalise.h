// Lifts the ai.onnx operators of a freshly read model from its opset to the meaning of opset 24, so that nothing above
// the formats knows older forms: attributes that became inputs, renamed operators, changed defaults.
#pragma once

#include "graph/graph.h"
#include "narrow/result.h"

namespace narrow::formats::onnx {

// model.opsets stays as imported. Errors: unsupported, naming the node, for an old form that cannot be expressed;
// corrupt, for a node whose attributes or counts of inputs and outputs break its operator's rules.
Status normalise(graph::Model& model);

}  // namespace narrow::formats::onnx
