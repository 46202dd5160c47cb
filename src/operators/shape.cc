// Operators on shapes: Shape and Size read them; Reshape, Flatten, Squeeze and Unsqueeze give the same bytes another one.
#include <algorithm>
#include <array>

#include "base/checked.h"
#include "operators/dispatch.h"
#include "operators/elementwise.h"
#include "operators/families.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using graph::TypeKind;

// ---- Shape, Size ----------------------------------------------------------------------------------------------------

// The dims [start, end) that the node's attributes choose.
std::pair<std::size_t, std::size_t> shape_range(const Node& node, std::size_t rank) {
  const auto r = static_cast<std::int64_t>(rank);
  const auto clamp = [&](std::int64_t v) { return std::clamp<std::int64_t>(v < 0 ? v + r : v, 0, r); };
  const std::int64_t start = clamp(node.get_int("start", 0));
  const std::int64_t end = clamp(node.has("end") ? node.get_int("end", r) : r);
  return {static_cast<std::size_t>(start), static_cast<std::size_t>(std::max(start, end))};
}

Status infer_shape(InferContext& context) {
  const Type& x = context.input(0);
  if (!x.ranked) {
    context.set_output(0, Type::tensor(DType::kS64, {Dim()}));
    return {};
  }
  const auto [start, end] = shape_range(context.node(), x.dims.size());
  context.set_output(0, Type::tensor(DType::kS64, {Dim(static_cast<std::int64_t>(end - start))}));
  context.set_dims_value(0, {x.dims.begin() + static_cast<std::ptrdiff_t>(start), x.dims.begin() + static_cast<std::ptrdiff_t>(end)});
  return {};
}

Status run_shape(const Node& node, RunContext& context) {
  const Shape& shape = context.input(0).shape();
  const auto [start, end] = shape_range(node, shape.size());
  const std::int64_t count = static_cast<std::int64_t>(end - start);
  NARROW_TRY(Tensor * y, context.output(0, DType::kS64, std::array{count}));
  std::copy(shape.begin() + static_cast<std::ptrdiff_t>(start), shape.begin() + static_cast<std::ptrdiff_t>(end),
            pointer<std::int64_t>(*y));
  return {};
}

Status infer_size(InferContext& context) {
  context.set_output(0, Type::tensor(DType::kS64, std::vector<Dim>{}));
  const Type& x = context.input(0);
  if (!x.ranked) return {};
  Dim product(1);
  for (const Dim& dim : x.dims) product = multiply_dims(product, dim);
  context.set_dims_value(0, {product});
  return {};
}

Status run_size(const Node&, RunContext& context) {
  NARROW_TRY(Tensor * y, context.output(0, DType::kS64, Shape{}));
  *pointer<std::int64_t>(*y) = context.input(0).size();
  return {};
}

// ---- Reshape --------------------------------------------------------------------------------------------------------

// The output shape that the numbers `wanted` mean for an input of a known shape.
Result<Shape> resolve_reshape(const Node& node, const Shape& input, std::span<const std::int64_t> wanted) {
  const bool allow_zero = node.get_int("allowzero", 0) != 0;
  const auto failed = [&](std::string_view why) {
    return corrupt(fmt::format("{}: cannot reshape {} to {}: {}", where(node), to_string(input), to_string(wanted), why));
  };
  Shape out(wanted.begin(), wanted.end());
  std::optional<std::size_t> free;
  bool zero = false;
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (out[i] == -1) {
      if (free) return failed("more than one dimension is -1");
      free = i;
      out[i] = 1;
    } else if (out[i] < -1) {
      return failed("a dimension is negative");
    } else if (out[i] == 0 && !allow_zero) {
      if (i >= input.size()) return failed("0 copies a dimension that the input does not have");
      out[i] = input[i];
    } else if (out[i] == 0) {
      zero = true;
    }
  }
  if (free && zero) return failed("-1 and 0 cannot go together when allowzero is set");
  const auto elements = base::checked_product(input);
  const auto product = base::checked_product(out);
  if (!elements || !product) return failed("the number of elements overflows");
  if (free) {
    if (*product == 0 ? *elements != 0 : *elements % *product != 0) return failed("the elements cannot be divided up");
    out[*free] = *product == 0 ? 0 : *elements / *product;
  } else if (*product != *elements) {
    return failed(fmt::format("{} elements become {}", *elements, *product));
  }
  return out;
}

// Whether what must be multiplied is known up to the same symbols on both sides: fills in the one free dimension.
Dim solve_free_dim(const std::vector<Dim>& input, const std::vector<Dim>& out, std::size_t free) {
  std::vector<Dim> left = input;
  std::int64_t divisor = 1;
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (i == free) continue;
    if (out[i].known()) {
      const auto next = base::checked_mul(divisor, out[i].size);
      if (!next) return {};
      divisor = *next;
      continue;
    }
    const auto match = std::find_if(left.begin(), left.end(), [&](const Dim& d) { return d.same(out[i]); });
    if (match == left.end()) return {};
    left.erase(match);
  }
  Dim symbol;
  std::int64_t product = 1;
  for (const Dim& dim : left) {
    if (dim.known()) {
      const auto next = base::checked_mul(product, dim.size);
      if (!next) return {};
      product = *next;
    } else if (dim.symbol.empty() || !symbol.symbol.empty()) {
      return {};
    } else {
      symbol = dim;
    }
  }
  if (!symbol.symbol.empty()) return product == divisor ? symbol : Dim();
  return divisor != 0 && product % divisor == 0 ? Dim(product / divisor) : Dim();
}

Status infer_reshape(InferContext& context) {
  const Node& node = context.node();
  NARROW_RETURN_IF_ERROR(check_dtype(context, 1, set_of({DType::kS64})));
  NARROW_RETURN_IF_ERROR(check_rank(context, 1, 1, 1));
  const Type& x = context.input(0);
  if (x.kind != TypeKind::kTensor) return {};
  const auto numbers = known_integers(context, 1);
  if (const auto shape = x.static_shape(); shape && numbers) {
    NARROW_TRY(const Shape out, resolve_reshape(node, *shape, *numbers));
    context.set_output(0, Type::tensor(x.dtype, std::vector<Dim>(out.begin(), out.end())));
    if (auto dims = context.dims_value(0); dims && out.size() <= 1) context.set_dims_value(0, *dims);
    return {};
  }
  std::optional<std::vector<Dim>> out;
  if (numbers) {
    out.emplace();
    for (std::int64_t v : *numbers) {
      if (v < -1) return corrupt(fmt::format("{}: the shape {} has a negative dimension", where(node), to_string(*numbers)));
      out->emplace_back(v);
    }
    if (std::count(numbers->begin(), numbers->end(), -1) > 1) {
      return corrupt(fmt::format("{}: the shape {} has more than one -1", where(node), to_string(*numbers)));
    }
  } else {
    out = context.dims_value(1);
  }
  if (!out) {
    const Type& shape = context.input(1);
    Type type = Type::tensor(x.dtype);
    if (shape.ranked && shape.rank() == 1 && shape.dims[0].known() && shape.dims[0].size <= 64) {
      type.ranked = true;
      type.dims.resize(static_cast<std::size_t>(shape.dims[0].size));
    }
    context.set_output(0, type);
    return {};
  }
  // An unnamed unknown is a -1 or a number not known yet: alone, it follows from the rest either way.
  std::vector<std::size_t> unknown;
  bool copied = true;
  for (std::size_t i = 0; i < out->size(); ++i) {
    Dim& dim = (*out)[i];
    if (dim.known() && dim.size == 0 && node.get_int("allowzero", 0) == 0) {
      if (x.ranked && i >= x.dims.size()) {
        return corrupt(fmt::format("{}: 0 at {} copies a dimension that {} does not have", where(node), i, graph::to_string(x)));
      }
      dim = x.ranked ? x.dims[i] : Dim();
      copied = copied && x.ranked && (dim.known() || !dim.symbol.empty());
    } else if (!dim.known() && dim.symbol.empty()) {
      unknown.push_back(i);
    }
  }
  if (copied && x.ranked && unknown.size() == 1) (*out)[unknown[0]] = solve_free_dim(x.dims, *out, unknown[0]);
  context.set_output(0, Type::tensor(x.dtype, *out));
  return {};
}

Status run_reshape(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  const Tensor& shape = context.input(1);
  if (shape.dtype() != DType::kS64) return dtype_error(node, shape.dtype());
  if (shape.rank() != 1) {
    return corrupt(fmt::format("{}: the shape input has rank {}, expected 1", where(node), shape.rank()));
  }
  NARROW_TRY(Shape out, resolve_reshape(node, x.shape(), shape.data<std::int64_t>()));
  context.set_output(0, x.reshaped(std::move(out)));
  return {};
}

// ---- Flatten --------------------------------------------------------------------------------------------------------

Result<std::size_t> flatten_axis(const Node& node, std::size_t rank) {
  const std::int64_t axis = node.get_int("axis", 1);
  const auto r = static_cast<std::int64_t>(rank);
  if (axis < -r || axis > r) {
    return corrupt(fmt::format("{}: axis {} is outside a tensor of rank {}, expected {} to {}", where(node), axis, rank, -r, r));
  }
  return static_cast<std::size_t>(axis < 0 ? axis + r : axis);
}

Status infer_flatten(InferContext& context) {
  const Type& x = context.input(0);
  if (x.kind != TypeKind::kTensor) return {};
  std::vector<Dim> out(2);
  if (x.ranked) {
    NARROW_TRY(const std::size_t axis, flatten_axis(context.node(), x.dims.size()));
    out = {Dim(1), Dim(1)};
    for (std::size_t i = 0; i < x.dims.size(); ++i) out[i >= axis] = multiply_dims(out[i >= axis], x.dims[i]);
  }
  context.set_output(0, Type::tensor(x.dtype, std::move(out)));
  return {};
}

Status run_flatten(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  NARROW_TRY(const std::size_t axis, flatten_axis(node, x.shape().size()));
  Shape out{1, 1};
  for (std::size_t i = 0; i < x.shape().size(); ++i) out[i >= axis] *= x.shape()[i];
  context.set_output(0, x.reshaped(std::move(out)));
  return {};
}

// ---- Squeeze, Unsqueeze ---------------------------------------------------------------------------------------------

Status infer_squeeze(InferContext& context) {
  const Node& node = context.node();
  const Type& x = context.input(0);
  if (x.kind != TypeKind::kTensor) return {};
  const auto axes = known_integers(context, 1);
  Type out = Type::tensor(x.dtype);
  if (x.ranked && (axes || !context.has_input(1))) {
    std::vector<bool> drop(x.dims.size(), false);
    bool told = true;
    if (axes) {
      NARROW_TRY(const auto normal, normalize_axes(node, *axes, x.rank()));
      for (int a : normal) {
        drop[a] = true;
        if (x.dims[a].known() && x.dims[a].size != 1) {
          return corrupt(fmt::format("{}: axis {} of {} has size {}, only 1 can be squeezed", where(node), a,
                                     graph::to_string(x), x.dims[a].size));
        }
      }
    } else {
      for (std::size_t i = 0; i < drop.size(); ++i) {
        drop[i] = x.dims[i].known() && x.dims[i].size == 1;
        told = told && x.dims[i].known();
      }
    }
    out.ranked = told;
    for (std::size_t i = 0; i < drop.size() && told; ++i) {
      if (!drop[i]) out.dims.push_back(x.dims[i]);
    }
  }
  context.set_output(0, out);
  if (auto dims = context.dims_value(0); dims && out.ranked && out.rank() <= 1) context.set_dims_value(0, *dims);
  return {};
}

Status run_squeeze(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  std::vector<bool> drop(x.shape().size(), false);
  if (context.has_input(1)) {
    if (!is_integer(context.input(1).dtype())) return dtype_error(node, context.input(1).dtype());
    NARROW_TRY(const auto axes, normalize_axes(node, context.input(1).to_int64(), x.rank()));
    for (int a : axes) {
      drop[a] = true;
      if (x.shape()[a] != 1) {
        return corrupt(fmt::format("{}: axis {} of {} has size {}, only 1 can be squeezed", where(node), a,
                                   to_string(x.shape()), x.shape()[a]));
      }
    }
  } else {
    for (std::size_t i = 0; i < drop.size(); ++i) drop[i] = x.shape()[i] == 1;
  }
  Shape out;
  for (std::size_t i = 0; i < drop.size(); ++i) {
    if (!drop[i]) out.push_back(x.shape()[i]);
  }
  context.set_output(0, x.reshaped(std::move(out)));
  return {};
}

// Ranks that grow by a list from a file stay within reason.
constexpr int kMaxRank = 64;

template <typename D>
Result<std::vector<D>> unsqueezed(const Node& node, const std::vector<D>& dims, std::span<const std::int64_t> axes) {
  const std::size_t rank = dims.size() + axes.size();
  if (rank > kMaxRank) {
    return corrupt(fmt::format("{}: the result would have rank {}, the most is {}", where(node), rank, kMaxRank));
  }
  NARROW_TRY(const auto normal, normalize_axes(node, axes, static_cast<int>(rank)));
  std::vector<bool> added(rank, false);
  for (int a : normal) added[a] = true;
  std::vector<D> out;
  auto next = dims.begin();
  for (std::size_t i = 0; i < rank; ++i) out.push_back(added[i] ? D(1) : *next++);
  return out;
}

Status infer_unsqueeze(InferContext& context) {
  const Type& x = context.input(0);
  if (x.kind != TypeKind::kTensor) return {};
  NARROW_RETURN_IF_ERROR(check_dtype(context, 1, set_of({DType::kS64})));
  const auto axes = known_integers(context, 1);
  Type out = Type::tensor(x.dtype);
  if (x.ranked && axes) {
    NARROW_TRY(out.dims, unsqueezed(context.node(), x.dims, *axes));
    out.ranked = true;
  }
  context.set_output(0, out);
  if (auto dims = context.dims_value(0); dims && out.ranked && out.rank() == 1) context.set_dims_value(0, *dims);
  return {};
}

Status run_unsqueeze(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  if (!is_integer(context.input(1).dtype())) return dtype_error(node, context.input(1).dtype());
  NARROW_TRY(Shape out, unsqueezed(node, x.shape(), context.input(1).to_int64()));
  context.set_output(0, x.reshaped(std::move(out)));
  return {};
}

constexpr Operator reshaping(std::string_view name, int since, int min_inputs, int max_inputs,
                             Status (*infer)(InferContext&), RunFunction run) {
  return {.name = name, .since = since, .min_inputs = min_inputs, .max_inputs = max_inputs, .infer = infer, .run = run,
          .quant = kTransportRule, .flags = kAliasesInput};
}

const std::array kOperators = {
    Operator{.name = "Shape", .since = 24, .infer = infer_shape, .run = run_shape},
    Operator{.name = "Size", .since = 24, .infer = infer_size, .run = run_size},
    reshaping("Reshape", 24, 2, 2, infer_reshape, run_reshape),
    reshaping("Flatten", 24, 1, 1, infer_flatten, run_flatten),
    reshaping("Squeeze", 24, 1, 2, infer_squeeze, run_squeeze),
    reshaping("Unsqueeze", 24, 2, 2, infer_unsqueeze, run_unsqueeze),
};

}  // namespace

std::span<const Operator> shape_operators() { return kOperators; }

}  // namespace narrow::operators
