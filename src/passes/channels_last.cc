// Chooses channels-last order for chains of integer operators and puts transposes at their borders.
#include <algorithm>
#include <map>
#include <string_view>
#include <vector>

#include "operators/infer.h"
#include "passes/edit.h"
#include "passes/lower_qdq.h"

namespace narrow::passes {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::ValueId;

bool is_microsoft(const Node& node, std::string_view type) { return node.domain == "com.microsoft" && node.op_type == type; }
bool is_narrow(const Node& node, std::string_view type) { return node.domain == "narrow" && node.op_type == type; }
bool is_code(DType dtype) { return dtype == DType::kU8 || dtype == DType::kS8; }

class Assigner {
 public:
  explicit Assigner(Graph& graph) : graph_(graph) {}

  bool run() {
    std::vector<Node> nodes = std::move(graph_.nodes);
    graph_.nodes.clear();
    for (Node& node : nodes) {
      place(node);
      graph_.nodes.push_back(std::move(node));
    }
    if (last_.empty()) return false;
    settle();
    return true;
  }

 private:
  const graph::Type& type(ValueId id) const { return graph_.value(id).type; }
  bool turnable(ValueId id) const { return id != kNoValue && type(id).ranked && type(id).rank() >= 3; }

  // The channels-last form of `id`, made when there is none yet.
  ValueId as_last(ValueId id) {
    const auto found = last_.find(id);
    if (found != last_.end()) return found->second;
    const ValueId turned = graph_.add_value(graph_.value(id).name + "_last", {});
    Node node;
    node.domain = "narrow";
    node.name = graph_.value(id).name + "_to_last";
    node.outputs = {turned};
    // Quantizing and turning go together when the codes come straight from f32.
    const Node* producer = nullptr;
    for (const Node& candidate : graph_.nodes) {
      if (!candidate.outputs.empty() && candidate.outputs[0] == id) producer = &candidate;
    }
    if (producer != nullptr && producer->op_type == "QuantizeLinear" && producer->input(2) != kNoValue && type(producer->input(0)).dtype == DType::kF32 &&
        per_tensor(*producer)) {
      node.op_type = "ToCodes";
      node.inputs = producer->inputs;
    } else {
      node.op_type = "Layout";
      node.set("to_channels_last", std::int64_t{1});
      node.inputs = {id};
    }
    graph_.nodes.push_back(std::move(node));
    last_[id] = turned;
    return turned;
  }

  bool per_tensor(const Node& node) const {
    const Tensor* scale = graph_.constant(node.input(1));
    return scale != nullptr && scale->size() == 1 && scale->dtype() == DType::kF32 && node.get_int("block_size", 0) == 0;
  }

  // The node's output exists in channels-last order from here on; the old value is made by settle() if anyone needs it.
  void produce_last(Node& node) {
    const ValueId id = node.outputs[0];
    const ValueId turned = graph_.add_value(graph_.value(id).name + "_last", {});
    last_[id] = turned;
    owned_.push_back(id);
    node.outputs[0] = turned;
  }

  void place(Node& node) {
    if (node.outputs.size() != 1 || node.outputs[0] == kNoValue) return;
    const bool conv = is_narrow(node, "QConv") || (node.op_type == "QLinearConv" && (node.domain.empty() || node.domain == "com.microsoft"));
    const bool max_pool = is_narrow(node, "QMaxPool") || (node.is("MaxPool") && node.input(0) != kNoValue && is_code(type(node.input(0)).dtype));
    const bool average = is_microsoft(node, "QLinearAveragePool") || is_microsoft(node, "QLinearGlobalAveragePool");
    if (conv || max_pool || average) {
      if (node.get_int("channels_last", 0) != 0) return;
      if (conv ? !graph_.constant(node.input(3)) : !turnable(node.input(0)) || type(node.input(0)).rank() > 5) return;
      // A pool alone is not worth two transposes.
      if (!conv && last_.find(node.input(0)) == last_.end()) return;
      if (max_pool && (node.get_int("storage_order", 0) != 0)) return;
      if (conv) {
        node.op_type = "QConv";
        node.domain = "narrow";
      } else if (max_pool) {
        node.op_type = "QMaxPool";
        node.domain = "narrow";
      }
      node.set("channels_last", std::int64_t{1});
      node.inputs[0] = as_last(node.input(0));
      produce_last(node);
      return;
    }
    // What works element by element follows its inputs' order.
    std::vector<std::size_t> data;
    if (is_microsoft(node, "QLinearAdd") || is_microsoft(node, "QLinearMul")) data = {0, 3};
    if (is_microsoft(node, "QLinearSigmoid") || is_microsoft(node, "QLinearLeakyRelu") || is_narrow(node, "Lookup")) data = {0};
    if (is_microsoft(node, "QLinearConcat")) {
      for (std::size_t i = 2; i < node.inputs.size(); i += 3) data.push_back(i);
    }
    if (data.empty()) return;
    bool any = false, possible = true;
    int rank = -1;
    for (std::size_t i : data) {
      const ValueId id = node.input(i);
      any = any || last_.count(id) != 0;
      possible = possible && turnable(id) && (rank < 0 || type(id).rank() == rank);
      if (turnable(id)) rank = type(id).rank();
    }
    if (!any || !possible) return;
    if (is_microsoft(node, "QLinearConcat")) {
      std::int64_t axis = node.get_int("axis", 1);
      if (axis < 0) axis += rank;
      node.set("axis", axis == 0 ? std::int64_t{0} : axis == 1 ? std::int64_t{rank - 1} : axis - 1);
    }
    for (std::size_t i : data) node.inputs[i] = as_last(node.inputs[i]);
    produce_last(node);
  }

  // Who still reads a value that is now made channels-last gets it back in the old order.
  void settle() {
    const graph::Uses uses(graph_);
    std::vector<Node> added;
    for (ValueId id : owned_) {
      bool needed = uses.is_output[id];
      for (const graph::Uses::Use& use : uses.readers[id]) {
        if (use.input < 0) {
          needed = true;
          continue;
        }
        Node& reader = graph_.nodes[static_cast<std::size_t>(use.node)];
        const bool dequantizes = reader.op_type == "DequantizeLinear" && use.input == 0 && reader.input(2) != kNoValue && per_tensor(reader);
        if (dequantizes) {
          reader.op_type = "FromCodes";
          reader.domain = "narrow";
          reader.attributes.clear();
          reader.inputs[0] = last_[id];
        } else {
          needed = true;
        }
      }
      if (!needed) continue;
      Node node;
      node.op_type = "Layout";
      node.domain = "narrow";
      node.name = graph_.value(id).name + "_to_first";
      node.inputs = {last_[id]};
      node.outputs = {id};
      added.push_back(std::move(node));
    }
    graph_.nodes.insert(graph_.nodes.end(), std::make_move_iterator(added.begin()), std::make_move_iterator(added.end()));
  }

  Graph& graph_;
  std::map<ValueId, ValueId> last_;
  std::vector<ValueId> owned_;
};

}  // namespace

Status assign_channels_last(Graph& graph) {
  NARROW_TRY(const operators::Inference inference, operators::infer_types(graph));
  (void)inference;
  if (!Assigner(graph).run()) return {};
  NARROW_RETURN_IF_ERROR(graph::sort_topologically(graph));
  graph::remove_dead(graph);
  return graph::verify(graph, "the graph in channels-last order");
}

}  // namespace narrow::passes
