// Takes integers away from operators that only follow their neighbours when they would cost more conversions than they
// save: QuantizeLinear and DequantizeLinear read and write whole tensors, which is what most "INT8 is slower than
// FP32" reports come down to.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "quantizers/static_int8/plan.h"

namespace narrow::quantizers::static_int8 {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::Uses;
using graph::ValueId;
using operators::QuantRole;

class Islands {
 public:
  Islands(const Graph& graph, Plan& plan) : graph_(graph), plan_(plan), uses_(graph) {}

  void run() {
    const bool every_edge = plan_.target->placement == targets::Placement::kEveryEdge;
    find_tails();
    for (bool changed = true; changed;) {
      changed = false;
      makers_ = effective_makers(graph_, plan_);
      for (std::size_t n = graph_.nodes.size(); n-- > 0;) {
        NodePlan& own = plan_.nodes[n];
        if (!own.quantized || own.folded || own.role == QuantRole::kCompute) continue;
        std::string reason = every_edge ? costs_more(static_cast<int>(n)) : without_neighbours(static_cast<int>(n));
        if (reason.empty()) continue;
        release(static_cast<int>(n), std::move(reason));
        changed = true;
        makers_ = effective_makers(graph_, plan_);
      }
    }
    unfold();
  }

 private:
  // An activation is expressed by the range of what is quantized behind it; where a layer's result leaves in float, it
  // must stay.
  void unfold() {
    for (std::size_t n = 0; n < graph_.nodes.size(); ++n) {
      NodePlan& own = plan_.nodes[n];
      if (own.folds < 0 || own.rule->needs_quantized_output) continue;
      NodePlan& activation = plan_.nodes[own.folds];
      if (readers(graph_.nodes[own.folds].output(0), true, -1) > 0) continue;
      activation.quantized = activation.folded = false;
      activation.reason = "nothing behind it computes in integers";
      own.folds = -1;
    }
  }

  // Nodes from which no further layer is reached: the heads of a model.
  void find_tails() {
    tail_.assign(graph_.nodes.size(), true);
    std::vector<bool> leads(graph_.values.size(), false);
    for (std::size_t n = graph_.nodes.size(); n-- > 0;) {
      bool reaches = false;
      for (ValueId out : graph_.nodes[n].outputs) reaches = reaches || (out != kNoValue && leads[out]);
      tail_[n] = !reaches;
      if (reaches || (plan_.nodes[n].quantized && plan_.nodes[n].role == QuantRole::kCompute)) {
        for (ValueId in : graph_.nodes[n].inputs) {
          if (in != kNoValue) leads[in] = true;
        }
      }
    }
  }

  double elements(ValueId id) const {
    double count = 1;
    for (const graph::Dim& dim : graph_.value(id).type.dims) count *= dim.known() ? static_cast<double>(dim.size) : 1.0;
    return count;
  }

  bool reads_quantized(const Uses::Use& use) const {
    if (use.input < 0) return false;
    const NodePlan& reader = plan_.nodes[use.node];
    return reader.quantized && (reader.folded || is_data_input(graph_, graph_.nodes[use.node], reader, static_cast<std::size_t>(use.input)));
  }
  int readers(ValueId id, bool quantized, int except) const {
    int count = !quantized && uses_.is_output[id] ? 1 : 0;
    for (const Uses::Use& use : uses_.readers[id]) count += use.node != except && reads_quantized(use) == quantized;
    return count;
  }
  // Whoever makes the value makes it in integers, whether node `except` reads it or not.
  bool made_quantized(ValueId id, int except) const {
    const int maker = makers_[id];
    if (maker < 0 || !plan_.nodes[maker].quantized) return false;
    return plan_.nodes[maker].rule->needs_quantized_output || readers(id, true, except) > 0;
  }

  std::vector<ValueId> data_inputs(int n) const {
    const Node& node = graph_.nodes[n];
    std::vector<ValueId> ids;
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      const ValueId id = node.inputs[i];
      if (!is_data_input(graph_, node, plan_.nodes[n], i) || graph_.constant(id) != nullptr) continue;
      if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
    }
    return ids;
  }

  std::string costs_more(int n) const {
    const NodePlan& own = plan_.nodes[n];
    const bool transport = own.role == QuantRole::kTransport;
    double in = 0, out = 0, quantized = 0, plain = 0;
    for (ValueId id : data_inputs(n)) {
      const double size = elements(id);
      in += size;
      if (made_quantized(id, n)) {
        plain += readers(id, false, n) == 0 ? size : 0;
      } else {
        quantized += readers(id, true, n) == 0 ? size : 0;
      }
    }
    for (ValueId id : effective_outputs(graph_, plan_, n)) {
      const double size = elements(id);
      out += size;
      quantized += readers(id, false, -1) > 0 ? size : 0;
      plain += readers(id, true, -1) > 0 ? size : 0;
    }
    if (tail_[n] && !transport && out * 4 > in) {
      return "leads to a model output only: float keeps its resolution and costs no more conversions";
    }
    // Moving bytes saves bandwidth by itself; what follows its neighbours must save conversions.
    if (transport ? quantized > plain + (in + out) / 2 : quantized >= plain) {
      return fmt::format("would be an island: {:.0f} values to convert in integers, {:.0f} in float", quantized, plain);
    }
    return "";
  }

  // Where results leave a layer in float anyway, integers pay only between two integer operators.
  std::string without_neighbours(int n) const {
    bool before = plan_.nodes[n].role == QuantRole::kTransport, after = false;
    for (ValueId id : data_inputs(n)) before = before || (makers_[id] >= 0 && plan_.nodes[makers_[id]].quantized);
    for (ValueId id : effective_outputs(graph_, plan_, n)) after = after || readers(id, true, -1) > 0;
    if (!before) return "nothing before it computes in integers";
    return after ? "" : "nothing behind it computes in integers";
  }

  void release(int n, std::string reason) {
    NodePlan& own = plan_.nodes[n];
    if (own.folds >= 0) {
      NodePlan& activation = plan_.nodes[own.folds];
      activation.quantized = activation.folded = false;
      activation.reason = fmt::format("the operator before it, '{}', stays float", base::escape_controls(graph_.nodes[n].name));
    }
    own.quantized = false;
    own.folds = -1;
    own.reason = std::move(reason);
  }

  const Graph& graph_;
  Plan& plan_;
  const Uses uses_;
  std::vector<int> makers_;
  std::vector<bool> tail_;
};

}  // namespace

std::vector<int> effective_makers(const Graph& graph, const Plan& plan) {
  std::vector<int> makers(graph.values.size(), -1);
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    for (ValueId out : graph.nodes[n].outputs) {
      if (out != kNoValue) makers[out] = static_cast<int>(n);
    }
    if (plan.nodes[n].folded) makers[graph.nodes[n].output(0)] = makers[graph.nodes[n].input(0)];
  }
  return makers;
}

std::vector<ValueId> effective_outputs(const Graph& graph, const Plan& plan, int node) {
  if (plan.nodes[node].folds >= 0) return {graph.nodes[plan.nodes[node].folds].output(0)};
  std::vector<ValueId> ids;
  for (ValueId id : graph.nodes[node].outputs) {
    // Indices (MaxPool's second output) are not data.
    if (id != kNoValue && !is_integer(graph.value(id).type.dtype)) ids.push_back(id);
  }
  return ids;
}

void refuse_islands(const Graph& graph, Plan& plan) { Islands(graph, plan).run(); }

}  // namespace narrow::quantizers::static_int8
