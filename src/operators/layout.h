// Channels-last data: [N, spatial…, C] where ONNX has [N, C, spatial…]. Only operators of domain "narrow" take it.
#pragma once

#include <algorithm>
#include <vector>

#include "graph/graph.h"

namespace narrow::operators {

inline bool channels_last(const graph::Node& node) {
  return node.domain == "narrow" && node.get_int("channels_last", 0) != 0;
}

template <typename T>
std::vector<T> to_channels_first(std::vector<T> dims) {
  if (dims.size() > 2) std::rotate(dims.begin() + 1, dims.end() - 1, dims.end());
  return dims;
}

template <typename T>
std::vector<T> to_channels_last(std::vector<T> dims) {
  if (dims.size() > 2) std::rotate(dims.begin() + 1, dims.begin() + 2, dims.end());
  return dims;
}

}  // namespace narrow::operators
