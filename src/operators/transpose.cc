// Operators that put the elements of one tensor in another order: Transpose, DepthToSpace, SpaceToDepth.
#include <array>
#include <numeric>

#include "base/checked.h"
#include "operators/elementwise.h"
#include "operators/families.h"
#include "operators/strided_copy.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using graph::TypeKind;

// Output axis i is input axis order[i]. Errors: corrupt when perm is not a permutation of the rank.
Result<std::vector<int>> axis_order(const Node& node, int rank) {
  const std::vector<std::int64_t> perm = node.get_ints("perm");
  std::vector<int> order(static_cast<std::size_t>(rank));
  if (!node.has("perm")) {
    for (int i = 0; i < rank; ++i) order[i] = rank - 1 - i;
    return order;
  }
  std::vector<bool> seen(static_cast<std::size_t>(rank), false);
  if (static_cast<int>(perm.size()) == rank) {
    std::size_t i = 0;
    for (; i < perm.size() && perm[i] >= 0 && perm[i] < rank && !seen[perm[i]]; ++i) {
      seen[perm[i]] = true;
      order[i] = static_cast<int>(perm[i]);
    }
    if (i == perm.size()) return order;
  }
  return corrupt(fmt::format("{}: perm {} is not a permutation of the axes of a tensor of rank {}", where(node),
                             to_string(perm), rank));
}

Status infer_transpose(InferContext& context) {
  const Type& x = context.input(0);
  if (x.kind != TypeKind::kTensor) return {};
  Type out = Type::tensor(x.dtype);
  const int rank = x.ranked ? x.rank() : static_cast<int>(context.node().get_ints("perm").size());
  if (x.ranked || context.node().has("perm")) {
    NARROW_TRY(const auto order, axis_order(context.node(), rank));
    out.ranked = true;
    for (int a : order) out.dims.push_back(x.ranked ? x.dims[a] : Dim());
  }
  context.set_output(0, out);
  return {};
}

Status run_transpose(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  NARROW_TRY(const auto order, axis_order(node, x.rank()));
  Shape shape;
  for (int a : order) shape.push_back(x.shape()[a]);
  NARROW_TRY(MovedOutput out, MovedOutput::create(context, 0, x.dtype(), shape));
  const auto from = strides_of(x.shape()), to = strides_of(shape);
  std::vector<StridedAxis> axes;
  for (std::size_t i = 0; i < order.size(); ++i) axes.push_back({shape[i], from[order[i]], to[i]});
  out.copy(x, 0, 0, std::move(axes));
  out.finish();
  return {};
}

// ---- DepthToSpace, SpaceToDepth: [N, C, H, W] ------------------------------------------------------------------------

Result<std::int64_t> block_size(const Node& node) {
  const std::int64_t block = node.get_int("blocksize", 0);
  if (block < 1 || block > (std::int64_t{1} << 30)) {
    return corrupt(fmt::format("{}: blocksize is {}, expected 1 or more", where(node), block));
  }
  return block;
}

Result<bool> column_row_depth(const Node& node) {
  const std::string mode = node.get_string("mode", "DCR");
  if (mode != "DCR" && mode != "CRD") {
    return corrupt(fmt::format("{}: mode is '{}', expected 'DCR' or 'CRD'", where(node), mode));
  }
  return mode == "CRD";
}

// dim / by when it divides.
Result<Dim> divided(const Node& node, const Dim& dim, std::int64_t by, std::string_view what) {
  if (!dim.known()) return by == 1 ? dim : Dim();
  if (dim.size % by != 0) {
    return corrupt(fmt::format("{}: {} {} is not a multiple of {}", where(node), what, dim.size, by));
  }
  return Dim(dim.size / by);
}

Result<std::vector<Dim>> depth_to_space_dims(const Node& node, const std::vector<Dim>& x, std::int64_t block) {
  NARROW_TRY(const Dim channels, divided(node, x[1], block * block, "the number of channels"));
  return std::vector<Dim>{x[0], channels, multiply_dims(x[2], Dim(block)), multiply_dims(x[3], Dim(block))};
}

Result<std::vector<Dim>> space_to_depth_dims(const Node& node, const std::vector<Dim>& x, std::int64_t block) {
  NARROW_TRY(const Dim height, divided(node, x[2], block, "the height"));
  NARROW_TRY(const Dim width, divided(node, x[3], block, "the width"));
  return std::vector<Dim>{x[0], multiply_dims(x[1], Dim(block * block)), height, width};
}

template <auto dims_of>
Status infer_blocks(InferContext& context) {
  const Type& x = context.input(0);
  if (x.kind != TypeKind::kTensor) return {};
  NARROW_RETURN_IF_ERROR(check_rank(context, 0, 4, 4));
  NARROW_TRY(const std::int64_t block, block_size(context.node()));
  NARROW_TRY([[maybe_unused]] const bool crd, column_row_depth(context.node()));
  Type out = Type::tensor(x.dtype, std::vector<Dim>(4));
  if (x.ranked) {
    NARROW_TRY(out.dims, dims_of(context.node(), x.dims, block));
  }
  context.set_output(0, out);
  return {};
}

// The output shape at run time, every dimension known.
template <auto dims_of>
Result<Shape> block_shape(const Node& node, const Tensor& x, std::int64_t block) {
  if (x.rank() != 4) return corrupt(fmt::format("{}: the input has rank {}, expected 4", where(node), x.rank()));
  NARROW_TRY(const auto dims, dims_of(node, std::vector<Dim>(x.shape().begin(), x.shape().end()), block));
  const auto shape = Type::tensor(x.dtype(), dims).static_shape();
  if (!shape) return corrupt(fmt::format("{}: the output's size overflows", where(node)));
  return *shape;
}

Status run_depth_to_space(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  NARROW_TRY(const std::int64_t block, block_size(node));
  NARROW_TRY(const bool crd, column_row_depth(node));
  NARROW_TRY(const Shape shape, block_shape<depth_to_space_dims>(node, x, block));
  NARROW_TRY(MovedOutput out, MovedOutput::create(context, 0, x.dtype(), shape));
  const std::int64_t n = shape[0], c = shape[1], h = x.shape()[2], w = x.shape()[3];
  const std::int64_t plane = h * w, b = block;
  // DCR: input channel = (block row, block column, c); CRD: (c, block row, block column).
  const std::int64_t channel = crd ? b * b * plane : plane;
  const std::int64_t row = crd ? b * plane : b * c * plane;
  const std::int64_t column = crd ? plane : c * plane;
  out.copy(x, 0, 0, {{n, c * b * b * plane, c * b * b * plane}, {c, channel, b * b * plane}, {h, w, b * b * w},
                     {b, row, b * w}, {w, 1, b}, {b, column, 1}});
  out.finish();
  return {};
}

Status run_space_to_depth(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  NARROW_TRY(const std::int64_t block, block_size(node));
  NARROW_TRY(const bool crd, column_row_depth(node));
  NARROW_TRY(const Shape shape, block_shape<space_to_depth_dims>(node, x, block));
  NARROW_TRY(MovedOutput out, MovedOutput::create(context, 0, x.dtype(), shape));
  const std::int64_t n = shape[0], c = x.shape()[1], h = shape[2], w = shape[3], b = block;
  const std::int64_t image = c * h * w * b * b;
  // DCR: output channel = (block row, block column, c); CRD: (c, block row, block column).
  const std::int64_t plane = h * w, channel = crd ? b * b * plane : plane;
  const std::int64_t row = crd ? b * plane : b * c * plane, column = crd ? plane : c * plane;
  out.copy(x, 0, 0, {{n, image, image}, {b, w * b, row}, {b, 1, column}, {c, plane * b * b, channel}, {h, w * b * b, w}, {w, b, 1}});
  out.finish();
  return {};
}

const std::array kOperators = {
    Operator{.name = "Transpose", .since = 24, .infer = infer_transpose, .run = run_transpose, .quant = kTransportRule},
    Operator{.name = "DepthToSpace", .since = 13, .infer = infer_blocks<depth_to_space_dims>, .run = run_depth_to_space,
             .quant = kTransportRule},
    Operator{.name = "SpaceToDepth", .since = 28, .infer = infer_blocks<space_to_depth_dims>, .run = run_space_to_depth,
             .quant = kTransportRule},
};

}  // namespace

std::span<const Operator> transpose_operators() { return kOperators; }

}  // namespace narrow::operators
