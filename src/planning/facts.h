// What decides how a model is quantized, read from the model and its data.
#pragma once

#include <cstdint>
#include <string_view>

#include "datasets/dataset.h"
#include "graph/graph.h"

namespace narrow::planning {

enum class Kind { kConvolutional, kTransformer, kRecurrent, kMatrix, kLanguage, kNothing };

struct Facts {
  Kind kind = Kind::kNothing;
  std::uint64_t convolution = 0, matrix = 0, recurrent = 0;  // bytes of weights, subgraphs included
  bool data = false, labels = false;
  std::size_t samples = 0;
};

std::string_view kind_name(Kind kind);  // "convolutional", …

// `data` may be null. Language models of `language/` are not graphs yet: their kind is set by the caller.
Facts look_at(const graph::Graph& graph, const datasets::Dataset* data);

}  // namespace narrow::planning
