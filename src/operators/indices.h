// Index tensors: read, checked against what they point into, and turned into element positions.
#pragma once

#include <cstdint>
#include <vector>

#include "operators/dispatch.h"

namespace narrow::operators {

// Index in [0, size), a negative one counting from the end. Errors: corrupt, naming index, size and axis.
Result<std::int64_t> normalize_index(const graph::Node& node, std::int64_t index, std::int64_t size, int axis);

// All of an s32 or s64 tensor, normalized.
Result<std::vector<std::int64_t>> read_indices(const graph::Node& node, const Tensor& indices, std::int64_t size, int axis);

// For GatherElements and ScatterElements: the position in `shape` that each index means. Errors: also when the index
// tensor's rank differs or it is larger than `shape` in another axis.
Result<std::vector<std::int64_t>> element_positions(const graph::Node& node, const Shape& shape, const Tensor& indices, int axis);

// For GatherND and ScatterND: each index tuple of length `depth` = last dimension names a slice.
Status check_nd(const graph::Node& node, int rank, int index_rank, std::int64_t depth, std::int64_t batch);
struct NdPositions {
  std::vector<std::int64_t> positions;  // of the first element of each slice
  std::int64_t slice = 1;               // elements in a slice
};
Result<NdPositions> nd_positions(const graph::Node& node, const Shape& shape, const Tensor& indices, std::int64_t batch);

// output 0 = the runs of `slice` elements that start at the positions, as `shape`.
Status take_elements(const Tensor& x, const std::vector<std::int64_t>& positions, const Shape& shape, std::int64_t slice,
                     RunContext& context);

}  // namespace narrow::operators
