// AttributeProto to Attribute. Subgraphs are read in the scope of the node that carries them.
#pragma once

#include "formats/onnx/graph_reader.h"

namespace narrow::formats::onnx {

Result<graph::Attribute> read_attribute(const wire::ProtoField& message, Scope& scope, const GraphContext& context);

}  // namespace narrow::formats::onnx
