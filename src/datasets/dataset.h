// Calibration and evaluation inputs: any number of samples, read one at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "graph/graph.h"
#include "narrow/result.h"
#include "tensor/tensor.h"

namespace narrow::datasets {

struct Sample {
  std::vector<std::pair<std::string, Tensor>> inputs;  // by model input name, batch dimension included (size 1)
  std::optional<std::int64_t> label;                   // class index
  std::optional<double> score;                         // of the pair that the sample belongs to
  std::string name;                                    // file or index, for messages
};

class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual std::size_t size() const = 0;
  // Safe to call from several threads. Errors name the sample.
  virtual Result<Sample> read(std::size_t index) const = 0;
  virtual bool labelled() const = 0;
  // Samples that belong together stand one after the other: 2 for pairs. The size is a multiple of it.
  virtual std::size_t samples_together() const { return 1; }
  virtual bool pictures() const { return false; }  // made from pixels by preprocessing
  virtual std::string describe() const = 0;  // "500 images, imagenet folder, labels.tsv"
};

// What a model wants for one input.
struct InputSpec {
  std::string name;
  graph::Type type;
};

struct OpenOptions {
  std::vector<InputSpec> inputs;
  std::string preprocess;            // preset or list, see preprocess.h; "" chooses "none"
  std::string labels;                // another labels.tsv than the folder's
  std::string tokenizer;             // tokenizer.json, for text
};

// Opens whatever `path` is: an image folder (labels.tsv or class folders), .npy/.npz, CIFAR or MNIST binaries, a folder
// of .npz, text, raw f32. Errors: not_found, corrupt, unsupported (naming what was found and what is accepted).
Result<std::unique_ptr<Dataset>> open_dataset(const std::string& path, const OpenOptions& options);

// Random normal inputs of the model's shapes (unknown dimensions take 1): for latency, and for models without data.
Result<std::unique_ptr<Dataset>> synthetic_dataset(const std::vector<InputSpec>& inputs, std::size_t count,
                                                   std::uint64_t seed);

// `count` samples spread evenly over `whole` (all of it when count is 0 or larger), in order; samples that belong together
// are taken together.
std::unique_ptr<Dataset> take_samples(std::shared_ptr<const Dataset> whole, std::size_t count);
// The others, in order.
std::unique_ptr<Dataset> leave_samples(std::shared_ptr<const Dataset> whole, std::size_t count);
// These. Precondition: every index is below the size, and samples that belong together stay together.
std::unique_ptr<Dataset> select_samples(std::shared_ptr<const Dataset> whole, std::vector<std::size_t> indices);

}  // namespace narrow::datasets
