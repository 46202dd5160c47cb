#include "quantizers/static_int8/bias_correction.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "operators/window.h"
#include "passes/edit.h"
#include "quantizers/weights.h"

namespace narrow::quantizers::static_int8 {
namespace {

using graph::Graph;
using graph::Node;
using graph::ValueId;

// A layer whose output channel o sums inputs times weights: how its weight is laid out.
struct Layer {
  const Tensor* weight = nullptr;
  const Tensor* bias = nullptr;
  int channels_in_axis = 1, channels_out_axis = 0;  // of the weight
  std::int64_t group = 1;
  bool transposed = false;                          // ConvTranspose
};

std::optional<Layer> correctable(const Graph& graph, const Plan& plan, std::size_t n) {
  const Node& node = graph.nodes[n];
  const NodePlan& own = plan.nodes[n];
  if (!own.quantized || own.op == nullptr || own.op->quant.bias_input < 0 || own.op->quant.weight_input != 1) return std::nullopt;
  const ValueId bias = node.input(static_cast<std::size_t>(own.op->quant.bias_input));
  if (!passes::is_fixed_constant(graph, bias) || !is_weight_input(graph, own, node, 1)) return std::nullopt;
  Layer layer;
  layer.weight = graph.constant(node.inputs[1]);
  layer.bias = graph.constant(bias);
  if (layer.weight->dtype() != DType::kF32 || layer.bias->dtype() != DType::kF32 || layer.weight->rank() < 2) return std::nullopt;
  if (node.is("Gemm")) {
    if (node.get_int("transA", 0) != 0 || layer.weight->rank() != 2) return std::nullopt;
    layer.channels_out_axis = node.get_int("transB", 0) != 0 ? 0 : 1;
    layer.channels_in_axis = 1 - layer.channels_out_axis;
  } else if (node.is("Conv") || node.is("ConvTranspose")) {
    layer.transposed = node.is("ConvTranspose");
    layer.group = node.get_int("group", 1);
    if (layer.transposed) std::swap(layer.channels_in_axis, layer.channels_out_axis);
  } else {
    return std::nullopt;
  }
  return layer;
}

// For every tap of the kernel, the share of the output positions to which it brings an input that is not padding.
// Empty: not known.
std::vector<double> tap_shares(const Graph& graph, const Node& node, const Layer& layer) {
  const Shape& shape = layer.weight->shape();
  std::int64_t taps = 1;
  for (int i = 2; i < layer.weight->rank(); ++i) taps *= shape[i];
  const graph::Type& type = graph.value(node.inputs[0]).type;
  std::vector<std::int64_t> in, kernel;
  bool known = type.rank() == layer.weight->rank();
  for (int i = 2; known && i < type.rank(); ++i) {
    known = type.dims[static_cast<std::size_t>(i)].known();
    in.push_back(type.dims[static_cast<std::size_t>(i)].size);
    kernel.push_back(shape[i]);
  }
  std::vector<double> shares(static_cast<std::size_t>(taps), 1.0);
  if (taps == 1 && !layer.transposed) return shares;
  const auto unknown = [&] { return layer.transposed ? std::vector<double>{} : shares; };
  if (!known) return unknown();
  const auto attributes = operators::read_window(node);
  if (!attributes.ok()) return unknown();
  const auto windows = layer.transposed ? operators::resolve_transposed_window(node, *attributes, in, kernel)
                                        : operators::resolve_window(node, *attributes, in, kernel);
  if (!windows.ok()) return unknown();
  std::int64_t inner = taps;
  for (const kernels::Window& w : *windows) {
    inner /= w.kernel;
    if (w.out <= 0) return unknown();
    const std::int64_t steps = layer.transposed ? w.in : w.out, room = layer.transposed ? w.out : w.in;
    for (std::int64_t tap = 0; tap < taps; ++tap) {
      std::int64_t inside = 0;
      for (std::int64_t step = 0; step < steps; ++step) {
        const std::int64_t at = step * w.stride - w.pad_begin + (tap / inner) % w.kernel * w.dilation;
        inside += at >= 0 && at < room ? 1 : 0;
      }
      shares[static_cast<std::size_t>(tap)] *= static_cast<double>(inside) / static_cast<double>(w.out);
    }
  }
  return shares;
}

double code_at(const Tensor& codes, std::size_t i) {
  return codes.dtype() == DType::kU8 ? codes.data<std::uint8_t>()[i] : codes.data<std::int8_t>()[i];
}

// By how much each output channel's mean moved; empty where the means do not fit the layer.
std::vector<double> shifts(const Layer& layer, const passes::ConstantQdq& written, const std::vector<double>& means, const std::vector<double>& shares) {
  const Shape& shape = layer.weight->shape();
  const std::int64_t groups = std::max<std::int64_t>(1, layer.group);
  const std::int64_t first = shape[0], second = shape[1];
  const std::int64_t in_axis_size = shape[layer.channels_in_axis], out_axis_size = shape[layer.channels_out_axis];
  // A convolution's weight shares its input channels out to the groups, a transposed one's its output channels.
  const std::int64_t inputs = layer.transposed ? in_axis_size : in_axis_size * groups;
  const std::int64_t outputs = layer.transposed ? out_axis_size * groups : out_axis_size;
  const auto taps = static_cast<std::int64_t>(shares.size());
  if (static_cast<std::int64_t>(means.size()) != inputs || first * second * taps != layer.weight->size()) return {};
  const std::int64_t inputs_per_group = inputs / groups, outputs_per_group = outputs / groups;
  const std::span<const float> weight = layer.weight->data<float>();
  const int axis = written.params.scale.size() > 1 ? written.type.granularity.axis : -1;
  std::vector<double> shift(static_cast<std::size_t>(outputs), 0.0);
  for (std::int64_t a = 0; a < first; ++a) {
    for (std::int64_t b = 0; b < second; ++b) {
      std::int64_t in = layer.channels_in_axis == 0 ? a : b, out = layer.channels_out_axis == 0 ? a : b;
      if (layer.transposed) out += in / inputs_per_group * outputs_per_group;
      else in += out / outputs_per_group * inputs_per_group;
      const auto slice = static_cast<std::size_t>(axis < 0 ? 0 : axis == 0 ? a : b);
      const double scale = written.params.scale[slice], zero_point = written.params.zero_point[slice];
      double moved = 0;
      for (std::int64_t tap = 0; tap < taps; ++tap) {
        const auto at = static_cast<std::size_t>((a * second + b) * taps + tap);
        moved += ((code_at(written.codes, at) - zero_point) * scale - weight[at]) * shares[static_cast<std::size_t>(tap)];
      }
      shift[static_cast<std::size_t>(out)] += moved * means[static_cast<std::size_t>(in)];
    }
  }
  return shift;
}

passes::ConstantQdq* constant_read_by(passes::QdqPlan& parameters, std::size_t node, int input) {
  for (passes::ConstantQdq& constant : parameters.constants) {
    for (const passes::Reader& reader : constant.readers) {
      if (reader.node == static_cast<int>(node) && reader.input == input) return &constant;
    }
  }
  return nullptr;
}

void correct_codes(passes::ConstantQdq& bias, const Layer& layer, const std::vector<double>& shift) {
  const std::span<const float> values = layer.bias->data<float>();
  const auto channels = static_cast<std::int64_t>(shift.size());
  if (bias.codes.size() != channels || (values.size() != 1 && values.size() != shift.size())) return;
  Tensor codes = bias.codes.clone();
  const std::span<std::int32_t> out = codes.mutable_data<std::int32_t>();
  for (std::size_t c = 0; c < shift.size(); ++c) {
    const double scale = bias.params.scale[bias.params.scale.size() == 1 ? 0 : c];
    out[c] = bias_code(values[values.size() == 1 ? 0 : c] - shift[c], scale);
  }
  bias.codes = std::move(codes);
}

void correct_float(Graph& graph, std::size_t n, int input, const Layer& layer, const std::vector<double>& shift) {
  if (layer.bias->size() != static_cast<std::int64_t>(shift.size())) return;
  Tensor bias = layer.bias->clone();
  const std::span<float> values = bias.mutable_data<float>();
  for (std::size_t c = 0; c < shift.size(); ++c) values[c] = static_cast<float>(values[c] - shift[c]);
  const std::string name = graph.value(graph.nodes[n].inputs[static_cast<std::size_t>(input)]).name;
  graph.nodes[n].inputs[static_cast<std::size_t>(input)] = graph.add_constant(name + "_corrected", std::move(bias));
}

}  // namespace

bool corrects_mean(const Graph& graph, const Plan& plan, std::size_t node) { return correctable(graph, plan, node).has_value(); }

std::map<std::string, int> correction_inputs(const Graph& graph, const Plan& plan) {
  std::map<std::string, int> inputs;
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    if (correctable(graph, plan, n)) inputs.emplace(graph.value(graph.nodes[n].inputs[0]).name, 1);
  }
  return inputs;
}

void correct_biases(Graph& graph, const Plan& plan, const calibration::CalibrationTable& table, passes::QdqPlan& parameters) {
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    const std::optional<Layer> layer = correctable(graph, plan, n);
    if (!layer) continue;
    const calibration::ValueStatistics* seen = table.find(graph.value(graph.nodes[n].inputs[0]).name);
    const passes::ConstantQdq* weight = constant_read_by(parameters, n, 1);
    if (seen == nullptr || weight == nullptr) continue;
    const std::vector<double> means = seen->channel_means();
    if (means.empty()) continue;
    const std::vector<double> shares = tap_shares(graph, graph.nodes[n], *layer);
    const std::vector<double> shift = shifts(*layer, *weight, means, shares);
    if (shift.empty() || !std::all_of(shift.begin(), shift.end(), [](double s) { return std::isfinite(s); })) continue;
    const int input = plan.nodes[n].op->quant.bias_input;
    if (passes::ConstantQdq* bias = constant_read_by(parameters, n, input)) correct_codes(*bias, *layer, shift);
    else correct_float(graph, n, input, *layer, shift);
  }
}

}  // namespace narrow::quantizers::static_int8
