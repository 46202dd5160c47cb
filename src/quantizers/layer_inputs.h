// What calibration data look like to single layers: their inputs as rows of the matrix product that the layer is, and the
// largest values of channels.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "datasets/dataset.h"
#include "graph/graph.h"
#include "narrow/result.h"
#include "quantizers/matrix/matrix.h"

namespace narrow::quantizers {

// A layer as y = W x for each of its groups: W [rows, columns] of group g.
struct LayerMatrix {
  int node = -1;                    // Conv, Gemm or MatMul with a constant f32 weight as input 1
  std::int64_t groups = 1, rows = 0, columns = 0;
  bool transposed = false;          // the weight lies as [columns, rows]
  bool mean_is_corrected = false;   // a bias takes back what rounding does to the mean: only what varies counts
  // Index of element (group, row, column) in the weight tensor.
  std::size_t at(std::int64_t group, std::int64_t row, std::int64_t column) const {
    return static_cast<std::size_t>(transposed ? column * rows + row : (group * rows + row) * columns + column);
  }
};
// Nothing for what is no such layer.
std::optional<LayerMatrix> layer_matrix(const graph::Graph& graph, int node);

// Of the layer's own [groups][rows][columns] matrix.
std::vector<float> matrix_of(const graph::Graph& graph, const LayerMatrix& layer, std::int64_t group);

struct InputOptions {
  std::size_t samples = 64;         // spread evenly over the data
  std::int64_t rows_per_sample = 128;
  int threads = 1;
  std::function<void(std::string_view phase, std::size_t done, std::size_t total)> progress;
};

// Sees rows [count, layer.columns] of one group's inputs, sample by sample (`sample` counts up).
using RowVisitor = std::function<Status(const LayerMatrix& layer, std::int64_t group, std::size_t sample, const float* rows, std::int64_t count)>;
// Hands on rows of each layer's inputs. Precondition: types are inferred. Errors: what running and `visit` report.
Status visit_rows(const graph::Graph& graph, const std::vector<LayerMatrix>& layers, const datasets::Dataset& data, const InputOptions& options, const RowVisitor& visit);

struct LayerStatistics {
  std::vector<InputStatistics> seen;      // by group
  std::vector<InputStatistics> held_out;  // of every fourth sample, which `seen` lacks; as `seen` where there are fewer
};

// Statistics of each layer's inputs, by node; where its mean is corrected, of what differs from the mean row. Errors: visit_rows'.
Result<std::map<int, LayerStatistics>> layer_statistics(const graph::Graph& graph, const std::vector<LayerMatrix>& layers, const datasets::Dataset& data,
                                                        const InputOptions& options);

struct ChannelsSeen {
  std::vector<float> extent;        // largest |x|
  std::vector<double> power;        // mean of x²
};

// What each channel of the values named held, with the axis of the channels (negative: from the end). Values whose number of
// channels changes between samples are left out.
Result<std::map<std::string, ChannelsSeen>> channels_seen(const graph::Graph& graph, const std::map<std::string, int>& axes,
                                                                  const datasets::Dataset& data, const InputOptions& options);

}  // namespace narrow::quantizers
