#include "language/decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "language/architectures/architectures.h"
#include "language/encoder.h"

namespace narrow::language {
namespace {

using graph::Dim;
using graph::Graph;
using graph::kNoValue;
using graph::Type;
using graph::ValueId;

constexpr std::int64_t kUsualPositions = 1 << 17;  // more rows of angles only on demand

Type ids_type() { return Type::tensor(DType::kS64, {Dim("batch"), Dim("length")}); }

class Decoder {
 public:
  Decoder(const Spec& spec, const WeightSource& weights, const DecoderOptions& options)
      : spec_(spec), options_(options), build_(graph_, weights, options.form) {}

  ValueId ids() { return build_.input("input_ids", ids_type()); }
  ValueId hidden_input() { return build_.input("hidden", Type::tensor(DType::kF32, {Dim("batch"), Dim("length"), Dim(spec_.hidden)})); }
  void positions() { positions_ = build_.input("position_ids", ids_type()); }
  void output(ValueId value, const std::string& name) {
    graph_.rename_value(value, name);
    graph_.outputs.push_back(value);
  }

  Result<ValueId> embed(ValueId ids);
  Result<ValueId> block(std::int64_t layer, ValueId x);
  Result<ValueId> head(ValueId x);

  Graph take() { return std::move(graph_); }

 private:
  Result<ValueId> norm(const std::string& name, ValueId x, std::int64_t size);
  // What follows a layer's name, or nothing for a norm that the family does not have.
  Result<ValueId> layer_norm(const std::string& pattern, std::int64_t layer, ValueId x);
  Result<ValueId> head_norm(const std::string& pattern, std::int64_t layer, ValueId x, std::int64_t heads);
  Result<ValueId> attention(std::int64_t layer, ValueId x);
  ValueId rotate(std::int64_t layer, const char* what, ValueId x, std::int64_t heads);
  Status split_by_head(const std::string& at, ValueId fused, ValueId (&parts)[3]);
  ValueId activate(const std::string& at, ValueId x);
  ValueId soft_cap(const std::string& at, ValueId x, double cap);
  Result<ValueId> mlp(std::int64_t layer, ValueId x);
  Result<ValueId> gated(const std::string& at, const std::string& gate, const std::string& up, const std::string& down, ValueId x);
  Result<ValueId> mixture(std::int64_t layer, ValueId x);
  std::int64_t width_of(const std::string& module, std::int64_t usual) const;

  const Spec& spec_;
  DecoderOptions options_;
  Graph graph_;
  GraphBuilder build_;
  ValueId positions_ = kNoValue;
  struct Table { ValueId cosines = kNoValue, sines = kNoValue; } tables_[2];  // of rope, of local_rope
};

// Experts may be narrower than config.json's intermediate_size: the weight itself says.
std::int64_t Decoder::width_of(const std::string& module, std::int64_t usual) const {
  const auto weight = build_.weights().matrix(module);
  return weight.ok() ? weight->rows() : usual;
}

Result<ValueId> Decoder::embed(ValueId ids) {
  NARROW_TRY(ValueId x, build_.embedding(spec_.names.embedding, ids, spec_.vocabulary, spec_.hidden));
  if (spec_.embedding_scale != 1) x = build_.add("Mul", "embedding_scaled", {x, build_.scalar("embedding_scale", static_cast<float>(spec_.embedding_scale))});
  if (spec_.names.positions.empty()) return x;
  NARROW_TRY(const ValueId p, build_.embedding(spec_.names.positions, positions_, spec_.max_positions, spec_.hidden));
  return build_.add("Add", "embedding_positioned", {x, p});
}

Result<ValueId> Decoder::norm(const std::string& name, ValueId x, std::int64_t size) {
  ValueId scale = kNoValue, bias = kNoValue;
  if (spec_.norm_has_weight) {
    NARROW_TRY(scale, build_.vector(name + ".weight", size, spec_.norm_plus_one ? 1.0f : 0.0f));
    if (build_.weights().has(name + ".bias")) {
      NARROW_TRY(bias, build_.vector(name + ".bias", size));
    }
  } else {
    const std::vector<float> ones(static_cast<std::size_t>(size), 1.0f);
    scale = build_.constant(name + ".weight", Tensor::from<float>({size}, std::span<const float>(ones)));
  }
  const bool rms = spec_.norm == NormKind::kRms;
  return build_.add(rms ? "RMSNormalization" : "LayerNormalization", name, {x, scale, bias},
                    {{"axis", std::int64_t{-1}}, {"epsilon", static_cast<float>(spec_.norm_epsilon)}});
}

Result<ValueId> Decoder::layer_norm(const std::string& pattern, std::int64_t layer, ValueId x) {
  if (pattern.empty()) return x;
  return norm(layer_name(pattern, layer), x, spec_.hidden);
}

Result<ValueId> Decoder::head_norm(const std::string& pattern, std::int64_t layer, ValueId x, std::int64_t heads) {
  if (pattern.empty()) return x;
  const std::string name = layer_name(pattern, layer);
  if (spec_.qk_norm_whole) return norm(name, x, heads * spec_.head_size);
  const ValueId split = build_.add("Reshape", name + ".split", {x, build_.integers(name + ".heads", {0, 0, heads, spec_.head_size})});
  NARROW_TRY(const ValueId y, norm(name, split, spec_.head_size));
  return build_.add("Reshape", name + ".join", {y, build_.integers(name + ".width", {0, 0, heads * spec_.head_size})});
}

ValueId Decoder::rotate(std::int64_t layer, const char* what, ValueId x, std::int64_t heads) {
  const Rope& rope = spec_.rope_of(layer);
  if (rope.dims == 0) return x;
  const std::size_t which = &rope == &spec_.rope ? 0 : 1;
  Table& table = tables_[which];
  if (table.cosines == kNoValue) {
    // LongRoPE has other angles for a context beyond the original one: only who asks for it gets them.
    const std::int64_t usual = std::min(rope.scaling == Rope::Scaling::kLongRope ? rope.original_positions : spec_.max_positions, kUsualPositions);
    const std::int64_t rows = options_.positions != 0 ? options_.positions : usual;
    const Angles angles = make_angles(rope, rows);
    const char* suffix = which == 0 ? "" : "_local";
    table.cosines = build_.constant(fmt::format("rope_cosines{}", suffix), Tensor::from<float>({rows, rope.dims / 2}, std::span<const float>(angles.cosines)));
    table.sines = build_.constant(fmt::format("rope_sines{}", suffix), Tensor::from<float>({rows, rope.dims / 2}, std::span<const float>(angles.sines)));
  }
  GraphBuilder::Attributes attributes = {{"num_heads", heads}};
  if (rope.dims != spec_.head_size) attributes.push_back({"rotary_embedding_dim", rope.dims});
  return build_.add("RotaryEmbedding", fmt::format("layers.{}.{}_rotated", layer, what), {x, table.cosines, table.sines, positions_}, std::move(attributes));
}

// [batch, length, heads · 3 · size] with q, k and v of a head side by side.
Status Decoder::split_by_head(const std::string& at, ValueId fused, ValueId (&parts)[3]) {
  const ValueId heads = build_.add("Reshape", at + ".split", {fused, build_.integers(at + ".heads", {0, 0, spec_.heads, 3 * spec_.head_size})});
  const std::vector<ValueId> split = build_.add_many("Split", at + ".qkv", {heads}, 3, {{"axis", std::int64_t{-1}}, {"num_outputs", std::int64_t{3}}});
  for (std::size_t i = 0; i < 3; ++i) parts[i] = build_.add("Reshape", fmt::format("{}.part{}", at, i), {split[i], build_.integers(fmt::format("{}.width{}", at, i), {0, 0, spec_.heads * spec_.head_size})});
  return {};
}

Result<ValueId> Decoder::attention(std::int64_t layer, ValueId x) {
  const Names& names = spec_.names;
  const std::int64_t wide = spec_.heads * spec_.head_size, narrow_width = spec_.key_heads * spec_.head_size;
  ValueId parts[3];
  if (!names.qkv.empty()) {
    const std::string module = layer_name(names.qkv, layer);
    NARROW_TRY(const ValueId fused, build_.linear(module, x, wide + 2 * narrow_width, spec_.hidden));
    if (spec_.qkv_order == QkvOrder::kByHead) {
      NARROW_RETURN_IF_ERROR(split_by_head(module, fused, parts));
    } else {
      const auto split = build_.add_many("Split", module + ".split", {fused, build_.integers(module + ".sizes", {wide, narrow_width, narrow_width})}, 3, {{"axis", std::int64_t{-1}}});
      std::copy(split.begin(), split.end(), parts);
    }
  } else {
    NARROW_TRY(parts[0], build_.linear(layer_name(names.q, layer), x, wide, spec_.hidden));
    NARROW_TRY(parts[1], build_.linear(layer_name(names.k, layer), x, narrow_width, spec_.hidden));
    NARROW_TRY(parts[2], build_.linear(layer_name(names.v, layer), x, narrow_width, spec_.hidden));
  }
  if (spec_.clip_qkv > 0) {
    const auto limit = static_cast<float>(spec_.clip_qkv);
    for (std::size_t i = 0; i < 3; ++i) {
      const std::string at = fmt::format("layers.{}.clip{}", layer, i);
      parts[i] = build_.add("Clip", at, {parts[i], build_.scalar(at + ".min", -limit), build_.scalar(at + ".max", limit)});
    }
  }
  NARROW_TRY(parts[0], head_norm(names.q_norm, layer, parts[0], spec_.heads));
  NARROW_TRY(parts[1], head_norm(names.k_norm, layer, parts[1], spec_.key_heads));
  parts[0] = rotate(layer, "query", parts[0], spec_.heads);
  parts[1] = rotate(layer, "key", parts[1], spec_.key_heads);

  const double scale = spec_.attention_scale != 0 ? spec_.attention_scale : 1 / std::sqrt(static_cast<double>(spec_.head_size));
  GraphBuilder::Attributes attributes = {{"q_num_heads", spec_.heads}, {"kv_num_heads", spec_.key_heads}, {"is_causal", std::int64_t{1}}, {"scale", static_cast<float>(scale)}};
  if (spec_.attention_softcap > 0) attributes.push_back({"softcap", static_cast<float>(spec_.attention_softcap)});
  if (spec_.window(layer) > 0) attributes.push_back({"left_window_size", spec_.window(layer) - 1});
  std::vector<ValueId> inputs(parts, parts + 3);
  if (options_.cached) {
    inputs.push_back(kNoValue);
    for (const char* what : {"key", "value"}) {
      inputs.push_back(build_.input(fmt::format("past_key_values.{}.{}", layer, what), Type::tensor(DType::kF32, {Dim("batch"), Dim(spec_.key_heads), Dim("past"), Dim(spec_.head_size)})));
    }
  }
  const auto attended = build_.add_many("Attention", fmt::format("layers.{}.attention", layer), std::move(inputs), options_.cached ? 3 : 1, std::move(attributes));
  if (options_.cached) {
    output(attended[1], fmt::format("present.{}.key", layer));
    output(attended[2], fmt::format("present.{}.value", layer));
  }
  return build_.linear(layer_name(names.o, layer), attended[0], spec_.hidden, wide);
}

ValueId Decoder::activate(const std::string& at, ValueId x) {
  switch (spec_.activation) {
    case Activation::kSilu: return build_.add("Mul", at + ".silu", {x, build_.add("Sigmoid", at + ".sigmoid", {x})});
    case Activation::kGelu: return build_.add("Gelu", at + ".gelu", {x}, {{"approximate", std::string("none")}});
    case Activation::kGeluTanh: return build_.add("Gelu", at + ".gelu", {x}, {{"approximate", std::string("tanh")}});
    case Activation::kRelu: break;
  }
  return build_.add("Relu", at + ".relu", {x});
}

Result<ValueId> Decoder::gated(const std::string& at, const std::string& gate, const std::string& up, const std::string& down, ValueId x) {
  const std::int64_t width = width_of(up, spec_.intermediate);
  NARROW_TRY(const ValueId g, build_.linear(gate, x, width, spec_.hidden));
  NARROW_TRY(const ValueId u, build_.linear(up, x, width, spec_.hidden));
  return build_.linear(down, build_.add("Mul", at + ".product", {activate(at, g), u}), spec_.hidden, width);
}

// Each expert runs on the tokens that chose it, and adds to their rows.
Result<ValueId> Decoder::mixture(std::int64_t layer, ValueId x) {
  const Experts& experts = spec_.experts;
  const std::string at = fmt::format("layers.{}.experts", layer);
  const ValueId flat = build_.add("Reshape", at + ".flat", {x, build_.integers(at + ".rows", {-1, spec_.hidden})});
  NARROW_TRY(const ValueId scores, build_.linear(layer_name(spec_.names.router, layer), flat, experts.count, spec_.hidden));
  const ValueId shares = build_.add("Softmax", at + ".shares", {scores}, {{"axis", std::int64_t{-1}}});
  const auto best = build_.add_many("TopK", at + ".best", {shares, build_.integers(at + ".chosen", {experts.chosen})}, 2, {{"axis", std::int64_t{-1}}});
  ValueId chosen = best[0];
  if (experts.normalize) {
    const ValueId sum = build_.add("ReduceSum", at + ".sum", {chosen, build_.integers(at + ".axis", {-1})}, {{"keepdims", std::int64_t{1}}});
    chosen = build_.add("Div", at + ".normalized", {chosen, sum});
  }
  const auto zeros = [&](const std::string& name, ValueId like) { return build_.add("ConstantOfShape", name, {build_.add("Shape", name + ".shape", {like})}); };
  const ValueId dense = build_.add("ScatterElements", at + ".dense", {zeros(at + ".none", shares), best[1], chosen}, {{"axis", std::int64_t{1}}});
  ValueId sum = zeros(at + ".start", flat);
  for (std::int64_t e = 0; e < experts.count; ++e) {
    const std::string own = fmt::format("{}.{}", at, e);
    const ValueId share = build_.add("Gather", own + ".share", {dense, build_.constant(own + ".index", Tensor::scalar<std::int64_t>(e))}, {{"axis", std::int64_t{1}}});
    const ValueId found = build_.add("NonZero", own + ".found", {share});
    const ValueId rows = build_.add("Squeeze", own + ".rows", {found, build_.integers(own + ".first", {0})});
    const ValueId tokens = build_.add("Gather", own + ".tokens", {flat, rows}, {{"axis", std::int64_t{0}}});
    NARROW_TRY(const ValueId y, gated(own, layer_name(spec_.names.expert_gate, layer, e), layer_name(spec_.names.expert_up, layer, e), layer_name(spec_.names.expert_down, layer, e), tokens));
    const ValueId last = build_.integers(own + ".last", {-1});
    const ValueId weight = build_.add("Unsqueeze", own + ".weight", {build_.add("Gather", own + ".shares", {share, rows}, {{"axis", std::int64_t{0}}}), last});
    const ValueId places = build_.add("Unsqueeze", own + ".places", {rows, last});
    sum = build_.add("ScatterND", own + ".sum", {sum, places, build_.add("Mul", own + ".weighted", {y, weight})}, {{"reduction", std::string("add")}});
  }
  if (experts.shared) {
    const std::string own = at + ".shared";
    NARROW_TRY(const ValueId y, gated(own, layer_name(spec_.names.shared_gate, layer), layer_name(spec_.names.shared_up, layer), layer_name(spec_.names.shared_down, layer), flat));
    NARROW_TRY(const ValueId share, build_.linear(layer_name(spec_.names.shared_router, layer), flat, 1, spec_.hidden));
    sum = build_.add("Add", own + ".sum", {sum, build_.add("Mul", own + ".weighted", {y, build_.add("Sigmoid", own + ".share", {share})})});
  }
  return build_.add("Reshape", at + ".out", {sum, build_.add("Shape", at + ".shape", {x})});
}

Result<ValueId> Decoder::mlp(std::int64_t layer, ValueId x) {
  const Names& names = spec_.names;
  const std::string at = fmt::format("layers.{}.mlp", layer);
  if (spec_.sparse(layer)) return mixture(layer, x);
  const std::string down = layer_name(names.down, layer);
  if (!names.gate_up.empty()) {
    NARROW_TRY(const ValueId fused, build_.linear(layer_name(names.gate_up, layer), x, 2 * spec_.intermediate, spec_.hidden));
    const auto split = build_.add_many("Split", at + ".split", {fused}, 2, {{"axis", std::int64_t{-1}}, {"num_outputs", std::int64_t{2}}});
    return build_.linear(down, build_.add("Mul", at + ".product", {activate(at, split[0]), split[1]}), spec_.hidden, spec_.intermediate);
  }
  if (spec_.gated_mlp) return gated(at, layer_name(names.gate, layer), layer_name(names.up, layer), down, x);
  NARROW_TRY(const ValueId up, build_.linear(layer_name(names.up, layer), x, spec_.intermediate, spec_.hidden));
  return build_.linear(down, activate(at, up), spec_.hidden, spec_.intermediate);
}

Result<ValueId> Decoder::block(std::int64_t layer, ValueId x) {
  const Names& names = spec_.names;
  const std::string at = fmt::format("layers.{}", layer);
  NARROW_TRY(const ValueId before, layer_norm(names.attention_norm, layer, x));
  NARROW_TRY(ValueId attended, attention(layer, before));
  NARROW_TRY(attended, layer_norm(names.post_attention_norm, layer, attended));
  if (spec_.parallel_residual) {
    NARROW_TRY(const ValueId beside, layer_norm(names.mlp_norm, layer, x));
    NARROW_TRY(const ValueId y, mlp(layer, beside));
    return build_.add("Add", at + ".out", {build_.add("Add", at + ".both", {attended, y}), x});
  }
  x = build_.add("Add", at + ".attended", {x, attended});
  NARROW_TRY(const ValueId inner, layer_norm(names.mlp_norm, layer, x));
  NARROW_TRY(ValueId y, mlp(layer, inner));
  NARROW_TRY(y, layer_norm(names.post_mlp_norm, layer, y));
  return build_.add("Add", at + ".out", {x, y});
}

ValueId Decoder::soft_cap(const std::string& at, ValueId x, double cap) {
  const ValueId limit = build_.scalar(at + ".cap", static_cast<float>(cap));
  return build_.add("Mul", at + ".capped", {build_.add("Tanh", at + ".tanh", {build_.add("Div", at + ".scaled", {x, limit})}), limit});
}

Result<ValueId> Decoder::head(ValueId x) {
  NARROW_TRY(x, norm(spec_.names.final_norm, x, spec_.hidden));
  // A tied head may still be stored; what is not stored is the embedding.
  const bool own = build_.weights().has_matrix(spec_.names.head) && !spec_.tied_head;
  NARROW_TRY(ValueId logits, build_.linear(own ? spec_.names.head : spec_.names.embedding, x, spec_.vocabulary, spec_.hidden));
  if (spec_.logit_softcap > 0) logits = soft_cap("logits", logits, spec_.logit_softcap);
  return logits;
}

}  // namespace

Result<Graph> build_decoder(const Spec& spec, const WeightSource& weights, const DecoderOptions& options) {
  if (!spec.known) return unknown_architecture("config.json", spec.family);
  if (spec.encoder) return build_encoder(spec, weights, options.form);
  Decoder decoder(spec, weights, options);
  const ValueId ids = decoder.ids();
  decoder.positions();
  NARROW_TRY(ValueId x, decoder.embed(ids));
  for (std::int64_t layer = 0; layer < spec.layers; ++layer) {
    NARROW_TRY(x, decoder.block(layer, x));
  }
  NARROW_TRY(x, decoder.head(x));
  decoder.output(x, "logits");
  Graph graph = decoder.take();
  std::rotate(graph.outputs.begin(), graph.outputs.end() - 1, graph.outputs.end());  // logits first
  return graph;
}

Result<Graph> build_embedding(const Spec& spec, const WeightSource& weights) {
  if (!spec.known) return unknown_architecture("config.json", spec.family);
  if (spec.encoder) return build_encoder_embedding(spec, weights);
  Decoder decoder(spec, weights, {});
  const ValueId ids = decoder.ids();
  decoder.positions();
  NARROW_TRY(const ValueId x, decoder.embed(ids));
  decoder.output(x, "embedded");
  return decoder.take();
}

Result<Graph> build_block(const Spec& spec, const WeightSource& weights, std::int64_t layer, const DecoderOptions& options) {
  if (!spec.known) return unknown_architecture("config.json", spec.family);
  if (spec.encoder) return build_encoder_block(spec, weights, layer, options.form);
  Decoder decoder(spec, weights, options);
  const ValueId x = decoder.hidden_input();
  decoder.positions();
  NARROW_TRY(const ValueId y, decoder.block(layer, x));
  decoder.output(y, "hidden_out");
  return decoder.take();
}

Result<Graph> build_head(const Spec& spec, const WeightSource& weights) {
  if (!spec.known) return unknown_architecture("config.json", spec.family);
  if (spec.encoder) return build_encoder_head(spec, weights);
  Decoder decoder(spec, weights, {});
  const ValueId x = decoder.hidden_input();
  NARROW_TRY(const ValueId logits, decoder.head(x));
  decoder.output(logits, "logits");
  return decoder.take();
}

std::vector<std::string> all_linears(const Spec& spec) {
  std::vector<std::string> names = spec.by_name;
  for (std::int64_t layer = 0; layer < spec.layers; ++layer) {
    for (const LinearLevel& level : linears_of(spec, layer)) {
      for (const LinearGroup& group : level) names.insert(names.end(), group.begin(), group.end());
    }
  }
  return names;
}

std::vector<LinearLevel> linears_of(const Spec& spec, std::int64_t layer) {
  const Names& names = spec.names;
  const auto group = [&](std::initializer_list<std::string> patterns, std::int64_t expert = -1) {
    LinearGroup members;
    for (const std::string& pattern : patterns) {
      if (!pattern.empty()) members.push_back(layer_name(pattern, layer, expert));
    }
    return members;
  };
  std::vector<LinearLevel> levels = {{group({names.q, names.k, names.v, names.qkv})}, {group({names.o})}};
  LinearLevel inner, outer;
  if (spec.sparse(layer)) {
    for (std::int64_t e = 0; e < spec.experts.count; ++e) {
      inner.push_back(group({names.expert_gate, names.expert_up}, e));
      outer.push_back(group({names.expert_down}, e));
    }
    if (spec.experts.shared) {
      inner.push_back(group({names.shared_gate, names.shared_up}));
      outer.push_back(group({names.shared_down}));
    }
  } else {
    inner.push_back(group({names.gate, names.up, names.gate_up}));
    outer.push_back(group({names.down}));
  }
  levels.push_back(std::move(inner));
  levels.push_back(std::move(outer));
  return levels;
}

}  // namespace narrow::language
