#include "diagnosis/pairing.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

namespace narrow::diagnosis {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::Uses;
using graph::ValueId;

const Node* producer(const Graph& graph, const Uses& uses, ValueId id) {
  if (id == kNoValue) return nullptr;
  const int index = uses.producer[static_cast<std::size_t>(id)];
  return index < 0 ? nullptr : &graph.nodes[static_cast<std::size_t>(index)];
}

bool holds_weights(const Node& node) {
  return node.is("Conv") || node.is("ConvTranspose") || node.is("Gemm") || node.is("MatMul");
}

// The axis of the output channels in a layer's weight.
int channel_axis(const Node& node, const Tensor& weight) {
  if (node.is("ConvTranspose")) return 1;
  if (node.is("Gemm")) return node.get_int("transB", 0) != 0 ? 0 : 1;
  if (node.is("MatMul")) return weight.rank() - 1;
  return 0;
}

// The f32 numbers of a constant that is a DequantizeLinear of integers, per tensor or along one axis.
Result<Tensor> dequantize(const Graph& graph, const Node& node) {
  const Tensor* codes = graph.constant(node.input(0));
  const Tensor* scale = graph.constant(node.input(1));
  const Tensor* zero_point = graph.constant(node.input(2));
  if (codes == nullptr || scale == nullptr || !is_integer(codes->dtype())) return unsupported("no constant integers");
  NARROW_TRY(Tensor out, Tensor::create(DType::kF32, codes->shape()));
  const std::vector<std::int64_t> values = codes->to_int64();
  std::int64_t axis = node.get_int("axis", 1);
  if (axis < 0) axis += codes->rank();
  std::int64_t channels = 1, inner = 1;
  if (scale->size() > 1) {
    if (axis < 0 || axis >= codes->rank() || codes->shape()[static_cast<std::size_t>(axis)] != scale->size() ||
        (zero_point != nullptr && zero_point->size() != scale->size())) {
      return unsupported("its scales do not lie along one axis");
    }
    channels = scale->size();
    for (std::size_t i = static_cast<std::size_t>(axis) + 1; i < codes->shape().size(); ++i) inner *= codes->shape()[i];
  }
  std::span<float> to = out.mutable_data<float>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::int64_t channel = channels == 1 ? 0 : (static_cast<std::int64_t>(i) / inner) % channels;
    const double zero = zero_point == nullptr ? 0.0 : zero_point->at_as_double(zero_point->size() == 1 ? 0 : channel);
    to[i] = static_cast<float>((static_cast<double>(values[i]) - zero) * scale->at_as_double(channel));
  }
  return out;
}

double largest(const Tensor* tensor) {
  double found = 0;
  for (std::int64_t i = 0; tensor != nullptr && i < tensor->size(); ++i) found = std::max(found, std::abs(tensor->at_as_double(i)));
  return found;
}

class Pairer {
 public:
  Pairer(const Graph& reference, const Graph& quantized)
      : reference_(reference), quantized_(quantized), reference_uses_(reference), uses_(quantized) {
    for (std::size_t i = 0; i < reference.nodes.size(); ++i) {
      nodes_[reference.nodes[i].name] = static_cast<int>(i);
    }
  }

  Result<Pairing> run() {
    for (std::size_t i = 0; i < quantized_.nodes.size(); ++i) {
      if (quantized_.nodes[i].is("QuantizeLinear")) activation(static_cast<int>(i));
    }
    for (std::size_t i = 0; i < quantized_.nodes.size(); ++i) {
      const Node& node = quantized_.nodes[i];
      if (holds_weights(node) || node.is("BatchNormalization")) NARROW_RETURN_IF_ERROR(layer(static_cast<int>(i)));
    }
    return std::move(pairing_);
  }

 private:
  void activation(int index) {
    const Node& node = quantized_.nodes[static_cast<std::size_t>(index)];
    const Tensor* scale = quantized_.constant(node.input(1));
    const Tensor* zero_point = quantized_.constant(node.input(2));
    if (scale == nullptr || scale->size() != 1 || (zero_point != nullptr && zero_point->size() != 1)) return;
    ActivationSite site;
    site.quantized = node.input(0);
    site.quantize = index;
    site.scale = scale->at_as_double(0);
    site.zero_point = zero_point == nullptr ? 0 : zero_point->at_as_double(0);
    site.storage_type = zero_point == nullptr ? DType::kU8 : zero_point->dtype();
    if (!is_integer(site.storage_type) || bits_of(site.storage_type) > 16 || !(site.scale > 0)) return;
    // The float value's name stays with what is quantized or with what comes out of it.
    site.reference = reference_.find_value(quantized_.value(site.quantized).name);
    for (const Uses::Use& use : uses_.readers[static_cast<std::size_t>(node.output(0))]) {
      const Node& reader = quantized_.nodes[static_cast<std::size_t>(use.node)];
      if (use.input != 0 || !reader.is("DequantizeLinear")) continue;
      site.dequantize.push_back(use.node);
      if (site.reference == kNoValue) site.reference = reference_.find_value(quantized_.value(reader.output(0)).name);
    }
    if (site.dequantize.empty() || site.reference == kNoValue || reference_.constant(site.reference) != nullptr) return;
    site.value = reference_.value(site.reference).name;
    replaced_[site.quantized] = site.reference;
    pairing_.activations.push_back(std::move(site));
  }

  // The float model's layer: by node name, else by what it makes.
  int counterpart(const Node& node) const {
    const auto named = nodes_.find(node.name);
    if (named != nodes_.end() && reference_.nodes[static_cast<std::size_t>(named->second)].op_type == node.op_type) return named->second;
    if (node.output(0) == kNoValue) return -1;
    const auto site = replaced_.find(node.output(0));
    const ValueId made = site == replaced_.end() ? reference_.find_value(quantized_.value(node.output(0)).name) : site->second;
    // The layer may have taken the activation behind it into its range.
    int index = made == kNoValue ? -1 : reference_uses_.producer[static_cast<std::size_t>(made)];
    while (index >= 0) {
      const Node& found = reference_.nodes[static_cast<std::size_t>(index)];
      if (found.op_type == node.op_type) return index;
      if (!found.is("Relu") && !found.is("Clip") && !found.is("BatchNormalization")) return -1;
      index = found.input(0) == kNoValue ? -1 : reference_uses_.producer[static_cast<std::size_t>(found.input(0))];
    }
    return -1;
  }

  Status layer(int index) {
    const Node& node = quantized_.nodes[static_cast<std::size_t>(index)];
    const int other = counterpart(node);
    if (other < 0) return {};
    const Node& original = reference_.nodes[static_cast<std::size_t>(other)];
    for (int input = 1; input <= 2; ++input) {
      const ValueId id = node.input(static_cast<std::size_t>(input));
      const Tensor* weight = reference_.constant(original.input(static_cast<std::size_t>(input)));
      if (id == kNoValue || weight == nullptr || !is_float(weight->dtype())) continue;
      const Node* made_by = producer(quantized_, uses_, id);
      if (made_by == nullptr || !made_by->is("DequantizeLinear")) {
        const Tensor* kept = quantized_.constant(id);
        if (input == 1 && holds_weights(node) && kept != nullptr && is_float(kept->dtype())) pairing_.floats.push_back({original.name, original.op_type, kept->bytes(), index, original.input(0)});
        continue;
      }
      Result<Tensor> restored = dequantize(quantized_, *made_by);
      if (!restored.ok() || restored->shape() != weight->shape()) continue;
      ConstantSite site;
      site.layer = original.name;
      site.op_type = original.op_type;
      site.input = input;
      site.reference_node = other;
      site.quantized_node = index;
      site.dequantized = id;
      NARROW_TRY(site.original, Tensor::create(DType::kF32, weight->shape()));
      const std::vector<float> values = weight->to_float();
      std::copy(values.begin(), values.end(), site.original.mutable_data<float>().begin());
      site.restored = *std::move(restored);
      site.scales = static_cast<int>(quantized_.constant(made_by->input(1))->size());
      site.axis = input == 1 ? channel_axis(original, *weight) : 0;
      site.depthwise = original.is("Conv") && original.get_int("group", 1) > 1 && original.get_int("group", 1) == weight->shape()[0];
      site.storage_type = quantized_.constant(made_by->input(0))->dtype();
      site.zero_point_largest = largest(quantized_.constant(made_by->input(2)));
      if (node.is("BatchNormalization")) pairing_.factors.push_back(std::move(site));
      else (input == 1 ? pairing_.weights : pairing_.biases).push_back(std::move(site));
    }
    return {};
  }

  const Graph& reference_;
  const Graph& quantized_;
  Uses reference_uses_, uses_;
  std::unordered_map<std::string, int> nodes_;
  std::unordered_map<ValueId, ValueId> replaced_;   // what is quantized, to the float value it stands for
  Pairing pairing_;
};

}  // namespace

double ActivationSite::low() const { return (static_cast<double>(integer_range(storage_type).min) - zero_point) * scale; }
double ActivationSite::high() const { return (static_cast<double>(integer_range(storage_type).max) - zero_point) * scale; }

Channels ConstantSite::channels() const {
  const Shape& shape = original.shape();
  Channels channels;
  if (shape.empty()) return channels;
  channels.count = static_cast<std::size_t>(shape[static_cast<std::size_t>(axis)]);
  for (std::size_t i = static_cast<std::size_t>(axis) + 1; i < shape.size(); ++i) channels.inner *= static_cast<std::size_t>(shape[i]);
  return channels;
}

Result<Pairing> pair(const Graph& reference, const Graph& quantized) { return Pairer(reference, quantized).run(); }

std::string layer_of(const Graph& graph, const Uses& uses, ValueId value) {
  ValueId at = value;
  while (at != kNoValue) {
    const Node* node = producer(graph, uses, at);
    if (node == nullptr) break;
    if (!node->is("Relu") && !node->is("Clip") && !node->is("BatchNormalization")) return node->name;
    if (producer(graph, uses, node->input(0)) == nullptr) return node->name;
    at = node->input(0);
  }
  return graph.value(value).name;
}

}  // namespace narrow::diagnosis
