// Element by element on 8-bit codes: QLinearAdd, QLinearMul, QLinearConcat, QLinearWhere, QLinearSigmoid, QLinearLeakyRelu,
// QLinearSoftmax, and narrow's Lookup. Each gives the codes that dequantize, compute in f32, quantize would give.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <optional>
#include <vector>

#include "kernels/affine/affine.h"
#include "kernels/codes/codes.h"
#include "operators/broadcast.h"
#include "operators/dispatch.h"
#include "operators/families.h"
#include "operators/quantized_io.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;

constexpr std::size_t kBlock = 512;  // elements that go through f32 at a time: they stay in the first-level cache

void dequantize(const Tensor& x, std::int64_t begin, std::size_t n, const TensorQuant& q, float* out) {
  const kernels::AffineKernels& fast = kernels::affine_kernels();
  if (x.dtype() == DType::kU8) fast.dequantize_u8(static_cast<const std::uint8_t*>(x.raw()) + begin, n, q.scale, q.zero_point, out);
  else fast.dequantize_s8(static_cast<const std::int8_t*>(x.raw()) + begin, n, q.scale, q.zero_point, out);
}

void quantize(const float* x, std::size_t n, const TensorQuant& q, Tensor& out, std::int64_t begin) {
  const kernels::AffineKernels& fast = kernels::affine_kernels();
  if (out.dtype() == DType::kU8) fast.quantize_u8(x, n, q.scale, q.zero_point, static_cast<std::uint8_t*>(out.mutable_raw()) + begin);
  else fast.quantize_s8(x, n, q.scale, q.zero_point, static_cast<std::int8_t*>(out.mutable_raw()) + begin);
}

Type codes_type(const InferContext& context, std::size_t like, std::size_t zero_point) {
  Type type = context.input(like);
  if (type.kind == graph::TypeKind::kUnknown) type = Type::tensor(DType::kUndefined);
  if (context.has_input(zero_point) && context.input(zero_point).dtype != DType::kUndefined) type.dtype = context.input(zero_point).dtype;
  return type;
}

// ---- Add, Mul -------------------------------------------------------------------------------------------------------

Status infer_binary(InferContext& context) {
  Type y = codes_type(context, 0, 7);
  const Type& a = context.input(0);
  const Type& b = context.input(3);
  y.ranked = a.ranked && b.ranked;
  y.dims.clear();
  if (y.ranked) {
    const int rank = std::max(a.rank(), b.rank());
    for (int d = 0; d < rank; ++d) {
      const Dim one(1);
      const Dim& x = d >= rank - a.rank() ? a.dims[static_cast<std::size_t>(d - rank + a.rank())] : one;
      const Dim& z = d >= rank - b.rank() ? b.dims[static_cast<std::size_t>(d - rank + b.rank())] : one;
      if (x.known() && z.known() && x.size != z.size && x.size != 1 && z.size != 1) {
        return corrupt(fmt::format("node '{}' ({}): {} and {} cannot be broadcast", context.node().name, context.node().op_type,
                                   graph::to_string(a), graph::to_string(b)));
      }
      y.dims.push_back(x.known() && x.size == 1 ? z : z.known() && z.size == 1 ? x : x.known() ? x : z);
    }
  }
  context.set_output(0, std::move(y));
  return {};
}

// Offsets of `shape`'s elements under the broadcast `out`; rows of the last dimension step by 1 or stay.
class Walker {
 public:
  Walker(const Shape& shape, const Shape& out) : out_(out), strides_(out.size(), 0) {
    std::int64_t stride = 1;
    for (std::size_t d = shape.size(); d-- > 0;) {
      if (shape[d] != 1) strides_[d + out.size() - shape.size()] = stride;
      stride *= shape[d];
    }
  }
  std::int64_t at(std::int64_t index) const {
    std::int64_t offset = 0;
    for (std::size_t d = out_.size(); d-- > 0;) {
      offset += index % out_[d] * strides_[d];
      index /= out_[d];
    }
    return offset;
  }
  std::int64_t step() const { return strides_.empty() ? 0 : strides_.back(); }

 private:
  const Shape& out_;
  std::vector<std::int64_t> strides_;
};

Status run_binary(const Node& node, RunContext& context) {
  const Tensor& a = context.input(0);
  const Tensor& b = context.input(3);
  NARROW_RETURN_IF_ERROR(check_code_type(node, "the first input", a.dtype()));
  NARROW_RETURN_IF_ERROR(check_code_type(node, "the second input", b.dtype()));
  NARROW_TRY(const TensorQuant qa, read_quant(node, "the first input", context.input(1), context.input(2)));
  NARROW_TRY(const TensorQuant qb, read_quant(node, "the second input", context.input(4), context.input(5)));
  NARROW_TRY(const TensorQuant qy, read_quant(node, "the output", context.input(6), context.has_input(7) ? context.input(7) : Tensor()));
  const DType dtype = context.has_input(7) ? context.input(7).dtype() : a.dtype();
  NARROW_RETURN_IF_ERROR(check_code_type(node, "the output", dtype));

  Shape shape(static_cast<std::size_t>(std::max(a.rank(), b.rank())));
  for (std::size_t d = 0; d < shape.size(); ++d) {
    const auto dim = [&](const Tensor& t) {
      const std::size_t skip = shape.size() - t.shape().size();
      return d < skip ? 1 : t.shape()[d - skip];
    };
    if (dim(a) != dim(b) && dim(a) != 1 && dim(b) != 1) {
      return corrupt(fmt::format("node '{}' ({}): shapes {} and {} cannot be broadcast", node.name, node.op_type, to_string(a.shape()), to_string(b.shape())));
    }
    shape[d] = dim(a) == 1 ? dim(b) : dim(a);
  }
  NARROW_TRY(Tensor * y, context.output(0, dtype, shape));
  if (y->size() == 0) return {};
  const bool multiply = node.op_type == "QLinearMul";
  // Relu or Clip folded into the rounding.
  const IntegerRange range = integer_range(dtype);
  const auto q_min = node.get_int("q_min", range.min), q_max = node.get_int("q_max", range.max);
  const float low = q_min > range.min ? static_cast<float>(q_min - qy.zero_point) * qy.scale : -INFINITY;
  const float high = q_max < range.max ? static_cast<float>(q_max - qy.zero_point) * qy.scale : INFINITY;
  const bool flat = a.shape() == b.shape();
  // Flat inputs are one long row.
  const std::int64_t row = flat ? y->size() : shape.empty() ? 1 : shape.back();
  const Walker wa(a.shape(), shape), wb(b.shape(), shape);
  const auto fast_sum = flat && !multiply ? kernels::code_kernels().sum : nullptr;
  const auto run = [&](std::int64_t begin, std::int64_t end) {
    if (fast_sum != nullptr) {
      const auto operand = [&](const Tensor& t, const TensorQuant& q) {
        return kernels::SumOperand{static_cast<const std::uint8_t*>(t.raw()) + begin, t.dtype() == DType::kS8, q.scale, q.zero_point};
      };
      fast_sum(operand(a, qa), operand(b, qb), static_cast<std::size_t>(end - begin), {dtype == DType::kS8, qy.scale, qy.zero_point, low, high},
               static_cast<std::uint8_t*>(y->mutable_raw()) + begin);
      return;
    }
    float fa[kBlock], fb[kBlock];
    for (std::int64_t i = begin; i < end;) {
      const std::size_t n = static_cast<std::size_t>(std::min<std::int64_t>({kBlock, end - i, row - i % row}));
      const auto load = [&](const Tensor& t, const Walker& walker, const TensorQuant& q, float* out) {
        if (flat) return dequantize(t, i, n, q, out);
        if (walker.step() != 0) return dequantize(t, walker.at(i), n, q, out);
        dequantize(t, walker.at(i), 1, q, out);
        std::fill(out + 1, out + n, out[0]);
      };
      load(a, wa, qa, fa);
      load(b, wb, qb, fb);
      if (multiply) {
        for (std::size_t j = 0; j < n; ++j) fa[j] *= fb[j];
      } else {
        for (std::size_t j = 0; j < n; ++j) fa[j] += fb[j];
      }
      if (low != -INFINITY || high != INFINITY) {
        for (std::size_t j = 0; j < n; ++j) fa[j] = std::min(std::max(fa[j], low), high);
      }
      quantize(fa, n, qy, *y, i);
      i += static_cast<std::int64_t>(n);
    }
  };
  const std::int64_t part = std::max<std::int64_t>(1 << 14, (y->size() + context.pool().threads() * 2 - 1) / (context.pool().threads() * 2));
  context.pool().parallel_for(static_cast<std::size_t>((y->size() + part - 1) / part), [&](std::size_t p, int) {
    const std::int64_t begin = static_cast<std::int64_t>(p) * part;
    run(begin, std::min(y->size(), begin + part));
  });
  return {};
}

// ---- requantizing ---------------------------------------------------------------------------------------------------

// 256 codes, 256 answers: each code under its new parameters.
using CodeTable = std::array<std::uint8_t, 256>;

CodeTable requantizing_table(DType from, const TensorQuant& q_from, DType to, const TensorQuant& q_to) {
  CodeTable all, table;
  for (std::size_t c = 0; c < all.size(); ++c) all[c] = static_cast<std::uint8_t>(c);
  if (from == to && q_from.scale == q_to.scale && q_from.zero_point == q_to.zero_point) return all;
  float reals[256];
  dequantize(Tensor::from_borrowed(from, {256}, all.data()), 0, 256, q_from, reals);
  Tensor codes = Tensor::from_borrowed(to, {256}, table.data());
  quantize(reals, 256, q_to, codes, 0);
  return table;
}

// ---- Where ----------------------------------------------------------------------------------------------------------

// condition, x, x_scale, x_zero_point, y, y_scale, y_zero_point, z_scale, z_zero_point
Status infer_where(InferContext& context) {
  const Type* types[] = {&context.input(0), &context.input(1), &context.input(4)};
  Type z = Type::tensor(context.input(8).dtype);
  NARROW_TRY(auto dims, broadcast_types(context.node(), types));
  if (dims) z = Type::tensor(z.dtype, *std::move(dims));
  context.set_output(0, std::move(z));
  return {};
}

Status run_where(const Node& node, RunContext& context) {
  const Tensor& condition = context.input(0);
  const Tensor& x = context.input(1);
  const Tensor& y = context.input(4);
  const DType dtype = context.input(8).dtype();
  if (condition.dtype() != DType::kBool) return dtype_error(node, condition.dtype());
  NARROW_RETURN_IF_ERROR(check_code_type(node, "x", x.dtype()));
  NARROW_RETURN_IF_ERROR(check_code_type(node, "y", y.dtype()));
  NARROW_RETURN_IF_ERROR(check_code_type(node, "the output", dtype));
  NARROW_TRY(const TensorQuant qx, read_quant(node, "x", context.input(2), context.input(3)));
  NARROW_TRY(const TensorQuant qy, read_quant(node, "y", context.input(5), context.input(6)));
  NARROW_TRY(const TensorQuant qz, read_quant(node, "the output", context.input(7), context.input(8)));
  const Shape* shapes[] = {&condition.shape(), &x.shape(), &y.shape()};
  NARROW_TRY(const Shape shape, broadcast_shapes(node, shapes));
  NARROW_TRY(Tensor * z, context.output(0, dtype, shape));
  const CodeTable from_x = requantizing_table(x.dtype(), qx, dtype, qz), from_y = requantizing_table(y.dtype(), qy, dtype, qz);
  const BroadcastPlan plan = plan_broadcast(shape, shapes);
  const auto bytes = [](const Tensor& t) { return static_cast<const std::uint8_t*>(t.raw()); };
  auto* out = static_cast<std::uint8_t*>(z->mutable_raw());
  for_each_run(plan, context.pool(), [&](std::int64_t to, const BroadcastPlan::Offsets& from, std::int64_t n) {
    const auto at = [&](int input, std::int64_t i) { return from[input] + i * plan.inner_strides[input]; };
    for (std::int64_t i = 0; i < n; ++i) {
      out[to + i] = bytes(condition)[at(0, i)] != 0 ? from_x[bytes(x)[at(1, i)]] : from_y[bytes(y)[at(2, i)]];
    }
  });
  return {};
}

// ---- Concat ---------------------------------------------------------------------------------------------------------

Status infer_concat(InferContext& context) {
  const Node& node = context.node();
  Type y = codes_type(context, 2, 1);
  if (y.ranked) {
    std::int64_t axis = node.get_int("axis", 1);
    if (axis < 0) axis += y.rank();
    if (axis < 0 || axis >= y.rank()) return corrupt(fmt::format("node '{}' ({}): axis {} of rank {}", node.name, node.op_type, axis, y.rank()));
    std::int64_t total = 0;
    for (std::size_t i = 2; i < node.inputs.size(); i += 3) {
      const Type& x = context.input(i);
      const bool known = total >= 0 && x.ranked && x.rank() == y.rank() && x.dims[static_cast<std::size_t>(axis)].known();
      total = known ? total + x.dims[static_cast<std::size_t>(axis)].size : -1;
    }
    y.dims[static_cast<std::size_t>(axis)] = total >= 0 ? Dim(total) : Dim();
  }
  context.set_output(0, std::move(y));
  return {};
}

Status run_concat(const Node& node, RunContext& context) {
  NARROW_TRY(const TensorQuant qy, read_quant(node, "the output", context.input(0), context.input(1)));
  if (context.input_count() < 5 || (context.input_count() - 2) % 3 != 0) {
    return corrupt(fmt::format("node '{}' ({}) has {} inputs, expected 2 and three for each part", node.name, node.op_type, context.input_count()));
  }
  const DType dtype = context.input(1).dtype();
  NARROW_RETURN_IF_ERROR(check_code_type(node, "the output", dtype));
  Shape shape = context.input(2).shape();
  const int rank = static_cast<int>(shape.size());
  std::int64_t axis = node.get_int("axis", 1);
  if (axis < 0) axis += rank;
  if (axis < 0 || axis >= rank) return corrupt(fmt::format("node '{}' ({}): axis {} of rank {}", node.name, node.op_type, axis, rank));
  shape[static_cast<std::size_t>(axis)] = 0;
  for (std::size_t i = 2; i < context.input_count(); i += 3) {
    const Tensor& x = context.input(i);
    NARROW_RETURN_IF_ERROR(check_code_type(node, "a part", x.dtype()));
    bool fits = x.rank() == rank;
    for (int d = 0; fits && d < rank; ++d) fits = d == axis || x.shape()[d] == shape[static_cast<std::size_t>(d)];
    if (!fits) return corrupt(fmt::format("node '{}' ({}): a part has shape {}", node.name, node.op_type, to_string(x.shape())));
    shape[static_cast<std::size_t>(axis)] += x.shape()[static_cast<std::size_t>(axis)];
  }
  NARROW_TRY(Tensor * y, context.output(0, dtype, shape));
  if (y->size() == 0) return {};
  std::int64_t outer = 1, inner = 1;
  for (int d = 0; d < axis; ++d) outer *= shape[static_cast<std::size_t>(d)];
  for (int d = static_cast<int>(axis) + 1; d < rank; ++d) inner *= shape[static_cast<std::size_t>(d)];
  const std::int64_t y_row = shape[static_cast<std::size_t>(axis)] * inner;
  struct Part {
    const std::uint8_t* source;
    std::int64_t row, place;
    std::optional<CodeTable> table;  // where its parameters are not the output's
  };
  std::vector<Part> parts;
  std::int64_t place = 0;
  for (std::size_t i = 2; i < context.input_count(); i += 3) {
    const Tensor& x = context.input(i);
    NARROW_TRY(const TensorQuant qx, read_quant(node, "a part", context.input(i + 1), context.input(i + 2)));
    const std::int64_t row = x.shape()[static_cast<std::size_t>(axis)] * inner;
    Part& part = parts.emplace_back(Part{static_cast<const std::uint8_t*>(x.raw()), row, place, std::nullopt});
    if (qx.scale != qy.scale || qx.zero_point != qy.zero_point || x.dtype() != dtype) part.table = requantizing_table(x.dtype(), qx, dtype, qy);
    place += row;
  }
  auto* target = static_cast<std::uint8_t*>(y->mutable_raw());
  parallel_ranges(context.pool(), outer, [&](std::int64_t begin, std::int64_t end) {
    for (const Part& part : parts) {
      for (std::int64_t o = begin; o < end; ++o) {
        std::uint8_t* to = target + o * y_row + part.place;
        if (part.table) kernels::code_kernels().look_up(part.source + o * part.row, static_cast<std::size_t>(part.row), part.table->data(), to);
        else std::memcpy(to, part.source + o * part.row, static_cast<std::size_t>(part.row));
      }
    }
  }, y_row);
  return {};
}

// ---- tables ---------------------------------------------------------------------------------------------------------

void look_up(const Tensor& x, const std::uint8_t* table, Tensor& y, base::ThreadPool& pool) {
  const auto* in = static_cast<const std::uint8_t*>(x.raw());
  auto* out = static_cast<std::uint8_t*>(y.mutable_raw());
  const std::int64_t part = 1 << 15;
  pool.parallel_for(static_cast<std::size_t>((x.size() + part - 1) / part), [&](std::size_t p, int) {
    const std::int64_t begin = static_cast<std::int64_t>(p) * part, end = std::min(x.size(), begin + part);
    kernels::code_kernels().look_up(in + begin, static_cast<std::size_t>(end - begin), table, out + begin);
  });
}

Status infer_lookup(InferContext& context) {
  Type type = context.input(0);
  if (type.kind == graph::TypeKind::kUnknown) type = Type::tensor(DType::kUndefined);
  type.dtype = context.input(1).dtype;
  context.set_output(0, std::move(type));
  return {};
}

// y[i] = table[the byte of x[i]]; the table has 256 codes of the output's type.
Status run_lookup(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  const Tensor& table = context.input(1);
  NARROW_RETURN_IF_ERROR(check_code_type(node, "the input", x.dtype()));
  NARROW_RETURN_IF_ERROR(check_code_type(node, "the table", table.dtype()));
  if (table.size() != 256) return corrupt(fmt::format("node '{}' ({}): the table has {} entries, expected 256", node.name, node.op_type, table.size()));
  NARROW_TRY(Tensor * y, context.output(0, table.dtype(), x.shape()));
  look_up(x, static_cast<const std::uint8_t*>(table.raw()), *y, context.pool());
  return {};
}

Status infer_unary(InferContext& context) {
  context.set_output(0, codes_type(context, 0, 4));
  return {};
}

// x, x_scale, x_zero_point, y_scale, y_zero_point
Status run_unary(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  NARROW_RETURN_IF_ERROR(check_code_type(node, "the input", x.dtype()));
  NARROW_TRY(const TensorQuant qx, read_quant(node, "the input", context.input(1), context.input(2)));
  NARROW_TRY(const TensorQuant qy, read_quant(node, "the output", context.input(3), context.has_input(4) ? context.input(4) : Tensor()));
  NARROW_TRY(Tensor * y, context.output(0, x.dtype(), x.shape()));
  std::uint8_t all[256], table[256];
  for (int c = 0; c < 256; ++c) all[c] = static_cast<std::uint8_t>(c);
  float reals[256];
  dequantize(Tensor::from_borrowed(x.dtype(), {256}, all), 0, 256, qx, reals);
  const float alpha = node.get_float("alpha", 0.01f);
  for (float& v : reals) v = node.op_type == "QLinearSigmoid" ? 1.0f / (1.0f + std::exp(-v)) : v < 0 ? v * alpha : v;
  Tensor codes = Tensor::from_borrowed(x.dtype(), {256}, table);
  quantize(reals, 256, qy, codes, 0);
  look_up(x, table, *y, context.pool());
  return {};
}

Status run_softmax(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  NARROW_RETURN_IF_ERROR(check_code_type(node, "the input", x.dtype()));
  NARROW_TRY(const TensorQuant qx, read_quant(node, "the input", context.input(1), context.input(2)));
  NARROW_TRY(const TensorQuant qy, read_quant(node, "the output", context.input(3), context.input(4)));
  const int rank = x.rank();
  const std::int64_t opset = node.get_int("opset", 13);
  std::int64_t axis = node.get_int("axis", opset < 13 ? 1 : -1);
  if (axis < 0) axis += rank;
  if (axis < 0 || axis >= std::max(rank, 1)) return corrupt(fmt::format("node '{}' ({}): axis {} of rank {}", node.name, node.op_type, axis, rank));
  NARROW_TRY(Tensor * y, context.output(0, context.has_input(4) ? context.input(4).dtype() : x.dtype(), x.shape()));
  if (y->size() == 0) return {};
  std::int64_t outer = 1, count = 1, inner = 1;
  for (int d = 0; d < rank; ++d) {
    // Before opset 13 everything from the axis on is one row.
    (d < axis ? outer : d == axis || opset < 13 ? count : inner) *= x.shape()[static_cast<std::size_t>(d)];
  }
  std::vector<float> reals(static_cast<std::size_t>(x.size()));
  dequantize(x, 0, reals.size(), qx, reals.data());
  for (std::int64_t o = 0; o < outer; ++o) {
    for (std::int64_t i = 0; i < inner; ++i) {
      float* row = reals.data() + o * count * inner + i;
      float top = row[0], sum = 0;
      for (std::int64_t j = 1; j < count; ++j) top = std::max(top, row[j * inner]);
      for (std::int64_t j = 0; j < count; ++j) sum += row[j * inner] = std::exp(row[j * inner] - top);
      for (std::int64_t j = 0; j < count; ++j) row[j * inner] /= sum;
    }
  }
  quantize(reals.data(), reals.size(), qy, *y, 0);
  return {};
}

constexpr std::string_view kMicrosoft = "com.microsoft";

const std::array kOperators = {
    Operator{.name = "QLinearAdd", .domain = kMicrosoft, .min_inputs = 7, .max_inputs = 8, .infer = infer_binary, .run = run_binary},
    Operator{.name = "QLinearMul", .domain = kMicrosoft, .min_inputs = 7, .max_inputs = 8, .infer = infer_binary, .run = run_binary},
    Operator{.name = "QLinearConcat", .domain = kMicrosoft, .min_inputs = 5, .max_inputs = -1, .infer = infer_concat, .run = run_concat},
    Operator{.name = "QLinearWhere", .domain = kMicrosoft, .min_inputs = 9, .max_inputs = 9, .infer = infer_where, .run = run_where},
    Operator{.name = "QLinearSigmoid", .domain = kMicrosoft, .min_inputs = 4, .max_inputs = 5, .infer = infer_unary, .run = run_unary},
    Operator{.name = "QLinearLeakyRelu", .domain = kMicrosoft, .min_inputs = 4, .max_inputs = 5, .infer = infer_unary, .run = run_unary},
    Operator{.name = "QLinearSoftmax", .domain = kMicrosoft, .min_inputs = 5, .max_inputs = 5, .infer = infer_unary, .run = run_softmax},
    Operator{.name = "Lookup", .domain = "narrow", .min_inputs = 2, .max_inputs = 2, .infer = infer_lookup, .run = run_lookup},
};

}  // namespace

std::span<const Operator> integer_elementwise_operators() { return kOperators; }

}  // namespace narrow::operators
