// One row per operator and change of its form, newest first: how an older opset says the same.
#pragma once

#include <span>
#include <string_view>

#include "graph/graph.h"

namespace narrow::formats::onnx {

struct LowerContext {
  graph::Graph& graph;
  std::int64_t opset;  // being written
};

struct LowerRule {
  std::string_view op_type;
  int below;  // applies when an older opset than this is written
  // Whether this node can be said in the older form at all; null: always.
  bool (*possible)(const graph::Node&, const graph::Graph&);
  // Null: the older form is the same.
  void (*apply)(graph::Node&, LowerContext&);
};

std::span<const LowerRule> lower_rules();

}  // namespace narrow::formats::onnx
