// Turns pictures into the one image input of a model.
#pragma once

#include <string>
#include <vector>

#include "datasets/dataset.h"
#include "datasets/image.h"
#include "datasets/preprocess.h"
#include "narrow/result.h"
#include "tensor/tensor.h"

namespace narrow::datasets {

class ImageInput {
 public:
  // Finds out size, channels and layout from the model's only input (rank 4; unknown dimensions allowed; f32, f16, u8 or
  // s8) and `preprocess`. Errors: unsupported (not an image model, another element type), invalid_argument
  // (`preprocess` contradicts the input's shape).
  static Result<ImageInput> create(const std::vector<InputSpec>& inputs, const Preprocess& preprocess);

  // One sample of batch 1. Errors name `where`, the expected and the found size.
  Result<Tensor> convert(Image image, const std::string& where) const;

  const std::string& name() const { return name_; }

 private:
  Result<Image> fit(Image image, const std::string& where) const;

  std::string name_;
  DType dtype_ = DType::kF32;
  Preprocess preprocess_;
  bool nhwc_ = false;
  int channels_ = 3;
  bool bgr_ = false;
  int width_ = 0, height_ = 0;              // the model's, 0 when unknown
  std::vector<std::vector<float>> lookup_;  // per output channel: the 256 possible results
};

// The sample of a picture data set.
Result<Sample> image_sample(const ImageInput& input, Image image, std::optional<std::int64_t> label, std::string name);

}  // namespace narrow::datasets
