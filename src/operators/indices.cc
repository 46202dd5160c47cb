#include "operators/indices.h"

#include <cstring>

#include "operators/strided_copy.h"

namespace narrow::operators {

using graph::Node;

Result<std::int64_t> normalize_index(const Node& node, std::int64_t index, std::int64_t size, int axis) {
  if (index < -size || index >= size) {
    return corrupt(fmt::format("{}: index {} is outside axis {} of size {}", where(node), index, axis, size));
  }
  return index < 0 ? index + size : index;
}

Result<std::vector<std::int64_t>> read_indices(const Node& node, const Tensor& indices, std::int64_t size, int axis) {
  if (!contains(kIndexTypes, indices.dtype())) return dtype_error(node, indices.dtype());
  std::vector<std::int64_t> out(static_cast<std::size_t>(indices.size()));
  const bool wide = indices.dtype() == DType::kS64;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::int64_t index = wide ? pointer<std::int64_t>(indices)[i] : pointer<std::int32_t>(indices)[i];
    NARROW_TRY(out[i], normalize_index(node, index, size, axis));
  }
  return out;
}

Result<std::vector<std::int64_t>> element_positions(const Node& node, const Shape& shape, const Tensor& indices, int axis) {
  const Shape& at = indices.shape();
  bool fits = at.size() == shape.size();
  for (std::size_t d = 0; fits && d < at.size(); ++d) fits = static_cast<int>(d) == axis || at[d] <= shape[d];
  if (!fits) {
    return corrupt(fmt::format("{}: indices of shape {} do not fit data of shape {} along axis {}", where(node),
                               to_string(at), to_string(shape), axis));
  }
  NARROW_TRY(std::vector<std::int64_t> positions, read_indices(node, indices, shape[axis], axis));
  const auto strides = strides_of(shape);
  std::vector<std::int64_t> counter(at.size(), 0);
  std::int64_t base = 0;  // of the counter without the axis
  for (std::int64_t& position : positions) {
    position = base + position * strides[axis];
    for (std::size_t d = at.size(); d-- > 0;) {
      const std::int64_t step = static_cast<int>(d) == axis ? 0 : strides[d];
      base += step;
      if (++counter[d] < at[d]) break;
      base -= step * at[d];
      counter[d] = 0;
    }
  }
  return positions;
}

Status check_nd(const Node& node, int rank, int index_rank, std::int64_t depth, std::int64_t batch) {
  if (batch >= 0 && batch < rank && batch < index_rank && depth >= 1 && depth <= rank - batch) return {};
  return corrupt(fmt::format("{}: index tuples of {} do not fit data of rank {} with {} batch dimensions and indices of rank {}",
                             where(node), depth, rank, batch, index_rank));
}

Result<NdPositions> nd_positions(const Node& node, const Shape& shape, const Tensor& indices, std::int64_t batch) {
  if (indices.rank() < 1 || shape.empty()) return corrupt(fmt::format("{}: data and indices need rank 1 or more", where(node)));
  if (!contains(kIndexTypes, indices.dtype())) return dtype_error(node, indices.dtype());
  const std::int64_t depth = indices.shape().back();
  NARROW_RETURN_IF_ERROR(check_nd(node, static_cast<int>(shape.size()), indices.rank(), depth, batch));
  std::int64_t batches = 1;
  for (std::int64_t b = 0; b < batch; ++b) {
    if (shape[b] != indices.shape()[b]) {
      return corrupt(fmt::format("{}: batch dimension {} is {} in the data and {} in the indices", where(node), b, shape[b],
                                 indices.shape()[b]));
    }
    batches *= shape[b];
  }
  const auto strides = strides_of(shape);
  NdPositions out;
  for (std::size_t d = static_cast<std::size_t>(batch + depth); d < shape.size(); ++d) out.slice *= shape[d];
  const std::int64_t tuples = indices.size() / depth;
  const std::int64_t per_batch = batches == 0 ? 0 : tuples / batches;
  const std::int64_t batch_stride = batch == 0 ? 0 : strides[batch - 1];
  const bool wide = indices.dtype() == DType::kS64;
  out.positions.resize(static_cast<std::size_t>(tuples));
  for (std::int64_t t = 0; t < tuples; ++t) {
    std::int64_t position = t / per_batch * batch_stride;
    for (std::int64_t k = 0; k < depth; ++k) {
      const std::int64_t i = t * depth + k;
      const std::int64_t index = wide ? pointer<std::int64_t>(indices)[i] : pointer<std::int32_t>(indices)[i];
      const int axis = static_cast<int>(batch + k);
      NARROW_TRY(const std::int64_t normal, normalize_index(node, index, shape[axis], axis));
      position += normal * strides[axis];
    }
    out.positions[t] = position;
  }
  return out;
}

Status take_elements(const Tensor& x, const std::vector<std::int64_t>& positions, const Shape& shape, std::int64_t slice,
                     RunContext& context) {
  if (x.dtype() == DType::kString || is_packed(x.dtype())) {
    NARROW_TRY(MovedOutput out, MovedOutput::create(context, 0, x.dtype(), shape));
    for (std::size_t i = 0; i < positions.size(); ++i) {
      out.copy(x, positions[i], static_cast<std::int64_t>(i) * slice, {{slice, 1, 1}});
    }
    out.finish();
    return {};
  }
  NARROW_TRY(Tensor * y, context.output(0, x.dtype(), shape));
  const std::size_t element = static_cast<std::size_t>(bits_of(x.dtype())) / 8;
  const std::size_t bytes = element * static_cast<std::size_t>(slice);
  const char* from = static_cast<const char*>(x.raw());
  char* to = static_cast<char*>(y->mutable_raw());
  for (std::size_t i = 0; i < positions.size() && bytes != 0; ++i) {
    std::memcpy(to + i * bytes, from + static_cast<std::size_t>(positions[i]) * element, bytes);
  }
  return {};
}

}  // namespace narrow::operators
