// What each rounding of a quantized model costs at the model's outputs, by itself.
//
// The float model runs once over the samples and its activations are kept. Every source of noise, a layer's weights or an
// activation's 8 bits, is then put in alone, and only what lies behind it runs, from the kept activations on. Noise of
// different sources is hardly correlated, so what several of them cost is about the sum.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "datasets/dataset.h"
#include "graph/graph.h"
#include "narrow/result.h"
#include "quantizers/quantizer.h"

namespace narrow::quantizers {

struct SensitivityOptions {
  std::size_t samples = 8;       // fewer where the activations would not fit `memory`
  std::uint64_t memory = 512u << 20;
  int threads = 1;
  std::function<void(std::string_view phase, std::size_t done, std::size_t total)> progress;
};

struct Sensitivity {
  std::vector<NoiseSource> sources;   // weights in graph order, then activations in graph order
  double together = 0;                // the quantized model itself, on the same samples
  std::size_t samples = 0;
};

// `quantized` is `reference` with QuantizeLinear and DequantizeLinear in it (quantize_static's output): nodes and values of
// the same name mean the same. Errors: what running reports, naming the sample.
Result<Sensitivity> measure_sensitivity(const graph::Graph& reference, const graph::Graph& quantized, const datasets::Dataset& data,
                                        const SensitivityOptions& options);

// Sensitivity::together alone, on the same samples.
Result<double> measure_noise(const graph::Graph& reference, const graph::Graph& quantized, const datasets::Dataset& data,
                             const SensitivityOptions& options);

}  // namespace narrow::quantizers
