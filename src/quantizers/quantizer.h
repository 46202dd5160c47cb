// A quantizer is one method: it takes a float model and a recipe and returns a model with explicit quantization.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "calibration/statistics.h"
#include "datasets/dataset.h"
#include "graph/graph.h"
#include "narrow/result.h"
#include "quantizers/recipe.h"

namespace narrow::quantizers {

struct Request {
  const graph::Model* model = nullptr;
  Recipe recipe;
  const datasets::Dataset* data = nullptr;    // null when there is none
  // Of an earlier run over the same model and data: taken instead of calibrating where it holds all that is needed.
  const calibration::CalibrationTable* calibration = nullptr;
  bool keep_histograms = false;               // calibrate for any observer, so that the table serves later runs
  int threads = 1;
  std::function<void(std::string_view phase, std::size_t done, std::size_t total)> progress;
};

enum class Decision { kQuantized, kDynamic, kConverted, kFolded, kFloat };

// One line a node of the float model: what became of it and why.
struct LayerDecision {
  std::string node, op_type;
  Decision decision = Decision::kFloat;
  std::string reason;                         // for kFloat: never empty
  std::uint64_t weight_bytes_before = 0, weight_bytes_after = 0;
};

// What one rounding costs at the model's outputs, all others left out.
struct NoiseSource {
  std::string node;                           // whose weights are rounded; empty: an activation
  std::string value;                          // the activation that is rounded; empty: weights
  double noise = 0;                           // noise power at all outputs over their signal power
};

// A choice of layers to leave in float.
struct FrontierPoint {
  std::vector<std::string> lifted;            // node names that are float here, in the order they left
  double noise = 0;                           // predicted: sum over the sources that are left
  double integer_share = 1;                   // of the multiply-adds of quantized layers, those still in integers
  std::uint64_t weight_bytes = 0;             // of quantized and lifted layers, lifted ones as f16
  std::optional<double> measured;             // noise of the model that this point stands for, where it was made
};

struct Outcome {
  graph::Model model;
  std::vector<LayerDecision> layers;
  std::vector<std::string> warnings;          // islands that cost speed, NaN in weights, dead channels, …
  calibration::CalibrationTable calibration;  // empty for methods without calibration
  std::vector<NoiseSource> sensitivity;       // mixed: what each rounding costs by itself
  std::vector<FrontierPoint> frontier;        // mixed: from all layers in integers to none
  std::size_t chosen = 0;                     // the point of it that `model` is
  std::optional<Recipe> recipe;               // what replays this outcome without the search that led to it
  // Pairs (value in the float model, value in the quantized model) that mean the same thing, for per-layer distortion.
  std::vector<std::pair<std::string, std::string>> correspondence;
};

struct Quantizer {
  std::string_view name;                      // "static"
  std::string_view summary;
  bool needs_data;
  Result<Outcome> (*run)(const Request& request);
};

std::span<const Quantizer> quantizers();      // the table: static dynamic fp16 bf16 …
// Errors: invalid_argument with the names nearest to `name`.
Result<const Quantizer*> find_quantizer(std::string_view name);

}  // namespace narrow::quantizers
