// MaxPool, AveragePool, LpPool and the global pools; in domain "narrow" those that passes/assign_layout makes of them,
// the same but for data laid out [N, spatial…, C] and f32 only.
#include "kernels/pooling/pooling.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "operators/families.h"
#include "operators/float_io.h"
#include "operators/layout.h"
#include "operators/window.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using kernels::Window;

Result<int> read_p(const Node& node) {
  const std::int64_t p = node.get_int("p", 2);
  if (p >= 1 && p <= 64) return static_cast<int>(p);
  return corrupt(fmt::format("node '{}' ({}): p is {}, expected 1 to 64", node.name, node.op_type, p));
}

Status check_rank(const Node& node, int rank) {
  if (rank >= 3) return {};
  return corrupt(fmt::format("node '{}' ({}): the input has rank {}, expected 3 or more [N, C, spatial…]", node.name, node.op_type, rank));
}

// ---- windowed ----

Status infer_pool(InferContext& context) {
  const Node& node = context.node();
  Type x = context.input(0);
  if (channels_last(node)) x.dims = to_channels_first(std::move(x.dims));
  NARROW_TRY(const WindowAttributes attributes, read_window(node));
  if (attributes.kernel.empty()) return corrupt(fmt::format("node '{}' ({}) has no kernel_shape", node.name, node.op_type));
  if (node.op_type == "LpPool") {
    NARROW_TRY([[maybe_unused]] const int p, read_p(node));
  }
  Type y = Type::tensor(x.dtype);
  if (x.ranked) {
    NARROW_RETURN_IF_ERROR(check_rank(node, x.rank()));
    y.ranked = true;
    y.dims = {x.dims[0], x.dims[1]};
    NARROW_TRY(const std::vector<Dim> spatial, window_output_dims(node, attributes, std::span(x.dims).subspan(2), {}, false));
    y.dims.insert(y.dims.end(), spatial.begin(), spatial.end());
  }
  if (channels_last(node)) y.dims = to_channels_last(std::move(y.dims));
  if (node.output(1) != graph::kNoValue) {
    Type indices = y;
    indices.kind = graph::TypeKind::kTensor;
    indices.dtype = DType::kS64;
    context.set_output(1, indices);
  }
  context.set_output(0, std::move(y));
  return {};
}

class PoolKernel final : public Kernel {
 public:
  static Result<std::unique_ptr<Kernel>> prepare(const PrepareContext& context) {
    auto kernel = std::make_unique<PoolKernel>();
    kernel->node_ = *context.node;
    NARROW_TRY(kernel->attributes_, read_window(*context.node));
    return std::unique_ptr<Kernel>(std::move(kernel));
  }

  Status run(RunContext& context) override {
    const Tensor& x = context.input(0);
    NARROW_RETURN_IF_ERROR(check_rank(node_, x.rank()));
    NARROW_TRY(const std::vector<Window> axes, resolve_window(node_, attributes_, std::span(x.shape()).subspan(2)));
    Shape shape = {x.shape()[0], x.shape()[1]};
    for (const Window& axis : axes) shape.push_back(axis.out);
    const std::int64_t planes = shape[0] * shape[1];
    if (node_.op_type == "MaxPool") {
      if (x.dtype() == DType::kS8) return run_integer_max<std::int8_t>(context, shape, planes, axes);
      if (x.dtype() == DType::kU8) return run_integer_max<std::uint8_t>(context, shape, planes, axes);
    }
    NARROW_TRY(FloatOutput y, FloatOutput::create(context, 0, x.dtype(), shape));
    NARROW_TRY(const FloatInput source, FloatInput::open(x, "the input"));
    if (node_.op_type == "MaxPool") {
      NARROW_RETURN_IF_ERROR(run_max(context, source.data(), shape, planes, axes, y.data()));
    } else if (y.size() != 0 && node_.op_type == "AveragePool") {
      kernels::average_pool_f32(source.data(), planes, axes, node_.get_int("count_include_pad", 0) != 0, y.data(), context.pool());
    } else if (y.size() != 0) {
      NARROW_TRY(const int p, read_p(node_));
      kernels::lp_pool_f32(source.data(), planes, axes, p, y.data(), context.pool());
    }
    y.store();
    return {};
  }

 private:
  template <typename T>
  Status run_max(RunContext& context, const T* x, const Shape& shape, std::int64_t planes, std::span<const Window> axes, T* y) {
    if (!context.wants_output(1)) {
      kernels::max_pool(x, planes, axes, y, context.pool());
      return {};
    }
    NARROW_TRY(Tensor * indices, context.output(1, DType::kS64, shape));
    kernels::max_pool_with_indices(x, planes, axes, y, indices->mutable_data<std::int64_t>().data(),
                                   node_.get_int("storage_order", 0) != 0, context.pool());
    return {};
  }

  template <typename T>
  Status run_integer_max(RunContext& context, const Shape& shape, std::int64_t planes, std::span<const Window> axes) {
    NARROW_TRY(Tensor * y, context.output(0, kDTypeOf<T>, shape));
    return run_max(context, context.input(0).data<T>().data(), shape, planes, axes, y->mutable_data<T>().data());
  }

  Node node_;
  WindowAttributes attributes_;
};

class ChannelsLastPoolKernel final : public Kernel {
 public:
  static Result<std::unique_ptr<Kernel>> prepare(const PrepareContext& context) {
    auto kernel = std::make_unique<ChannelsLastPoolKernel>();
    kernel->node_ = *context.node;
    NARROW_TRY(kernel->attributes_, read_window(*context.node));
    return std::unique_ptr<Kernel>(std::move(kernel));
  }

  Status run(RunContext& context) override {
    const Tensor& x = context.input(0);
    NARROW_RETURN_IF_ERROR(check_rank(node_, x.rank()));
    if (x.dtype() != DType::kF32) return unsupported(fmt::format("the input is {}, expected f32", to_string(x.dtype())));
    const bool global = node_.op_type == "GlobalAveragePool" || node_.op_type == "GlobalMaxPool";
    const bool max = node_.op_type == "MaxPool" || node_.op_type == "GlobalMaxPool";
    const std::span<const std::int64_t> spatial = std::span(x.shape()).subspan(1, x.shape().size() - 2);
    if (spatial.size() > kernels::kMaxPoolRank) return unsupported(fmt::format("the input has rank {}, expected at most {}", x.rank(), kernels::kMaxPoolRank + 2));
    std::vector<Window> axes;
    if (global) {
      for (std::int64_t size : spatial) axes.push_back({.in = size, .out = 1, .kernel = std::max<std::int64_t>(1, size)});
    } else {
      NARROW_TRY(axes, resolve_window(node_, attributes_, spatial));
    }
    Shape shape = {x.shape().front()};
    for (const Window& axis : axes) shape.push_back(axis.out);
    shape.push_back(x.shape().back());
    NARROW_TRY(Tensor * y, context.output(0, DType::kF32, shape));
    if (y->size() == 0) return {};
    const bool counting = !global && node_.get_int("count_include_pad", 0) != 0;
    kernels::pool_channels_last_f32(max ? kernels::PoolKind::kMax : counting ? kernels::PoolKind::kAverageCountingPadding : kernels::PoolKind::kAverage,
                                    x.data<float>().data(), shape.front(), axes, shape.back(), y->mutable_data<float>().data(), context.pool());
    return {};
  }

 private:
  Node node_;
  WindowAttributes attributes_;
};

// ---- global ----

Status infer_global(InferContext& context) {
  Type y = context.input(0);
  if (y.ranked) {
    NARROW_RETURN_IF_ERROR(check_rank(context.node(), y.rank()));
    const std::size_t first = channels_last(context.node()) ? 1 : 2;
    for (std::size_t i = 0; i + 2 < y.dims.size(); ++i) y.dims[first + i] = Dim(1);
  }
  context.set_output(0, std::move(y));
  return {};
}

Status run_global(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  NARROW_RETURN_IF_ERROR(check_rank(node, x.rank()));
  Shape shape(x.shape().size(), 1);
  shape[0] = x.shape()[0];
  shape[1] = x.shape()[1];
  const std::int64_t planes = shape[0] * shape[1], size = planes == 0 ? 0 : x.size() / planes;
  const auto run_codes = [&]<typename T>(T) -> Status {
    NARROW_TRY(Tensor * y, context.output(0, kDTypeOf<T>, shape));
    kernels::global_max_pool(x.data<T>().data(), planes, size, y->mutable_data<T>().data());
    return {};
  };
  if (node.op_type == "GlobalMaxPool" && x.dtype() == DType::kS8) return run_codes(std::int8_t{});
  if (node.op_type == "GlobalMaxPool" && x.dtype() == DType::kU8) return run_codes(std::uint8_t{});
  NARROW_TRY(FloatOutput y, FloatOutput::create(context, 0, x.dtype(), shape));
  NARROW_TRY(const FloatInput source, FloatInput::open(x, "the input"));
  if (node.op_type == "GlobalMaxPool") {
    kernels::global_max_pool(source.data(), planes, size, y.data());
  } else if (node.op_type == "GlobalAveragePool") {
    kernels::global_average_pool_f32(source.data(), planes, size, y.data());
  } else {
    NARROW_TRY(const int p, read_p(node));
    kernels::global_lp_pool_f32(source.data(), planes, size, p, y.data());
  }
  y.store();
  return {};
}

constexpr Operator channels_last_row(std::string_view name, Status (*infer)(InferContext&)) {
  return {.name = name, .domain = "narrow", .infer = infer, .prepare = ChannelsLastPoolKernel::prepare};
}

constexpr QuantRule kTransportRule = {.role = QuantRole::kTransport};
constexpr QuantRule kFollowRule = {.role = QuantRole::kFollow};

const std::array kOperators = {
    Operator{.name = "MaxPool", .since = 22, .max_outputs = 2, .infer = infer_pool, .prepare = PoolKernel::prepare, .quant = kTransportRule},
    Operator{.name = "AveragePool", .since = 22, .infer = infer_pool, .prepare = PoolKernel::prepare, .quant = kFollowRule},
    Operator{.name = "LpPool", .since = 22, .infer = infer_pool, .prepare = PoolKernel::prepare},
    Operator{.name = "GlobalMaxPool", .since = 22, .infer = infer_global, .run = run_global, .quant = kTransportRule},
    Operator{.name = "GlobalAveragePool", .since = 22, .infer = infer_global, .run = run_global, .quant = kFollowRule},
    Operator{.name = "GlobalLpPool", .since = 22, .infer = infer_global, .run = run_global},
    channels_last_row("MaxPool", infer_pool),
    channels_last_row("AveragePool", infer_pool),
    channels_last_row("GlobalMaxPool", infer_global),
    channels_last_row("GlobalAveragePool", infer_global),
};

}  // namespace

std::span<const Operator> pooling_operators() { return kOperators; }

}  // namespace narrow::operators
