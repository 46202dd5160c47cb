#include "quantizers/mixed_precision/assignment.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <unordered_map>

#include "operators/operator.h"

namespace narrow::quantizers {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::ValueId;
using operators::QuantRole;

// What an element costs, in multiply-adds: of a node that has none, and of one that is converted at the border of a layer.
constexpr double kElementCost = 16;

double elements(const Graph& graph, ValueId id) {
  double count = 1;
  if (id == kNoValue) return 0;
  for (const graph::Dim& dim : graph.value(id).type.dims) count *= dim.known() ? static_cast<double>(dim.size) : 1.0;
  return count;
}

// Multiply-adds of a layer with a constant weight; elements of its output otherwise.
double work(const Graph& graph, const Node& node, const operators::Operator& op) {
  const double out = elements(graph, node.output(0));
  if (op.quant.role != QuantRole::kCompute) return out * kElementCost;
  const Tensor* weight = op.quant.weight_input < 0 ? nullptr : graph.constant(node.input(static_cast<std::size_t>(op.quant.weight_input)));
  if (weight == nullptr || op.quant.weight_axis == nullptr) return out * 64;  // a product of two activations
  const int axis = op.quant.weight_axis(node, weight->rank());
  const double channels = axis >= 0 && axis < weight->rank() ? static_cast<double>(weight->shape()[axis]) : 1.0;
  return out * static_cast<double>(weight->size()) / std::max(channels, 1.0) + out * kElementCost;
}

class Frontier {
 public:
  Frontier(const Graph& graph, const std::vector<LayerDecision>& decisions, const targets::Target& target, const Sensitivity& sensitivity, Cost cost)
      : graph_(graph), every_edge_(target.placement == targets::Placement::kEveryEdge), cost_(cost) {
    collect(decisions);
    join();
    lay_noise(sensitivity);
  }

  std::vector<FrontierPoint> run() {
    std::vector<FrontierPoint> points{point()};
    while (left_ > 0) {
      std::vector<int> best;
      double best_worth = -1;
      for (const std::vector<int>& move : moves()) {
        double price = 0;
        for (int n : move) price += price_of(n);
        const double worth = gain(move) / std::max(price, 1e-12);
        if (worth > best_worth) best_worth = worth, best = move;
      }
      if (best.empty()) break;
      for (int n : best) lift(n);
      points.push_back(point());
    }
    return points;
  }

 private:
  // What leaves integers as one: a layer with the activation folded into it. Transports have no say.
  struct Layer {
    int node = -1;
    double work = 0, noise = 0;
    std::uint64_t float_bytes = 0, integer_bytes = 0;
    std::vector<int> nets;
    bool lifted = false;
  };
  // Values that hold the same codes.
  struct Net {
    double noise = 0;
    std::set<int> holders;        // layers that need it rounded
    int held = 0;                 // of them, in integers
  };

  void collect(const std::vector<LayerDecision>& decisions) {
    std::unordered_map<std::string, const LayerDecision*> by_name;
    for (const LayerDecision& decision : decisions) by_name.emplace(decision.node, &decision);
    folded_.assign(graph_.nodes.size(), false);
    for (std::size_t n = 0; n < graph_.nodes.size(); ++n) {
      const Node& node = graph_.nodes[n];
      const operators::Operator* op = operators::find_operator(node.domain, node.op_type);
      const auto found = by_name.find(node.name);
      if (op == nullptr || found == by_name.end()) continue;
      const LayerDecision& decision = *found->second;
      folded_[n] = decision.decision == Decision::kFolded && op->quant.role == QuantRole::kActivation;
      if (decision.decision != Decision::kQuantized || op->quant.role == QuantRole::kTransport) continue;
      Layer layer;
      layer.node = static_cast<int>(n);
      layer.work = work(graph_, node, *op);
      layer.float_bytes = decision.weight_bytes_before / 2;  // as f16
      layer.integer_bytes = decision.weight_bytes_before == 0 ? 0 : decision.weight_bytes_after;
      all_work_ += layer.work;
      integer_work_ += layer.work;
      bytes_ += layer.integer_bytes;
      layers_.push_back(layer);
      ++left_;
    }
  }

  // One net for the values around folded activations and transports.
  void join() {
    std::vector<int> parent(graph_.values.size());
    std::iota(parent.begin(), parent.end(), 0);
    const auto find = [&](int x) {
      while (parent[x] != x) x = parent[x] = parent[parent[x]];
      return x;
    };
    for (std::size_t n = 0; n < graph_.nodes.size(); ++n) {
      const Node& node = graph_.nodes[n];
      const operators::Operator* op = operators::find_operator(node.domain, node.op_type);
      const bool moves = op != nullptr && op->quant.role == QuantRole::kTransport;
      if (!(folded_[n] || moves) || node.input(0) == kNoValue) continue;
      for (ValueId out : node.outputs) {
        if (out != kNoValue) parent[std::max(find(out), find(node.inputs[0]))] = std::min(find(out), find(node.inputs[0]));
      }
    }
    net_of_.resize(graph_.values.size());
    for (std::size_t v = 0; v < graph_.values.size(); ++v) net_of_[v] = find(static_cast<int>(v));
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      const Node& node = graph_.nodes[layers_[l].node];
      std::set<int> nets;
      for (ValueId id : node.inputs) {
        if (id != kNoValue && graph_.constant(id) == nullptr) nets.insert(net_of_[id]);
      }
      const std::set<int> inputs = nets;
      for (ValueId id : node.outputs) {
        if (id != kNoValue) nets.insert(net_of_[id]);
      }
      layers_[l].nets.assign(nets.begin(), nets.end());
      for (int net : nets) {
        if (every_edge_ || inputs.contains(net)) nets_[net].holders.insert(static_cast<int>(l));
      }
    }
    for (auto& [id, net] : nets_) net.held = static_cast<int>(net.holders.size());
  }

  void lay_noise(const Sensitivity& sensitivity) {
    std::unordered_map<std::string, int> nodes;
    for (std::size_t l = 0; l < layers_.size(); ++l) nodes.emplace(graph_.nodes[layers_[l].node].name, static_cast<int>(l));
    for (const NoiseSource& source : sensitivity.sources) {
      if (!source.node.empty()) {
        const auto found = nodes.find(source.node);
        if (found != nodes.end()) layers_[found->second].noise += source.noise;
        else fixed_ += source.noise;  // embeddings: they have no part in this
        continue;
      }
      const ValueId id = graph_.find_value(source.value);
      if (id == kNoValue) continue;
      // The same codes seen at several places are rounded once.
      const auto net = nets_.find(net_of_[id]);
      if (net == nets_.end()) fixed_ += source.noise;
      else net->second.noise = std::max(net->second.noise, source.noise);
    }
  }

  std::vector<std::vector<int>> moves() const {
    std::vector<std::vector<int>> found;
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      if (!layers_[l].lifted) found.push_back({static_cast<int>(l)});
    }
    for (const auto& [id, net] : nets_) {
      if (net.held < 2 || net.noise == 0) continue;
      std::vector<int> together;
      for (int l : net.holders) {
        if (!layers_[l].lifted) together.push_back(l);
      }
      found.push_back(std::move(together));
    }
    return found;
  }

  double price_of(int l) const {
    const Layer& layer = layers_[l];
    if (cost_ == Cost::kSize) return static_cast<double>(layer.float_bytes) - static_cast<double>(std::min(layer.float_bytes, layer.integer_bytes)) + 1;
    return layer.work + 1;
  }

  double gain(const std::vector<int>& move) const {
    double sum = 0;
    std::map<int, int> freed;
    for (int l : move) {
      sum += layers_[l].noise;
      for (int net : layers_[l].nets) {
        if (nets_.contains(net) && nets_.at(net).holders.contains(l)) ++freed[net];
      }
    }
    for (const auto& [net, count] : freed) {
      if (nets_.at(net).held == count) sum += nets_.at(net).noise;
    }
    return sum;
  }

  void lift(int l) {
    Layer& layer = layers_[l];
    if (layer.lifted) return;
    layer.lifted = true;
    --left_;
    integer_work_ -= layer.work;
    bytes_ += layer.float_bytes - layer.integer_bytes;
    for (int net : layer.nets) {
      const auto found = nets_.find(net);
      if (found != nets_.end() && found->second.holders.contains(l)) --found->second.held;
    }
    names_.push_back(graph_.nodes[layer.node].name);
  }

  FrontierPoint point() const {
    FrontierPoint now;
    now.lifted = names_;
    now.noise = fixed_;
    for (const Layer& layer : layers_) now.noise += layer.lifted ? 0 : layer.noise;
    for (const auto& [id, net] : nets_) now.noise += net.held > 0 ? net.noise : 0;
    now.integer_share = all_work_ > 0 ? std::max(integer_work_, 0.0) / all_work_ : 0;
    now.weight_bytes = bytes_;
    return now;
  }

  const Graph& graph_;
  const bool every_edge_;
  const Cost cost_;
  std::vector<int> net_of_;
  std::vector<bool> folded_;
  std::vector<Layer> layers_;
  std::map<int, Net> nets_;
  std::vector<std::string> names_;
  double all_work_ = 0, integer_work_ = 0, fixed_ = 0;
  std::uint64_t bytes_ = 0;
  int left_ = 0;
};

}  // namespace

std::vector<FrontierPoint> find_frontier(const Graph& reference, const std::vector<LayerDecision>& decisions, const targets::Target& target,
                                         const Sensitivity& sensitivity, Cost cost) {
  return Frontier(reference, decisions, target, sensitivity, cost).run();
}

std::size_t next_point(const std::vector<FrontierPoint>& frontier, std::size_t tried, double measured, double noise) {
  // Noise of many sources may exceed the sum; that it falls short says nothing of the sources that are left.
  const double factor = frontier[tried].noise > 0 && std::isfinite(measured) ? std::max(measured / frontier[tried].noise, 1.0) : 1.0;
  for (std::size_t i = tried + 1; i < frontier.size(); ++i) {
    if (frontier[i].noise * factor <= noise || i + 1 == frontier.size()) return i;
  }
  return tried;
}

std::vector<Rule> rules_of(const FrontierPoint& point, const Sensitivity& sensitivity, double noise, Cost cost) {
  std::unordered_map<std::string, double> weights;
  for (const NoiseSource& source : sensitivity.sources) {
    if (!source.node.empty()) weights[source.node] += source.noise;
  }
  std::vector<std::string> quiet = point.lifted;
  std::stable_sort(quiet.begin(), quiet.end(), [&](const auto& a, const auto& b) { return weights[a] < weights[b]; });
  std::set<std::string> as_integers;
  double room = noise - point.noise;
  for (const std::string& node : quiet) {
    if (cost != Cost::kSize || weights[node] > room / 2) break;
    room -= weights[node];
    as_integers.insert(node);
  }
  std::vector<Rule> rules;
  for (const std::string& node : point.lifted) {
    Rule rule;
    rule.name_pattern = node;
    rule.quantize = false;
    rule.float_weights = as_integers.contains(node) ? "s8" : "f16";
    rules.push_back(std::move(rule));
  }
  return rules;
}

std::vector<Rule> rules_against_return(const std::vector<LayerDecision>& before, const std::vector<LayerDecision>& now) {
  std::set<std::string> left;
  for (const LayerDecision& layer : before) {
    if (layer.decision == Decision::kFloat) left.insert(layer.node);
  }
  std::vector<Rule> rules;
  for (const LayerDecision& layer : now) {
    if (layer.decision != Decision::kQuantized || !left.contains(layer.node)) continue;
    Rule rule;
    rule.name_pattern = layer.node;
    rule.quantize = false;
    rules.push_back(std::move(rule));
  }
  return rules;
}

}  // namespace narrow::quantizers
