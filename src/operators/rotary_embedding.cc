// RotaryEmbedding of ai.onnx and of com.microsoft, which differ in the order of their inputs and in what they leave out.
#include <fmt/format.h>

#include <array>

#include "operators/attention_heads.h"
#include "operators/families.h"
#include "operators/rotary.h"
#include "operators/type_rules.h"

namespace narrow::operators {
namespace {

using graph::Node;
using graph::Type;

bool is_microsoft(const Node& node) { return node.domain == "com.microsoft"; }

Result<std::int64_t> read_dim(const Node& node, const char* attribute) {
  const std::int64_t size = node.get_int(attribute, 0);
  if (size >= 0 && size < (std::int64_t{1} << 31)) return size;
  return bad_attribute(node, fmt::format("{} is {}, expected 0 or more", attribute, size));
}

Status infer_rotary(InferContext& context) {
  const Node& node = context.node();
  NARROW_RETURN_IF_ERROR(check_dtype(context, 0, kFloatTypes));
  NARROW_RETURN_IF_ERROR(check_rank(context, 0, 3, 4));
  NARROW_TRY(const std::int64_t heads, read_dim(node, "num_heads"));
  NARROW_TRY([[maybe_unused]] const std::int64_t dim, read_dim(node, "rotary_embedding_dim"));
  const Type& x = context.input(0);
  if (x.ranked && x.rank() == 3 && x.dims[2].known() && heads > 0 && x.dims[2].size % heads != 0) {
    return bad_attribute(node, fmt::format("the input is {}, whose last dimension does not split into {} heads", graph::to_string(x), heads));
  }
  return infer_like_input(context);
}

// The input as heads. com.microsoft may leave the number of heads to follow from the width of the angles.
Result<HeadShape> read_input(const Node& node, const Tensor& x, const Tensor& cosines) {
  NARROW_TRY(std::int64_t heads, read_dim(node, "num_heads"));
  NARROW_TRY(const std::int64_t dim, read_dim(node, "rotary_embedding_dim"));
  if (is_microsoft(node) && dim == 0 && x.rank() == 3 && cosines.rank() > 0 && cosines.shape().back() > 0) {
    heads = x.shape()[2] / (2 * cosines.shape().back());
  }
  if (x.rank() == 3 && heads == 0 && x.size() > 0) return bad_input(node, "an input of rank 3 needs the attribute num_heads");
  return read_heads(node, x, "the input", std::max<std::int64_t>(1, heads));
}

// Which row of the angles each position uses.
Result<std::vector<std::int64_t>> read_angle_rows(const Node& node, const Tensor& positions, const HeadShape& x, std::int64_t rows) {
  std::vector<std::int64_t> angle_rows;
  if (!positions.defined()) {  // the angles are given for each position
    for (std::int64_t i = 0; i < x.batch * x.length; ++i) angle_rows.push_back(i);
    return angle_rows;
  }
  if (positions.dtype() != DType::kS64) return bad_input(node, fmt::format("position_ids is {}, expected s64", to_string(positions.dtype())));
  angle_rows = positions.to_int64();
  if (is_microsoft(node) && positions.rank() == 1 && positions.size() == 1) {
    const std::int64_t first = angle_rows[0];
    if (first < 0 || first > rows) return bad_input(node, fmt::format("position_ids holds {}, expected 0 to {}", first, rows - 1));
    angle_rows.clear();
    for (std::int64_t i = 0; i < x.batch * x.length; ++i) angle_rows.push_back(first + i % x.length);
  } else if (positions.shape() != Shape{x.batch, x.length}) {
    return bad_input(node, fmt::format("position_ids has shape {}, expected [{},{}]", to_string(positions.shape()), x.batch, x.length));
  }
  for (std::int64_t row : angle_rows) {
    if (row < 0 || row >= rows) return bad_input(node, fmt::format("position {} is beyond the {} rows of the angles", row, rows));
  }
  return angle_rows;
}

Status run_rotary(const Node& node, RunContext& context) {
  const bool microsoft = is_microsoft(node);
  if (node.get_int("is_packed_batching", 0) != 0) return unsupported(fmt::format("{}: narrow cannot run it on packed batches", where(node)));
  const Tensor& x = context.input(0);
  const Tensor& cosines = context.input(microsoft ? 2 : 1);
  const Tensor& sines = context.input(microsoft ? 3 : 2);
  const Tensor& positions = context.input(microsoft ? 1 : 3);
  NARROW_TRY(const HeadShape shape, read_input(node, x, cosines));
  NARROW_TRY(const std::int64_t dim, read_dim(node, "rotary_embedding_dim"));
  NARROW_TRY(Angles angles, Angles::open(node, cosines, sines, positions.defined() ? 2 : 3));
  if (!positions.defined() && (cosines.shape()[0] != shape.batch || cosines.shape()[1] != shape.length)) {
    return bad_input(node, fmt::format("the angles have shape {}, expected [{},{},half the rotated size]", to_string(cosines.shape()), shape.batch, shape.length));
  }
  if (2 * angles.half > shape.size || (dim != 0 && 2 * angles.half != dim) || (dim == 0 && !microsoft && 2 * angles.half != shape.size)) {
    return bad_input(node, fmt::format("the angles have shape {}, which does not fit heads of size {} (rotary_embedding_dim {})", to_string(cosines.shape()), shape.size, dim));
  }
  NARROW_TRY(const std::vector<std::int64_t> rows, read_angle_rows(node, positions, shape, angles.rows));
  NARROW_TRY(FloatOutput y, FloatOutput::create(context, 0, x.dtype(), x.shape()));
  NARROW_TRY(const FloatInput source, FloatInput::open(x, "the input"));
  kernels::rotary_f32({.batch = shape.batch, .heads = shape.heads, .length = shape.length, .head_size = shape.size, .half = angles.half,
                       .interleaved = node.get_int("interleaved", 0) != 0, .input = shape.view(source.data()), .output = shape.view(y.data()),
                       .cosines = angles.cosines.data(), .sines = angles.sines.data(), .angle_rows = rows.data()},
                      context.pool());
  y.store();
  return {};
}

const std::array kOperators = {
    Operator{.name = "RotaryEmbedding", .since = 23, .min_inputs = 3, .max_inputs = 4, .infer = infer_rotary, .run = run_rotary},
    Operator{.name = "RotaryEmbedding", .domain = "com.microsoft", .min_inputs = 4, .max_inputs = 4, .infer = infer_rotary, .run = run_rotary},
};

}  // namespace

Result<Angles> Angles::open(const Node& node, const Tensor& cosines, const Tensor& sines, int rank) {
  if (cosines.rank() != rank || cosines.shape() != sines.shape()) {
    return bad_input(node, fmt::format("the cosines have shape {} and the sines {}, expected the same of rank {}", to_string(cosines.shape()),
                                       to_string(sines.shape()), rank));
  }
  Angles angles;
  angles.half = cosines.shape().back();
  angles.rows = angles.half == 0 ? 0 : cosines.size() / angles.half;
  NARROW_TRY(angles.cosines, FloatInput::open(cosines, "the cosines"));
  NARROW_TRY(angles.sines, FloatInput::open(sines, "the sines"));
  return angles;
}

std::span<const Operator> rotary_embedding_operators() { return kOperators; }

}  // namespace narrow::operators
