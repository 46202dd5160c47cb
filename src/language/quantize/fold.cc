#include "language/quantize/fold.h"

#include <algorithm>
#include <cmath>

#include "quantizers/matrix/scales.h"

namespace narrow::language {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::ValueId;

class Tracer {
 public:
  Tracer(const Graph& graph, const Spec& spec) : graph_(graph), uses_(graph), spec_(spec) {}

  // Follows the value back to rows of a Linear; false when something on the way does more than pass numbers on.
  bool to_linear(ValueId value, FoldPlace& place) const {
    const Node* node = producer(value);
    if (node == nullptr || readers(value) != 1) return false;
    if (node->op_type == "Linear" && node->domain == "ai.narrow") {
      place.linear = node->name;
      return true;
    }
    if (node->is("Split")) {
      std::int64_t before = 0;
      const Tensor* sizes = graph_.constant(node->input(1));
      for (std::size_t i = 0; i < node->outputs.size(); ++i) {
        if (node->outputs[i] == value) break;
        if (sizes != nullptr) before += sizes->to_int64()[i];
        else before += spec_.intermediate;
      }
      place.first_row += before;
      return to_linear_behind_split(node->input(0), place);
    }
    return false;
  }

  const Node* producer(ValueId value) const {
    const int node = uses_.producer[static_cast<std::size_t>(value)];
    return node < 0 ? nullptr : &graph_.nodes[static_cast<std::size_t>(node)];
  }
  std::size_t readers(ValueId value) const { return uses_.readers[static_cast<std::size_t>(value)].size() + (uses_.is_output[static_cast<std::size_t>(value)] ? 1 : 0); }

 private:
  // The split value has one reader, the Split itself; its parts have theirs.
  bool to_linear_behind_split(ValueId value, FoldPlace& place) const {
    const Node* node = producer(value);
    if (node == nullptr || readers(value) != 1 || node->op_type != "Linear") return false;
    place.linear = node->name;
    return true;
  }

  const Graph& graph_;
  graph::Uses uses_;
  const Spec& spec_;
};

Tensor to_tensor(Shape shape, const std::vector<float>& values) { return Tensor::from<float>(std::move(shape), std::span<const float>(values)); }

}  // namespace

FoldPlace find_fold_place(const Graph& block, const LinearGroup& group, const Spec& spec) {
  const Tracer trace(block, spec);
  const auto node_of = [&](const std::string& name) { return std::find_if(block.nodes.begin(), block.nodes.end(), [&](const Node& n) { return n.name == name; }); };
  const auto first = node_of(group.front());
  if (first == block.nodes.end()) return {};
  const ValueId input = first->input(0);
  // Every reader is to be in the group, and every member to read this value.
  if (trace.readers(input) != group.size()) return {};
  for (const std::string& member : group) {
    const auto node = node_of(member);
    if (node == block.nodes.end() || node->input(0) != input) return {};
  }
  const Node* node = trace.producer(input);
  if (node == nullptr) return {};
  FoldPlace place;
  if (node->is("RMSNormalization") || node->is("LayerNormalization")) {
    if (!spec.norm_has_weight) return {};
    place.tensor = block.value(node->input(1)).name;
    place.plus = spec.norm_plus_one ? 1 : 0;
    if (node->input(2) != kNoValue) place.bias = block.value(node->input(2)).name;
    return place;
  }
  if (node->is("Mul")) {  // act(gate) * up: only `up` passes a factor on
    for (const std::size_t i : {1, 0}) {
      FoldPlace found;
      if (trace.to_linear(node->input(i), found)) return found;
    }
    return {};
  }
  if (node->is("Attention")) {
    if (!trace.to_linear(node->input(2), place)) return {};
    place.head_size = spec.head_size;
    place.queries_a_key = spec.heads / spec.key_heads;
    return place;
  }
  return {};
}

void tie_factors(const FoldPlace& place, std::span<float> factors) {
  if (place.queries_a_key == 1) return;
  const auto size = static_cast<std::size_t>(place.head_size), shared = static_cast<std::size_t>(place.queries_a_key);
  for (std::size_t key = 0; key < factors.size() / size / shared; ++key) {
    for (std::size_t i = 0; i < size; ++i) {
      double sum = 0;
      for (std::size_t q = 0; q < shared; ++q) sum += std::log(static_cast<double>(factors[(key * shared + q) * size + i]));
      for (std::size_t q = 0; q < shared; ++q) factors[(key * shared + q) * size + i] = static_cast<float>(std::exp(sum / static_cast<double>(shared)));
    }
  }
}

Status fold_factors(const FoldPlace& place, const LinearGroup& group, std::span<const float> factors, OverlayWeights& weights) {
  if (!place.tensor.empty()) {
    NARROW_TRY(const Tensor norm, weights.tensor(place.tensor));
    std::vector<float> values = norm.to_float();
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>((values[i] + place.plus) / factors[i] - place.plus);
    weights.set_tensor(place.tensor, to_tensor(norm.shape(), values));
  }
  if (!place.bias.empty()) {
    NARROW_TRY(const Tensor bias, weights.tensor(place.bias));
    std::vector<float> values = bias.to_float();
    for (std::size_t i = 0; i < values.size(); ++i) values[i] /= factors[i];
    weights.set_tensor(place.bias, to_tensor(bias.shape(), values));
  }
  const auto read = [&](const std::string& module) -> Result<std::vector<float>> {
    NARROW_TRY(const StoredWeight weight, weights.matrix(module));
    std::vector<float> values(static_cast<std::size_t>(weight.rows() * weight.columns()));
    to_float_rows(weight, 0, weight.rows(), values.data());
    return values;
  };
  const auto write = [&](const std::string& module, std::int64_t columns, const std::vector<float>& values) {
    StoredWeight weight;
    weight.plain = to_tensor({static_cast<std::int64_t>(values.size()) / columns, columns}, values);
    weights.set_matrix(module, std::move(weight));
  };
  if (!place.linear.empty()) {
    NARROW_TRY(std::vector<float> values, read(place.linear));
    NARROW_TRY(const StoredWeight shape, weights.matrix(place.linear));
    const auto columns = static_cast<std::size_t>(shape.columns());
    const bool has_bias = weights.has(place.linear + ".bias");
    Tensor bias;
    std::vector<float> bias_values;
    if (has_bias) {
      NARROW_TRY(bias, weights.tensor(place.linear + ".bias"));
      bias_values = bias.to_float();
    }
    const auto size = static_cast<std::size_t>(place.head_size), shared = static_cast<std::size_t>(place.queries_a_key);
    for (std::size_t i = 0; i < factors.size(); ++i) {
      std::size_t row = i;
      if (shared > 1) {  // one row for all query heads of a key head: they have one factor
        if (i / size % shared != 0) continue;
        row = i / size / shared * size + i % size;
      }
      row += static_cast<std::size_t>(place.first_row);
      for (std::size_t k = 0; k < columns; ++k) values[row * columns + k] /= factors[i];
      if (has_bias) bias_values[row] /= factors[i];
    }
    write(place.linear, shape.columns(), values);
    if (has_bias) weights.set_tensor(place.linear + ".bias", to_tensor(bias.shape(), bias_values));
  }
  for (const std::string& member : group) {
    NARROW_TRY(std::vector<float> values, read(member));
    quantizers::multiply_columns(values, factors);
    write(member, static_cast<std::int64_t>(factors.size()), values);
  }
  return {};
}

}  // namespace narrow::language
