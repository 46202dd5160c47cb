#include "operators/attention_heads.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <new>

#include "base/checked.h"
#include "operators/type_rules.h"

namespace narrow::operators {

using graph::Node;

namespace {

constexpr std::int64_t kLargestEmpty = 1 << 28;

}  // namespace

Error bad_attribute(const Node& node, std::string what) { return corrupt(fmt::format("{}: {}", where(node), what)); }
Error bad_input(const Node& node, std::string what) { return invalid_argument(fmt::format("{}: {}", where(node), what)); }

Status require_inputs(const Node& node, std::initializer_list<std::size_t> inputs) {
  for (std::size_t i : inputs) {
    if (node.input(i) == graph::kNoValue) return bad_attribute(node, fmt::format("leaves out input {}, which is required", i));
  }
  return {};
}

Result<std::int64_t> read_count(const Node& node, std::string_view attribute) {
  if (!node.has(attribute)) return bad_attribute(node, fmt::format("the attribute {} is missing", attribute));
  const std::int64_t count = node.get_int(attribute, 0);
  if (count >= 1 && count < (std::int64_t{1} << 31)) return count;
  return bad_attribute(node, fmt::format("{} is {}, expected 1 or more", attribute, count));
}

Status check_dimensions(const Node& node, const Tensor& tensor, const char* what) {
  if (tensor.size() != 0) return {};
  Shape dims = tensor.shape();
  for (std::int64_t& dim : dims) dim = std::max<std::int64_t>(1, dim);
  const auto nominal = base::checked_product(dims);
  if (nominal && *nominal <= kLargestEmpty) return {};
  return bad_input(node, fmt::format("{} is empty, of shape {}, whose other dimensions are too large", what, to_string(tensor.shape())));
}

Result<HeadShape> read_heads(const Node& node, const Tensor& tensor, const char* what, std::optional<std::int64_t> heads) {
  NARROW_RETURN_IF_ERROR(check_dimensions(node, tensor, what));
  const Shape& s = tensor.shape();
  if (tensor.rank() == 4) return HeadShape{s[0], s[1], s[2], s[3], true};
  if (tensor.rank() != 3) return bad_input(node, fmt::format("{} has shape {}, expected rank 3 or 4", what, to_string(s)));
  if (!heads) return bad_input(node, fmt::format("{} has rank 3, so the numbers of heads must be given", what));
  if (s[2] % *heads != 0) return bad_input(node, fmt::format("{} has shape {}, whose last dimension does not split into {} heads", what, to_string(s), *heads));
  return HeadShape{s[0], *heads, s[1], s[2] / *heads, false};
}

float read_scale(const Node& node, std::int64_t head_size, bool zero_is_absent) {
  const float scale = node.get_float("scale", 0.0f);
  if (node.has("scale") && !(zero_is_absent && scale == 0)) return scale;
  return head_size == 0 ? 1.0f : 1.0f / std::sqrt(static_cast<float>(head_size));
}

Result<std::vector<float>> make_floats(const Node& node, std::int64_t count) {
  std::vector<float> floats;
  try {
    floats.resize(static_cast<std::size_t>(count));
  } catch (const std::exception&) {
    return resource_exhausted(fmt::format("{}: out of memory for {} numbers", where(node), count));
  }
  return floats;
}

void append_rows(const float* past, std::int64_t past_length, const ConstHeads& fresh, const HeadShape& shape, std::int64_t capacity, float* out,
                 base::ThreadPool& pool) {
  pool.parallel_for(static_cast<std::size_t>(shape.batch * shape.heads), [&](std::size_t i, int) {
    const auto index = static_cast<std::int64_t>(i);
    float* to = std::copy_n(past + index * past_length * shape.size, past_length * shape.size, out + index * capacity * shape.size);
    for (std::int64_t row = 0; row < shape.length; ++row) {
      to = std::copy_n(fresh.row(index / shape.heads, index % shape.heads, row), shape.size, to);
    }
  });
}

Result<CachedHeads> CachedHeads::join(const Node& node, RunContext& context, const Tensor& past, const ConstHeads& fresh, const HeadShape& shape,
                                      int present, DType dtype) {
  CachedHeads joined;
  joined.wanted_ = present >= 0 && context.wants_output(static_cast<std::size_t>(present));
  joined.view_ = fresh;
  joined.length_ = shape.length;
  if (!past.defined() && !joined.wanted_) return joined;
  std::int64_t past_length = 0;
  FloatInput before;
  if (past.defined()) {
    NARROW_RETURN_IF_ERROR(check_dimensions(node, past, "a past state"));
    const Shape& s = past.shape();
    if (s.size() != 4 || s[0] != shape.batch || s[1] != shape.heads || s[3] != shape.size || past.dtype() != dtype) {
      return bad_input(node, fmt::format("a past state is {}{}, expected {}[{},{},past length,{}]", to_string(past.dtype()), to_string(s), to_string(dtype),
                                         shape.batch, shape.heads, shape.size));
    }
    past_length = s[2];
    NARROW_TRY(before, FloatInput::open(past, "a past state"));
  }
  const HeadShape all{shape.batch, shape.heads, past_length + shape.length, shape.size, true};
  const auto count = base::checked_product(all.dims());
  if (!count) return bad_input(node, fmt::format("the present state {} is too large", to_string(all.dims())));
  float* out = nullptr;
  if (joined.wanted_) {
    NARROW_TRY(joined.present_, FloatOutput::create(context, static_cast<std::size_t>(present), dtype, all.dims()));
    out = joined.present_.data();
  } else {
    NARROW_TRY(joined.own_, make_floats(node, *count));
    out = joined.own_.data();
  }
  append_rows(before.data(), past_length, fresh, shape, all.length, out, context.pool());
  joined.length_ = all.length;
  joined.view_ = all.view(static_cast<const float*>(out));
  return joined;
}

}  // namespace narrow::operators
