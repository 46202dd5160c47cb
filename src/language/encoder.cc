#include "language/encoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace narrow::language {
namespace {

using graph::Dim;
using graph::Graph;
using graph::kNoValue;
using graph::Type;
using graph::ValueId;

Type ids_type() { return Type::tensor(DType::kS64, {Dim("batch"), Dim("length")}); }

// Which row of the table of biases a key at `distance` behind the query takes (Raffel et al. 2019, arXiv:1910.10683, as MPNet has it).
std::int64_t bucket_of(std::int64_t distance, std::int64_t buckets, std::int64_t farthest) {
  const std::int64_t half = buckets / 2, exact = half / 2;
  const std::int64_t side = distance < 0 ? half : 0, n = std::abs(distance);
  if (n < exact) return side + n;
  const float ratio = std::log(static_cast<float>(n) / static_cast<float>(exact)) / std::log(static_cast<float>(farthest) / static_cast<float>(exact));
  return side + std::min(half - 1, exact + static_cast<std::int64_t>(ratio * static_cast<float>(half - exact)));
}

class Encoder {
 public:
  Encoder(const Spec& spec, const WeightSource& weights, Form form) : spec_(spec), form_(form), build_(graph_, weights, form) {}

  ValueId input(const std::string& name) { return build_.input(name, ids_type()); }
  ValueId hidden_input() { return build_.input("hidden", Type::tensor(DType::kF32, {Dim("batch"), Dim("length"), Dim(spec_.hidden)})); }
  void output(ValueId value, const std::string& name) {
    graph_.rename_value(value, name);
    graph_.outputs.push_back(value);
  }
  Graph take() { return std::move(graph_); }

  // Counted from 0 over all tokens, or, in families that leave out padding, from `pad` + 1 over the others.
  ValueId positions(ValueId ids) {
    if (spec_.position_offset == 0) {
      const ValueId length = build_.add("Gather", "length", {build_.add("Shape", "shape", {ids}), build_.constant("one", Tensor::scalar<std::int64_t>(1))});
      return build_.add("Range", "positions", {build_.constant("first", Tensor::scalar<std::int64_t>(0)), length, build_.constant("step", Tensor::scalar<std::int64_t>(1))});
    }
    const ValueId pad = build_.constant("pad", Tensor::scalar<std::int64_t>(spec_.position_offset - 1));
    const ValueId real = build_.add("Cast", "real", {build_.add("Not", "not_padding", {build_.add("Equal", "padding", {ids, pad})})}, {{"to", std::int64_t{7}}});
    const ValueId counted = build_.add("CumSum", "counted", {real, build_.constant("along", Tensor::scalar<std::int64_t>(1))});
    return build_.add("Add", "positions", {build_.add("Mul", "counted_real", {counted, real}), pad});
  }
  ValueId shifted(ValueId positions) {
    return spec_.position_offset == 0 ? positions : build_.add("Add", "positions", {positions, build_.constant("offset", Tensor::scalar<std::int64_t>(spec_.position_offset))});
  }

  Result<ValueId> embed(ValueId ids, ValueId positions, ValueId types) {
    const Names& names = spec_.names;
    NARROW_TRY(ValueId x, build_.embedding(names.embedding, ids, spec_.vocabulary, spec_.hidden));
    NARROW_TRY(const ValueId p, build_.embedding(names.positions, positions, spec_.position_rows, spec_.hidden));
    x = build_.add("Add", "embedding_positioned", {x, p});
    if (types != kNoValue) {
      NARROW_TRY(const ValueId t, build_.embedding(names.token_types, types, spec_.token_types, spec_.hidden));
      x = build_.add("Add", "embedding_typed", {x, t});
    } else if (spec_.token_types > 0) {
      NARROW_TRY(const StoredWeight table, build_.weights().matrix(names.token_types));
      if (table.rows() != spec_.token_types || table.columns() != spec_.hidden) return corrupt(fmt::format("the weight of '{}' is [{},{}], but config.json makes it [{},{}]", names.token_types, table.rows(), table.columns(), spec_.token_types, spec_.hidden));
      std::vector<float> row(static_cast<std::size_t>(spec_.hidden));
      to_float_rows(table, 0, 1, row.data());
      x = build_.add("Add", "embedding_typed", {x, build_.constant("type_0", Tensor::from<float>({spec_.hidden}, std::span<const float>(row)))});
    }
    return norm(names.embedding_norm, x);
  }

  // What scores are masked with: bool [batch, 1, 1 or length, length], or floats where positions have biases of their own. `like` has
  // [batch, length] in front.
  Result<ValueId> scores_mask(ValueId attention_mask, ValueId like) {
    ValueId mask = attention_mask;
    if (mask != kNoValue) mask = build_.add("Unsqueeze", "mask", {build_.add("Cast", "mask_of_tokens", {mask}, {{"to", std::int64_t{9}}}), build_.integers("mask_axes", {1, 2})});
    if (spec_.relative_buckets == 0) {
      if (mask == kNoValue || form_ == Form::kRun) return mask;
      // ONNX Runtime wants a row for each query.
      const ValueId sizes = build_.add("Concat", "mask_sizes", {build_.add("Shape", "mask_shape", {like}), build_.integers("mask_heads", {1})}, {{"axis", std::int64_t{0}}});
      return build_.add("Expand", "mask_of_queries", {mask, build_.add("Gather", "mask_whole", {sizes, build_.integers("mask_order", {0, 2, 1, 1})})});
    }
    NARROW_TRY(const StoredWeight table, build_.weights().matrix(spec_.names.relative_bias));
    if (table.rows() != spec_.relative_buckets || table.columns() != spec_.heads) return corrupt(fmt::format("the weight of '{}' is [{},{}], but config.json makes it [{},{}]", spec_.names.relative_bias, table.rows(), table.columns(), spec_.relative_buckets, spec_.heads));
    constexpr std::int64_t kFarthest = 128;
    const std::int64_t most = spec_.max_positions, span = 2 * most - 1;  // one row for each difference of two positions
    std::vector<float> rows(static_cast<std::size_t>(span * spec_.heads));
    for (std::int64_t i = 0; i < span; ++i) to_float_rows(table, bucket_of(most - 1 - i, spec_.relative_buckets, kFarthest), 1, rows.data() + i * spec_.heads);
    const auto number = [&](const char* name, std::int64_t value) { return build_.constant(name, Tensor::scalar<std::int64_t>(value)); };
    const ValueId length = build_.add("Gather", "bias_length", {build_.add("Shape", "bias_shape", {like}), number("bias_one", 1)});
    const ValueId range = build_.add("Range", "bias_range", {number("bias_first", 0), length, number("bias_step", 1)});
    const ValueId keys = build_.add("Unsqueeze", "bias_keys", {range, build_.integers("bias_row", {0})}), queries = build_.add("Unsqueeze", "bias_queries", {range, build_.integers("bias_column", {1})});
    const ValueId apart = build_.add("Add", "bias_apart", {build_.add("Sub", "bias_difference", {keys, queries}), number("bias_middle", most - 1)});
    const ValueId found = build_.add("Gather", "bias_found", {build_.constant("biases", Tensor::from<float>({span, spec_.heads}, std::span<const float>(rows))), apart});
    const ValueId bias = build_.add("Unsqueeze", "bias", {build_.add("Transpose", "bias_by_head", {found}, {{"perm", std::vector<std::int64_t>{2, 0, 1}}}), build_.integers("bias_batch", {0})});
    return mask == kNoValue ? bias : build_.add("Where", "masked_bias", {mask, bias, build_.scalar("never", std::numeric_limits<float>::lowest())});
  }

  Result<ValueId> block(std::int64_t layer, ValueId x, ValueId mask) {
    const Names& names = spec_.names;
    const std::string at = fmt::format("layers.{}", layer);
    std::vector<ValueId> parts;
    for (const std::string* pattern : {&names.q, &names.k, &names.v}) {
      NARROW_TRY(const ValueId part, build_.linear(layer_name(*pattern, layer), x, spec_.hidden, spec_.hidden));
      parts.push_back(part);
    }
    if (mask != kNoValue) parts.push_back(mask);
    const ValueId attended = build_.add("Attention", at + ".attention", std::move(parts),
                                        {{"q_num_heads", spec_.heads}, {"kv_num_heads", spec_.heads}, {"scale", static_cast<float>(1 / std::sqrt(static_cast<double>(spec_.head_size)))}});
    NARROW_TRY(const ValueId o, build_.linear(layer_name(names.o, layer), attended, spec_.hidden, spec_.hidden));
    NARROW_TRY(x, norm(layer_name(names.attention_norm, layer), build_.add("Add", at + ".attended", {o, x})));
    NARROW_TRY(const ValueId up, build_.linear(layer_name(names.up, layer), x, spec_.intermediate, spec_.hidden));
    NARROW_TRY(const ValueId down, build_.linear(layer_name(names.down, layer), activate(at, up, spec_.activation), spec_.hidden, spec_.intermediate));
    return norm(layer_name(names.mlp_norm, layer), build_.add("Add", at + ".out", {down, x}));
  }

  Result<ValueId> head(ValueId x) {
    const Names& names = spec_.names;
    NARROW_TRY(x, build_.linear(names.head_dense, x, spec_.hidden, spec_.hidden));
    NARROW_TRY(x, norm(names.head_norm, activate("head", x, spec_.head_activation)));
    const bool own = build_.weights().has_matrix(names.head);
    NARROW_TRY(const ValueId logits, build_.linear(own ? names.head : names.embedding, x, spec_.vocabulary, spec_.hidden));
    if (own && build_.weights().has(names.head + ".bias")) return logits;
    for (const std::string& name : {names.head_bias, names.head + ".bias"}) {
      if (!build_.weights().has(name)) continue;
      NARROW_TRY(const ValueId bias, build_.vector(name, spec_.vocabulary));
      return build_.add("Add", "head_biased", {logits, bias});
    }
    return logits;
  }

 private:
  Result<ValueId> norm(const std::string& name, ValueId x) {
    NARROW_TRY(const ValueId scale, build_.vector(name + ".weight", spec_.hidden));
    NARROW_TRY(const ValueId bias, build_.vector(name + ".bias", spec_.hidden));
    return build_.add("LayerNormalization", name, {x, scale, bias}, {{"axis", std::int64_t{-1}}, {"epsilon", static_cast<float>(spec_.norm_epsilon)}});
  }
  ValueId activate(const std::string& at, ValueId x, Activation activation) {
    switch (activation) {
      case Activation::kSilu: return build_.add("Mul", at + ".silu", {x, build_.add("Sigmoid", at + ".sigmoid", {x})});
      case Activation::kRelu: return build_.add("Relu", at + ".relu", {x});
      case Activation::kGelu:
      case Activation::kGeluTanh: break;
    }
    return build_.add("Gelu", at + ".gelu", {x}, {{"approximate", std::string(activation == Activation::kGelu ? "none" : "tanh")}});
  }

  const Spec& spec_;
  Form form_;
  Graph graph_;
  GraphBuilder build_;
};

}  // namespace

bool has_masked_head(const Spec& spec, const WeightSource& weights) { return !spec.names.head_dense.empty() && weights.has_matrix(spec.names.head_dense); }

Result<Graph> build_encoder(const Spec& spec, const WeightSource& weights, Form form) {
  Encoder encoder(spec, weights, form);
  const ValueId ids = encoder.input("input_ids"), mask = encoder.input("attention_mask");
  const ValueId types = spec.token_types > 1 ? encoder.input("token_type_ids") : kNoValue;
  NARROW_TRY(ValueId x, encoder.embed(ids, encoder.positions(ids), types));
  NARROW_TRY(const ValueId masked, encoder.scores_mask(mask, ids));
  for (std::int64_t layer = 0; layer < spec.layers; ++layer) {
    NARROW_TRY(x, encoder.block(layer, x, masked));
  }
  ValueId logits = kNoValue;
  if (has_masked_head(spec, weights)) {
    NARROW_TRY(logits, encoder.head(x));
  }
  encoder.output(x, "last_hidden_state");
  if (logits != kNoValue) encoder.output(logits, "logits");
  return encoder.take();
}

Result<Graph> build_encoder_embedding(const Spec& spec, const WeightSource& weights) {
  Encoder encoder(spec, weights, Form::kRun);
  const ValueId ids = encoder.input("input_ids"), positions = encoder.input("position_ids");
  NARROW_TRY(const ValueId x, encoder.embed(ids, encoder.shifted(positions), kNoValue));
  encoder.output(x, "embedded");
  return encoder.take();
}

Result<Graph> build_encoder_block(const Spec& spec, const WeightSource& weights, std::int64_t layer, Form form) {
  Encoder encoder(spec, weights, form);
  const ValueId x = encoder.hidden_input();
  encoder.input("position_ids");  // given by who runs blocks of any family
  NARROW_TRY(const ValueId mask, encoder.scores_mask(kNoValue, x));
  NARROW_TRY(const ValueId y, encoder.block(layer, x, mask));
  encoder.output(y, "hidden_out");
  return encoder.take();
}

Result<Graph> build_encoder_head(const Spec& spec, const WeightSource& weights) {
  if (!has_masked_head(spec, weights)) return unsupported(fmt::format("the checkpoint has no masked-language head: there is no '{}'", spec.names.head_dense));
  Encoder encoder(spec, weights, Form::kRun);
  const ValueId x = encoder.hidden_input();
  NARROW_TRY(const ValueId logits, encoder.head(x));
  encoder.output(logits, "logits");
  return encoder.take();
}

}  // namespace narrow::language
