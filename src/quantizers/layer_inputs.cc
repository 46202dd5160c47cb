#include "quantizers/layer_inputs.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <optional>

#include "base/thread_pool.h"
#include "operators/window.h"
#include "passes/edit.h"
#include "runtime/session.h"

namespace narrow::quantizers {
namespace {

using graph::Graph;
using graph::Node;
using graph::ValueId;

// Runs the graph over evenly spread samples, handing each tapped tensor on.
Status run_over(const Graph& graph, std::vector<ValueId> values, const datasets::Dataset& data, const InputOptions& options, std::string_view phase,
                const std::function<Status(ValueId, const Tensor&)>& see) {
  runtime::SessionOptions session_options;
  session_options.threads = std::max(1, options.threads);
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  session_options.tapped = std::move(values);
  session_options.tap = see;
  NARROW_TRY(const auto session, runtime::Session::create(graph, std::move(session_options)));
  const std::size_t samples = std::min(options.samples == 0 ? data.size() : options.samples, data.size());
  for (std::size_t i = 0; i < samples; ++i) {
    NARROW_TRY(const datasets::Sample sample, data.read(i * data.size() / samples));
    const std::vector<runtime::NamedValue> inputs(sample.inputs.begin(), sample.inputs.end());
    auto outputs = session->run_values(inputs);
    if (!outputs.ok()) return std::move(outputs).error().context(fmt::format("while {} with {}", phase, sample.name));
    if (options.progress) options.progress(phase, i + 1, samples);
  }
  return {};
}

// The rows that a convolution's kernel sees at evenly spread places, [count, columns] of one group.
class Patches {
 public:
  static std::optional<Patches> make(const Node& node, const LayerMatrix& layer, const Shape& input, const Shape& weight, std::int64_t limit) {
    Patches patches;
    if (static_cast<std::int64_t>(input.size()) != static_cast<std::int64_t>(weight.size()) || input.size() < 3) return std::nullopt;
    const std::vector<std::int64_t> in(input.begin() + 2, input.end()), kernel(weight.begin() + 2, weight.end());
    const auto attributes = operators::read_window(node);
    if (!attributes.ok()) return std::nullopt;
    const auto windows = operators::resolve_window(node, *attributes, in, kernel);
    if (!windows.ok()) return std::nullopt;
    patches.windows_ = *windows;
    patches.channels_ = input[1] / layer.groups;
    patches.input_ = input;
    std::int64_t places = input[0];
    for (const kernels::Window& w : patches.windows_) places *= w.out, patches.taps_ *= w.kernel;
    patches.places_ = places;
    patches.count_ = std::min(limit, places);
    // A step near the golden section that shares no factor with the number of places: all are different, and none of the image's
    // rows and columns is seen more than others.
    patches.step_ = std::max<std::int64_t>(1, static_cast<std::int64_t>(0.618 * static_cast<double>(places)));
    while (std::gcd(patches.step_, places) != 1) ++patches.step_;
    if (patches.count_ <= 0 || patches.channels_ * patches.taps_ != layer.columns) return std::nullopt;
    return patches;
  }

  std::int64_t count() const { return count_; }

  void fill(const float* x, std::int64_t group, float* rows) const {
    const std::int64_t all_channels = input_[1];
    std::int64_t plane = 1;
    for (std::size_t d = 2; d < input_.size(); ++d) plane *= input_[d];
    for (std::int64_t r = 0; r < count_; ++r) {
      std::int64_t place = static_cast<std::int64_t>(static_cast<unsigned __int128>(r) * static_cast<unsigned __int128>(step_) % static_cast<unsigned __int128>(places_));
      std::vector<std::int64_t> at(windows_.size());
      for (std::size_t d = windows_.size(); d-- > 0;) at[d] = place % windows_[d].out, place /= windows_[d].out;
      const float* image = x + (place * all_channels + group * channels_) * plane;
      for (std::int64_t tap = 0; tap < taps_; ++tap) {
        std::int64_t rest = tap, offset = 0, stride = 1;
        bool inside = true;
        for (std::size_t d = windows_.size(); d-- > 0;) {
          const kernels::Window& w = windows_[d];
          const std::int64_t position = at[d] * w.stride - w.pad_begin + rest % w.kernel * w.dilation;
          rest /= w.kernel;
          inside = inside && position >= 0 && position < w.in;
          offset += position * stride;
          stride *= w.in;
        }
        for (std::int64_t c = 0; c < channels_; ++c) *(rows + r * channels_ * taps_ + c * taps_ + tap) = inside ? image[c * plane + offset] : 0.0f;
      }
    }
  }

 private:
  std::vector<kernels::Window> windows_;
  Shape input_;
  std::int64_t channels_ = 0, taps_ = 1, places_ = 0, count_ = 0, step_ = 1;
};

}  // namespace

std::optional<LayerMatrix> layer_matrix(const Graph& graph, int index) {
  const Node& node = graph.nodes[index];
  const ValueId id = node.input(1);
  if (id == graph::kNoValue || !passes::is_fixed_constant(graph, id)) return std::nullopt;
  const Tensor& weight = *graph.constant(id);
  if (weight.dtype() != DType::kF32 || weight.size() == 0) return std::nullopt;
  LayerMatrix layer;
  layer.node = index;
  if (node.is("Conv") && weight.rank() >= 3) {
    layer.groups = node.get_int("group", 1);
    if (layer.groups < 1 || weight.shape()[0] % layer.groups != 0) return std::nullopt;
    layer.rows = weight.shape()[0] / layer.groups;
    layer.columns = weight.size() / weight.shape()[0];
  } else if ((node.is("Gemm") || node.is("MatMul")) && weight.rank() == 2) {
    if (node.get_int("transA", 0) != 0) return std::nullopt;
    layer.transposed = node.is("MatMul") || node.get_int("transB", 0) == 0;
    layer.rows = weight.shape()[layer.transposed ? 1 : 0];
    layer.columns = weight.shape()[layer.transposed ? 0 : 1];
  } else {
    return std::nullopt;
  }
  return layer;
}

std::vector<float> matrix_of(const Graph& graph, const LayerMatrix& layer, std::int64_t group) {
  const std::span<const float> data = graph.constant(graph.nodes[layer.node].inputs[1])->data<float>();
  std::vector<float> matrix(static_cast<std::size_t>(layer.rows * layer.columns));
  for (std::int64_t r = 0; r < layer.rows; ++r) {
    for (std::int64_t c = 0; c < layer.columns; ++c) matrix[static_cast<std::size_t>(r * layer.columns + c)] = data[layer.at(group, r, c)];
  }
  return matrix;
}

Status visit_rows(const Graph& graph, const std::vector<LayerMatrix>& layers, const datasets::Dataset& data, const InputOptions& options, const RowVisitor& visit) {
  std::map<ValueId, std::vector<const LayerMatrix*>> readers;
  std::map<int, std::size_t> samples;
  std::vector<ValueId> values;
  for (const LayerMatrix& layer : layers) {
    readers[graph.nodes[layer.node].inputs[0]].push_back(&layer);
    values.push_back(graph.nodes[layer.node].inputs[0]);
  }
  std::vector<float> rows;
  const auto see = [&](ValueId id, const Tensor& tensor) -> Status {
    const auto found = readers.find(id);
    if (found == readers.end() || tensor.dtype() != DType::kF32 || tensor.size() == 0) return {};
    const std::span<const float> x = tensor.data<float>();
    if (!std::all_of(x.begin(), x.end(), [](float v) { return std::isfinite(v); })) return {};
    for (const LayerMatrix* layer : found->second) {
      const Node& node = graph.nodes[layer->node];
      if (!node.is("Conv")) {
        if (tensor.shape().back() != layer->columns) continue;
        const std::int64_t all = tensor.size() / layer->columns, count = std::min(all, options.rows_per_sample);
        rows.resize(static_cast<std::size_t>(count * layer->columns));
        for (std::int64_t r = 0; r < count; ++r) std::copy_n(x.data() + r * all / count * layer->columns, layer->columns, rows.data() + r * layer->columns);
        NARROW_RETURN_IF_ERROR(visit(*layer, 0, samples[layer->node]++, rows.data(), count));
        continue;
      }
      const auto patches = Patches::make(node, *layer, tensor.shape(), graph.constant(node.inputs[1])->shape(), options.rows_per_sample);
      if (!patches) continue;
      rows.resize(static_cast<std::size_t>(patches->count() * layer->columns));
      const std::size_t sample = samples[layer->node]++;
      for (std::int64_t g = 0; g < layer->groups; ++g) {
        patches->fill(x.data(), g, rows.data());
        NARROW_RETURN_IF_ERROR(visit(*layer, g, sample, rows.data(), patches->count()));
      }
    }
    return {};
  };
  return run_over(graph, std::move(values), data, options, "collecting inputs of layers", see);
}

namespace {

constexpr std::size_t kHeldOut = 4;  // every so many-th sample

struct Sums {
  std::vector<double> sum;
  void add(const float* rows, std::int64_t count, std::int64_t columns) {
    sum.resize(static_cast<std::size_t>(columns));
    for (std::int64_t r = 0; r < count; ++r) {
      for (std::int64_t c = 0; c < columns; ++c) sum[static_cast<std::size_t>(c)] += rows[r * columns + c];
    }
  }
};

void centre(InputStatistics& statistics, const std::vector<double>& sum) {
  const auto n = sum.size();
  if (statistics.tokens == 0) return;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      float& entry = statistics.hessian[i * n + j];
      entry = static_cast<float>(entry - sum[i] * sum[j] / static_cast<double>(statistics.tokens));
      if (i == j) entry = std::max(entry, 0.0f);
    }
  }
}

}  // namespace

Result<std::map<int, LayerStatistics>> layer_statistics(const Graph& graph, const std::vector<LayerMatrix>& layers, const datasets::Dataset& data,
                                                        const InputOptions& options) {
  std::map<int, LayerStatistics> statistics;
  std::map<int, std::vector<std::array<Sums, 2>>> sums;
  for (const LayerMatrix& layer : layers) {
    const std::vector<InputStatistics> none(static_cast<std::size_t>(layer.groups), InputStatistics(layer.columns));
    statistics.emplace(layer.node, LayerStatistics{none, none});
    sums[layer.node].resize(static_cast<std::size_t>(layer.groups));
  }
  base::ThreadPool pool(std::max(1, options.threads));
  NARROW_RETURN_IF_ERROR(visit_rows(graph, layers, data, options, [&](const LayerMatrix& layer, std::int64_t group, std::size_t sample, const float* rows, std::int64_t count) {
    LayerStatistics& of = statistics.at(layer.node);
    const auto g = static_cast<std::size_t>(group);
    const bool aside = sample % kHeldOut == kHeldOut - 1;
    if (layer.mean_is_corrected) sums.at(layer.node)[g][aside].add(rows, count, layer.columns);
    return (aside ? of.held_out : of.seen)[g].add(rows, count, pool);
  }));
  for (auto& [node, of] : statistics) {
    for (std::size_t g = 0; g < of.seen.size(); ++g) {
      centre(of.seen[g], sums.at(node)[g][0].sum);
      centre(of.held_out[g], sums.at(node)[g][1].sum);
      if (of.held_out[g].tokens == 0) of.held_out[g] = of.seen[g];
    }
  }
  return statistics;
}

Result<std::map<std::string, ChannelsSeen>> channels_seen(const Graph& graph, const std::map<std::string, int>& axes, const datasets::Dataset& data,
                                                          const InputOptions& options) {
  std::map<std::string, ChannelsSeen> all;
  std::map<std::string, double> counts;
  std::map<ValueId, std::pair<std::string, int>> wanted;
  std::vector<ValueId> values;
  for (const auto& [name, axis] : axes) {
    const ValueId id = graph.find_value(name);
    if (id == graph::kNoValue) return internal_error(fmt::format("there is no value '{}'", name));
    wanted.emplace(id, std::pair(name, axis));
    values.push_back(id);
  }
  std::vector<std::string> changing;
  const auto see = [&](ValueId id, const Tensor& tensor) -> Status {
    const auto found = wanted.find(id);
    if (found == wanted.end() || tensor.dtype() != DType::kF32) return {};
    const int axis = found->second.second < 0 ? tensor.rank() + found->second.second : found->second.second;
    if (axis < 0 || axis >= tensor.rank()) return {};
    ChannelsSeen& of = all[found->second.first];
    const auto channels = static_cast<std::size_t>(tensor.shape()[axis]);
    if (!of.extent.empty() && of.extent.size() != channels) changing.push_back(found->second.first);
    of.extent.resize(channels);
    of.power.resize(channels);
    std::int64_t inner = 1;
    for (int i = axis + 1; i < tensor.rank(); ++i) inner *= tensor.shape()[i];
    const std::span<const float> x = tensor.data<float>();
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (!std::isfinite(x[i])) continue;
      const std::size_t channel = i / static_cast<std::size_t>(inner) % channels;
      of.extent[channel] = std::max(of.extent[channel], std::abs(x[i]));
      of.power[channel] += static_cast<double>(x[i]) * x[i];
    }
    counts[found->second.first] += static_cast<double>(x.size()) / static_cast<double>(std::max<std::size_t>(channels, 1));
    return {};
  };
  NARROW_RETURN_IF_ERROR(run_over(graph, std::move(values), data, options, "collecting ranges of channels", see));
  for (const std::string& name : changing) all.erase(name);
  for (auto& [name, of] : all) {
    for (double& power : of.power) power /= std::max(counts[name], 1.0);
  }
  return all;
}

}  // namespace narrow::quantizers
