// Tensors made from attributes and numbers: Constant, ConstantOfShape, Range, EyeLike, OneHot.
#include <array>
#include <cmath>
#include <cstring>

#include "base/checked.h"
#include "operators/element_type.h"
#include "operators/elementwise.h"
#include "operators/families.h"
#include "operators/strided_copy.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using graph::TypeKind;

// ---- Constant -------------------------------------------------------------------------------------------------------

Result<Tensor> constant_value(const Node& node) {
  if (const Tensor* tensor = node.get_tensor("value")) return *tensor;
  if (node.has("value_float")) return Tensor::scalar(node.get_float("value_float", 0));
  if (node.has("value_int")) return Tensor::scalar(node.get_int("value_int", 0));
  if (node.has("value_string")) return Tensor::from_strings({}, {node.get_string("value_string", "")});
  if (node.has("value_floats")) {
    const auto v = node.get_floats("value_floats");
    return Tensor::from<float>({static_cast<std::int64_t>(v.size())}, std::span<const float>(v));
  }
  if (node.has("value_ints")) {
    const auto v = node.get_ints("value_ints");
    return Tensor::from<std::int64_t>({static_cast<std::int64_t>(v.size())}, std::span<const std::int64_t>(v));
  }
  if (const graph::Attribute* a = node.find("value_strings")) {
    if (const auto* v = std::get_if<std::vector<std::string>>(&a->value)) {
      return Tensor::from_strings({static_cast<std::int64_t>(v->size())}, *v);
    }
  }
  if (node.has("sparse_value")) return unsupported(fmt::format("{}: narrow cannot read a sparse constant", where(node)));
  return corrupt(fmt::format("{}: none of the value attributes is given", where(node)));
}

Status infer_constant(InferContext& context) {
  if (context.node().has("sparse_value")) return {};
  NARROW_TRY(const Tensor value, constant_value(context.node()));
  context.set_output(0, Type::of(value));
  return {};
}

Status run_constant(const Node& node, RunContext& context) {
  NARROW_TRY(Tensor value, constant_value(node));
  // Strings are shared; other bytes are copied, for they need not outlive the run.
  if (value.dtype() == DType::kString) {
    context.set_output(0, std::move(value));
    return {};
  }
  NARROW_TRY(Tensor * y, context.output(0, value.dtype(), value.shape()));
  if (value.bytes() != 0) std::memcpy(y->mutable_raw(), value.raw(), value.bytes());
  return {};
}

// ---- ConstantOfShape ------------------------------------------------------------------------------------------------

Status check_fill(const Node& node) {
  const Tensor* value = node.get_tensor("value");
  if (value == nullptr || value->size() == 1) return {};
  return corrupt(fmt::format("{}: value has shape {}, expected one element", where(node), to_string(value->shape())));
}

Status check_shape(const Node& node, std::span<const std::int64_t> shape) {
  if (base::checked_product(shape)) return {};
  return corrupt(fmt::format("{}: the shape {} is negative or overflows", where(node), to_string(shape)));
}

Status infer_constant_of_shape(InferContext& context) {
  const Node& node = context.node();
  NARROW_RETURN_IF_ERROR(check_fill(node));
  NARROW_RETURN_IF_ERROR(check_dtype(context, 0, set_of({DType::kS64})));
  NARROW_RETURN_IF_ERROR(check_rank(context, 0, 1, 1));
  const Tensor* value = node.get_tensor("value");
  Type out = Type::tensor(value == nullptr ? DType::kF32 : value->dtype());
  if (const auto numbers = known_integers(context, 0)) NARROW_RETURN_IF_ERROR(check_shape(node, *numbers));
  if (auto dims = context.dims_value(0)) {
    out.ranked = true;
    out.dims = *std::move(dims);
  } else if (const Type& shape = context.input(0); shape.ranked && shape.dims[0].known() && shape.dims[0].size <= 64) {
    out.ranked = true;
    out.dims.resize(static_cast<std::size_t>(shape.dims[0].size));
  }
  context.set_output(0, out);
  // A short list of a known number of equal integers may be the start of shape arithmetic.
  if (out.ranked && out.rank() == 1 && out.dims[0].known() && out.dims[0].size <= 64 && is_integer(out.dtype)) {
    const std::int64_t v = value->to_int64()[0];
    context.set_dims_value(0, std::vector<Dim>(static_cast<std::size_t>(out.dims[0].size), v >= 0 ? Dim(v) : Dim()));
  }
  return {};
}

Status run_constant_of_shape(const Node& node, RunContext& context) {
  NARROW_RETURN_IF_ERROR(check_fill(node));
  if (context.input(0).dtype() != DType::kS64) return dtype_error(node, context.input(0).dtype());
  const Shape shape = context.input(0).to_int64();
  NARROW_RETURN_IF_ERROR(check_shape(node, shape));
  const Tensor* value = node.get_tensor("value");
  NARROW_TRY(MovedOutput out, MovedOutput::create(context, 0, value == nullptr ? DType::kF32 : value->dtype(), shape));
  out.fill(value);
  out.finish();
  return {};
}

// ---- Range ----------------------------------------------------------------------------------------------------------

using RangeList = Join<FloatList, TypeList<std::int16_t, std::int32_t, std::int64_t>>;
constexpr DTypeSet kRangeTypes = set_of(RangeList{});
// Elements that Range may make: more is a mistake in the file, not a model.
constexpr double kMaxRange = 0x1p38;

template <typename T>
Result<std::int64_t> range_count(const Node& node, const Tensor& start, const Tensor& limit, const Tensor& delta) {
  for (const Tensor* t : {&start, &limit, &delta}) {
    if (t->size() != 1 || t->dtype() != kDTypeOf<T>) {
      return corrupt(fmt::format("{}: start, limit and delta must be single numbers of one type, found {}{}", where(node),
                                 to_string(t->dtype()), to_string(t->shape())));
    }
  }
  const Compute<T> a = load(*pointer<T>(start)), b = load(*pointer<T>(limit)), d = load(*pointer<T>(delta));
  if (d == 0) return corrupt(fmt::format("{}: delta is 0", where(node)));
  const double count = std::ceil((static_cast<double>(b) - static_cast<double>(a)) / static_cast<double>(d));
  if (std::isnan(count) || count > kMaxRange) {
    return corrupt(fmt::format("{}: a range of {} elements", where(node), count));
  }
  return count <= 0 ? 0 : static_cast<std::int64_t>(count);
}

Status infer_range(InferContext& context) {
  NARROW_TRY(const DType dtype, common_dtype(context, std::array<std::size_t, 3>{0, 1, 2}));
  if (dtype == DType::kF16 || dtype == DType::kBF16) {  // since opset 27; typed, not run
    context.set_output(0, Type::tensor(dtype, {Dim()}));
    return {};
  }
  NARROW_RETURN_IF_ERROR(check_dtype(context, 0, kRangeTypes));
  if (dtype == DType::kUndefined) return {};
  Dim count;
  const Tensor* inputs[] = {context.constant(0), context.constant(1), context.constant(2)};
  if (inputs[0] != nullptr && inputs[1] != nullptr && inputs[2] != nullptr) {
    Status status;
    dispatch(RangeList{}, dtype, [&]<typename T>() {
      Result<std::int64_t> n = range_count<T>(context.node(), *inputs[0], *inputs[1], *inputs[2]);
      if (n.ok()) count = Dim(*n);
      else status = std::move(n).error();
    });
    NARROW_RETURN_IF_ERROR(std::move(status));
  } else if (const auto limit = context.dims_value(1); limit && limit->size() == 1 && inputs[0] != nullptr && inputs[2] != nullptr &&
             inputs[0]->size() == 1 && inputs[2]->size() == 1 && inputs[0]->at_as_double(0) == 0 && inputs[2]->at_as_double(0) == 1) {
    count = (*limit)[0];
  }
  context.set_output(0, Type::tensor(dtype, {count}));
  return {};
}

Status run_range(const Node& node, RunContext& context) {
  const DType dtype = context.input(0).dtype();
  Status status;
  const bool known = dispatch(RangeList{}, dtype, [&]<typename T>() {
    status = [&]() -> Status {
      NARROW_TRY(const std::int64_t count, range_count<T>(node, context.input(0), context.input(1), context.input(2)));
      NARROW_TRY(Tensor * y, context.output(0, dtype, std::array{count}));
      const Compute<T> start = load(*pointer<T>(context.input(0))), delta = load(*pointer<T>(context.input(2)));
      T* out = pointer<T>(*y);
      for (std::int64_t i = 0; i < count; ++i) {
        if constexpr (std::is_integral_v<T>) {
          out[i] = static_cast<T>(static_cast<std::uint64_t>(start) + static_cast<std::uint64_t>(i) * static_cast<std::uint64_t>(delta));
        } else {
          out[i] = store<T>(start + static_cast<Compute<T>>(i) * delta);
        }
      }
      return {};
    }();
  });
  return known ? status : dtype_error(node, dtype);
}

// ---- EyeLike --------------------------------------------------------------------------------------------------------

Result<DType> eye_dtype(const Node& node, DType fallback) {
  if (!node.has("dtype")) return fallback;
  const auto dtype = dtype_from_number(node.get_int("dtype", 0));
  if (!dtype) return corrupt(fmt::format("{}: dtype {} is not an element type", where(node), node.get_int("dtype", 0)));
  return *dtype;
}

Status infer_eye_like(InferContext& context) {
  NARROW_RETURN_IF_ERROR(check_rank(context, 0, 2, 2));
  const Type& x = context.input(0);
  NARROW_TRY(const DType dtype, eye_dtype(context.node(), x.dtype));
  if (dtype == DType::kUndefined) return {};
  Type out = x;
  if (x.kind != TypeKind::kTensor) out = Type::tensor(dtype, std::vector<Dim>(2));
  out.dtype = dtype;
  context.set_output(0, out);
  return {};
}

Status run_eye_like(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  if (x.rank() != 2) return corrupt(fmt::format("{}: the input has rank {}, expected 2", where(node), x.rank()));
  NARROW_TRY(const DType dtype, eye_dtype(node, x.dtype()));
  if (!contains(set_of(NumericOrBoolList{}), dtype)) return dtype_error(node, dtype);
  const std::int64_t rows = x.shape()[0], columns = x.shape()[1], k = node.get_int("k", 0);
  NARROW_TRY(Tensor * y, context.output(0, dtype, x.shape()));
  if (y->bytes() != 0) std::memset(y->mutable_raw(), 0, y->bytes());
  dispatch(NumericOrBoolList{}, dtype, [&]<typename T>() {
    if (k <= -rows || k >= columns) return;
    for (std::int64_t r = std::max<std::int64_t>(0, -k); r < rows && r + k < columns; ++r) {
      pointer<T>(*y)[r * columns + r + k] = store<T>(Compute<T>(1));
    }
  });
  return {};
}

// ---- OneHot ---------------------------------------------------------------------------------------------------------

Result<std::int64_t> one_hot_depth(const Node& node, const Tensor& depth) {
  const double value = depth.size() == 1 ? depth.at_as_double(0) : -1;
  if (!(value >= 0 && value <= 0x1p40)) {
    return corrupt(fmt::format("{}: depth must be one number from 0 on", where(node)));
  }
  return static_cast<std::int64_t>(value);
}

Status infer_one_hot(InferContext& context) {
  NARROW_RETURN_IF_ERROR(check_dtype(context, 0, kNumericTypes));
  NARROW_RETURN_IF_ERROR(check_dtype(context, 1, kNumericTypes));
  const Type& indices = context.input(0);
  const Type& values = context.input(2);
  if (values.kind != TypeKind::kTensor || values.dtype == DType::kUndefined) return {};
  Type out = Type::tensor(values.dtype);
  if (indices.ranked) {
    NARROW_TRY(const int axis, normalize_axis(context.node(), context.node().get_int("axis", -1), indices.rank() + 1));
    out.ranked = true;
    out.dims = indices.dims;
    Dim depth;
    if (const Tensor* known = context.constant(1)) {
      NARROW_TRY(depth.size, one_hot_depth(context.node(), *known));
    } else if (const auto dims = context.dims_value(1); dims && dims->size() == 1) {
      depth = (*dims)[0];
    }
    out.dims.insert(out.dims.begin() + axis, depth);
  }
  context.set_output(0, out);
  return {};
}

Status run_one_hot(const Node& node, RunContext& context) {
  const Tensor& indices = context.input(0);
  const Tensor& values = context.input(2);
  if (!contains(kNumericTypes, indices.dtype())) return dtype_error(node, indices.dtype());
  if (!contains(kNumericTypes, context.input(1).dtype())) return dtype_error(node, context.input(1).dtype());
  if (values.size() != 2) {
    return corrupt(fmt::format("{}: values has shape {}, expected two elements", where(node), to_string(values.shape())));
  }
  NARROW_TRY(const int axis, normalize_axis(node, node.get_int("axis", -1), indices.rank() + 1));
  NARROW_TRY(const std::int64_t depth, one_hot_depth(node, context.input(1)));
  Shape shape = indices.shape();
  shape.insert(shape.begin() + axis, depth);
  NARROW_TRY(MovedOutput out, MovedOutput::create(context, 0, values.dtype(), shape));
  out.copy(values, 0, 0, {{*base::checked_product(shape), 0, 1}});
  std::int64_t inner = 1;
  for (std::size_t d = axis; d < indices.shape().size(); ++d) inner *= indices.shape()[d];
  for (std::int64_t i = 0; i < indices.size(); ++i) {
    // Outside [-depth, depth) the whole column stays off.
    const double at = std::trunc(indices.at_as_double(i));
    if (!(at >= -static_cast<double>(depth) && at < static_cast<double>(depth))) continue;
    const std::int64_t hot = static_cast<std::int64_t>(at) + (at < 0 ? depth : 0);
    out.copy(values, 1, (i / inner * depth + hot) * inner + i % inner, {{1, 1, 1}});
  }
  out.finish();
  return {};
}

const std::array kOperators = {
    Operator{.name = "Constant", .since = 24, .min_inputs = 0, .max_inputs = 0, .infer = infer_constant, .run = run_constant},
    Operator{.name = "ConstantOfShape", .since = 24, .infer = infer_constant_of_shape, .run = run_constant_of_shape},
    Operator{.name = "Range", .since = 27, .min_inputs = 3, .max_inputs = 3, .infer = infer_range, .run = run_range},
    Operator{.name = "Range", .domain = "com.microsoft", .min_inputs = 3, .max_inputs = 3, .infer = infer_range, .run = run_range},
    Operator{.name = "EyeLike", .since = 22, .infer = infer_eye_like, .run = run_eye_like},
    Operator{.name = "OneHot", .since = 11, .min_inputs = 3, .max_inputs = 3, .infer = infer_one_hot, .run = run_one_hot},
};

}  // namespace

std::span<const Operator> constant_operators() { return kOperators; }

}  // namespace narrow::operators
