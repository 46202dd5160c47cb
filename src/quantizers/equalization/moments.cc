// Means and deviations that follow from BatchNormalization, values taken as normal and channels as independent of each
// other (Nagel et al. 2019, appendix C).
#include <cmath>
#include <numbers>
#include <optional>

#include "quantizers/equalization/equalization.h"

namespace narrow::quantizers {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::ValueId;

// Mean and deviation of a normal value clipped to [low, high].
std::pair<double, double> clipped(double mean, double deviation, double low, double high) {
  if (deviation <= 0) return {std::min(std::max(mean, low), high), 0.0};
  const double a = (low - mean) / deviation, b = (high - mean) / deviation;
  const auto density = [](double x) { return std::isfinite(x) ? std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi) : 0.0; };
  const auto below = [](double x) { return std::isinf(x) ? (x > 0 ? 1.0 : 0.0) : 0.5 * std::erfc(-x / std::numbers::sqrt2); };
  const double inside = below(b) - below(a), under = below(a), over = 1 - below(b);
  const double low_part = under > 0 && std::isfinite(low) ? low * under : 0, high_part = over > 0 && std::isfinite(high) ? high * over : 0;
  const double first = mean * inside + deviation * (density(a) - density(b)) + low_part + high_part;
  const double edge_a = std::isfinite(a) ? a * density(a) : 0, edge_b = std::isfinite(b) ? b * density(b) : 0;
  double second = (mean * mean + deviation * deviation) * inside + 2 * mean * deviation * (density(a) - density(b)) + deviation * deviation * (edge_a - edge_b);
  second += low_part * (std::isfinite(low) ? low : 0) + high_part * (std::isfinite(high) ? high : 0);
  return {first, std::sqrt(std::max(second - first * first, 0.0))};
}

double bound(const Graph& graph, const Node& node, std::size_t input, double otherwise) {
  if (node.input(input) == kNoValue) return otherwise;
  const Tensor* constant = graph.constant(node.input(input));
  return constant != nullptr && constant->size() == 1 ? constant->at_as_double(0) : std::nan("");
}

}  // namespace

ChannelMoments clipped_moments(const ChannelMoments& in, double low, double high) {
  ChannelMoments out = in;
  for (std::size_t c = 0; c < in.mean.size(); ++c) std::tie(out.mean[c], out.deviation[c]) = clipped(in.mean[c], in.deviation[c], low, high);
  return out;
}

std::map<std::string, ChannelMoments> batch_norm_moments(const Graph& graph) {
  std::map<std::string, ChannelMoments> known;
  const auto find = [&](ValueId id) -> const ChannelMoments* {
    if (id == kNoValue) return nullptr;
    const auto found = known.find(graph.value(id).name);
    return found == known.end() ? nullptr : &found->second;
  };
  for (const Node& node : graph.nodes) {
    if (node.output(0) == kNoValue) continue;
    const std::string& name = graph.value(node.output(0)).name;
    const ChannelMoments* in = find(node.input(0));
    if (node.is("BatchNormalization")) {
      const Tensor *scale = graph.constant(node.input(1)), *shift = graph.constant(node.input(2));
      if (scale == nullptr || shift == nullptr || !is_float(scale->dtype()) || scale->size() != shift->size()) continue;
      ChannelMoments moments;
      for (float s : scale->to_float()) moments.deviation.push_back(std::abs(s));
      for (float b : shift->to_float()) moments.mean.push_back(b);
      known[name] = std::move(moments);
    } else if (in != nullptr && node.is("Relu")) {
      known[name] = clipped_moments(*in, 0, INFINITY);
    } else if (in != nullptr && node.is("Clip")) {
      const double low = bound(graph, node, 1, -INFINITY), high = bound(graph, node, 2, INFINITY);
      if (!std::isnan(low) && !std::isnan(high)) known[name] = clipped_moments(*in, low, high);
    } else if (node.is("Add") && in != nullptr && find(node.input(1)) != nullptr) {
      ChannelMoments sum = *in;
      const ChannelMoments& other = *find(node.input(1));
      if (other.mean.size() != sum.mean.size()) continue;
      for (std::size_t c = 0; c < sum.mean.size(); ++c) {
        sum.mean[c] += other.mean[c];
        sum.deviation[c] = std::hypot(sum.deviation[c], other.deviation[c]);
      }
      known[name] = std::move(sum);
    } else if (in != nullptr && (node.is("GlobalAveragePool") || node.is("AveragePool"))) {
      known[name] = *in;
      for (double& deviation : known[name].deviation) deviation = 0;  // an average of many; its mean is what counts
    } else if (in != nullptr && (node.is("Identity") || node.is("Flatten") || node.is("Dropout"))) {
      known[name] = *in;
    }
  }
  return known;
}

}  // namespace narrow::quantizers
