#include "quantizers/equalization/equalization.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "quantizers/equalization/pairs.h"

namespace narrow::quantizers {
namespace {

using equalization::Layout;
using equalization::Pair;
using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::ValueId;

constexpr int kRounds = 20;
// Beyond this, one side of a pair would be left no digits.
constexpr float kLargestFactor = 1e4f;

bool has_padding(const Graph& graph, const Pair& pair) {
  const Node& node = graph.nodes[pair.second];
  if (!node.is("Conv")) return false;
  const std::vector<std::int64_t> pads = node.get_ints("pads");
  const std::string automatic = node.get_string("auto_pad", "NOTSET");
  return (automatic != "NOTSET" && automatic != "VALID") || std::any_of(pads.begin(), pads.end(), [](std::int64_t p) { return p != 0; });
}

}  // namespace

int equalize_layers(Graph& graph) {
  const std::vector<Pair> pairs = equalization::find_pairs(graph);
  for (int round = 0; round < kRounds; ++round) {
    float largest = 0;
    for (const Pair& pair : pairs) {
      const Layout first = *equalization::layout_of(graph, graph.nodes[pair.first]), second = *equalization::layout_of(graph, graph.nodes[pair.second]);
      const std::vector<float> out = equalization::output_extents(first, *graph.constant(graph.nodes[pair.first].inputs[1]));
      const std::vector<float> in = equalization::input_extents(second, *graph.constant(graph.nodes[pair.second].inputs[1]));
      std::vector<float> factors(out.size(), 1.0f);
      for (std::size_t c = 0; c < out.size(); ++c) {
        if (out[c] <= 0 || in[c] <= 0) continue;  // a dead channel stays as it is
        const float factor = std::sqrt(out[c] / in[c]);
        if (!std::isfinite(factor) || factor > kLargestFactor || factor < 1 / kLargestFactor) continue;
        factors[c] = factor;
        largest = std::max(largest, std::abs(std::log(factor)));
      }
      equalization::scale_between(graph, pair, factors);
    }
    if (largest < 0.01f) break;
  }
  return static_cast<int>(pairs.size());
}

std::vector<std::string> equalized_values(const Graph& graph) {
  std::vector<std::string> names;
  for (const Pair& pair : equalization::find_pairs(graph)) names.push_back(graph.value(pair.read).name);
  return names;
}

namespace {

// Noise at the second layer's outputs, up to a factor, were the channels divided by `factors`: a step's twelfth squared for each
// rounded number, by what it is multiplied with.
double noise_between(const Graph& graph, const Pair& pair, const ChannelsSeen& seen, const std::vector<float>& factors, bool per_channel) {
  const Layout first = *equalization::layout_of(graph, graph.nodes[pair.first]), second = *equalization::layout_of(graph, graph.nodes[pair.second]);
  const Tensor &before = *graph.constant(graph.nodes[pair.first].inputs[1]), &behind = *graph.constant(graph.nodes[pair.second].inputs[1]);
  const std::span<const float> made = before.data<float>(), read = behind.data<float>();
  const std::size_t channels = factors.size();
  double widest = 0;
  for (std::size_t c = 0; c < channels; ++c) widest = std::max(widest, static_cast<double>(seen.extent[c] / factors[c]));
  std::vector<double> noise(channels, widest * widest / (255.0 * 255.0));  // of each channel between
  if (!per_channel) {
    std::vector<double> squares(channels);
    double largest = 0, inputs = 0;
    first.for_each([&](std::size_t at, std::int64_t o, std::int64_t) {
      squares[o] += static_cast<double>(made[at]) * made[at];
      largest = std::max(largest, static_cast<double>(std::abs(made[at] / factors[o])));
    });
    for (std::size_t c = 0; c < channels; ++c) inputs += squares[c] > 0 ? seen.power[c] / squares[c] : 0;
    const double fan_in = static_cast<double>(before.size()) / static_cast<double>(channels);
    for (double& n : noise) n += largest * largest / (127.0 * 127.0) * fan_in * inputs / static_cast<double>(channels);
  }
  std::vector<double> step(static_cast<std::size_t>(second.outputs)), reach(step.size());
  double sum = 0;
  second.for_each([&](std::size_t at, std::int64_t o, std::int64_t i) {
    const double w = static_cast<double>(read[at]) * factors[i];
    sum += w * w * noise[i];
    step[o] = std::max(step[o], std::abs(w));
    reach[o] += seen.power[i] / (static_cast<double>(factors[i]) * factors[i]);
  });
  const double largest = *std::max_element(step.begin(), step.end());
  for (std::size_t o = 0; o < step.size(); ++o) {
    const double s = per_channel ? step[o] : largest;
    sum += s * s / (127.0 * 127.0) * reach[o];
  }
  return sum;
}

constexpr double kWorthScaling = 0.98;  // of the noise, at most

}  // namespace

int equalize_layers(Graph& graph, const std::map<std::string, ChannelsSeen>& all_seen, bool per_channel) {
  int scaled = 0;
  for (const Pair& pair : equalization::find_pairs(graph)) {
    const auto found = all_seen.find(graph.value(pair.read).name);
    if (found == all_seen.end() || found->second.extent.size() != static_cast<std::size_t>(pair.channels)) continue;
    const ChannelsSeen& seen = found->second;
    const Layout first = *equalization::layout_of(graph, graph.nodes[pair.first]), second = *equalization::layout_of(graph, graph.nodes[pair.second]);
    const std::vector<float> out = equalization::output_extents(first, *graph.constant(graph.nodes[pair.first].inputs[1]));
    const std::vector<float> in = equalization::input_extents(second, *graph.constant(graph.nodes[pair.second].inputs[1]));
    std::vector<float> best(out.size(), 1.0f);
    double least = kWorthScaling * noise_between(graph, pair, seen, best, per_channel);
    bool any = false;
    for (const bool by_weights : {true, false}) {
      for (const float strength : {0.5f, 1.0f}) {
        std::vector<float> factors(out.size(), 1.0f);
        for (std::size_t c = 0; c < factors.size(); ++c) {
          const float factor = std::pow(by_weights ? std::sqrt(out[c] / in[c]) : seen.extent[c] * in[c] > 0 ? seen.extent[c] : 1.0f, strength);
          if (std::isfinite(factor) && factor < kLargestFactor && factor > 1 / kLargestFactor) factors[c] = factor;
        }
        const double noise = noise_between(graph, pair, seen, factors, per_channel);
        if (noise < least) least = noise, best = std::move(factors), any = true;
      }
    }
    if (!any) continue;
    equalization::scale_between(graph, pair, best);
    ++scaled;
  }
  return scaled;
}

int absorb_high_biases(Graph& graph, const std::map<std::string, ChannelMoments>& moments) {
  int absorbed = 0;
  for (const Pair& pair : equalization::find_pairs(graph)) {
    const auto known = moments.find(graph.value(pair.made).name);
    Node& first = graph.nodes[pair.first];
    // Between them a Relu and nothing else: averages and paddings would not pass a constant on unchanged.
    const int between = graph::Uses(graph).readers[pair.made][0].node;
    const bool direct = graph.nodes[between].is("Relu") && graph.nodes[between].output(0) == pair.read;
    if (known == moments.end() || !direct || has_padding(graph, pair) || first.input(2) == kNoValue || graph.nodes[pair.second].input(2) == kNoValue) continue;
    if (known->second.mean.size() != static_cast<std::size_t>(pair.channels)) continue;
    std::vector<double> excess(known->second.mean.size());
    bool any = false;
    for (std::size_t c = 0; c < excess.size(); ++c) {
      excess[c] = std::max(0.0, known->second.mean[c] - 3 * known->second.deviation[c]);
      absorbed += excess[c] > 0;
      any = any || excess[c] > 0;
    }
    if (!any) continue;
    std::span<float> bias = equalization::own_constant(graph, pair.first, 2);
    for (std::size_t c = 0; c < excess.size(); ++c) bias[c] = static_cast<float>(bias[c] - excess[c]);
    const Layout second = *equalization::layout_of(graph, graph.nodes[pair.second]);
    std::vector<double> moved(static_cast<std::size_t>(second.outputs), 0.0);
    const std::span<const float> weight = graph.constant(graph.nodes[pair.second].inputs[1])->data<float>();
    second.for_each([&](std::size_t at, std::int64_t o, std::int64_t i) { moved[o] += weight[at] * excess[i]; });
    bias = equalization::own_constant(graph, pair.second, 2);
    for (std::size_t o = 0; o < moved.size(); ++o) bias[o] = static_cast<float>(bias[o] + moved[o]);
  }
  return absorbed;
}

int split_channels(Graph& graph, double share) {
  int added = 0;
  std::vector<bool> touched(graph.nodes.size(), false);
  for (const Pair& pair : equalization::find_pairs(graph)) {
    const Layout first = *equalization::layout_of(graph, graph.nodes[pair.first]), second = *equalization::layout_of(graph, graph.nodes[pair.second]);
    // Channels of groups cannot be had twice; what pads and pools between them is indifferent, a Reshape or a slope a channel is not.
    if (first.groups != 1 || second.groups != 1 || touched[pair.first] || touched[pair.second]) continue;
    bool plain = true;
    for (ValueId at = pair.made; at != pair.read;) {
      const graph::Uses uses(graph);
      const Node& between = graph.nodes[uses.readers[at][0].node];
      plain = plain && (between.is("Relu") || between.is("LeakyRelu") || between.is("MaxPool") || between.is("AveragePool") || between.is("Identity"));
      at = between.output(0);
    }
    if (!plain) continue;
    touched[pair.first] = touched[pair.second] = true;
    const auto count = static_cast<std::size_t>(std::ceil(share * static_cast<double>(pair.channels)));
    const Tensor weight = *graph.constant(graph.nodes[pair.first].inputs[1]), next = *graph.constant(graph.nodes[pair.second].inputs[1]);
    const std::vector<float> extents = equalization::output_extents(first, weight);
    std::vector<std::int64_t> order(extents.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) { return extents[a] > extents[b]; });
    order.resize(std::min(count, order.size()));
    // Where channel c of the widened layer comes from.
    std::vector<std::int64_t> source(extents.size());
    std::iota(source.begin(), source.end(), 0);
    source.insert(source.end(), order.begin(), order.end());
    std::vector<bool> halved(extents.size(), false);
    for (std::int64_t c : order) halved[c] = true;

    const auto wider = [&](const Tensor& tensor, int axis, bool halve) {
      Shape shape = tensor.shape();
      const std::int64_t channels = shape[axis];
      std::int64_t outer = 1, inner = 1;
      for (int i = 0; i < tensor.rank(); ++i) (i < axis ? outer : inner) *= i == axis ? 1 : shape[i];
      shape[axis] = static_cast<std::int64_t>(source.size());
      Tensor out = *Tensor::create(DType::kF32, shape);
      const std::span<const float> from = tensor.data<float>();
      const std::span<float> to = out.mutable_data<float>();
      for (std::int64_t o = 0; o < outer; ++o) {
        for (std::size_t c = 0; c < source.size(); ++c) {
          const float factor = halve && halved[source[c]] ? 0.5f : 1.0f;
          for (std::int64_t i = 0; i < inner; ++i) {
            to[(o * shape[axis] + static_cast<std::int64_t>(c)) * inner + i] = from[(o * channels + source[c]) * inner + i] * factor;
          }
        }
      }
      return out;
    };
    const auto replace = [&](int node, int input, Tensor tensor) {
      const std::string name = graph.value(graph.nodes[node].inputs[input]).name;
      const ValueId id = graph.add_constant(name + "_split", std::move(tensor));
      graph.nodes[node].inputs[input] = id;
    };
    replace(pair.first, 1, wider(weight, first.outputs_first ? 0 : 1, true));
    if (graph.nodes[pair.first].input(2) != kNoValue) replace(pair.first, 2, wider(*graph.constant(graph.nodes[pair.first].inputs[2]), 0, true));
    replace(pair.second, 1, wider(next, second.outputs_first ? 1 : 0, false));
    added += static_cast<int>(order.size());
    // The values between have other types now; who infers them again finds out.
    for (ValueId at = pair.made;;) {
      graph.value(at).type.dims.clear();
      graph.value(at).type.ranked = false;
      if (at == pair.read) break;
      const graph::Uses uses(graph);
      at = graph.nodes[uses.readers[at][0].node].output(0);
    }
  }
  return added;
}

}  // namespace narrow::quantizers
