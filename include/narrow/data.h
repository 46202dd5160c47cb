// Data: calibration or evaluation inputs for one model.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "narrow/model.h"
#include "narrow/result.h"

namespace narrow {

struct DataOptions {
  std::string preprocess;      // "imagenet-224", … or "resize=256,crop=227,order=bgr,…"; see `narrow list presets`
  std::string labels;          // another labels.tsv than the folder's
  std::uint64_t samples = 0;   // that many, spread evenly over the whole; 0: all
  std::string tokenizer;       // for text: tokenizer.json; "" takes the one beside the model, if there is one
};

class Data {
 public:
  // Whatever `path` is: an image folder, .npy, .npz, a folder of .npz, CIFAR or MNIST binaries, sentence pairs or lines of
  // text for a model that reads token ids, raw f32. Errors: not_found, corrupt, unsupported, invalid_argument
  // (preprocessing, no tokenizer), naming what was found and what is accepted.
  static Result<Data> open(const std::string& path, const Model& model, const DataOptions& options = {});

  // Random normal inputs; dimensions that are not fixed take 1.
  static Result<Data> synthetic(const Model& model, std::uint64_t count, std::uint64_t seed);

  // At most `count` samples, spread evenly. The two sentences of a pair are two samples and are taken together.
  Data take(std::uint64_t count) const;

  std::uint64_t size() const;
  bool labelled() const;
  std::string describe() const;
  const std::string& path() const;
  const std::string& preprocess() const;
  const std::string& tokenizer() const;

  struct Impl;
  explicit Data(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  const Impl& impl() const { return *impl_; }

 private:
  std::shared_ptr<const Impl> impl_;
};

}  // namespace narrow
