// Where a quantized model departs from its float model: the same samples through both, value by value.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "datasets/dataset.h"
#include "evaluation/sweep.h"
#include "graph/graph.h"
#include "narrow/figures.h"
#include "narrow/result.h"

namespace narrow::evaluation {

// (value in the float model, value in the quantized model) that mean the same thing.
using Correspondence = std::vector<std::pair<std::string, std::string>>;

// The pairs found by name, for models read from files: a float value of the same name in both; where the quantized model
// quantizes and dequantizes that value, what comes out of it.
Correspondence match_by_name(const graph::Graph& reference, const graph::Graph& quantized);

struct DistortionRequest {
  const graph::Graph* reference = nullptr;
  const graph::Graph* quantized = nullptr;
  Correspondence correspondence;      // pairs naming values that do not exist are skipped
  std::size_t histograms = 0;         // of so many of the worst layers
  SweepOptions sweep;
};

struct DistortionReport {
  std::vector<LayerDistortion> layers;      // in the order of the reference's nodes
  std::vector<ValueHistogram> histograms;   // worst first
  Metrics outputs;
};

Result<DistortionReport> measure_distortion(const DistortionRequest& request, const datasets::Dataset& data);

// The float values that the quantization of `value` (the output of a DequantizeLinear, or a Relu or Clip of one) can
// hold; nothing when it is not quantized per tensor.
std::optional<std::pair<double, double>> representable_range(const graph::Graph& quantized, graph::ValueId value);

}  // namespace narrow::evaluation
