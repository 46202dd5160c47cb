// ai.narrow's own Linear and Embedding, which language models run on: weights of any encoding, [out, in] as checkpoints have
// them, made f32 as they are used. They never reach a file.
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstring>

#include "operators/attention_heads.h"
#include "operators/families.h"
#include "operators/float_io.h"
#include "operators/stored_weights.h"
#include "operators/type_rules.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using graph::TypeKind;

constexpr std::string_view kDomain = "ai.narrow";

// x, data, scales, zeros, bias. Attributes, besides those of stored_weights.h: input_rounding "token" or "tensor", absent for
// none; input_scale and input_zero of "tensor".
constexpr std::size_t kLinearBias = 4;

Result<encodings::InputRounding> read_rounding(const Node& node) {
  using Kind = encodings::InputRounding::Kind;
  encodings::InputRounding rounding;
  const std::string kind = node.get_string("input_rounding", "");
  if (kind.empty()) return rounding;
  if (kind == "token") {
    rounding.kind = Kind::kToken;
    return rounding;
  }
  if (kind != "tensor") return bad_attribute(node, fmt::format("input_rounding is '{}', expected token or tensor", kind));
  rounding.kind = Kind::kTensor;
  rounding.scale = node.get_float("input_scale", 0);
  const std::int64_t zero = node.get_int("input_zero", 0);
  if (!(rounding.scale > 0) || !std::isfinite(rounding.scale)) return bad_attribute(node, fmt::format("input_scale is {}, expected a positive number", rounding.scale));
  if (zero < -128 || zero > 127) return bad_attribute(node, fmt::format("input_zero is {}, expected -128 to 127", zero));
  rounding.zero = static_cast<int>(zero);
  return rounding;
}

Status infer_linear(InferContext& context) {
  const Node& node = context.node();
  NARROW_RETURN_IF_ERROR(check_dtype(context, 0, kFloatTypes));
  NARROW_RETURN_IF_ERROR(check_rank(context, 0, 1, -1));
  NARROW_TRY(const std::int64_t rows, read_count(node, "rows"));
  NARROW_TRY(const std::int64_t columns, read_count(node, "columns"));
  Type y = context.input(0);
  if (y.kind != TypeKind::kTensor) return {};
  if (y.ranked) {
    NARROW_TRY([[maybe_unused]] const Dim inner, unify_dims(node, y.dims.back(), Dim(columns), "the inner dimension"));
    y.dims.back() = Dim(rows);
  }
  context.set_output(0, std::move(y));
  return {};
}

Status run_linear(const Node& node, RunContext& context) {
  NARROW_TRY(const StoredRows weights, open_weights(node, context, {}));
  FloatInput bias;
  if (context.has_input(kLinearBias)) {
    const Tensor& given = context.input(kLinearBias);
    if (given.shape() != Shape{weights.rows}) return bad_input(node, fmt::format("the bias has shape {}, expected [{}]", to_string(given.shape()), weights.rows));
    NARROW_TRY(bias, FloatInput::open(given, "the bias"));
  }
  NARROW_TRY(const encodings::InputRounding rounding, read_rounding(node));
  return multiply_rows(node, context, weights, true, bias.size() == 0 ? nullptr : bias.data(), rounding);
}

Status infer_embedding(InferContext& context) {
  const Node& node = context.node();
  NARROW_RETURN_IF_ERROR(check_dtype(context, 0, kIndexTypes));
  NARROW_TRY(const std::int64_t columns, read_count(node, "columns"));
  Type y = context.input(0);
  if (y.kind != TypeKind::kTensor) return {};
  y.dtype = DType::kF32;
  if (y.ranked) y.dims.emplace_back(columns);
  context.set_output(0, std::move(y));
  return {};
}

Status run_embedding(const Node& node, RunContext& context) {
  NARROW_TRY(const StoredRows weights, open_weights(node, context, {}));
  const Tensor& ids = context.input(0);
  const std::vector<std::int64_t> rows = ids.to_int64();
  for (const std::int64_t row : rows) {
    if (row < 0 || row >= weights.rows) return bad_input(node, fmt::format("the id {} is not within the {} rows of the table", row, weights.rows));
  }
  Shape shape = ids.shape();
  shape.push_back(weights.columns);
  NARROW_TRY(Tensor * y, context.output(0, DType::kF32, shape));
  float* out = y->mutable_data<float>().data();
  context.pool().parallel_for(rows.size(), [&](std::size_t i, int) {
    float* to = out + static_cast<std::int64_t>(i) * weights.columns;
    if (weights.direct != nullptr) std::memcpy(to, weights.direct + rows[i] * weights.columns, static_cast<std::size_t>(weights.columns) * sizeof(float));
    else weights.make(rows[i], 1, to);
  });
  return {};
}

const std::array kOperators = {
    Operator{.name = "Linear", .domain = kDomain, .min_inputs = 2, .max_inputs = 5, .infer = infer_linear, .run = run_linear},
    Operator{.name = "Embedding", .domain = kDomain, .min_inputs = 2, .max_inputs = 4, .infer = infer_embedding, .run = run_embedding},
};

}  // namespace

std::span<const Operator> linear_operators() { return kOperators; }

}  // namespace narrow::operators
