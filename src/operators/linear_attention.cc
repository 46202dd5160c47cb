// LinearAttention of ai.onnx: a recurrent state in place of keys and values.
#include "kernels/attention/linear_attention.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "operators/attention_heads.h"
#include "operators/families.h"
#include "operators/type_rules.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;

enum Input : std::size_t { kQuery, kKey, kValue, kPast, kDecay, kBeta };

struct Settings {
  std::int64_t query_heads = 0, key_heads = 0;
  bool gated = false, delta = false;

  static Result<Settings> read(const Node& node) {
    Settings s;
    NARROW_TRY(s.query_heads, read_count(node, "q_num_heads"));
    NARROW_TRY(s.key_heads, read_count(node, "kv_num_heads"));
    if (s.query_heads % s.key_heads != 0) {
      return bad_attribute(node, fmt::format("q_num_heads is {}, expected a multiple of kv_num_heads, {}", s.query_heads, s.key_heads));
    }
    const std::string rule = node.get_string("update_rule", "gated_delta");
    if (rule != "linear" && rule != "gated" && rule != "delta" && rule != "gated_delta") {
      return bad_attribute(node, fmt::format("update_rule is '{}', expected linear, gated, delta or gated_delta", rule));
    }
    s.gated = rule.starts_with("gated");
    s.delta = rule.ends_with("delta");
    if (s.gated != (node.input(kDecay) != graph::kNoValue)) return bad_attribute(node, fmt::format("update_rule '{}' and decay do not go together", rule));
    if (s.delta != (node.input(kBeta) != graph::kNoValue)) return bad_attribute(node, fmt::format("update_rule '{}' and beta do not go together", rule));
    return s;
  }
};

Status infer(InferContext& context) {
  const Node& node = context.node();
  NARROW_TRY(const Settings s, Settings::read(node));
  for (std::size_t i = 0; i < 3; ++i) NARROW_RETURN_IF_ERROR(check_rank(context, i, 3, 3));
  const Type& query = context.input(kQuery);
  const Type& key = context.input(kKey);
  const Type& value = context.input(kValue);
  Dim batch, length, key_size, value_size;
  if (query.ranked) {
    batch = query.dims[0];
    length = query.dims[1];
  }
  if (key.ranked) key_size = divide_dims(key.dims[2], Dim(s.key_heads));
  if (value.ranked) value_size = divide_dims(value.dims[2], Dim(s.key_heads));
  const DType state = context.has_input(kPast) ? context.input(kPast).dtype : query.dtype;
  context.set_output(0, Type::tensor(query.dtype, {batch, length, multiply_dims(Dim(s.query_heads), value_size)}));
  context.set_output(1, Type::tensor(state, {batch, Dim(s.key_heads), key_size, value_size}));
  return {};
}

// Rows of numbers for each position: [batch, length, heads · size], or [batch, length, 1] for all heads.
Result<ConstHeads> read_gates(const Node& node, const Tensor& tensor, const char* what, const HeadShape& key, std::int64_t widest, const float* data, std::int64_t& size) {
  const Shape& s = tensor.shape();
  if (s.size() == 3 && s[0] == key.batch && s[1] == key.length) {
    if (s[2] == key.heads || s[2] == key.heads * widest) {
      size = s[2] == key.heads ? 1 : widest;
      return HeadShape{key.batch, key.heads, key.length, size, false}.view(data);
    }
    if (s[2] == 1 && widest == 1) {
      size = 1;
      return ConstHeads{data, key.length, 0, 1};
    }
  }
  return bad_input(node, fmt::format("{} has shape {}, expected [{},{},{} or {}]", what, to_string(s), key.batch, key.length, key.heads, widest == 1 ? 1 : key.heads * widest));
}

Status run(const Node& node, RunContext& context) {
  NARROW_TRY(const Settings settings, Settings::read(node));
  for (std::size_t i = 0; i < 3; ++i) {
    if (context.input(i).rank() != 3) return bad_input(node, fmt::format("input {} has shape {}, expected rank 3", i, to_string(context.input(i).shape())));
  }
  NARROW_TRY(const HeadShape q, read_heads(node, context.input(kQuery), "query", settings.query_heads));
  NARROW_TRY(const HeadShape k, read_heads(node, context.input(kKey), "key", settings.key_heads));
  NARROW_TRY(const HeadShape v, read_heads(node, context.input(kValue), "value", settings.key_heads));
  if (k.batch != q.batch || v.batch != q.batch || k.length != q.length || v.length != q.length || k.size != q.size) {
    return bad_input(node, fmt::format("query {}, key {} and value {} do not go together", to_string(q.dims()), to_string(k.dims()), to_string(v.dims())));
  }
  NARROW_TRY(const FloatInput query, FloatInput::open(context.input(kQuery), "query"));
  NARROW_TRY(const FloatInput key, FloatInput::open(context.input(kKey), "key"));
  NARROW_TRY(const FloatInput value, FloatInput::open(context.input(kValue), "value"));
  kernels::LinearAttentionProblem problem{.batch = q.batch, .query_heads = q.heads, .key_heads = k.heads, .length = q.length, .key_size = k.size, .value_size = v.size,
                                          .query = q.view(query.data()), .key = k.view(key.data()), .value = v.view(value.data()),
                                          .scale = read_scale(node, k.size, true)};
  FloatInput decay, beta;
  if (settings.gated) {
    NARROW_TRY(decay, FloatInput::open(context.input(kDecay), "decay"));
    NARROW_TRY(problem.decay, read_gates(node, context.input(kDecay), "decay", k, k.size, decay.data(), problem.decay_size));
  }
  if (settings.delta) {
    std::int64_t one = 1;
    NARROW_TRY(beta, FloatInput::open(context.input(kBeta), "beta"));
    NARROW_TRY(problem.beta, read_gates(node, context.input(kBeta), "beta", k, 1, beta.data(), one));
  }
  const HeadShape y{q.batch, q.heads, q.length, v.size, false};
  const Shape state_shape{q.batch, k.heads, k.size, v.size};
  const Tensor& past = context.input(kPast);
  if (past.defined() && past.shape() != state_shape) return bad_input(node, fmt::format("past_state has shape {}, expected {}", to_string(past.shape()), to_string(state_shape)));
  NARROW_TRY(FloatOutput output, FloatOutput::create(context, 0, context.input(kQuery).dtype(), y.dims()));
  FloatOutput present;
  std::vector<float> own;
  if (context.wants_output(1)) {
    NARROW_TRY(present, FloatOutput::create(context, 1, past.defined() ? past.dtype() : context.input(kQuery).dtype(), state_shape));
    problem.state = present.data();
  } else {
    NARROW_TRY(own, make_floats(node, q.batch * k.heads * k.size * v.size));
    problem.state = own.data();
  }
  const std::int64_t count = q.batch * k.heads * k.size * v.size;
  if (past.defined()) {
    NARROW_TRY(const FloatInput before, FloatInput::open(past, "past_state"));
    std::copy_n(before.data(), count, problem.state);
  } else {
    std::fill_n(problem.state, count, 0.0f);
  }
  problem.output = y.view(output.data());
  kernels::linear_attention_f32(problem, context.pool());
  output.store();
  if (context.wants_output(1)) present.store();
  return {};
}

const std::array kOperators = {
    Operator{.name = "LinearAttention", .since = 27, .min_inputs = 3, .max_inputs = 6, .max_outputs = 2, .infer = infer, .run = run},
};

}  // namespace

std::span<const Operator> linear_attention_operators() { return kOperators; }

}  // namespace narrow::operators
