// What a model is worth: accuracy on labelled data, and distance from a reference model.
#pragma once

#include <cstdint>
#include <vector>

#include "narrow/data.h"
#include "narrow/figures.h"
#include "narrow/model.h"
#include "narrow/progress.h"
#include "narrow/result.h"

namespace narrow {

struct EvaluateOptions {
  int threads = 0;                       // 0: all processors
  Progress progress;
};

// Results do not depend on the number of threads. Errors: what reading or running a sample reports, naming the sample;
// invalid_argument when there are no samples.
Result<Metrics> evaluate(const Model& model, const Data& data, const EvaluateOptions& options = {});

// Several models on the same samples; the first is the reference that agreement and distances of the others refer to.
Result<std::vector<Metrics>> evaluate(const std::vector<Model>& models, const Data& data,
                                      const EvaluateOptions& options = {});

struct Distortion {
  std::vector<LayerDistortion> layers;      // in graph order
  std::vector<ValueHistogram> histograms;   // of the worst layers, worst first
};

// Between a float model and a quantized form of it, values matched by name; with histograms of so many of the worst layers.
Result<Distortion> layer_distortion(const Model& reference, const Model& quantized, const Data& data,
                                    std::uint64_t histograms = 0, const EvaluateOptions& options = {});

// Reads what was written to `path` back and runs it beside `written` on one sample of `data` (random inputs when null); where
// narrow cannot run the model, their structures are compared. Errors: what reading reports; internal when they differ.
Status verify_written(const std::string& path, const Model& written, const Data* data = nullptr, int threads = 1);

}  // namespace narrow
