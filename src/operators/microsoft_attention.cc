// Attention and MultiHeadAttention of com.microsoft, as ONNX Runtime's CPU provider computes them.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/checked.h"
#include "kernels/gemm/gemm.h"
#include "operators/attention_heads.h"
#include "operators/families.h"
#include "operators/type_rules.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using kernels::AttentionBias;
using kernels::AttentionProblem;

constexpr std::string_view kMicrosoft = "com.microsoft";

Status refuse(const Node& node, std::initializer_list<std::pair<const char*, bool>> asked) {
  for (const auto& [what, is_asked] : asked) {
    if (is_asked) return unsupported(fmt::format("{}: narrow does not run it with {}", where(node), what));
  }
  return {};
}

// A mask of zeros and ones, or of lengths, as numbers to add: 0 for keys to see, mask_filter_value for the others.
struct PaddingMask {
  std::vector<float> values;
  AttentionBias bias;

  // [batch] (ends), [2 · batch] (ends, then starts), [3 · batch + 2] (ends first), [batch, keys] or [batch, queries, keys].
  static Result<PaddingMask> open(const Node& node, const Tensor& mask, std::int64_t batch, std::int64_t queries, std::int64_t keys) {
    if (mask.dtype() != DType::kS32) return bad_input(node, fmt::format("the mask is {}, expected s32", to_string(mask.dtype())));
    const auto given = mask.data<std::int32_t>();
    const float filter = node.get_float("mask_filter_value", -10000.0f);
    const Shape& s = mask.shape();
    PaddingMask out;
    const bool dummy = s.size() == 2 && s[1] == 1 && keys != 1 && (s[0] == batch || s[0] == 1);
    if (dummy) return out;
    if (s == Shape{batch, keys} || s == Shape{batch, queries, keys}) {
      NARROW_TRY(out.values, make_floats(node, mask.size()));
      std::transform(given.begin(), given.end(), out.values.begin(), [&](std::int32_t seen) { return seen > 0 ? 0.0f : filter; });
      const std::int64_t rows = s.size() == 3 ? queries : 1;
      out.bias = {out.values.data(), rows * keys, 0, s.size() == 3 ? keys : 0, 1, keys};
      return out;
    }
    if (s != Shape{batch} && s != Shape{2 * batch} && s != Shape{3 * batch + 2}) {
      return bad_input(node, fmt::format("the mask has shape {}, expected [{}], [{}], [{},{}] or [{},{},{}]", to_string(s), batch, 2 * batch, batch, keys, batch,
                                         queries, keys));
    }
    NARROW_TRY(out.values, make_floats(node, batch * keys));
    for (std::int64_t b = 0; b < batch; ++b) {
      const std::int64_t end = given[b], start = s[0] == 2 * batch ? given[batch + b] : 0;
      for (std::int64_t j = 0; j < keys; ++j) out.values[b * keys + j] = j < end && j >= start ? 0.0f : filter;
    }
    out.bias = {out.values.data(), keys, 0, 0, 1, keys};
    return out;
  }
};

// Input i, [batch or 1, heads or 1, queries, keys], to be added to the scores.
struct ScoreBias {
  FloatInput input;
  AttentionBias bias;

  static Result<ScoreBias> open(const Node& node, const Tensor& tensor, const AttentionProblem& to) {
    const Shape& s = tensor.shape();
    if (s.size() != 4 || (s[0] != to.batch && s[0] != 1) || (s[1] != to.query_heads && s[1] != 1) || s[2] != to.queries || s[3] != to.keys) {
      return bad_input(node, fmt::format("attention_bias has shape {}, expected [{} or 1,{} or 1,{},{}]", to_string(s), to.batch, to.query_heads, to.queries, to.keys));
    }
    ScoreBias out;
    NARROW_TRY(out.input, FloatInput::open(tensor, "attention_bias"));
    out.bias = {out.input.data(), s[0] == 1 ? 0 : s[1] * s[2] * s[3], s[1] == 1 ? 0 : s[2] * s[3], s[3], 1, s[3]};
    return out;
  }
};

// With masks and biases read, runs the problem whose views are set. `scores` is the output that wants them, or -1.
Status attend(const Node& node, RunContext& context, AttentionProblem& problem, const Tensor& mask, const Tensor& score_bias, int scores_output, DType dtype) {
  problem.scale = read_scale(node, problem.head_size, true);
  PaddingMask padding;
  if (mask.defined()) {
    NARROW_TRY(padding, PaddingMask::open(node, mask, problem.batch, problem.queries, problem.keys));
    problem.biases[0] = padding.bias;
  }
  ScoreBias added;
  if (score_bias.defined()) {
    NARROW_TRY(added, ScoreBias::open(node, score_bias, problem));
    problem.biases[1] = added.bias;
  }
  FloatOutput scores;
  if (scores_output >= 0 && context.wants_output(static_cast<std::size_t>(scores_output))) {
    NARROW_TRY(scores, FloatOutput::create(context, static_cast<std::size_t>(scores_output), dtype,
                                           Shape{problem.batch, problem.query_heads, problem.queries, problem.keys}));
    problem.scores = scores.data();
    problem.stage = kernels::ScoreStage::kBiased;
  }
  NARROW_RETURN_IF_ERROR(kernels::attention_f32(problem, context.pool()).context(where(node)));
  if (problem.scores != nullptr) scores.store();
  return {};
}

// Queries are the last positions; a single one sees all keys.
void make_causal(const Node& node, AttentionProblem& problem, std::vector<std::int64_t>& offsets, std::int64_t past) {
  if (node.get_int("unidirectional", 0) == 0 || problem.queries <= 1) return;
  offsets.assign(static_cast<std::size_t>(problem.batch), past);
  problem.offsets = offsets.data();
  problem.right = 0;
}

// ---- MultiHeadAttention ----

namespace multi_head {

enum Input : std::size_t { kQuery, kKey, kValue, kBias, kMask, kScoreBias, kPastKey, kPastValue, kPastLength, kCacheIndirection };

// One of query, key and value: its heads in the tensor that holds it.
struct Part {
  HeadShape shape;
  ConstHeads heads;
  std::vector<float> biased;

  // Replaces the view by a copy with one number a head and element added.
  Status add(const Node& node, const float* bias, base::ThreadPool& pool) {
    const HeadShape flat{shape.batch, shape.heads, shape.length, shape.size, false};
    NARROW_TRY(biased, make_floats(node, shape.batch * shape.length * shape.heads * shape.size));
    const kernels::Heads<float> to = flat.view(biased.data());
    pool.parallel_for(static_cast<std::size_t>(shape.batch * shape.length), [&](std::size_t row, int) {
      const auto index = static_cast<std::int64_t>(row);
      for (std::int64_t h = 0; h < shape.heads; ++h) {
        const float* x = heads.row(index / shape.length, h, index % shape.length);
        float* y = to.row(index / shape.length, h, index % shape.length);
        for (std::int64_t i = 0; i < shape.size; ++i) y[i] = x[i] + bias[h * shape.size + i];
      }
    });
    heads = {to.data, to.batch_stride, to.head_stride, to.row_stride};
    return {};
  }
};

struct Parts {
  FloatInput inputs[3];
  Part query, key, value;

  static Result<Parts> open(const Node& node, RunContext& context, std::int64_t heads) {
    Parts parts;
    for (std::size_t i = 0; i < 3; ++i) {
      if (!context.has_input(i)) continue;
      NARROW_TRY(parts.inputs[i], FloatInput::open(context.input(i), i == 0 ? "query" : i == 1 ? "key" : "value"));
    }
    const Tensor& query = context.input(kQuery);
    if (!context.has_input(kKey)) {  // [batch, length, heads, 3, size]
      if (context.has_input(kValue)) return bad_input(node, "a value needs a key");
      NARROW_RETURN_IF_ERROR(unpack(node, query, heads, 3, parts.inputs[0].data(), {&parts.query, &parts.key, &parts.value}));
      return parts;
    }
    const Tensor& key = context.input(kKey);
    if (query.rank() != 3) return bad_input(node, fmt::format("query has shape {}, expected rank 3", to_string(query.shape())));
    NARROW_TRY(parts.query.shape, read_heads(node, query, "query", heads));
    parts.query.heads = parts.query.shape.view(parts.inputs[0].data());
    if (key.rank() == 5) {  // [batch, length, heads, 2, size]
      if (context.has_input(kValue)) return bad_input(node, "a key that holds the values too leaves no place for a value");
      NARROW_RETURN_IF_ERROR(unpack(node, key, heads, 2, parts.inputs[1].data(), {&parts.key, &parts.value}));
      return parts;
    }
    if (!context.has_input(kValue)) return bad_input(node, "the value is missing");
    NARROW_TRY(parts.key.shape, read_heads(node, key, "key", heads));
    NARROW_TRY(parts.value.shape, read_heads(node, context.input(kValue), "value", heads));
    parts.key.heads = parts.key.shape.view(parts.inputs[1].data());
    parts.value.heads = parts.value.shape.view(parts.inputs[2].data());
    return parts;
  }

 private:
  static Status unpack(const Node& node, const Tensor& packed, std::int64_t heads, std::int64_t count, const float* data, std::initializer_list<Part*> parts) {
    NARROW_RETURN_IF_ERROR(check_dimensions(node, packed, "a packed input"));
    const Shape& s = packed.shape();
    if (s.size() != 5 || s[2] != heads || s[3] != count) {
      return bad_input(node, fmt::format("a packed input has shape {}, expected [batch,length,{},{},head size]", to_string(s), heads, count));
    }
    for (Part* part : parts) {
      part->shape = {s[0], s[2], s[1], s[4], false};
      part->heads = {data, s[1] * s[2] * s[3] * s[4], s[3] * s[4], s[2] * s[3] * s[4]};
      data += s[4];
    }
    return {};
  }
};

Status check(const Node& node, const Parts& p, std::int64_t heads) {
  const HeadShape &q = p.query.shape, &k = p.key.shape, &v = p.value.shape;
  if (k.batch == q.batch && v.batch == q.batch && k.size == q.size && k.heads == heads && v.heads == heads && k.length == v.length && k.split == v.split) return {};
  return bad_input(node, fmt::format("query {}, key {} and value {} do not go together with {} heads", to_string(q.dims()), to_string(k.dims()), to_string(v.dims()), heads));
}

Status run(const Node& node, RunContext& context) {
  NARROW_TRY(const std::int64_t heads, read_count(node, "num_heads"));
  NARROW_RETURN_IF_ERROR(refuse(node, {{"past and present in one buffer (past_sequence_length)", context.has_input(kPastLength)},
                                       {"beams (cache_indirection)", context.has_input(kCacheIndirection)}}));
  NARROW_TRY(Parts parts, Parts::open(node, context, heads));
  NARROW_RETURN_IF_ERROR(check(node, parts, heads));
  const HeadShape &q = parts.query.shape, &v = parts.value.shape;
  const DType dtype = context.input(kQuery).dtype();
  FloatInput bias;
  if (context.has_input(kBias)) {
    NARROW_TRY(bias, FloatInput::open(context.input(kBias), "the bias"));
    if (context.input(kBias).rank() != 1 || bias.size() != heads * (2 * q.size + v.size)) {
      return bad_input(node, fmt::format("the bias has shape {}, expected [{}]", to_string(context.input(kBias).shape()), heads * (2 * q.size + v.size)));
    }
    NARROW_RETURN_IF_ERROR(parts.query.add(node, bias.data(), context.pool()));
    NARROW_RETURN_IF_ERROR(parts.key.add(node, bias.data() + heads * q.size, context.pool()));
    NARROW_RETURN_IF_ERROR(parts.value.add(node, bias.data() + 2 * heads * q.size, context.pool()));
  }
  if (context.has_input(kPastKey) != context.has_input(kPastValue)) return bad_input(node, "past_key and past_value must be given together");
  NARROW_TRY(CachedHeads keys, CachedHeads::join(node, context, context.input(kPastKey), parts.key.heads, parts.key.shape, 1, dtype));
  NARROW_TRY(CachedHeads values, CachedHeads::join(node, context, context.input(kPastValue), parts.value.heads, v, 2, dtype));
  if (keys.length() != values.length()) return bad_input(node, "past_key and past_value differ in length");
  const HeadShape y{q.batch, heads, q.length, v.size, false};
  NARROW_TRY(FloatOutput output, FloatOutput::create(context, 0, dtype, y.dims()));
  AttentionProblem problem{.batch = q.batch, .query_heads = heads, .key_heads = heads, .queries = q.length, .keys = keys.length(), .head_size = q.size,
                           .value_size = v.size, .query = parts.query.heads, .key = keys.view(), .value = values.view(), .output = y.view(output.data())};
  std::vector<std::int64_t> offsets;
  make_causal(node, problem, offsets, keys.length() - parts.key.shape.length);
  NARROW_RETURN_IF_ERROR(attend(node, context, problem, context.input(kMask), context.input(kScoreBias), 3, dtype));
  output.store();
  keys.store();
  values.store();
  return {};
}

Status infer(InferContext& context) {
  const Node& node = context.node();
  NARROW_TRY(const std::int64_t heads, read_count(node, "num_heads"));
  const Type& query = context.input(kQuery);
  const Type& key = context.input(kKey);
  const Type& value = context.input(kValue);
  Dim batch, length, hidden, value_hidden, keys;
  if (query.ranked) {
    if (query.rank() != 3 && query.rank() != 5) return bad_attribute(node, fmt::format("query is {}, expected rank 3 or 5", graph::to_string(query)));
    batch = query.dims[0];
    length = keys = query.dims[1];
    hidden = value_hidden = query.rank() == 3 ? query.dims[2] : multiply_dims(Dim(heads), query.dims[4]);
    if (hidden.known() && hidden.size % heads != 0) return bad_attribute(node, fmt::format("query is {}, which does not split into {} heads", graph::to_string(query), heads));
  }
  if (context.has_input(kKey)) keys = !key.ranked ? Dim() : key.rank() == 4 ? key.dims[2] : key.rank() >= 2 ? key.dims[1] : Dim();
  if (context.has_input(kValue)) {
    value_hidden = !value.ranked ? Dim() : value.rank() == 3 ? value.dims[2] : value.rank() == 4 ? multiply_dims(Dim(heads), value.dims[3]) : Dim();
    if (value_hidden.known() && value_hidden.size % heads != 0) return bad_attribute(node, fmt::format("value is {}, which does not split into {} heads", graph::to_string(value), heads));
  }
  if (context.has_input(kPastKey)) {
    const Type& past = context.input(kPastKey);
    keys = past.ranked && past.rank() == 4 ? add_dims(past.dims[2], keys) : Dim();
  }
  context.set_output(0, Type::tensor(query.dtype, {batch, length, value_hidden}));
  context.set_output(1, Type::tensor(query.dtype, {batch, Dim(heads), keys, divide_dims(hidden, Dim(heads))}));
  context.set_output(2, Type::tensor(query.dtype, {batch, Dim(heads), keys, divide_dims(value_hidden, Dim(heads))}));
  context.set_output(3, Type::tensor(query.dtype, {batch, Dim(heads), length, keys}));
  return {};
}

}  // namespace multi_head

// ---- Attention ----

namespace projected {

enum Input : std::size_t { kInput, kWeights, kBias, kMask, kPast, kScoreBias, kPastLength };

// Sizes of the projections to query, key and value.
Result<std::array<std::int64_t, 3>> read_hidden_sizes(const Node& node, std::int64_t heads, std::int64_t columns) {
  std::array<std::int64_t, 3> sizes{columns / 3, columns / 3, columns / 3};
  const std::vector<std::int64_t> given = node.get_ints("qkv_hidden_sizes");
  if (!given.empty()) {
    if (given.size() != 3) return bad_attribute(node, fmt::format("qkv_hidden_sizes has {} numbers, expected 3", given.size()));
    std::copy(given.begin(), given.end(), sizes.begin());
  }
  for (std::int64_t size : sizes) {
    if (size < 0 || size > columns || size % heads != 0) return bad_attribute(node, fmt::format("a hidden size is {}, which does not split into {} heads", size, heads));
  }
  if (sizes[0] == sizes[1] && sizes[0] + sizes[1] + sizes[2] == columns) return sizes;
  return bad_attribute(node, fmt::format("the weights have {} columns, expected those of query {}, key {} and value {}", columns, sizes[0], sizes[1], sizes[2]));
}

Status refuse_options(const Node& node, bool past_length) {
  return refuse(node, {{"do_rotary", node.get_int("do_rotary", 0) != 0},
                       {"past and present in one buffer", node.get_int("past_present_share_buffer", 0) != 0 || past_length}});
}

// x · weights + bias, [rows, columns].
Result<std::vector<float>> project(const Node& node, RunContext& context, std::int64_t rows, std::int64_t columns) {
  NARROW_TRY(const FloatInput x, FloatInput::open(context.input(kInput), "the input"));
  NARROW_TRY(const FloatInput weights, FloatInput::open(context.input(kWeights), "the weights"));
  const std::int64_t inner = context.input(kInput).shape()[2];
  const auto count = base::checked_mul(rows, columns);
  if (!count) return bad_input(node, "the projections are too large");
  NARROW_TRY(std::vector<float> out, make_floats(node, *count));
  if (context.has_input(kBias)) {
    const Tensor& tensor = context.input(kBias);
    if (tensor.shape() != Shape{columns}) return bad_input(node, fmt::format("the bias has shape {}, expected [{}]", to_string(tensor.shape()), columns));
    NARROW_TRY(const FloatInput bias, FloatInput::open(tensor, "the bias"));
    for (std::int64_t i = 0; i < rows; ++i) std::copy_n(bias.data(), columns, out.data() + i * columns);
  }
  NARROW_RETURN_IF_ERROR(kernels::gemm_f32(false, false, rows, columns, inner, 1, x.data(), inner, weights.data(), columns, 1, out.data(), columns,
                                           context.pool().threads()));
  return out;
}

Status run(const Node& node, RunContext& context) {
  NARROW_TRY(const std::int64_t heads, read_count(node, "num_heads"));
  NARROW_RETURN_IF_ERROR(refuse_options(node, context.has_input(kPastLength)));
  const Tensor& x = context.input(kInput);
  const Tensor& weights = context.input(kWeights);
  if (x.rank() != 3 || weights.rank() != 2 || weights.shape()[0] != x.shape()[2] || weights.dtype() != x.dtype()) {
    return bad_input(node, fmt::format("input {}{} and weights {}{} do not go together", to_string(x.dtype()), to_string(x.shape()), to_string(weights.dtype()),
                                       to_string(weights.shape())));
  }
  NARROW_RETURN_IF_ERROR(check_dimensions(node, x, "the input"));
  NARROW_RETURN_IF_ERROR(check_dimensions(node, weights, "the weights"));
  const std::int64_t batch = x.shape()[0], length = x.shape()[1], columns = weights.shape()[1];
  NARROW_TRY(const auto sizes, read_hidden_sizes(node, heads, columns));
  NARROW_TRY(const std::vector<float> qkv, project(node, context, batch * length, columns));
  const auto part = [&](std::int64_t first, std::int64_t hidden) { return ConstHeads{qkv.data() + first, length * columns, hidden / heads, columns}; };
  const HeadShape k{batch, heads, length, sizes[0] / heads, false}, v{batch, heads, length, sizes[2] / heads, false};
  ConstHeads keys = part(sizes[0], sizes[0]), values = part(2 * sizes[0], sizes[2]);

  // Past and present hold keys, then values, of one size.
  std::int64_t past_length = 0;
  FloatInput past;
  FloatOutput present;
  std::vector<float> own;
  const bool wants_present = context.wants_output(1);
  if (context.has_input(kPast)) {
    NARROW_RETURN_IF_ERROR(check_dimensions(node, context.input(kPast), "past"));
    const Shape& s = context.input(kPast).shape();
    if (s.size() != 5 || s[0] != 2 || s[1] != batch || s[2] != heads || s[4] != k.size) {
      return bad_input(node, fmt::format("past has shape {}, expected [2,{},{},past length,{}]", to_string(s), batch, heads, k.size));
    }
    past_length = s[3];
    NARROW_TRY(past, FloatInput::open(context.input(kPast), "past"));
  }
  const std::int64_t total = past_length + length;
  if (wants_present || context.has_input(kPast)) {
    if (k.size != v.size) return bad_input(node, "past and present need keys and values of one size");
    const Shape shape{2, batch, heads, total, k.size};
    const auto count = base::checked_product(shape);
    if (!count) return bad_input(node, fmt::format("the present state {} is too large", to_string(shape)));
    float* out = nullptr;
    if (wants_present) {
      NARROW_TRY(present, FloatOutput::create(context, 1, x.dtype(), shape));
      out = present.data();
    } else {
      NARROW_TRY(own, make_floats(node, *count));
      out = own.data();
    }
    append_rows(past.data(), past_length, keys, k, total, out, context.pool());
    append_rows(past.data() + past.size() / 2, past_length, values, v, total, out + *count / 2, context.pool());
    const HeadShape all{batch, heads, total, k.size, true};
    keys = all.view(static_cast<const float*>(out));
    values = all.view(static_cast<const float*>(out + *count / 2));
  }
  const HeadShape y{batch, heads, length, v.size, false};
  NARROW_TRY(FloatOutput output, FloatOutput::create(context, 0, x.dtype(), y.dims()));
  AttentionProblem problem{.batch = batch, .query_heads = heads, .key_heads = heads, .queries = length, .keys = total, .head_size = k.size, .value_size = v.size,
                           .query = part(0, sizes[0]), .key = keys, .value = values, .output = y.view(output.data())};
  std::vector<std::int64_t> offsets;
  make_causal(node, problem, offsets, past_length);
  NARROW_RETURN_IF_ERROR(attend(node, context, problem, context.input(kMask), context.input(kScoreBias), -1, x.dtype()));
  output.store();
  if (wants_present) present.store();
  return {};
}

Status infer(InferContext& context) {
  const Node& node = context.node();
  NARROW_TRY(const std::int64_t heads, read_count(node, "num_heads"));
  const Type& x = context.input(kInput);
  const Type& weights = context.input(kWeights);
  NARROW_RETURN_IF_ERROR(check_rank(context, kInput, 3, 3));
  NARROW_RETURN_IF_ERROR(check_rank(context, kWeights, 2, 2));
  Dim batch, length, hidden, value_hidden, total;
  if (x.ranked) {
    batch = x.dims[0];
    length = total = x.dims[1];
    if (weights.ranked) {
      NARROW_TRY([[maybe_unused]] const Dim inner, unify_dims(node, x.dims[2], weights.dims[0], "input hidden size"));
    }
  }
  if (weights.ranked && weights.dims[1].known()) {
    NARROW_TRY(const auto sizes, read_hidden_sizes(node, heads, weights.dims[1].size));
    hidden = Dim(sizes[0]);
    value_hidden = Dim(sizes[2]);
  }
  if (context.has_input(kPast)) {
    const Type& past = context.input(kPast);
    total = past.ranked && past.rank() == 5 ? add_dims(past.dims[3], length) : Dim();
  }
  context.set_output(0, Type::tensor(x.dtype, {batch, length, value_hidden}));
  context.set_output(1, Type::tensor(x.dtype, {Dim(2), batch, Dim(heads), total, divide_dims(hidden, Dim(heads))}));
  return {};
}

}  // namespace projected

// No quantization rule: the projection's weight stays float inside the fused operator.
const std::array kOperators = {
    Operator{.name = "Attention", .domain = kMicrosoft, .min_inputs = 2, .max_inputs = 7, .max_outputs = 2, .infer = projected::infer, .run = projected::run},
    Operator{.name = "MultiHeadAttention", .domain = kMicrosoft, .max_inputs = 10, .max_outputs = 4, .infer = multi_head::infer, .run = multi_head::run},
};

}  // namespace

std::span<const Operator> microsoft_attention_operators() { return kOperators; }

}  // namespace narrow::operators
