// What exporters write in several nodes and a kernel does in one: GELU, a NaN replaced, the product of a dynamic model.
#include <cmath>
#include <optional>

#include "operators/infer.h"
#include "passes/edit.h"
#include "passes/passes.h"

namespace narrow::passes {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::Uses;
using graph::ValueId;

// A node is replaced by rewriting the last of its pattern; the others die when nothing else reads them.
class PatternFuser {
 public:
  explicit PatternFuser(Graph& graph) : graph_(graph), uses_(graph) {}

  int run() {
    int fused = 0;
    for (Node& node : graph_.nodes) {
      if (!node.domain.empty() || node.outputs.size() != 1) continue;
      if (node.op_type == "Mul" ? gelu(node) || integer_product(node) : node.op_type == "Where" && replaced_nan(node)) ++fused;
    }
    for (Node& node : graph_.nodes) {
      if (node.is("Add") && node.outputs.size() == 1 && bias(node)) ++fused;
    }
    if (fused > 0) graph::remove_dead(graph_);
    return fused;
  }

 private:
  // The node of ai.onnx that makes `id`.
  const Node* producer(ValueId id, std::string_view op_type) const {
    if (id == kNoValue || uses_.producer[id] < 0) return nullptr;
    const Node& node = graph_.nodes[static_cast<std::size_t>(uses_.producer[id])];
    return node.is(op_type) && node.outputs.size() == 1 ? &node : nullptr;
  }

  bool equals(ValueId id, float wanted) const {
    if (id == kNoValue || !is_fixed_constant(graph_, id)) return false;
    const Tensor& constant = *graph_.constant(id);
    return constant.dtype() == DType::kF32 && constant.size() == 1 && std::fabs(constant.data<float>()[0] - wanted) <= 1e-5f;
  }

  // The other input of a two-input node of which one equals `wanted`.
  ValueId beside(const Node& node, float wanted) const {
    if (node.inputs.size() != 2) return kNoValue;
    return equals(node.input(1), wanted) ? node.input(0) : equals(node.input(0), wanted) ? node.input(1) : kNoValue;
  }

  // x, when `id` is 1 + erf(x / sqrt 2).
  ValueId inside_gate(ValueId id) const {
    const Node* add = producer(id, "Add");
    const Node* erf = add == nullptr ? nullptr : producer(beside(*add, 1.0f), "Erf");
    if (erf == nullptr) return kNoValue;
    if (const Node* div = producer(erf->input(0), "Div")) return equals(div->input(1), 1.41421356f) ? div->input(0) : kNoValue;
    const Node* mul = producer(erf->input(0), "Mul");
    return mul == nullptr ? kNoValue : beside(*mul, 0.70710678f);
  }

  // x · (1 + erf(x / √2)) · ½, the half on either side.
  bool gelu(Node& node) {
    const auto fuse = [&](ValueId x) {
      if (graph_.value(x).type.dtype != DType::kF32) return false;
      node.op_type = "Gelu";
      node.attributes.clear();
      node.inputs = {x};
      return true;
    };
    if (const Node* product = producer(beside(node, 0.5f), "Mul")) {
      for (int side : {0, 1}) {
        const ValueId x = inside_gate(product->input(side));
        if (x != kNoValue && product->input(1 - side) == x) return fuse(x);
      }
    }
    for (int side : {0, 1}) {
      const ValueId x = node.inputs.size() == 2 ? inside_gate(node.input(side)) : kNoValue;
      const Node* half = x == kNoValue ? nullptr : producer(node.input(1 - side), "Mul");
      if (half != nullptr && beside(*half, 0.5f) == x) return fuse(x);
    }
    return false;
  }

  // Where(IsNaN(x), constant, x)
  bool replaced_nan(Node& node) {
    const Node* test = producer(node.input(0), "IsNaN");
    const ValueId x = node.input(2), value = node.input(1);
    if (test == nullptr || test->input(0) != x || graph_.value(x).type.dtype != DType::kF32 || value == kNoValue) return false;
    if (!is_fixed_constant(graph_, value) || graph_.constant(value)->size() != 1 || graph_.constant(value)->rank() > 1) return false;
    const float number = graph_.constant(value)->data<float>()[0];
    node.op_type = "ReplaceNan";
    node.domain = "narrow";
    node.attributes.clear();
    node.set("value", number);
    node.inputs = {x};
    return true;
  }

  // f32(MatMulInteger(a, b, a_zero, b_zero)) · (a_scale · b_scale)
  bool integer_product(Node& node) {
    for (int side : {0, 1}) {
      const Node* cast = node.inputs.size() == 2 ? producer(node.input(side), "Cast") : nullptr;
      const Node* scales = cast == nullptr ? nullptr : producer(node.input(1 - side), "Mul");
      const Node* product = scales == nullptr ? nullptr : producer(cast->input(0), "MatMulInteger");
      if (product == nullptr || graph_.value(cast->outputs[0]).type.dtype != DType::kF32) continue;
      if (uses_.readers[product->outputs[0]].size() != 1 || uses_.readers[cast->outputs[0]].size() != 1) continue;
      if (uses_.is_output[product->outputs[0]] || uses_.is_output[cast->outputs[0]]) continue;
      // The scale of the weight is the constant one: a number, or one a column.
      const int b_side = scales->inputs.size() == 2 && graph_.constant(scales->input(1)) != nullptr ? 1 : 0;
      const ValueId a_scale = scales->input(1 - b_side), b_scale = scales->input(b_side);
      const Tensor* per_column = graph_.constant(b_scale);
      const graph::Type& a_type = graph_.value(a_scale).type;
      if (per_column == nullptr || per_column->rank() > 1 || per_column->dtype() != DType::kF32) continue;
      if (!a_type.ranked || a_type.rank() != 0 || a_type.dtype != DType::kF32) continue;
      const Tensor* weight = graph_.constant(product->input(1));
      if (weight == nullptr || weight->rank() != 2 || (per_column->size() != 1 && per_column->size() != weight->shape()[1])) continue;
      node.op_type = "MatMulIntegerToFloat";
      node.domain = "com.microsoft";
      node.attributes.clear();
      node.inputs = {product->input(0), product->input(1), a_scale, b_scale, product->input(2), product->input(3)};
      while (node.inputs.back() == kNoValue) node.inputs.pop_back();
      return true;
    }
    return false;
  }

  // A constant vector added to such a product.
  bool bias(Node& add) {
    constexpr std::size_t kBias = 6;
    for (int side : {0, 1}) {
      const ValueId sum = add.inputs.size() == 2 ? add.input(side) : kNoValue, other = add.inputs.size() == 2 ? add.input(1 - side) : kNoValue;
      if (sum == kNoValue || uses_.producer[sum] < 0 || uses_.is_output[sum] || uses_.readers[sum].size() != 1 || !is_fixed_constant(graph_, other)) continue;
      Node& product = graph_.nodes[static_cast<std::size_t>(uses_.producer[sum])];
      if (product.op_type != "MatMulIntegerToFloat" || product.domain != "com.microsoft" || product.input(kBias) != kNoValue) continue;
      const Tensor* weight = graph_.constant(product.input(1));
      const Tensor* vector = graph_.constant(other);
      if (weight == nullptr || weight->rank() != 2 || vector->rank() != 1 || vector->dtype() != DType::kF32 || vector->size() != weight->shape()[1]) continue;
      Node fused = product;
      fused.inputs.resize(kBias + 1, kNoValue);
      fused.inputs[kBias] = other;
      fused.outputs = add.outputs;
      add = std::move(fused);
      return true;
    }
    return false;
  }

  Graph& graph_;
  const Uses uses_;  // of the graph as it came: only rewritten nodes read other values than before
};

}  // namespace

Result<int> fuse_patterns(Graph& graph) {
  NARROW_TRY([[maybe_unused]] const operators::Inference inference, operators::infer_types(graph));
  return PatternFuser(graph).run();
}

}  // namespace narrow::passes
