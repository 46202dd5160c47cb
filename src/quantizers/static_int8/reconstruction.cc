#include "quantizers/static_int8/reconstruction.h"

#include <algorithm>

#include "base/thread_pool.h"

namespace narrow::quantizers::static_int8 {
namespace {

using graph::Graph;
using graph::ValueId;

// A Hessian of more columns takes longer to factor than its layer's rounding is worth.
constexpr std::int64_t kMostColumns = 2304;
// Depthwise layers: a Hessian for each channel, and little to gain from nine weights.
constexpr std::int64_t kMostGroups = 8;

MatrixOptions options_of(const Recipe& recipe) {
  MatrixOptions options;
  options.bits = 8;
  options.group_size = 0;
  options.symmetric = true;
  options.scale_type = encodings::ScaleType::kF32;
  options.search = recipe.rounding == "adaptive";
  options.refine = recipe.rounding == "adaptive" ? 4 : 0;
  options.damping = 0.01;
  return options;
}

Result<RoundedWeight> round_layer(const Graph& graph, const LayerMatrix& layer, const std::vector<InputStatistics>& statistics, const MatrixOptions& options,
                                  base::ThreadPool& pool) {
  const Tensor& weight = *graph.constant(graph.nodes[layer.node].inputs[1]);
  const std::span<const float> data = weight.data<float>();
  RoundedWeight rounded;
  NARROW_TRY(rounded.codes, Tensor::create(DType::kS8, weight.shape()));
  const std::span<std::int8_t> codes = rounded.codes.mutable_data<std::int8_t>();
  NARROW_TRY(const MatrixMethod* method, find_matrix_method("gptq"));
  std::vector<float> matrix(static_cast<std::size_t>(layer.rows * layer.columns));
  for (std::int64_t g = 0; g < layer.groups; ++g) {
    for (std::int64_t r = 0; r < layer.rows; ++r) {
      for (std::int64_t c = 0; c < layer.columns; ++c) matrix[static_cast<std::size_t>(r * layer.columns + c)] = data[layer.at(g, r, c)];
    }
    NARROW_TRY(const MatrixResult result,
               quantize_matrix(*method, matrix, layer.rows, layer.columns, &statistics[static_cast<std::size_t>(g)], options, pool));
    for (std::int64_t r = 0; r < layer.rows; ++r) {
      rounded.scale.push_back(result.matrix.scales[static_cast<std::size_t>(r)]);
      for (std::int64_t c = 0; c < layer.columns; ++c) {
        const int code = result.matrix.codes[static_cast<std::size_t>(r * result.matrix.row_bytes() + c)] - 128;
        codes[layer.at(g, r, c)] = static_cast<std::int8_t>(std::max(code, -127));
      }
    }
  }
  return rounded;
}

}  // namespace

Result<std::map<ValueId, RoundedWeight>> reconstruct_weights(const Graph& graph, const Plan& plan, const Recipe& recipe, const datasets::Dataset& data,
                                                             const InputOptions& options) {
  const graph::Uses uses(graph);
  std::vector<LayerMatrix> layers;
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    const NodePlan& own = plan.nodes[n];
    if (!own.quantized || own.role != operators::QuantRole::kCompute || own.op->quant.weight_input != 1 || !own.per_channel || !own.rule->per_channel_weights) continue;
    const auto layer = layer_matrix(graph, static_cast<int>(n));
    if (!layer || layer->columns > kMostColumns || layer->groups > kMostGroups || uses.readers[graph.nodes[n].inputs[1]].size() != 1) continue;
    layers.push_back(*layer);
  }
  std::map<ValueId, RoundedWeight> rounded;
  if (layers.empty()) return rounded;
  NARROW_TRY(const auto statistics, layer_statistics(graph, layers, data, options));
  base::ThreadPool pool(std::max(1, options.threads));
  std::size_t done = 0;
  for (const LayerMatrix& layer : layers) {
    const std::vector<InputStatistics>& seen = statistics.at(layer.node);
    if (std::any_of(seen.begin(), seen.end(), [](const InputStatistics& s) { return s.tokens == 0; })) continue;
    NARROW_TRY(RoundedWeight weight, round_layer(graph, layer, seen, options_of(recipe), pool));
    rounded.emplace(graph.nodes[layer.node].inputs[1], std::move(weight));
    if (options.progress) options.progress("reconstructing weights", ++done, layers.size());
  }
  return rounded;
}

}  // namespace narrow::quantizers::static_int8
