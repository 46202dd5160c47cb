// A quantizer is one method: it takes a float model and a recipe and returns a model with explicit quantization.
#pragma once

#include <functional>
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

struct Outcome {
  graph::Model model;
  std::vector<LayerDecision> layers;
  std::vector<std::string> warnings;          // islands that cost speed, NaN in weights, dead channels, …
  calibration::CalibrationTable calibration;  // empty for methods without calibration
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
