#include "diagnosis/repairs.h"

#include <algorithm>
#include <cmath>

#include "encodings/affine.h"
#include "passes/edit.h"

namespace narrow::diagnosis {
namespace {

using graph::Graph;
using graph::Node;
using graph::ValueId;

Tensor code(DType dtype, std::int64_t value) {
  switch (dtype) {
    case DType::kS8: return Tensor::scalar(static_cast<std::int8_t>(value));
    case DType::kU16: return Tensor::scalar(static_cast<std::uint16_t>(value));
    case DType::kS16: return Tensor::scalar(static_cast<std::int16_t>(value));
    default: return Tensor::scalar(static_cast<std::uint8_t>(value));
  }
}

}  // namespace

Graph with_ranges(const Graph& quantized, std::span<const std::pair<const ActivationSite*, std::pair<double, double>>> ranges) {
  Graph graph = quantized.clone();
  for (const auto& [site, range] : ranges) {
    const IntegerRange codes = integer_range(site->storage_type);
    // A signed type with its zero point in the middle was meant to be symmetric.
    const bool symmetric = site->zero_point == 0 && codes.min < 0;
    const encodings::AffineGrid grid{static_cast<std::int32_t>(symmetric ? -codes.max : codes.min), static_cast<std::int32_t>(codes.max), symmetric};
    const encodings::AffineParams params = encodings::affine_params(static_cast<float>(range.first), static_cast<float>(range.second), grid);
    const ValueId scale = graph.add_constant("", Tensor::scalar(params.scale));
    const ValueId zero_point = graph.add_constant("", code(site->storage_type, params.zero_point));
    const auto set = [&](int index) {
      Node& node = graph.nodes[static_cast<std::size_t>(index)];
      node.inputs.resize(3);
      node.inputs[1] = scale;
      node.inputs[2] = zero_point;
    };
    set(site->quantize);
    for (const int index : site->dequantize) set(index);
  }
  return graph;
}

Graph without_quantization(const Graph& quantized, std::span<const ActivationSite* const> sites) {
  Graph graph = quantized.clone();
  for (const ActivationSite* site : sites) {
    // A Relu may live in the range alone, so the range stays.
    const ValueId low = graph.add_constant("", Tensor::scalar(static_cast<float>(site->low())));
    const ValueId high = graph.add_constant("", Tensor::scalar(static_cast<float>(site->high())));
    for (const int index : site->dequantize) {
      Node& node = graph.nodes[static_cast<std::size_t>(index)];
      node.op_type = "Clip";
      node.inputs = {site->quantized, low, high};
      node.attributes.clear();
    }
  }
  return graph;
}

Graph with_constants(const Graph& quantized, std::span<const std::pair<const ConstantSite*, Tensor>> constants) {
  Graph graph = quantized.clone();
  for (const auto& [site, values] : constants) {
    const ValueId made = graph.add_constant("", values);
    passes::replace_uses(graph, site->dequantized, made);
  }
  return graph;
}

Tensor rounded_per_channel(const ConstantSite& site) {
  Tensor out = site.original.clone();
  const Channels channels = site.channels();
  std::span<float> values = out.mutable_data<float>();
  std::vector<float> scale(channels.count, 0.0f);
  for (std::size_t i = 0; i < values.size(); ++i) scale[channels.of(i)] = std::max(scale[channels.of(i)], std::abs(values[i]) / 127.0f);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float step = scale[channels.of(i)];
    if (step > 0) values[i] = std::nearbyint(values[i] / step) * step;
  }
  return out;
}

}  // namespace narrow::diagnosis
