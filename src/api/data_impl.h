// What a narrow::Data holds.
#pragma once

#include <memory>
#include <string>

#include "datasets/dataset.h"
#include "narrow/data.h"

namespace narrow {

struct Data::Impl {
  std::shared_ptr<const datasets::Dataset> samples;
  std::string path, preprocess, tokenizer;
};

}  // namespace narrow
