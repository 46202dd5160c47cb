// Attention of ai.onnx: scaled dot-product attention with grouped heads, masks, caches, soft cap and windows.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "operators/attention_heads.h"
#include "operators/families.h"
#include "operators/type_rules.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using kernels::AttentionBias;
using kernels::ScoreStage;

enum Input : std::size_t { kQuery, kKey, kValue, kMask, kPastKey, kPastValue, kKeyCounts };
enum Output : int { kResult, kPresentKey, kPresentValue, kScores };

// The attributes, checked.
struct Settings {
  std::optional<std::int64_t> query_heads, key_heads;  // absent with inputs of rank 4
  std::int64_t left = -1, right = -1;
  float softcap = 0;
  ScoreStage stage = ScoreStage::kRaw;

  static Result<Settings> read(const Node& node) {
    Settings settings;
    if (node.has("q_num_heads")) {
      NARROW_TRY(settings.query_heads, read_count(node, "q_num_heads"));
    }
    if (node.has("kv_num_heads")) {
      NARROW_TRY(settings.key_heads, read_count(node, "kv_num_heads"));
    }
    NARROW_TRY(settings.left, read_window(node, "left_window_size"));
    NARROW_TRY(settings.right, read_window(node, "right_window_size"));
    if (node.get_int("is_causal", 0) != 0) settings.right = 0;
    settings.softcap = node.get_float("softcap", 0.0f);
    if (!(settings.softcap >= 0)) return bad_attribute(node, fmt::format("softcap is {}, expected 0 or more", settings.softcap));
    const std::int64_t stage = node.get_int("qk_matmul_output_mode", 0);
    if (stage < 0 || stage > 3) return bad_attribute(node, fmt::format("qk_matmul_output_mode is {}, expected 0 to 3", stage));
    settings.stage = static_cast<ScoreStage>(stage);
    const std::int64_t precision = node.get_int("softmax_precision", 1);
    if (precision != 1 && precision != 10 && precision != 11 && precision != 16) {
      return bad_attribute(node, fmt::format("softmax_precision is {}, expected 1 (f32), 10 (f16), 11 (f64) or 16 (bf16)", precision));
    }
    return settings;
  }

 private:
  static Result<std::int64_t> read_window(const Node& node, const char* attribute) {
    const std::int64_t size = node.get_int(attribute, -1);
    if (size < -1) return bad_attribute(node, fmt::format("{} is {}, expected -1 or more", attribute, size));
    return std::min(size, std::int64_t{1} << 40);
  }
};

// ---- type rule ----

// Batch, heads, length and size of one input; unknown dims where nothing is known.
struct HeadDims {
  Dim batch, heads, length, size;
};

Result<HeadDims> read_head_dims(const InferContext& context, std::size_t i, const std::optional<std::int64_t>& heads) {
  const Type& type = context.input(i);
  if (!type.ranked) return HeadDims{};
  if (type.rank() == 4) return HeadDims{type.dims[0], type.dims[1], type.dims[2], type.dims[3]};
  const Node& node = context.node();
  if (type.rank() != 3) return bad_attribute(node, fmt::format("input {} is {}, expected rank 3 or 4", i, graph::to_string(type)));
  if (!heads) return bad_attribute(node, "inputs of rank 3 need the attributes q_num_heads and kv_num_heads");
  if (type.dims[2].known() && type.dims[2].size % *heads != 0) {
    return bad_attribute(node, fmt::format("input {} is {}, whose last dimension does not split into {} heads", i, graph::to_string(type), *heads));
  }
  return HeadDims{type.dims[0], Dim(*heads), type.dims[1], divide_dims(type.dims[2], Dim(*heads))};
}

Status infer_attention(InferContext& context) {
  const Node& node = context.node();
  NARROW_TRY(const Settings settings, Settings::read(node));
  for (std::size_t i : {kQuery, kKey, kValue, kPastKey, kPastValue}) NARROW_RETURN_IF_ERROR(check_dtype(context, i, kFloatTypes));
  const Type& query = context.input(kQuery);
  NARROW_TRY(const HeadDims q, read_head_dims(context, kQuery, settings.query_heads));
  NARROW_TRY(const HeadDims k, read_head_dims(context, kKey, settings.key_heads));
  NARROW_TRY(const HeadDims v, read_head_dims(context, kValue, settings.key_heads));
  NARROW_TRY(const Dim size, unify_dims(node, q.size, k.size, "head sizes of Q and K"));
  NARROW_TRY(Dim batch, unify_dims(node, q.batch, k.batch, "batches of Q and K"));
  NARROW_TRY(const Dim heads, unify_dims(node, k.heads, v.heads, "heads of K and V"));
  NARROW_TRY(const Dim length, unify_dims(node, k.length, v.length, "lengths of K and V"));
  if (q.heads.known() && heads.known() && (heads.size == 0 || q.heads.size % heads.size != 0)) {
    return bad_attribute(node, fmt::format("{} query heads cannot share {} key heads", q.heads.size, heads.size));
  }
  if (query.ranked && query.rank() == 4) {
    context.set_output(kResult, Type::tensor(query.dtype, {batch, q.heads, q.length, v.size}));
  } else if (query.ranked) {
    context.set_output(kResult, Type::tensor(query.dtype, {batch, q.length, multiply_dims(q.heads, v.size)}));
  } else {
    context.set_output(kResult, Type::tensor(query.dtype));
  }
  Dim total = length;
  if (context.has_input(kPastKey)) {
    const Type& past = context.input(kPastKey);
    total = past.ranked && past.rank() == 4 ? add_dims(past.dims[2], length) : Dim();
  }
  const DType value = context.input(kValue).dtype;
  context.set_output(kPresentKey, Type::tensor(query.dtype, {batch, heads, total, size}));
  context.set_output(kPresentValue, Type::tensor(value, {batch, heads, total, v.size}));
  context.set_output(kScores, Type::tensor(query.dtype, {batch, q.heads, q.length, total}));
  return {};
}

// ---- run ----

// The mask as numbers to add, and how to walk it.
struct Mask {
  FloatInput input;
  std::vector<float> own;
  AttentionBias bias;

  // It broadcasts to [batch, heads, queries, keys]; its last dimension may be shorter than the keys.
  static Result<Mask> open(const Node& node, const Tensor& tensor, const Shape& to) {
    Mask mask;
    Shape s = tensor.shape();
    const auto misfit = [&] {
      return bad_input(node, fmt::format("the mask has shape {}, which does not broadcast to {}", to_string(tensor.shape()), to_string(to)));
    };
    if (s.empty() || s.size() > 4) return misfit();
    s.insert(s.begin(), 4 - s.size(), 1);
    for (std::size_t d = 0; d < 3; ++d) {
      if (s[d] != 1 && s[d] != to[d]) return misfit();
    }
    if (s[3] > to[3]) return misfit();
    const float* data = nullptr;
    if (tensor.dtype() == DType::kBool) {
      NARROW_TRY(mask.own, make_floats(node, tensor.size()));
      const auto* bytes = static_cast<const std::uint8_t*>(tensor.raw());
      std::transform(bytes, bytes + tensor.size(), mask.own.begin(), [](std::uint8_t seen) {
        return seen != 0 ? 0.0f : -std::numeric_limits<float>::infinity();
      });
      data = mask.own.data();
    } else if (is_integer(tensor.dtype())) {
      mask.own = tensor.to_float();
      data = mask.own.data();
    } else {
      NARROW_TRY(mask.input, FloatInput::open(tensor, "the mask"));
      data = mask.input.data();
    }
    static constexpr float kNothing = 0;  // a mask without columns hides all keys, and has no data
    mask.bias = {data == nullptr ? &kNothing : data, s[0] == 1 ? 0 : s[1] * s[2] * s[3], s[1] == 1 ? 0 : s[2] * s[3], s[2] == 1 ? 0 : s[3], 1, s[3]};
    return mask;
  }
};

// How many keys of each batch are no padding.
Result<std::vector<std::int64_t>> read_key_counts(const Node& node, const Tensor& tensor, std::int64_t batch, std::int64_t keys) {
  if (tensor.dtype() != DType::kS64 || tensor.size() != batch) {
    return bad_input(node, fmt::format("nonpad_kv_seqlen is {}{}, expected {} numbers of s64", to_string(tensor.dtype()), to_string(tensor.shape()), batch));
  }
  std::vector<std::int64_t> counts = tensor.to_int64();
  for (std::int64_t count : counts) {
    if (count < 0 || count > keys) return bad_input(node, fmt::format("nonpad_kv_seqlen holds {}, expected 0 to the {} keys", count, keys));
  }
  return counts;
}

Status check_shapes(const Node& node, RunContext& context, const HeadShape& q, const HeadShape& k, const HeadShape& v) {
  const bool same_layout = q.split == k.split && k.split == v.split;
  if (!same_layout || k.batch != q.batch || v.batch != q.batch || k.size != q.size || v.heads != k.heads || v.length != k.length || k.heads == 0 ||
      q.heads % k.heads != 0) {
    return bad_input(node, fmt::format("Q {}, K {} and V {} do not go together ({} query heads, {} key heads)", to_string(context.input(kQuery).shape()),
                                       to_string(context.input(kKey).shape()), to_string(context.input(kValue).shape()), q.heads, k.heads));
  }
  if (context.has_input(kPastKey) != context.has_input(kPastValue)) return bad_input(node, "past_key and past_value must be given together");
  if (context.has_input(kPastKey) && context.has_input(kKeyCounts)) return bad_input(node, "nonpad_kv_seqlen cannot be given together with a past state");
  return {};
}

Status run_attention(const Node& node, RunContext& context) {
  NARROW_TRY(const Settings settings, Settings::read(node));
  const DType dtype = context.input(kQuery).dtype(), value_dtype = context.input(kValue).dtype();
  NARROW_TRY(const HeadShape q, read_heads(node, context.input(kQuery), "Q", settings.query_heads));
  NARROW_TRY(const HeadShape k, read_heads(node, context.input(kKey), "K", settings.key_heads));
  NARROW_TRY(const HeadShape v, read_heads(node, context.input(kValue), "V", settings.key_heads));
  NARROW_RETURN_IF_ERROR(check_shapes(node, context, q, k, v));
  NARROW_TRY(const FloatInput query, FloatInput::open(context.input(kQuery), "Q"));
  NARROW_TRY(const FloatInput key, FloatInput::open(context.input(kKey), "K"));
  NARROW_TRY(const FloatInput value, FloatInput::open(context.input(kValue), "V"));
  NARROW_TRY(CachedHeads keys, CachedHeads::join(node, context, context.input(kPastKey), k.view(key.data()), k, kPresentKey, dtype));
  NARROW_TRY(CachedHeads values, CachedHeads::join(node, context, context.input(kPastValue), v.view(value.data()), v, kPresentValue, value_dtype));
  if (keys.length() != values.length()) return bad_input(node, "past_key and past_value differ in length");
  const HeadShape y{q.batch, q.heads, q.length, v.size, q.split};
  NARROW_TRY(FloatOutput output, FloatOutput::create(context, kResult, dtype, y.dims()));

  kernels::AttentionProblem problem{.batch = q.batch, .query_heads = q.heads, .key_heads = k.heads, .queries = q.length, .keys = keys.length(),
                                    .head_size = q.size, .value_size = v.size, .query = q.view(query.data()), .key = keys.view(),
                                    .value = values.view(), .output = y.view(output.data()), .scale = read_scale(node, q.size, false),
                                    .softcap = settings.softcap, .left = settings.left, .right = settings.right, .stage = settings.stage};
  const Shape scores_shape = {q.batch, q.heads, q.length, keys.length()};
  Mask mask;
  if (context.has_input(kMask)) {
    NARROW_TRY(mask, Mask::open(node, context.input(kMask), scores_shape));
    problem.biases[0] = mask.bias;
  }
  std::vector<std::int64_t> counts, offsets(static_cast<std::size_t>(q.batch), keys.length() - k.length);
  if (context.has_input(kKeyCounts)) {
    NARROW_TRY(counts, read_key_counts(node, context.input(kKeyCounts), q.batch, keys.length()));
    std::transform(counts.begin(), counts.end(), offsets.begin(), [&](std::int64_t count) { return count - q.length; });
    problem.key_counts = counts.data();
  }
  problem.offsets = offsets.data();
  FloatOutput scores;
  if (context.wants_output(kScores)) {
    NARROW_TRY(scores, FloatOutput::create(context, kScores, dtype, scores_shape));
    problem.scores = scores.data();
  }
  NARROW_RETURN_IF_ERROR(kernels::attention_f32(problem, context.pool()).context(where(node)));
  output.store();
  keys.store();
  values.store();
  if (problem.scores != nullptr) scores.store();
  return {};
}

const std::array kOperators = {
    Operator{.name = "Attention", .since = 25, .min_inputs = 3, .max_inputs = 7, .max_outputs = 4, .infer = infer_attention, .run = run_attention},
};

}  // namespace

std::span<const Operator> attention_operators() { return kOperators; }

}  // namespace narrow::operators
