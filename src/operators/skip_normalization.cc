// com.microsoft's normalizations of sums: SkipLayerNormalization, SkipSimplifiedLayerNormalization (of a tensor, a residual
// and a bias) and EmbedLayerNormalization (of rows of embedding tables).
#include "kernels/normalization/normalization.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "operators/attention_heads.h"
#include "operators/families.h"
#include "operators/float_io.h"
#include "operators/type_rules.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;

constexpr std::string_view kMicrosoft = "com.microsoft";

// Input i, one number a column, or nothing when it is omitted.
Result<FloatInput> open_columns(const Node& node, RunContext& context, std::size_t i, std::int64_t columns) {
  if (!context.has_input(i)) return FloatInput();
  NARROW_TRY(FloatInput input, FloatInput::open(context.input(i), "a parameter of the normalization"));
  if (context.input(i).rank() == 1 && input.size() == columns) return input;
  return bad_input(node, fmt::format("input {} has shape {}, expected [{}]", i, to_string(context.input(i).shape()), columns));
}

struct RowNormalization {
  bool centred = true;  // else by the root of the mean square
  float epsilon = 0;
  const float* scale = nullptr;
  const float* bias = nullptr;

  kernels::RowMoments apply(const float* x, std::int64_t columns, float* y) const {
    const kernels::RowMoments moments = centred ? kernels::row_moments_f32(x, columns, epsilon)
                                                : kernels::RowMoments{0, kernels::inverse_root_mean_square_f32(x, columns, epsilon)};
    kernels::normalize_row_f32(x, columns, moments.mean, moments.inverse_deviation, scale, bias, y);
    return moments;
  }
};

constexpr std::int64_t kElementsAtOnce = 16384;

// Calls body(row) for all rows, short ones together.
template <typename Body>
void for_each_row(base::ThreadPool& pool, std::int64_t rows, std::int64_t columns, Body&& body) {
  const std::int64_t batch = std::max<std::int64_t>(1, kElementsAtOnce / std::max<std::int64_t>(1, columns));
  pool.parallel_for(static_cast<std::size_t>((rows + batch - 1) / batch), [&](std::size_t job, int) {
    const std::int64_t begin = static_cast<std::int64_t>(job) * batch;
    for (std::int64_t row = begin; row < std::min(rows, begin + batch); ++row) body(row);
  });
}

// ---- SkipLayerNormalization, SkipSimplifiedLayerNormalization ----

bool is_simplified(const Node& node) { return node.op_type == "SkipSimplifiedLayerNormalization"; }

Status infer_skip(InferContext& context) {
  NARROW_RETURN_IF_ERROR(check_dtype(context, 0, kFloatTypes));
  NARROW_RETURN_IF_ERROR(check_rank(context, 0, 2, 3));
  const Type& x = context.input(0);
  const std::size_t parameters = context.node().inputs.size();
  for (std::size_t i = 2; i < parameters; ++i) {
    if (!context.has_input(i)) continue;
    NARROW_RETURN_IF_ERROR(check_rank(context, i, 1, 1));
    if (x.ranked && context.input(i).ranked) {
      NARROW_TRY([[maybe_unused]] const Dim columns, unify_dims(context.node(), x.dims.back(), context.input(i).dims[0], "the hidden size"));
    }
  }
  context.set_output(0, x);
  context.set_output(3, x);
  if (x.ranked) {
    Type moments = Type::tensor(DType::kF32, x.dims);
    moments.dims.back() = Dim(1);
    context.set_output(1, moments);
    context.set_output(2, moments);
  }
  return {};
}

// The residual's rows repeat after this many. Errors: invalid_argument, when it is none of x's shape, [1, length, hidden] and [length, hidden].
Result<std::int64_t> residual_rows(const Node& node, const Shape& x, const Shape& skip) {
  const bool tail = x.size() == 3 && skip.size() >= 2 && skip.size() <= 3 && std::equal(skip.end() - 2, skip.end(), x.end() - 2) && (skip.size() == 2 || skip[0] == 1);
  if (skip == x) return std::max<std::int64_t>(1, x.size() == 3 ? x[0] * x[1] : x[0]);
  if (tail) return std::max<std::int64_t>(1, x[1]);
  return bad_input(node, fmt::format("skip has shape {}, which does not go with the input's {}", to_string(skip), to_string(x)));
}

Status run_skip(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  if (x.rank() != 2 && x.rank() != 3) return bad_input(node, fmt::format("the input has shape {}, expected rank 2 or 3", to_string(x.shape())));
  const bool simplified = is_simplified(node);
  const std::int64_t columns = x.shape().back(), rows = columns == 0 ? 0 : x.size() / columns;
  NARROW_TRY(const std::int64_t repeat, residual_rows(node, x.shape(), context.input(1).shape()));
  NARROW_TRY(const FloatInput source, FloatInput::open(x, "the input"));
  NARROW_TRY(const FloatInput skip, FloatInput::open(context.input(1), "skip"));
  NARROW_TRY(const FloatInput gamma, open_columns(node, context, 2, columns));
  FloatInput beta;
  if (!simplified) {
    NARROW_TRY(beta, open_columns(node, context, 3, columns));
  }
  NARROW_TRY(const FloatInput bias, open_columns(node, context, simplified ? 3 : 4, columns));
  NARROW_TRY(FloatOutput y, FloatOutput::create(context, 0, x.dtype(), x.shape()));
  FloatOutput sums, means, deviations;
  Shape moments_shape = x.shape();
  moments_shape.back() = 1;
  const bool wants_sum = context.wants_output(3), wants_mean = context.wants_output(1), wants_deviation = context.wants_output(2);
  if (wants_sum) {
    NARROW_TRY(sums, FloatOutput::create(context, 3, x.dtype(), x.shape()));
  }
  if (wants_mean) {
    NARROW_TRY(means, FloatOutput::create(context, 1, DType::kF32, moments_shape));
  }
  if (wants_deviation) {
    NARROW_TRY(deviations, FloatOutput::create(context, 2, DType::kF32, moments_shape));
  }
  const RowNormalization normalization{!simplified, node.get_float("epsilon", 1e-12f), gamma.data(), beta.data()};
  for_each_row(context.pool(), rows, columns, [&](std::int64_t row) {
    const float* a = source.data() + row * columns;
    const float* b = skip.data() + row % repeat * columns;
    float* sum = (wants_sum ? sums : y).data() + row * columns;
    for (std::int64_t i = 0; i < columns; ++i) sum[i] = a[i] + b[i];
    if (bias.data() != nullptr) {
      for (std::int64_t i = 0; i < columns; ++i) sum[i] += bias.data()[i];
    }
    const kernels::RowMoments moments = normalization.apply(sum, columns, y.data() + row * columns);
    if (wants_mean) means.data()[row] = moments.mean;
    if (wants_deviation) deviations.data()[row] = moments.inverse_deviation;
  });
  y.store();
  if (wants_sum) sums.store();
  return {};
}

// ---- EmbedLayerNormalization ----

namespace embed {

enum Input : std::size_t { kIds, kSegments, kWords, kPositions, kSegmentTable, kGamma, kBeta, kMask, kPositionIds };

// A table and the row of it that each token takes.
struct Table {
  FloatInput values;
  std::vector<std::int64_t> rows;

  // `ids` repeat over the batch when there is one sequence of them; undefined ids count up. An undefined table adds nothing.
  static Result<Table> open(const Node& node, const Tensor& table, const Tensor& ids, const Shape& tokens, std::int64_t columns, const char* what) {
    Table out;
    if (!table.defined()) return out;
    if (table.rank() != 2 || table.shape()[1] != columns) {
      return bad_input(node, fmt::format("{} has shape {}, expected [rows,{}]", what, to_string(table.shape()), columns));
    }
    NARROW_TRY(out.values, FloatInput::open(table, what));
    std::vector<std::int64_t> given;
    if (ids.defined()) {
      if ((ids.dtype() != DType::kS32 && ids.dtype() != DType::kS64) || (ids.shape() != tokens && ids.shape() != Shape{1, tokens[1]})) {
        return bad_input(node, fmt::format("the ids for {} are {}{}, expected s32{}", what, to_string(ids.dtype()), to_string(ids.shape()), to_string(tokens)));
      }
      given = ids.to_int64();
    }
    for (std::int64_t i = 0; i < tokens[0] * tokens[1]; ++i) {
      const std::int64_t row = given.empty() ? i % tokens[1] : given[static_cast<std::size_t>(i) % given.size()];
      if (row < 0 || row >= table.shape()[0]) return bad_input(node, fmt::format("{} has no row {}, it has {}", what, row, table.shape()[0]));
      out.rows.push_back(row);
    }
    return out;
  }

  void add(std::int64_t token, std::int64_t columns, float* sum) const {
    if (rows.empty()) return;
    const float* from = values.data() + rows[static_cast<std::size_t>(token)] * columns;
    for (std::int64_t i = 0; i < columns; ++i) sum[i] += from[i];
  }
};

// For each sequence the number of its tokens whose mask is 1.
Status count_unmasked(const Node& node, RunContext& context, const Shape& tokens) {
  NARROW_TRY(Tensor * out, context.output(1, DType::kS32, Shape{tokens[0]}));
  auto counts = out->mutable_data<std::int32_t>();
  std::fill(counts.begin(), counts.end(), 0);
  const Tensor& mask = context.input(kMask);
  if (!mask.defined()) return {};
  if (mask.dtype() != DType::kS32 || mask.shape() != tokens) {
    return bad_input(node, fmt::format("the mask is {}{}, expected s32{}", to_string(mask.dtype()), to_string(mask.shape()), to_string(tokens)));
  }
  for (std::int64_t i = 0; i < mask.size(); ++i) counts[i / tokens[1]] += mask.data<std::int32_t>()[i] == 1 ? 1 : 0;
  return {};
}

// Input 1 may be left out, those after it may not.
constexpr std::initializer_list<std::size_t> kRequired = {kWords, kPositions, kGamma, kBeta};

Status run(const Node& node, RunContext& context) {
  NARROW_RETURN_IF_ERROR(require_inputs(node, kRequired));
  const Tensor& ids = context.input(kIds);
  const Tensor& words = context.input(kWords);
  if (ids.rank() != 2 || words.rank() != 2) {
    return bad_input(node, fmt::format("input_ids has shape {} and word_embedding {}, expected rank 2", to_string(ids.shape()), to_string(words.shape())));
  }
  const Shape tokens = ids.shape();
  const std::int64_t columns = words.shape()[1];
  if (context.has_input(kSegments) != context.has_input(kSegmentTable)) return bad_input(node, "segment_ids and segment_embedding must be given together");
  NARROW_TRY(const Table word, Table::open(node, words, ids, tokens, columns, "word_embedding"));
  NARROW_TRY(const Table position, Table::open(node, context.input(kPositions), context.input(kPositionIds), tokens, columns, "position_embedding"));
  NARROW_TRY(const Table segment, Table::open(node, context.input(kSegmentTable), context.input(kSegments), tokens, columns, "segment_embedding"));
  NARROW_TRY(const FloatInput gamma, open_columns(node, context, kGamma, columns));
  NARROW_TRY(const FloatInput beta, open_columns(node, context, kBeta, columns));
  const Shape shape{tokens[0], tokens[1], columns};
  NARROW_TRY(FloatOutput y, FloatOutput::create(context, 0, words.dtype(), shape));
  FloatOutput sums;
  const bool wants_sum = context.wants_output(2);
  if (wants_sum) {
    NARROW_TRY(sums, FloatOutput::create(context, 2, words.dtype(), shape));
  }
  const RowNormalization normalization{true, node.get_float("epsilon", 1e-12f), gamma.data(), beta.data()};
  for_each_row(context.pool(), columns == 0 ? 0 : tokens[0] * tokens[1], columns, [&](std::int64_t token) {
    float* sum = (wants_sum ? sums : y).data() + token * columns;
    std::fill_n(sum, columns, 0.0f);
    for (const Table* table : {&word, &position, &segment}) table->add(token, columns, sum);
    normalization.apply(sum, columns, y.data() + token * columns);
  });
  y.store();
  if (wants_sum) sums.store();
  return context.wants_output(1) ? count_unmasked(node, context, tokens) : Status();
}

Status infer(InferContext& context) {
  NARROW_RETURN_IF_ERROR(require_inputs(context.node(), kRequired));
  NARROW_RETURN_IF_ERROR(check_dtype(context, kIds, kIndexTypes));
  for (std::size_t i : {kIds, kWords, kPositions}) NARROW_RETURN_IF_ERROR(check_rank(context, i, 2, 2));
  const Type& ids = context.input(kIds);
  const Type& words = context.input(kWords);
  const Dim columns = words.ranked ? words.dims[1] : Dim(), batch = ids.ranked ? ids.dims[0] : Dim(), length = ids.ranked ? ids.dims[1] : Dim();
  context.set_output(0, Type::tensor(words.dtype, {batch, length, columns}));
  context.set_output(1, Type::tensor(DType::kS32, {batch}));
  context.set_output(2, Type::tensor(words.dtype, {batch, length, columns}));
  return {};
}

}  // namespace embed

const std::array kOperators = {
    Operator{.name = "SkipLayerNormalization", .domain = kMicrosoft, .min_inputs = 3, .max_inputs = 5, .max_outputs = 4, .infer = infer_skip, .run = run_skip},
    Operator{.name = "SkipSimplifiedLayerNormalization", .domain = kMicrosoft, .min_inputs = 3, .max_inputs = 4, .max_outputs = 4, .infer = infer_skip, .run = run_skip},
    Operator{.name = "EmbedLayerNormalization", .domain = kMicrosoft, .max_inputs = 9, .max_outputs = 3, .infer = embed::infer, .run = embed::run},
};

}  // namespace

std::span<const Operator> skip_normalization_operators() { return kOperators; }

}  // namespace narrow::operators
