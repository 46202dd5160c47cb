// What two types of one kind have in common, for values that may come from either of two graphs.
#pragma once

#include "graph/graph.h"

namespace narrow::operators {

// `a` with the dimensions that hold in `b` too: unranked unless both have the same rank, unknown where they differ.
inline graph::Type common_shape(const graph::Type& a, const graph::Type& b) {
  graph::Type out = a;
  if (!a.ranked || !b.ranked || a.dims.size() != b.dims.size()) {
    out.ranked = false;
    out.dims.clear();
    return out;
  }
  for (std::size_t d = 0; d < out.dims.size(); ++d) {
    if (!a.dims[d].same(b.dims[d])) out.dims[d] = graph::Dim();
  }
  return out;
}

}  // namespace narrow::operators
