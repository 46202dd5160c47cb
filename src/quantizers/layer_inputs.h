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
  // Index of element (group, row, column) in the weight tensor.
  std::size_t at(std::int64_t group, std::int64_t row, std::int64_t column) const {
    return static_cast<std::size_t>(transposed ? column * rows + row : (group * rows + row) * columns + column);
  }
};
// Nothing for what is no such layer.
std::optional<LayerMatrix> layer_matrix(const graph::Graph& graph, int node);

struct InputOptions {
  std::size_t samples = 64;         // spread evenly over the data
  std::int64_t rows_per_sample = 128;
  int threads = 1;
  std::function<void(std::string_view phase, std::size_t done, std::size_t total)> progress;
};

// Statistics of each layer's inputs, by node and group. Precondition: types are inferred. Errors: what running reports.
Result<std::map<int, std::vector<InputStatistics>>> layer_statistics(const graph::Graph& graph, const std::vector<LayerMatrix>& layers,
                                                                     const datasets::Dataset& data, const InputOptions& options);

// Largest |x| of each channel of the values named, with the axis of the channels (negative: from the end). Values whose number of
// channels changes between samples are left out.
Result<std::map<std::string, std::vector<float>>> channel_extents(const graph::Graph& graph, const std::map<std::string, int>& axes,
                                                                  const datasets::Dataset& data, const InputOptions& options);

}  // namespace narrow::quantizers
