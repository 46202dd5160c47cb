// One row per operator and change of its form.
#pragma once

#include <span>
#include <string_view>

#include "formats/onnx/rewrite.h"

namespace narrow::formats::onnx {

enum class RuleStage {
  kPlain,  // needs nothing but the node
  kTyped,  // runs when all plain rules have, with inferred types
};

struct NormaliseRule {
  std::string_view op_type;
  int below;  // applies to models of an older opset than this
  Status (*apply)(graph::Node&, RewriteContext&);
  RuleStage stage = RuleStage::kPlain;
};

std::span<const NormaliseRule> normalise_rules();

}  // namespace narrow::formats::onnx
