#include "formats/onnx/normalise.h"

#include <fmt/format.h>

#include <unordered_set>

#include "formats/onnx/normalise_rules.h"
#include "formats/onnx/schema.h"
#include "operators/infer.h"
#include "operators/operator.h"

namespace narrow::formats::onnx {
namespace {

using graph::Graph;
using graph::GraphPtr;
using graph::Node;

template <typename Visit>
Status for_each_subgraph(Node& node, const Visit& visit) {
  for (graph::Attribute& attribute : node.attributes) {
    if (auto* one = std::get_if<GraphPtr>(&attribute.value)) NARROW_RETURN_IF_ERROR(visit(**one));
    if (auto* many = std::get_if<std::vector<GraphPtr>>(&attribute.value)) {
      for (GraphPtr& sub : *many) NARROW_RETURN_IF_ERROR(visit(*sub));
    }
  }
  return {};
}

std::string describe(const Node& node) { return fmt::format("in node '{}' ({})", node.name, node.op_type); }

class Normaliser {
 public:
  Normaliser(std::int64_t opset, RuleStage stage) : opset_(opset), stage_(stage) {}

  Status run(Graph& graph, const std::vector<graph::Type>* types) {
    std::vector<Node> nodes;
    nodes.reserve(graph.nodes.size());
    const graph::Uses uses(graph);
    for (const Node& node : graph.nodes) taken_.insert(node.name);
    for (Node& node : graph.nodes) {
      if (!node.domain.empty()) {
        nodes.push_back(std::move(node));
        continue;
      }
      RewriteContext context(graph, opset_, uses, types);
      for (const NormaliseRule& rule : normalise_rules()) {
        if (context.dropped() || rule.stage != stage_ || opset_ >= rule.below || rule.op_type != node.op_type) continue;
        NARROW_RETURN_IF_ERROR(rule.apply(node, context).context(describe(node)));
      }
      for (Node& extra : context.before()) nodes.push_back(named(std::move(extra)));
      if (!context.dropped()) nodes.push_back(std::move(node));
      for (Node& extra : context.after()) nodes.push_back(named(std::move(extra)));
    }
    graph.nodes = std::move(nodes);
    for (Node& node : graph.nodes) {
      NARROW_RETURN_IF_ERROR(for_each_subgraph(node, [&](Graph& sub) { return Normaliser(opset_, stage_).run(sub, nullptr); }));
    }
    return {};
  }

 private:
  Node named(Node node) {
    const std::string base = node.name;
    for (int i = 1; !taken_.insert(node.name).second; ++i) node.name = fmt::format("{}_{}", base, i);
    return node;
  }

  std::int64_t opset_;
  RuleStage stage_;
  std::unordered_set<std::string> taken_;
};

bool has_typed_rule(const Graph& graph, std::int64_t opset) {
  for (const Node& node : graph.nodes) {
    if (!node.domain.empty()) continue;
    for (const NormaliseRule& rule : normalise_rules()) {
      if (rule.stage == RuleStage::kTyped && opset < rule.below && rule.op_type == node.op_type) return true;
    }
  }
  return false;
}

// What inference can tell, by value id; empty when it fails (the graph itself is judged later, by who uses it).
std::vector<graph::Type> inferred_types(const Graph& graph) {
  Graph copy = graph.clone();
  std::vector<graph::Type> types;
  if (!operators::infer_types(copy).ok()) return types;
  for (graph::Value& value : copy.values) types.push_back(std::move(value.type));
  return types;
}

Status check_arity(const Graph& graph) {
  for (const Node& node : graph.nodes) {
    if (const operators::Operator* op = operators::find_operator(node.domain, node.op_type)) {
      NARROW_RETURN_IF_ERROR(operators::check_arity(node, *op));
    }
    for (const graph::Attribute& attribute : node.attributes) {
      if (const auto* one = std::get_if<GraphPtr>(&attribute.value)) NARROW_RETURN_IF_ERROR(check_arity(**one));
      if (const auto* many = std::get_if<std::vector<GraphPtr>>(&attribute.value)) {
        for (const GraphPtr& sub : *many) NARROW_RETURN_IF_ERROR(check_arity(*sub));
      }
    }
  }
  return {};
}

}  // namespace

Status normalise(graph::Model& model) {
  const auto it = model.opsets.find("");
  const std::int64_t opset = it == model.opsets.end() ? kNewestOpset : it->second;
  NARROW_RETURN_IF_ERROR(Normaliser(opset, RuleStage::kPlain).run(model.graph, nullptr));
  if (has_typed_rule(model.graph, opset)) {
    const std::vector<graph::Type> types = inferred_types(model.graph);
    NARROW_RETURN_IF_ERROR(Normaliser(opset, RuleStage::kTyped).run(model.graph, &types));
  } else {
    NARROW_RETURN_IF_ERROR(Normaliser(opset, RuleStage::kTyped).run(model.graph, nullptr));
  }
  return check_arity(model.graph);
}

}  // namespace narrow::formats::onnx
