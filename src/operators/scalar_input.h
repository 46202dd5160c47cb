// Inputs that are one integer: lengths, axes, counts.
#pragma once

#include "operators/dispatch.h"

namespace narrow::operators {

// The only element of an s32 or s64 tensor. Errors: corrupt, naming the node and `what` the number is.
inline Result<std::int64_t> read_integer(const graph::Node& node, const Tensor& tensor, const char* what) {
  if (tensor.size() == 1 && contains(kIndexTypes, tensor.dtype())) return tensor.to_int64()[0];
  return corrupt(fmt::format("{}: {} is {}{}, expected one s32 or s64", where(node), what, to_string(tensor.dtype()),
                             to_string(tensor.shape())));
}

// The same for an input of a type rule, nullopt when it is not known before running.
inline Result<std::optional<std::int64_t>> known_integer(const InferContext& context, std::size_t i, const char* what) {
  NARROW_RETURN_IF_ERROR(check_dtype(context, i, kIndexTypes));
  const Tensor* tensor = context.constant(i);
  if (tensor == nullptr) return std::optional<std::int64_t>();
  NARROW_TRY(const std::int64_t value, read_integer(context.node(), *tensor, what));
  return std::optional(value);
}

}  // namespace narrow::operators
