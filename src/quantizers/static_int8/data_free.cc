#include "quantizers/static_int8/data_free.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/text.h"
#include "quantizers/equalization/pairs.h"
#include "quantizers/static_int8/plan.h"

namespace narrow::quantizers::static_int8 {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::ValueId;

constexpr double kDeviations = 6, kInputDeviations = 3;
// Averages over an image vary from image to image by about this share of what single places do.
constexpr double kOfAverages = 0.5;
constexpr std::uint64_t kNominalCount = 1u << 20;

struct Known {
  ChannelMoments moments;   // empty: only the range is known
  double min = 0, max = 0;
};

Known spread(ChannelMoments moments, double deviations) {
  Known known{std::move(moments), INFINITY, -INFINITY};
  for (std::size_t c = 0; c < known.moments.mean.size(); ++c) {
    known.min = std::min(known.min, known.moments.mean[c] - deviations * known.moments.deviation[c]);
    known.max = std::max(known.max, known.moments.mean[c] + deviations * known.moments.deviation[c]);
  }
  return known;
}

// What lies outside cannot be: the value's makers do not reach there.
Known within(Known known, double low, double high) {
  known.min = std::clamp(known.min, low, high);
  known.max = std::clamp(known.max, low, high);
  return known;
}

// A layer's outputs as sums of independent inputs.
std::optional<Known> through_weights(const Graph& graph, const Node& node, const Known& in) {
  const auto layout = equalization::layout_of(graph, node);
  if (!layout || in.moments.mean.size() != static_cast<std::size_t>(layout->inputs)) return std::nullopt;
  const std::span<const float> weight = graph.constant(node.inputs[1])->data<float>();
  ChannelMoments out{std::vector<double>(static_cast<std::size_t>(layout->outputs)), std::vector<double>(static_cast<std::size_t>(layout->outputs))};
  layout->for_each([&](std::size_t at, std::int64_t o, std::int64_t i) {
    out.mean[o] += weight[at] * in.moments.mean[i];
    out.deviation[o] += std::pow(weight[at] * in.moments.deviation[i], 2);
  });
  const Tensor* bias = node.input(2) == kNoValue ? nullptr : graph.constant(node.input(2));
  for (std::size_t o = 0; o < out.mean.size(); ++o) {
    out.deviation[o] = std::sqrt(out.deviation[o]);
    if (bias != nullptr) out.mean[o] += bias->data<float>()[o];
  }
  return spread(std::move(out), kDeviations);
}

class Walk {
 public:
  Walk(const Graph& graph, const std::map<std::string, ChannelMoments>& learned) : graph_(graph), learned_(learned), known_(graph.values.size()) {
    for (ValueId id : graph.inputs) {
      const graph::Type& type = graph.value(id).type;
      if (graph.constant(id) != nullptr) continue;
      const bool channels = type.rank() >= 2 && type.dims[1].known();
      const std::size_t count = channels ? static_cast<std::size_t>(type.dims[1].size) : 1;
      known_[id] = spread({std::vector<double>(count, 0.0), std::vector<double>(count, 1.0)}, kInputDeviations);
    }
    for (const Node& node : graph.nodes) {
      if (node.output(0) != kNoValue) known_[node.output(0)] = follow(node);
    }
  }

  const std::optional<Known>& at(ValueId id) const { return known_[id]; }

 private:
  const Known* of(ValueId id) const { return id == kNoValue || !known_[id] ? nullptr : &*known_[id]; }

  std::optional<Known> follow(const Node& node) const {
    const Known* in = of(node.input(0));
    if (node.is("Conv") || node.is("Gemm")) {
      const auto learned = learned_.find(graph_.value(node.output(0)).name);
      if (learned != learned_.end()) return spread(learned->second, kDeviations);
      return in != nullptr ? through_weights(graph_, node, *in) : std::nullopt;
    }
    if (in == nullptr) return std::nullopt;
    if (node.is("Relu") || node.is("Clip")) {
      const auto [low, high] = activation_bounds(graph_, node);
      if (low > high) return std::nullopt;
      return within(Known{clipped_moments(in->moments, low, high), in->min, in->max}, low, high);
    }
    if (node.is("Add")) {
      const Known* other = of(node.input(1));
      if (other == nullptr || other->moments.mean.size() != in->moments.mean.size() || in->moments.mean.empty()) return std::nullopt;
      ChannelMoments sum = in->moments;
      for (std::size_t c = 0; c < sum.mean.size(); ++c) {
        sum.mean[c] += other->moments.mean[c];
        sum.deviation[c] = std::hypot(sum.deviation[c], other->moments.deviation[c]);
      }
      return within(spread(std::move(sum), kDeviations), in->min + other->min, in->max + other->max);
    }
    if (node.is("GlobalAveragePool") || node.is("AveragePool") || node.is("ReduceMean")) {
      ChannelMoments average = in->moments;
      for (double& deviation : average.deviation) deviation *= kOfAverages;
      return within(spread(std::move(average), kDeviations), in->min, in->max);
    }
    if (node.is("Concat") && node.get_int("axis", 0) == 1) {
      Known all{{}, INFINITY, -INFINITY};
      for (ValueId id : node.inputs) {
        const Known* part = of(id);
        if (part == nullptr) return std::nullopt;
        all.min = std::min(all.min, part->min);
        all.max = std::max(all.max, part->max);
        all.moments.mean.insert(all.moments.mean.end(), part->moments.mean.begin(), part->moments.mean.end());
        all.moments.deviation.insert(all.moments.deviation.end(), part->moments.deviation.begin(), part->moments.deviation.end());
      }
      return all;
    }
    for (const char* moves : {"MaxPool", "Identity", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Pad", "Slice", "Resize", "Dropout"}) {
      if (node.is(moves)) return within(*in, std::min(in->min, 0.0), std::max(in->max, 0.0));
    }
    return std::nullopt;
  }

  const Graph& graph_;
  const std::map<std::string, ChannelMoments>& learned_;
  std::vector<std::optional<Known>> known_;
};

}  // namespace

Result<calibration::CalibrationTable> statistics_without_data(const Graph& graph, const std::vector<std::string>& values,
                                                              const std::map<std::string, ChannelMoments>& known) {
  const Walk walk(graph, known);
  calibration::CalibrationTable table;
  table.observer = "min_max";
  for (const std::string& name : values) {
    const ValueId id = graph.find_value(name);
    const std::optional<Known>& found = walk.at(id);
    if (!found || found->moments.mean.empty()) {
      return unsupported(fmt::format("without data the range of '{}' is not known: it does not follow from BatchNormalization", base::escape_controls(name)))
          .hint("Give some typical inputs with --data.");
    }
    calibration::ValueStatistics statistics;
    statistics.seen = {static_cast<float>(found->min), static_cast<float>(found->max)};
    statistics.moving_average = statistics.seen;
    statistics.count = kNominalCount;
    const double each = static_cast<double>(kNominalCount) / static_cast<double>(found->moments.mean.size());
    for (std::size_t c = 0; c < found->moments.mean.size(); ++c) {
      const double mean = found->moments.mean[c], deviation = found->moments.deviation[c];
      statistics.sum += each * mean;
      statistics.sum_squares += each * (mean * mean + deviation * deviation);
      statistics.channel_sums.push_back(each * mean);
    }
    table.values.emplace(name, std::move(statistics));
  }
  return table;
}

}  // namespace narrow::quantizers::static_int8
