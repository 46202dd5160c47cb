// What the attention operators share: reading tensors as heads, and appending new keys and values to past ones.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "kernels/attention/attention.h"
#include "operators/float_io.h"
#include "operators/operator.h"

namespace narrow::operators {

using ConstHeads = kernels::Heads<const float>;

struct HeadShape {
  std::int64_t batch = 0, heads = 0, length = 0, size = 0;
  bool split = false;  // stored [batch, heads, length, size], else [batch, length, heads · size]

  Shape dims() const { return split ? Shape{batch, heads, length, size} : Shape{batch, length, heads * size}; }
  template <typename T>
  kernels::Heads<T> view(T* data) const {
    if (split) return {data, heads * length * size, length * size, size};
    return {data, length * heads * size, size, heads * size};
  }
};

// "node 'a' (Attention): …" as corrupt (the model's fault) and as invalid_argument (what arrived at run time).
Error bad_attribute(const graph::Node& node, std::string what);
Error bad_input(const graph::Node& node, std::string what);

// Inputs in the middle of the list that the operator cannot do without. Errors: corrupt.
Status require_inputs(const graph::Node& node, std::initializer_list<std::size_t> inputs);
// An attribute that counts something. Errors: corrupt when it is absent or not in [1, 2^31).
Result<std::int64_t> read_count(const graph::Node& node, std::string_view attribute);
// An empty tensor may have dimensions beyond any memory: such are refused before they are multiplied. Errors: invalid_argument.
Status check_dimensions(const graph::Node& node, const Tensor& tensor, const char* what);
// Rank 4 as it stands, whatever `heads`; rank 3 split into that many. Errors: invalid_argument.
Result<HeadShape> read_heads(const graph::Node& node, const Tensor& tensor, const char* what, std::optional<std::int64_t> heads);
// The factor on the products: the attribute "scale", or 1 / sqrt(head_size) where it is absent (or 0, when zero_is_absent).
float read_scale(const graph::Node& node, std::int64_t head_size, bool zero_is_absent);
// Uninitialised scratch numbers. Errors: resource_exhausted.
Result<std::vector<float>> make_floats(const graph::Node& node, std::int64_t count);

// Keys or values of past and present, [batch, heads, past + new, size].
class CachedHeads {
 public:
  // `fresh` are the new rows, of `shape`. `past` may be undefined, else it is [batch, heads, length, size] of the element
  // type of output `present`, which is written when the node wants it (present < 0: never). Errors: invalid_argument.
  static Result<CachedHeads> join(const graph::Node& node, RunContext& context, const Tensor& past, const ConstHeads& fresh,
                                  const HeadShape& shape, int present, DType dtype);
  const ConstHeads& view() const { return view_; }
  std::int64_t length() const { return length_; }
  void store() {
    if (wanted_) present_.store();
  }

 private:
  ConstHeads view_;
  std::int64_t length_ = 0;
  bool wanted_ = false;
  FloatOutput present_;
  std::vector<float> own_;
};

// Copies `past` rows (contiguous [batch, heads, past_length, size]) and then `fresh` ones to `out`, whose heads are
// `capacity` rows long.
void append_rows(const float* past, std::int64_t past_length, const ConstHeads& fresh, const HeadShape& shape, std::int64_t capacity,
                 float* out, base::ThreadPool& pool);

}  // namespace narrow::operators
