#include "runtime/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <numeric>
#include <utility>

#include "operators/infer.h"
#include "runtime/memory_plan.h"
#include "runtime/subgraph.h"

namespace narrow::runtime {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::Uses;
using graph::ValueId;

constexpr std::uint64_t kFoldFreely = std::uint64_t{1} << 20;  // bytes that a folded constant may always take
constexpr std::uint64_t kFoldGrowth = 16;                      // larger ones: this many times their inputs
constexpr std::uint64_t kLargestSlot = std::uint64_t{1} << 46;

template <typename Visit>
Status for_each_subgraph(const Node& node, const Visit& visit) {
  for (const graph::Attribute& attribute : node.attributes) {
    if (const auto* one = std::get_if<graph::GraphPtr>(&attribute.value)) {
      if (*one != nullptr) NARROW_RETURN_IF_ERROR(visit(**one));
    } else if (const auto* many = std::get_if<std::vector<graph::GraphPtr>>(&attribute.value)) {
      for (const graph::GraphPtr& g : *many) NARROW_RETURN_IF_ERROR(visit(*g));
    }
  }
  return {};
}

bool has_subgraph(const Node& node) {
  return std::any_of(node.attributes.begin(), node.attributes.end(), [](const graph::Attribute& a) {
    return std::holds_alternative<graph::GraphPtr>(a.value) || std::holds_alternative<std::vector<graph::GraphPtr>>(a.value);
  });
}

// Which nodes the outputs and kept values depend on. A value that is already constant needs no producer.
std::vector<bool> needed_nodes(const Graph& graph, std::span<const ValueId> kept) {
  const Uses uses(graph);
  std::vector<std::vector<ValueId>> captures(graph.nodes.size());
  for (std::size_t v = 0; v < graph.values.size(); ++v) {
    for (const Uses::Use& use : uses.readers[v]) {
      if (use.input < 0) captures[use.node].push_back(static_cast<ValueId>(v));
    }
  }
  std::vector<bool> value_needed(graph.values.size(), false), node_needed(graph.nodes.size(), false);
  for (ValueId id : graph.outputs) value_needed[id] = true;
  for (ValueId id : kept) value_needed[id] = true;
  for (std::size_t n = graph.nodes.size(); n-- > 0;) {
    const Node& node = graph.nodes[n];
    node_needed[n] = std::any_of(node.outputs.begin(), node.outputs.end(), [&](ValueId id) {
      return id != kNoValue && value_needed[id] && !graph.value(id).constant;
    });
    if (!node_needed[n]) continue;
    for (ValueId id : node.inputs) {
      if (id != kNoValue) value_needed[id] = true;
    }
    for (ValueId id : captures[n]) value_needed[id] = true;
  }
  return node_needed;
}

std::optional<std::uint64_t> static_bytes(const graph::Type& type) {
  if (type.kind != graph::TypeKind::kTensor || bits_of(type.dtype) == 0) return std::nullopt;
  const auto shape = type.static_shape();
  if (!shape) return std::nullopt;
  std::int64_t count = 1;
  for (std::int64_t dim : *shape) {
    if (__builtin_mul_overflow(count, dim, &count)) return std::nullopt;
  }
  return storage_bytes(type.dtype, count);
}

// Values that share bytes: an alias with what it aliases, an in-place output with the input it replaces.
class Groups {
 public:
  explicit Groups(std::size_t count) : parent_(count) { std::iota(parent_.begin(), parent_.end(), 0); }
  int find(int v) {
    while (parent_[v] != v) v = parent_[v] = parent_[parent_[v]];
    return v;
  }
  void join(int root, int member) { parent_[find(member)] = find(root); }

 private:
  std::vector<int> parent_;
};

void plan_slots(Plan& plan, const PlanRequest& request) {
  const Graph& graph = plan.graph;
  const Uses uses(graph);
  const int end = static_cast<int>(graph.nodes.size());
  const std::size_t count = graph.values.size();
  Groups groups(count);
  const auto flags = [&](const Node& node) {
    const operators::Operator* op = operators::find_operator(node.domain, node.op_type);
    return op == nullptr ? 0u : op->flags;
  };
  for (const Node& node : graph.nodes) {
    if ((flags(node) & operators::kAliasesInput) != 0 && node.input(0) != kNoValue && node.output(0) != kNoValue) {
      groups.join(node.input(0), node.output(0));
    }
  }

  std::vector<Lifetime> lifetimes(count, Lifetime{0, end, -1});
  std::vector<bool> placeable(count, true);
  for (std::size_t v = 0; v < count; ++v) {
    const int g = groups.find(static_cast<int>(v));
    Lifetime& life = lifetimes[g];
    const bool produced = uses.producer[v] >= 0 && !graph.values[v].constant;
    if (produced) {
      life.first = std::min(life.first, uses.producer[v]);
      life.last = std::max(life.last, uses.producer[v]);
      const auto bytes = static_bytes(graph.values[v].type);
      if (bytes && *bytes <= kLargestSlot) {
        life.bytes = std::max(life.bytes, *bytes);
      } else {
        placeable[g] = false;
      }
    } else {
      placeable[g] = false;  // constants, inputs and captured values bring their own memory
    }
    for (const Uses::Use& use : uses.readers[v]) life.last = std::max(life.last, use.node);
    if (uses.is_output[v]) {
      life.last = end;
      if (!request.outputs_in_arena) placeable[g] = false;
    }
  }

  // An operator that can write over an input of its output's type does so when nothing else needs that input any more.
  for (int n = 0; n < end; ++n) {
    const Node& node = graph.nodes[n];
    const ValueId out = node.output(0);
    if ((flags(node) & operators::kInPlace) == 0 || out == kNoValue || graph.value(out).constant) continue;
    const int out_group = groups.find(out);
    const graph::Type& type = graph.value(out).type;
    if (!placeable[out_group] || lifetimes[out_group].first != n || !type.static_shape()) continue;
    for (ValueId in : node.inputs) {
      if (in == kNoValue) continue;
      const int in_group = groups.find(in);
      if (in_group == out_group || !placeable[in_group] || lifetimes[in_group].last != n) continue;
      // Every input that shares those bytes must be read at the place where the output is written.
      const bool same = std::all_of(node.inputs.begin(), node.inputs.end(), [&](ValueId other) {
        if (other == kNoValue || groups.find(other) != in_group) return true;
        const graph::Type& t = graph.value(other).type;
        return t.dtype == type.dtype && t.static_shape() == type.static_shape();
      });
      if (!same || lifetimes[in_group].bytes != lifetimes[out_group].bytes) continue;
      lifetimes[in_group].last = lifetimes[out_group].last;
      groups.join(in_group, out_group);
      break;
    }
  }

  std::vector<int> slot_of(count, -1);
  std::vector<Lifetime> wanted;
  for (std::size_t v = 0; v < count; ++v) {
    const int g = groups.find(static_cast<int>(v));
    if (g != static_cast<int>(v) || !placeable[g] || lifetimes[g].last < 0) continue;
    slot_of[g] = static_cast<int>(wanted.size());
    wanted.push_back(lifetimes[g]);
  }
  const MemoryPlan memory = plan_memory(wanted);
  plan.arena_bytes = memory.total;
  plan.slots.resize(count);
  for (std::size_t v = 0; v < count; ++v) {
    if (uses.producer[v] < 0 || graph.values[v].constant) continue;
    const auto bytes = static_bytes(graph.values[v].type);
    if (bytes && *bytes <= kLargestSlot) plan.unshared_bytes += *bytes;
    const int slot = slot_of[groups.find(static_cast<int>(v))];
    if (slot < 0) continue;
    plan.slots[v] = {true, memory.offsets[slot], graph.values[v].type.dtype, *graph.values[v].type.static_shape()};
  }
  // Aliases only get a slot through what they alias: an operator that copies after all takes fresh memory.
  for (const Node& node : graph.nodes) {
    if ((flags(node) & operators::kAliasesInput) != 0 && node.output(0) != kNoValue) plan.slots[node.output(0)].planned = false;
  }
}

// Handles to heap values are dropped after their last reader. Those of the arena stay: the next run uses them again.
void plan_releases(Plan& plan) {
  const Uses uses(plan.graph);
  for (std::size_t v = 0; v < plan.graph.values.size(); ++v) {
    if (uses.producer[v] < 0 || uses.is_output[v] || plan.graph.values[v].constant) continue;
    int last = uses.producer[v];
    for (const Uses::Use& use : uses.readers[v]) last = std::max(last, use.node);
    plan.nodes[last].last_used.push_back(static_cast<ValueId>(v));
  }
}

bool only_reshapes(const Graph& graph, const Node& node, std::span<const ValueId> kept) {
  if (!kept.empty() || node.outputs.size() != 1 || node.input(0) == kNoValue || node.output(0) == kNoValue) return false;
  const graph::Type &from = graph.value(node.input(0)).type, &to = graph.value(node.output(0)).type;
  const auto in = static_bytes(from), out = static_bytes(to);
  if (!in || in != out || from.dtype != to.dtype) return false;
  return std::all_of(node.inputs.begin() + 1, node.inputs.end(), [&](ValueId id) { return id == kNoValue || graph.constant(id) != nullptr; });
}

Status prepare_nodes(Plan& plan, const PlanRequest& request, Environment& environment) {
  for (const Node& node : plan.graph.nodes) {
    operators::PrepareContext context;
    context.node = &node;
    context.threads = environment.threads;
    for (ValueId id : node.inputs) {
      context.input_types.push_back(id == kNoValue ? graph::Type() : plan.graph.value(id).type);
      context.constants.push_back(plan.graph.constant(id));
    }
    for (ValueId id : node.outputs) {
      context.output_types.push_back(id == kNoValue ? graph::Type() : plan.graph.value(id).type);
    }
    context.make_subgraph = [&](const Graph& body) {
      return make_subgraph(body, plan.graph, environment, request.depth + 1, request.scope + node.name + "/");
    };
    PlannedNode planned;
    planned.node = &node;
    NARROW_TRY(planned.kernel, operators::prepare(context));
    const operators::Operator* op = operators::find_operator(node.domain, node.op_type);
    planned.aliases_input = (op->flags & operators::kAliasesInput) != 0;
    planned.only_reshapes = planned.aliases_input && only_reshapes(plan.graph, node, request.kept);
    planned.takes_values = (op->flags & operators::kTakesValues) != 0;
    plan.nodes.push_back(std::move(planned));
  }
  return {};
}

void attach_profiles(Plan& plan, const PlanRequest& request, Environment& environment) {
  for (PlannedNode& planned : plan.nodes) {
    std::string name = request.scope + planned.node->name;
    std::string implementation = planned.kernel->describe();
    const auto known = std::find_if(environment.profiles.begin(), environment.profiles.end(), [&](const NodeProfile& p) {
      return p.name == name && p.implementation == implementation;
    });
    if (known != environment.profiles.end()) {
      planned.profile = &*known;
      continue;
    }
    environment.profiles.push_back({std::move(name), planned.node->op_type, std::move(implementation), 0, 0});
    planned.profile = &environment.profiles.back();
  }
}

// Keeps the nodes for which `keep` says true, without touching value ids.
void filter_nodes(Graph& graph, const std::vector<bool>& keep) {
  std::vector<Node> nodes;
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    if (keep[n]) nodes.push_back(std::move(graph.nodes[n]));
  }
  graph.nodes = std::move(nodes);
}

}  // namespace

Status check_supported(const Graph& graph, std::span<const ValueId> kept, int depth) {
  if (depth > kMaxSubgraphDepth) {
    return unsupported(fmt::format("graph '{}': subgraphs nest deeper than {}", graph.name, kMaxSubgraphDepth));
  }
  const std::vector<bool> needed = needed_nodes(graph, kept);
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    if (!needed[n]) continue;
    const Node& node = graph.nodes[n];
    const operators::Operator* op = operators::find_operator(node.domain, node.op_type);
    if (op == nullptr || (op->prepare == nullptr && op->run == nullptr)) {
      return unsupported(fmt::format("node '{}': narrow cannot run the operator {}{}{}", node.name, node.domain,
                                     node.domain.empty() ? "" : "::", node.op_type));
    }
    NARROW_RETURN_IF_ERROR(operators::check_arity(node, *op));
    NARROW_RETURN_IF_ERROR(for_each_subgraph(node, [&](const Graph& body) { return check_supported(body, {}, depth + 1); }));
  }
  return {};
}

Status fold_constants(Graph& graph) {
  NARROW_TRY(operators::Inference inference, operators::infer_types(graph));
  for (auto& [id, tensor] : inference.known) graph.value(id).constant = std::move(tensor);
  std::vector<bool> keep(graph.nodes.size(), true);
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    const operators::Operator* op = operators::find_operator(node.domain, node.op_type);
    if (op == nullptr || (op->flags & operators::kNotDeterministic) != 0 || has_subgraph(node)) continue;
    std::vector<const Tensor*> inputs;
    std::uint64_t input_bytes = 0, output_bytes = 0;
    bool known = true;
    for (ValueId id : node.inputs) {
      const Tensor* tensor = graph.constant(id);
      known = known && (id == kNoValue || tensor != nullptr);
      if (tensor != nullptr) input_bytes += tensor->bytes();
      inputs.push_back(tensor);
    }
    for (ValueId id : node.outputs) {
      if (!known || id == kNoValue) continue;
      const auto bytes = static_bytes(graph.value(id).type);
      known = known && bytes.has_value();
      output_bytes += std::min(bytes.value_or(0), kLargestSlot);
    }
    if (const Tensor* value = node.get_tensor("value"); value != nullptr && node.is("Constant")) input_bytes += value->bytes();
    if (!known || (output_bytes > kFoldFreely && output_bytes / kFoldGrowth > input_bytes)) continue;
    Result<std::vector<Tensor>> outputs = operators::evaluate_node(node, inputs);
    if (!outputs.ok()) continue;  // reported when it runs, with the names of the run
    bool complete = true;
    for (std::size_t i = 0; i < node.outputs.size(); ++i) {
      if (node.outputs[i] != kNoValue && !(*outputs)[i].defined()) complete = false;
    }
    if (!complete) continue;
    for (std::size_t i = 0; i < node.outputs.size(); ++i) {
      if (node.outputs[i] == kNoValue) continue;
      graph::Value& value = graph.value(node.outputs[i]);
      value.type = graph::Type::of((*outputs)[i]);
      value.constant = std::move((*outputs)[i]);
    }
    keep[n] = false;
  }
  filter_nodes(graph, keep);
  return {};
}

Result<std::unique_ptr<Plan>> make_plan(Graph graph, const PlanRequest& request, Environment& environment) {
  if (request.depth > kMaxSubgraphDepth) {
    return unsupported(fmt::format("graph '{}': subgraphs nest deeper than {}", graph.name, kMaxSubgraphDepth));
  }
  auto plan = std::make_unique<Plan>();
  plan->graph = std::move(graph);
  NARROW_TRY(operators::Inference inference, operators::infer_types(plan->graph));
  for (auto& [id, tensor] : inference.known) {
    plan->graph.value(id).type = graph::Type::of(tensor);
    plan->graph.value(id).constant = std::move(tensor);
  }
  filter_nodes(plan->graph, needed_nodes(plan->graph, request.kept));
  NARROW_RETURN_IF_ERROR(prepare_nodes(*plan, request, environment));
  plan_slots(*plan, request);
  plan_releases(*plan);
  if (environment.profile) attach_profiles(*plan, request, environment);
  plan->values.resize(plan->graph.values.size());
  for (std::size_t v = 0; v < plan->values.size(); ++v) {
    if (plan->graph.values[v].constant) plan->values[v] = *plan->graph.values[v].constant;
  }
  return plan;
}

}  // namespace narrow::runtime
