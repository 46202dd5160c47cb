#include "quantizers/static_int8/reconstruction.h"

#include <algorithm>
#include <cmath>

#include "base/thread_pool.h"
#include "quantizers/static_int8/bias_correction.h"

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

// e H eᵀ.
double output_error(std::span<const float> e, const std::vector<float>& hessian) {
  double sum = 0;
  const std::size_t n = e.size();
  for (std::size_t i = 0; i < n; ++i) {
    if (e[i] == 0) continue;
    double along = 0;
    for (std::size_t j = 0; j < n; ++j) along += static_cast<double>(hessian[i * n + j]) * e[j];
    sum += e[i] * along;
  }
  return sum;
}

// One output channel: codes of one scale.
struct Row {
  float scale = 1;
  std::vector<std::int8_t> codes;
  std::vector<float> error(std::span<const float> weight) const {
    std::vector<float> e(weight.size());
    for (std::size_t c = 0; c < weight.size(); ++c) e[c] = weight[c] - static_cast<float>(codes[c]) * scale;
    return e;
  }
};

Row nearest(std::span<const float> weight) {
  Row row;
  float most = 0;
  for (float w : weight) most = std::max(most, std::abs(w));
  row.scale = most > 0 ? most / 127 : 1.0f;
  for (float w : weight) row.codes.push_back(static_cast<std::int8_t>(std::clamp(std::nearbyint(w / row.scale), -127.0f, 127.0f)));
  return row;
}

// What does worse than plain rounding on samples that it did not see is not taken: channel by channel.
Result<RoundedWeight> round_layer(const Graph& graph, const LayerMatrix& layer, const LayerStatistics& statistics, const MatrixOptions& options,
                                  base::ThreadPool& pool) {
  RoundedWeight rounded;
  NARROW_TRY(rounded.codes, Tensor::create(DType::kS8, graph.constant(graph.nodes[layer.node].inputs[1])->shape()));
  const std::span<std::int8_t> codes = rounded.codes.mutable_data<std::int8_t>();
  NARROW_TRY(const MatrixMethod* method, find_matrix_method("gptq"));
  for (std::int64_t g = 0; g < layer.groups; ++g) {
    const std::vector<float> matrix = matrix_of(graph, layer, g);
    NARROW_TRY(const MatrixResult result,
               quantize_matrix(*method, matrix, layer.rows, layer.columns, &statistics.seen[static_cast<std::size_t>(g)], options, pool));
    const std::vector<float>& held_out = statistics.held_out[static_cast<std::size_t>(g)].hessian;
    std::vector<Row> rows(static_cast<std::size_t>(layer.rows));
    pool.parallel_for(rows.size(), [&](std::size_t r, int) {
      const std::span<const float> weight(matrix.data() + static_cast<std::int64_t>(r) * layer.columns, static_cast<std::size_t>(layer.columns));
      Row found;
      found.scale = result.matrix.scales[r];
      for (std::int64_t c = 0; c < layer.columns; ++c) {
        const int code = result.matrix.codes[static_cast<std::size_t>(static_cast<std::int64_t>(r) * result.matrix.row_bytes() + c)] - 128;
        found.codes.push_back(static_cast<std::int8_t>(std::max(code, -127)));
      }
      Row plain = nearest(weight);
      rows[r] = output_error(found.error(weight), held_out) < output_error(plain.error(weight), held_out) ? std::move(found) : std::move(plain);
    });
    for (std::int64_t r = 0; r < layer.rows; ++r) {
      const Row& row = rows[static_cast<std::size_t>(r)];
      rounded.scale.push_back(row.scale);
      for (std::int64_t c = 0; c < layer.columns; ++c) codes[layer.at(g, r, c)] = row.codes[static_cast<std::size_t>(c)];
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
    auto layer = layer_matrix(graph, static_cast<int>(n));
    if (!layer || layer->columns > kMostColumns || layer->groups > kMostGroups || uses.readers[graph.nodes[n].inputs[1]].size() != 1) continue;
    layer->mean_is_corrected = recipe.bias_correction && corrects_mean(graph, plan, n);
    layers.push_back(*layer);
  }
  std::map<ValueId, RoundedWeight> rounded;
  if (layers.empty()) return rounded;
  NARROW_TRY(const auto statistics, layer_statistics(graph, layers, data, options));
  base::ThreadPool pool(std::max(1, options.threads));
  std::size_t done = 0;
  for (const LayerMatrix& layer : layers) {
    const LayerStatistics& seen = statistics.at(layer.node);
    if (std::any_of(seen.seen.begin(), seen.seen.end(), [](const InputStatistics& s) { return s.tokens == 0; })) continue;
    NARROW_TRY(RoundedWeight weight, round_layer(graph, layer, seen, options_of(recipe), pool));
    rounded.emplace(graph.nodes[layer.node].inputs[1], std::move(weight));
    if (options.progress) options.progress("reconstructing weights", ++done, layers.size());
  }
  return rounded;
}

}  // namespace narrow::quantizers::static_int8
