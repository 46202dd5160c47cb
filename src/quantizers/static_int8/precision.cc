// Keeps layers in float that 8-bit activations would drown in noise, told from weights and calibration alone.
//
// Rounding a value to steps of s adds noise of s²/12. A layer y = W x turns that into s²/12 times the mean over output
// channels of Σ w², which is compared with the calibrated mean square of y. Where weights cancel large inputs (the
// stem of a network on raw pixels, a depthwise layer behind outliers) little signal is left over: no observer helps,
// and every layer behind it works on noise.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "encodings/affine.h"
#include "quantizers/rules.h"
#include "quantizers/static_int8/parameters.h"
#include "quantizers/static_int8/saturation.h"

namespace narrow::quantizers::static_int8 {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::Uses;
using graph::ValueId;
using operators::QuantRole;

// Ordinary layers of ordinary networks stand at 23 dB and more.
constexpr double kLeastDb = 15.0;

double decibel(double ratio) { return 10 * std::log10(ratio); }

class Precision {
 public:
  Precision(const Graph& graph, const Recipe& recipe, const Observed& observed, Plan& plan)
      : graph_(graph), recipe_(recipe), observed_(observed), plan_(plan), uses_(graph), bounds_(graph.values.size()) {}

  void run() {
    for (std::size_t n = graph_.nodes.size(); n-- > 0;) pass_back(static_cast<int>(n));
    for (std::size_t n = 0; n < graph_.nodes.size(); ++n) judge(static_cast<int>(n));
  }

 private:
  struct Bound {
    double noise = INFINITY;  // the mean square of noise on a value that equals the signal of layer `node`
    int node = -1;
  };

  // What one unit of noise power on the layer's input is at its output.
  double gain(const Node& node, const NodePlan& own) const {
    const Tensor& weight = *graph_.constant(node.inputs[own.op->quant.weight_input]);
    double sum = 0;
    for (float w : weight.data<float>()) sum += static_cast<double>(w) * w;
    const int axis = own.op->quant.weight_axis == nullptr ? -1 : own.op->quant.weight_axis(node, weight.rank());
    if (axis < 0 || axis >= weight.rank()) return 0;
    const std::int64_t groups = node.op_type == "ConvTranspose" ? node.get_int("group", 1) : 1;
    return sum / static_cast<double>(std::max<std::int64_t>(weight.shape()[axis] * groups, 1));
  }

  // Of the layer's result, or of that behind the Relu or Clip that only follows it.
  double signal(const Node& node) const {
    ValueId id = node.output(0);
    for (int hop = 0; hop < 2 && id != kNoValue; ++hop) {
      if (const auto it = observed_.power.find(id); it != observed_.power.end()) return it->second;
      if (uses_.readers[id].size() != 1 || uses_.readers[id][0].input < 0) break;
      const int reader = uses_.readers[id][0].node;
      if (plan_.nodes[reader].role != QuantRole::kActivation) break;
      id = graph_.nodes[reader].output(0);
    }
    return 0;
  }

  void pass_back(int n) {
    const Node& node = graph_.nodes[n];
    const NodePlan& own = plan_.nodes[n];
    if (own.op == nullptr || node.outputs.empty()) return;
    const Bound bound = bound_through(n);
    if (bound.node < 0) return;
    for (ValueId id : node.inputs) {
      if (id != kNoValue && carries(n, id) && bound.noise < bounds_[id].noise) bounds_[id] = bound;
    }
  }

  // What the node itself, or what lies behind it, asks of its inputs.
  Bound bound_through(int n) const {
    const Node& node = graph_.nodes[n];
    if (plan_.nodes[n].role == QuantRole::kCompute) return of_layer(n);
    return node.output(0) == kNoValue ? Bound{} : bounds_[node.outputs[0]];
  }

  // Noise on the input appears in the result about as large.
  bool carries(int n, ValueId id) const {
    const Node& node = graph_.nodes[n];
    const QuantRole role = plan_.nodes[n].role;
    if (node.is("Add") || node.is("Concat") || is_silu(graph_, uses_, node, id)) return true;
    return (role == QuantRole::kCompute || role == QuantRole::kTransport || role == QuantRole::kActivation) && id == node.inputs[0];
  }

  Bound of_layer(int n) const {
    const Node& node = graph_.nodes[n];
    const NodePlan& own = plan_.nodes[n];
    if (!own.quantized || own.op->quant.weight_input < 0) return {};
    if (!is_weight_input(graph_, own, node, static_cast<std::size_t>(own.op->quant.weight_input))) return {};
    const double power = signal(node), amplified = gain(node, own);
    if (power <= 0 || amplified <= 0) return {};
    return {power / amplified, n};
  }

  // Signal to noise at the layer behind once `id` is rounded for `node`; infinite when nothing is known against it.
  double ratio(ValueId id, const Node& node, const Bound& bound) const {
    const auto range = observed_.ranges.find(id);
    if (bound.node < 0 || range == observed_.ranges.end()) return INFINITY;
    const ActivationChoice choice = activation_choice(recipe_, *plan_.target, node.name, node.op_type);
    const double step = encodings::affine_params(range->second.min, range->second.max,
                                                 activation_grid(choice.storage_type, choice.symmetric)).scale;
    return decibel(bound.noise / (step * step / 12));
  }

  void judge(int n) {
    const Node& node = graph_.nodes[n];
    NodePlan& own = plan_.nodes[n];
    if (!own.quantized || own.role == QuantRole::kActivation) return;
    const Bound bound = bound_through(n);
    for (ValueId id : node.inputs) {
      if (id == kNoValue || !carries(n, id)) continue;
      if (const double found = ratio(id, node, bound); found < kLeastDb) return keep(own, "input", id, bound, found);
    }
    if (plan_.target->placement != targets::Placement::kEveryEdge || !own.rule->needs_quantized_output) return;
    const ValueId out = node.output(0);
    if (out == kNoValue) return;
    if (const double found = ratio(out, node, bounds_[out]); found < kLeastDb) keep(own, "output", out, bounds_[out], found);
  }

  void keep(NodePlan& own, std::string_view side, ValueId id, const Bound& bound, double found) {
    const calibration::Range& range = observed_.ranges.at(id);
    own.quantized = false;
    own.reason = fmt::format("its {} in 8 bits over [{:.3g}, {:.3g}] would leave '{}' {:.0f} dB between signal and noise", side,
                             range.min, range.max, base::escape_controls(graph_.nodes[bound.node].name), found);
  }

  const Graph& graph_;
  const Recipe& recipe_;
  const Observed& observed_;
  Plan& plan_;
  const Uses uses_;
  std::vector<Bound> bounds_;
};

}  // namespace

// A spectrum of recorded sound spans six decades and its logarithm counts them all alike; 8 bits hold two.
void refuse_before_log(const Graph& graph, Plan& plan) {
  std::vector<int> log_behind(graph.values.size(), -1);
  for (std::size_t n = graph.nodes.size(); n-- > 0;) {
    const Node& node = graph.nodes[n];
    int log = node.is("Log") ? static_cast<int>(n) : -1;
    for (ValueId out : node.outputs) {
      if (log < 0 && out != kNoValue) log = log_behind[out];
    }
    // These make what they read bounded or exponential: its steps are all alike to the logarithm.
    if (log < 0 || node.is("Softmax") || node.is("Sigmoid") || node.is("Exp")) continue;
    for (ValueId in : node.inputs) {
      if (in != kNoValue && !is_integer(graph.value(in).type.dtype)) log_behind[in] = log;
    }
    NodePlan& own = plan.nodes[n];
    if (!own.quantized) continue;
    own.quantized = false;
    own.reason = fmt::format("'{}' behind it takes the logarithm: small values count as much as large ones, and 8 bits have none",
                             base::escape_controls(graph.nodes[log].name));
  }
}

void refuse_noise(const Graph& graph, const Recipe& recipe, const Observed& observed, Plan& plan) {
  Precision(graph, recipe, observed, plan).run();
}

}  // namespace narrow::quantizers::static_int8
