// GroupQueryAttention of com.microsoft: causal attention with fewer key heads than query heads, a cache of keys and values
// that is longer than what it holds, and rotary position embedding of its own.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "operators/attention_heads.h"
#include "operators/families.h"
#include "operators/rotary.h"
#include "operators/type_rules.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;

enum Input : std::size_t { kQuery, kKey, kValue, kPastKey, kPastValue, kLengths, kTotal, kCosines, kSines, kPositions, kScoreBias, kSinks, kKeyScale, kValueScale,
                           kQueryNorm, kKeyNorm, kQueryLengths };

struct Settings {
  std::int64_t heads = 0, key_heads = 0, window = -1, scores = 0;
  bool causal = true, rotary = false, interleaved = false;
  float softcap = 0;

  static Result<Settings> read(const Node& node) {
    Settings s;
    NARROW_TRY(s.heads, read_count(node, "num_heads"));
    NARROW_TRY(s.key_heads, read_count(node, "kv_num_heads"));
    if (s.heads % s.key_heads != 0) return bad_attribute(node, fmt::format("num_heads is {}, expected a multiple of kv_num_heads, {}", s.heads, s.key_heads));
    s.window = std::min(node.get_int("local_window_size", -1), std::int64_t{1} << 40);
    s.scores = node.get_int("qk_output", 0);
    if (s.scores < 0 || s.scores > 2) return bad_attribute(node, fmt::format("qk_output is {}, expected 0 to 2", s.scores));
    s.causal = node.get_int("causal", 1) != 0;
    if (!s.causal && s.window > 0) return bad_attribute(node, "local_window_size needs causal attention");
    s.rotary = node.get_int("do_rotary", 0) != 0;
    s.interleaved = node.get_int("rotary_interleaved", 0) != 0;
    s.softcap = node.get_float("softcap", 0.0f);
    if (!(s.softcap >= 0)) return bad_attribute(node, fmt::format("softcap is {}, expected 0 or more", s.softcap));
    return s;
  }
};

Status refuse_options(const Node& node) {
  NARROW_RETURN_IF_ERROR(require_inputs(node, {kLengths, kTotal}));
  const std::pair<const char*, bool> asked[] = {
      {"a quantized cache", node.get_string("k_quant_type", "NONE") != "NONE" || node.get_string("v_quant_type", "NONE") != "NONE" ||
                                node.input(kKeyScale) != graph::kNoValue || node.input(kValueScale) != graph::kNoValue},
      {"a cache of the window's size (sliding_window_cache)", node.get_int("sliding_window_cache", 0) != 0},
      {"normalized queries and keys", node.input(kQueryNorm) != graph::kNoValue || node.input(kKeyNorm) != graph::kNoValue},
      {"padded chunks (query_seqlens)", node.input(kQueryLengths) != graph::kNoValue}};
  for (const auto& [what, is_asked] : asked) {
    if (is_asked) return unsupported(fmt::format("{}: narrow does not run it with {}", where(node), what));
  }
  return {};
}

// Query, key and value as heads, from three tensors or from a packed one.
struct Parts {
  FloatInput query_input, key_input, value_input;
  HeadShape query, key;  // the value is like the key
  ConstHeads query_heads, key_heads, value_heads;

  static Result<Parts> open(const Node& node, RunContext& context, const Settings& s) {
    Parts p;
    const Tensor& query = context.input(kQuery);
    if (query.rank() != 3) return bad_input(node, fmt::format("query has shape {}, expected rank 3", to_string(query.shape())));
    NARROW_RETURN_IF_ERROR(check_dimensions(node, query, "query"));
    NARROW_TRY(p.query_input, FloatInput::open(query, "query"));
    if (context.has_input(kKey) != context.has_input(kValue)) return bad_input(node, "key and value must be given together");
    if (!context.has_input(kKey)) {
      const std::int64_t columns = query.shape()[2], heads = s.heads + 2 * s.key_heads;
      if (columns % heads != 0) return bad_input(node, fmt::format("the packed query has shape {}, which does not split into {} heads", to_string(query.shape()), heads));
      const std::int64_t size = columns / heads, length = query.shape()[1];
      p.query = {query.shape()[0], s.heads, length, size, false};
      p.key = {query.shape()[0], s.key_heads, length, size, false};
      p.query_heads = {p.query_input.data(), length * columns, size, columns};
      p.key_heads = p.value_heads = p.query_heads;
      p.key_heads.data += s.heads * size;
      p.value_heads.data += (s.heads + s.key_heads) * size;
      return p;
    }
    const Tensor& key = context.input(kKey);
    const Tensor& value = context.input(kValue);
    NARROW_TRY(p.query, read_heads(node, query, "query", s.heads));
    if (key.rank() != 3 || key.shape() != value.shape() || key.shape()[0] != p.query.batch || key.shape()[1] != p.query.length ||
        key.shape()[2] != s.key_heads * p.query.size) {
      return bad_input(node, fmt::format("query {}, key {} and value {} do not go together with {} query heads and {} key heads", to_string(query.shape()),
                                         to_string(key.shape()), to_string(value.shape()), s.heads, s.key_heads));
    }
    NARROW_TRY(p.key, read_heads(node, key, "key", s.key_heads));
    NARROW_TRY(p.key_input, FloatInput::open(key, "key"));
    NARROW_TRY(p.value_input, FloatInput::open(value, "value"));
    p.query_heads = p.query.view(p.query_input.data());
    p.key_heads = p.key.view(p.key_input.data());
    p.value_heads = p.key.view(p.value_input.data());
    return p;
  }
};

// Where each batch stands: `past` rows of its cache are in use, then come the new ones.
struct Lengths {
  std::int64_t capacity = 0, total = 0;     // rows of the present, the longest batch
  std::vector<std::int64_t> past, counts;   // keys before the new ones, keys in all

  static Result<Lengths> read(const Node& node, RunContext& context, const Parts& parts) {
    Lengths lengths;
    const std::int64_t batch = parts.query.batch, fresh = parts.query.length;
    const Tensor& ends = context.input(kLengths);
    const Tensor& total = context.input(kTotal);
    if (ends.dtype() != DType::kS32 || ends.size() != batch || total.dtype() != DType::kS32 || total.size() != 1) {
      return bad_input(node, fmt::format("seqlens_k is {}{} and total_sequence_length {}{}, expected {} numbers and one of s32", to_string(ends.dtype()),
                                         to_string(ends.shape()), to_string(total.dtype()), to_string(total.shape()), batch));
    }
    std::int64_t cached = 0;
    if (context.has_input(kPastKey) != context.has_input(kPastValue)) return bad_input(node, "past_key and past_value must be given together");
    if (context.has_input(kPastKey)) {
      NARROW_RETURN_IF_ERROR(check_dimensions(node, context.input(kPastKey), "past_key"));
      const Shape& s = context.input(kPastKey).shape();
      if (s.size() != 4 || s[0] != batch || s[1] != parts.key.heads || s[3] != parts.key.size || context.input(kPastValue).shape() != s) {
        return bad_input(node, fmt::format("past_key has shape {} and past_value {}, expected [{},{},past length,{}]", to_string(s),
                                           to_string(context.input(kPastValue).shape()), batch, parts.key.heads, parts.key.size));
      }
      cached = s[2];
    }
    lengths.total = total.data<std::int32_t>()[0];
    if (lengths.total < fresh || lengths.total > cached + fresh) {
      return bad_input(node, fmt::format("total_sequence_length is {}, expected {} to {}", lengths.total, fresh, cached + fresh));
    }
    lengths.capacity = std::max(lengths.total, cached);
    const bool first = lengths.total == fresh;  // a prompt, padded on the right
    for (std::int32_t end : ends.data<std::int32_t>()) {
      const std::int64_t count = std::int64_t{end} + 1, past = first ? 0 : count - fresh;
      if (count < 0 || count > lengths.total || past < 0 || past > cached) {
        return bad_input(node, fmt::format("seqlens_k holds {}, which does not fit {} new of {} keys", end, fresh, lengths.total));
      }
      lengths.past.push_back(past);
      lengths.counts.push_back(count);
    }
    return lengths;
  }
};

// A cache of `capacity` rows a head: the past rows in use, the new ones, zeros.
Result<FloatOutput> fill_cache(const Node& node, RunContext& context, std::size_t past_index, std::size_t present_index, const ConstHeads& fresh, const HeadShape& shape,
                               const Lengths& lengths, DType dtype, std::vector<float>& own, float*& out) {
  const Shape dims{shape.batch, shape.heads, lengths.capacity, shape.size};
  FloatOutput present;
  if (context.wants_output(present_index)) {
    NARROW_TRY(present, FloatOutput::create(context, present_index, dtype, dims));
    out = present.data();
  } else {
    NARROW_TRY(own, make_floats(node, shape.batch * shape.heads * lengths.capacity * shape.size));
    out = own.data();
  }
  FloatInput past;
  std::int64_t cached = 0;
  if (context.has_input(past_index)) {
    NARROW_TRY(past, FloatInput::open(context.input(past_index), "a past state"));
    cached = context.input(past_index).shape()[2];
  }
  const std::int64_t capacity = lengths.capacity;
  context.pool().parallel_for(static_cast<std::size_t>(shape.batch * shape.heads), [&](std::size_t job, int) {
    const auto index = static_cast<std::int64_t>(job);
    const std::int64_t batch = index / shape.heads, used = lengths.past[static_cast<std::size_t>(batch)];
    float* to = std::copy_n(past.data() + index * cached * shape.size, used * shape.size, out + index * capacity * shape.size);
    for (std::int64_t row = 0; row < shape.length; ++row) to = std::copy_n(fresh.row(batch, index % shape.heads, row), shape.size, to);
    std::fill(to, out + (index + 1) * capacity * shape.size, 0.0f);
  });
  return present;
}

// Copies of query and key, rotated to their positions.
struct Rotated {
  std::vector<float> query, key;

  static Result<Rotated> make(const Node& node, RunContext& context, const Settings& s, const Lengths& lengths, Parts& parts) {
    if (!context.has_input(kCosines) || !context.has_input(kSines)) return bad_input(node, "do_rotary needs cos_cache and sin_cache");
    NARROW_TRY(const Angles angles, Angles::open(node, context.input(kCosines), context.input(kSines), 2));
    if (2 * angles.half > parts.query.size) {
      return bad_input(node, fmt::format("cos_cache has shape {}, too wide for heads of size {}", to_string(context.input(kCosines).shape()), parts.query.size));
    }
    std::vector<std::int64_t> positions;
    if (context.has_input(kPositions)) {
      const Tensor& given = context.input(kPositions);
      if (given.dtype() != DType::kS64 || given.shape() != Shape{parts.query.batch, parts.query.length}) {
        return bad_input(node, fmt::format("position_ids is {}{}, expected s64[{},{}]", to_string(given.dtype()), to_string(given.shape()), parts.query.batch, parts.query.length));
      }
      positions = given.to_int64();
    } else {
      for (std::int64_t past : lengths.past) {
        for (std::int64_t i = 0; i < parts.query.length; ++i) positions.push_back(past + i);
      }
    }
    for (std::int64_t position : positions) {
      if (position < 0 || position >= angles.rows) return bad_input(node, fmt::format("position {} is beyond the {} rows of cos_cache", position, angles.rows));
    }
    Rotated rotated;
    const auto rotate = [&](const HeadShape& shape, ConstHeads& heads, std::vector<float>& own) -> Status {
      NARROW_TRY(own, make_floats(node, shape.batch * shape.heads * shape.length * shape.size));
      const kernels::Heads<float> to = shape.view(own.data());
      kernels::rotary_f32({.batch = shape.batch, .heads = shape.heads, .length = shape.length, .head_size = shape.size, .half = angles.half, .interleaved = s.interleaved,
                           .input = heads, .output = to, .cosines = angles.cosines.data(), .sines = angles.sines.data(), .angle_rows = positions.data()},
                          context.pool());
      heads = {to.data, to.batch_stride, to.head_stride, to.row_stride};
      return {};
    };
    NARROW_RETURN_IF_ERROR(rotate(parts.query, parts.query_heads, rotated.query));
    NARROW_RETURN_IF_ERROR(rotate(parts.key, parts.key_heads, rotated.key));
    return rotated;
  }
};

Result<std::vector<float>> read_sinks(const Node& node, RunContext& context, std::int64_t heads) {
  if (context.has_input(kSinks)) {
    if (context.input(kSinks).shape() != Shape{heads}) return bad_input(node, fmt::format("head_sink has shape {}, expected [{}]", to_string(context.input(kSinks).shape()), heads));
    return context.input(kSinks).to_float();
  }
  return std::vector<float>(node.get_int("smooth_softmax", 0) == 1 ? static_cast<std::size_t>(heads) : 0, 0.0f);
}

Status run(const Node& node, RunContext& context) {
  NARROW_RETURN_IF_ERROR(refuse_options(node));
  NARROW_TRY(const Settings s, Settings::read(node));
  NARROW_TRY(Parts parts, Parts::open(node, context, s));
  NARROW_TRY(const Lengths lengths, Lengths::read(node, context, parts));
  const DType dtype = context.input(kQuery).dtype();
  Rotated rotated;
  if (s.rotary) {
    NARROW_TRY(rotated, Rotated::make(node, context, s, lengths, parts));
  }
  std::vector<float> own_keys, own_values;
  float *keys = nullptr, *values = nullptr;
  NARROW_TRY(FloatOutput present_key, fill_cache(node, context, kPastKey, 1, parts.key_heads, parts.key, lengths, dtype, own_keys, keys));
  NARROW_TRY(FloatOutput present_value, fill_cache(node, context, kPastValue, 2, parts.value_heads, parts.key, lengths, dtype, own_values, values));
  NARROW_TRY(FloatOutput output, FloatOutput::create(context, 0, dtype, parts.query.dims()));
  const HeadShape cache{parts.key.batch, parts.key.heads, lengths.capacity, parts.key.size, true};
  kernels::AttentionProblem problem{.batch = parts.query.batch, .query_heads = s.heads, .key_heads = s.key_heads, .queries = parts.query.length, .keys = lengths.total,
                                    .head_size = parts.query.size, .value_size = parts.query.size, .query = parts.query_heads,
                                    .key = cache.view(static_cast<const float*>(keys)), .value = cache.view(static_cast<const float*>(values)),
                                    .output = parts.query.view(output.data()), .scale = read_scale(node, parts.query.size, true), .softcap = s.softcap,
                                    .key_counts = lengths.counts.data(), .offsets = lengths.past.data()};
  if (s.causal) problem.right = 0;
  if (s.window > 0) problem.left = s.window - 1;
  NARROW_TRY(const std::vector<float> sinks, read_sinks(node, context, s.heads));
  if (!sinks.empty()) problem.sinks = sinks.data();
  FloatInput bias;
  if (context.has_input(kScoreBias)) {
    const Shape& d = context.input(kScoreBias).shape();
    if (d.size() != 4 || (d[0] != 1 && d[0] != problem.batch) || (d[1] != 1 && d[1] != s.heads) || d[2] != problem.queries || d[3] < problem.keys) {
      return bad_input(node, fmt::format("attention_bias has shape {}, expected [{} or 1,{} or 1,{},{}]", to_string(d), problem.batch, s.heads, problem.queries, problem.keys));
    }
    NARROW_TRY(bias, FloatInput::open(context.input(kScoreBias), "attention_bias"));
    problem.biases[0] = {bias.data(), d[0] == 1 ? 0 : d[1] * d[2] * d[3], d[1] == 1 ? 0 : d[2] * d[3], d[3], 1, d[3]};
  }
  FloatOutput scores;
  if (context.wants_output(3)) {
    if (s.scores == 0) return bad_attribute(node, "qk_output is 0, but the node has an output for the products");
    NARROW_TRY(scores, FloatOutput::create(context, 3, dtype, Shape{problem.batch, s.heads, problem.queries, problem.keys}));
    problem.scores = scores.data();
    problem.stage = s.scores == 1 ? kernels::ScoreStage::kBiased : kernels::ScoreStage::kProbabilities;
  }
  NARROW_RETURN_IF_ERROR(kernels::attention_f32(problem, context.pool()).context(where(node)));
  output.store();
  if (context.wants_output(1)) present_key.store();
  if (context.wants_output(2)) present_value.store();
  if (problem.scores != nullptr) scores.store();
  return {};
}

Status infer(InferContext& context) {
  const Node& node = context.node();
  NARROW_RETURN_IF_ERROR(require_inputs(node, {kLengths, kTotal}));
  NARROW_TRY(const Settings s, Settings::read(node));
  NARROW_RETURN_IF_ERROR(check_rank(context, kQuery, 3, 3));
  const Type& query = context.input(kQuery);
  Dim batch, length, size;
  if (query.ranked) {
    batch = query.dims[0];
    length = query.dims[1];
    const std::int64_t heads = context.has_input(kKey) ? s.heads : s.heads + 2 * s.key_heads;
    if (query.dims[2].known() && query.dims[2].size % heads != 0) {
      return bad_attribute(node, fmt::format("query is {}, whose last dimension does not split into {} heads", graph::to_string(query), heads));
    }
    size = divide_dims(query.dims[2], Dim(heads));
  }
  Dim total, capacity;
  if (const auto known = known_integers(context, kTotal); known && known->size() == 1 && known->front() >= 0) {
    total = Dim(known->front());
    const Type& past = context.input(kPastKey);
    if (!context.has_input(kPastKey)) capacity = total;
    else if (past.ranked && past.rank() == 4 && past.dims[2].known()) capacity = Dim(std::max(total.size, past.dims[2].size));
  }
  context.set_output(0, Type::tensor(query.dtype, {batch, length, multiply_dims(Dim(s.heads), size)}));
  for (std::size_t i : {1, 2}) context.set_output(i, Type::tensor(query.dtype, {batch, Dim(s.key_heads), capacity, size}));
  context.set_output(3, Type::tensor(query.dtype, {batch, Dim(s.heads), length, total}));
  return {};
}

const std::array kOperators = {
    Operator{.name = "GroupQueryAttention", .domain = "com.microsoft", .max_inputs = 17, .max_outputs = 4, .infer = infer, .run = run},
};

}  // namespace

std::span<const Operator> group_query_attention_operators() { return kOperators; }

}  // namespace narrow::operators
