#include "quantizers/float16/halves.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/float16.h"
#include "base/text.h"
#include "operators/operator.h"
#include "passes/edit.h"
#include "quantizers/rules.h"

namespace narrow::quantizers::float16 {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::Type;
using graph::ValueId;

constexpr std::int64_t kOnnxFloat = 1, kOnnxHalf = 10;

// No f16 in the operator's definition, or results that f16 cannot count (running sums, coordinates).
constexpr std::string_view kBlocked[] = {"NonMaxSuppression", "Range", "CumSum", "RoiAlign", "MelWeightMatrix", "Upsample",
                                         "RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Celu", "DynamicQuantizeLinear"};

// com.microsoft's operators whose float inputs and outputs may all be f16.
constexpr std::string_view kMicrosoftInHalf[] = {"Attention", "BiasGelu", "BiasSplitGelu", "EmbedLayerNormalization", "FastGelu", "FusedMatMul", "Gelu",
                                                 "GroupQueryAttention", "MultiHeadAttention", "QuickGelu", "RotaryEmbedding", "SkipLayerNormalization",
                                                 "SkipSimplifiedLayerNormalization"};

bool knows_in_half(const Node& node) {
  if (node.domain.empty()) return operators::find_operator("", node.op_type) != nullptr;
  const bool listed = std::find(std::begin(kMicrosoftInHalf), std::end(kMicrosoftInHalf), node.op_type) != std::end(kMicrosoftInHalf);
  // The moments that SkipLayerNormalization can give are f32.
  const bool moments = node.op_type.starts_with("Skip") && (node.output(1) != kNoValue || node.output(2) != kNoValue);
  return node.domain == "com.microsoft" && listed && !moments;
}

// Inputs that stay f32 whatever the operator computes in.
bool always_f32(const Node& node, std::size_t i) { return node.op_type == "Resize" && (i == 1 || i == 2); }

bool has_subgraph(const Node& node) {
  bool found = false;
  passes::for_each_subgraph(const_cast<Node&>(node), [&](Graph&) { found = true; });
  return found;
}

}  // namespace

Tensor to_half(const Tensor& tensor, DType half) {
  Tensor out = *Tensor::create(half, tensor.shape());
  const std::span<const float> in = tensor.data<float>();
  if (half == DType::kBF16) {
    std::transform(in.begin(), in.end(), out.mutable_data<base::BFloat16>().begin(), [](float x) { return base::to_bfloat16(x); });
  } else {
    std::transform(in.begin(), in.end(), out.mutable_data<base::Float16>().begin(), [](float x) { return base::to_float16(x); });
  }
  return out;
}

std::string Converter::why_float(const Node& node) const {
  if (std::string excluded = excluded_by(recipe_, node.name, node.op_type); !excluded.empty()) return excluded;
  if (has_subgraph(node)) return fmt::format("{} passes values on; its bodies are converted inside", node.op_type);
  if (!knows_in_half(node)) return fmt::format("narrow does not know the operator {}{} in f16", node.domain.empty() ? "" : node.domain + "::", node.op_type);
  if (std::find(std::begin(kBlocked), std::end(kBlocked), node.op_type) != std::end(kBlocked)) return fmt::format("{} is kept in f32", node.op_type);
  if (node.op_type == "LayerNormalization" && node.outputs.size() > 1) return "its mean and deviation have no f16 in the standard";
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    const Tensor* tensor = node.inputs[i] == kNoValue || always_f32(node, i) ? nullptr : graph_.constant(node.inputs[i]);
    if (tensor == nullptr || tensor->dtype() != DType::kF32) continue;
    const auto name = [&] { return base::escape_controls(graph_.value(node.inputs[i]).name); };
    for (float x : tensor->data<float>()) {
      if (std::isfinite(x) && std::abs(x) > kLargestHalf) return fmt::format("its constant '{}' holds {}, beyond f16's 65504", name(), x);
      if (x != 0 && tensor->size() == 1 && std::abs(x) < 0x1p-24f) return fmt::format("its constant '{}' is {}, which f16 rounds to nothing", name(), x);
    }
  }
  for (ValueId id : node.inputs) {
    if (id != kNoValue && graph_.value(id).type.dtype == DType::kUndefined) {
      return fmt::format("the type of its input '{}' is not known", base::escape_controls(graph_.value(id).name));
    }
  }
  bool any = false;
  const auto real = [&](ValueId id) { return id != kNoValue && (graph_.value(id).type.dtype == DType::kF32 || graph_.value(id).type.dtype == DType::kF16); };
  for (ValueId id : node.inputs) any = any || real(id);
  for (ValueId id : node.outputs) any = any || real(id);
  return any ? "" : "it computes no floats";
}

void Converter::choose_nodes() {
  for (const Node& node : graph_.nodes) {
    reasons_.push_back(why_float(node));
    node_half_.push_back(reasons_.back().empty());
  }
}

void Converter::choose_values() {
  value_half_.assign(graph_.values.size(), false);
  for (std::size_t v = 0; v < graph_.values.size(); ++v) {
    value_half_[v] = graph_.values[v].captured && graph_.values[v].type.dtype == DType::kF16;
  }
  for (ValueId id : graph_.inputs) value_half_[id] = !keep_io_ && graph_.value(id).type.dtype == DType::kF32;
  for (std::size_t n = 0; n < graph_.nodes.size(); ++n) {
    for (ValueId id : graph_.nodes[n].outputs) {
      if (id == kNoValue) continue;
      const bool output = std::find(graph_.outputs.begin(), graph_.outputs.end(), id) != graph_.outputs.end();
      value_half_[id] = node_half_[n] && graph_.value(id).type.dtype == DType::kF32 && !(output && keep_io_);
    }
  }
  for (std::size_t v = 0; v < value_half_.size(); ++v) {
    if (value_half_[v]) graph_.values[v].type.dtype = DType::kF16;
  }
}

ValueId Converter::half_constant(ValueId id) {
  auto [made, fresh] = halves_.try_emplace(id, kNoValue);
  if (fresh) made->second = graph_.add_constant(names_.make(graph_.value(id).name + "_f16"), to_half(*graph_.constant(id), DType::kF16));
  return made->second;
}

ValueId Converter::as(ValueId id, bool half) {
  if (id == kNoValue) return id;
  const DType have = graph_.value(id).type.dtype;
  const DType want = half ? DType::kF16 : DType::kF32;
  if (have == want || (have != DType::kF32 && have != DType::kF16)) return id;
  // Values that were f16 in the file are left to the operators that read them.
  if (!half && (static_cast<std::size_t>(id) >= value_half_.size() || !value_half_[id])) return id;
  if (half && passes::is_fixed_constant(graph_, id)) return half_constant(id);
  auto [made, fresh] = casts_.try_emplace({id, half}, kNoValue);
  if (fresh) {
    const std::string name = names_.make(graph_.value(id).name + (half ? "_f16" : "_f32"));
    Type type = graph_.value(id).type;
    type.dtype = want;
    made->second = graph_.add_value(name, type);
    Node cast;
    cast.name = name + "_cast";
    cast.op_type = "Cast";
    cast.inputs = {id};
    cast.outputs = {made->second};
    cast.set("to", half ? kOnnxHalf : kOnnxFloat);
    out_.push_back(std::move(cast));
  }
  return made->second;
}

void Converter::convert_node(Node node, bool half) {
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    const ValueId id = node.inputs[i];
    if (id == kNoValue) continue;
    node.inputs[i] = as(id, half && !always_f32(node, i));
  }
  if (half) {
    if (node.op_type == "Cast" && node.get_int("to", 0) == kOnnxFloat) node.set("to", kOnnxHalf);
    if (node.op_type == "EyeLike" && node.get_int("dtype", kOnnxFloat) == kOnnxFloat) node.set("dtype", kOnnxHalf);
    const Tensor* value = node.get_tensor("value");
    if (value != nullptr && value->dtype() == DType::kF32) node.set("value", to_half(*value, DType::kF16));
    if (node.op_type == "ConstantOfShape" && node.get_tensor("value") == nullptr) {
      node.set("value", to_half(Tensor::from<float>({1}, {0.0f}), DType::kF16));
    }
  }
  std::vector<Node> back;
  for (ValueId& id : node.outputs) {
    // An output of the graph keeps its name and f32: the operator writes f16 beside it, which other operators read.
    if (!half || id == kNoValue || value_half_[id] || graph_.value(id).type.dtype != DType::kF32) continue;
    const ValueId real = id;
    const std::string name = names_.make(graph_.value(real).name + "_f16");
    Type type = graph_.value(real).type;
    type.dtype = DType::kF16;
    id = graph_.add_value(name, type);
    casts_[{real, true}] = id;
    Node cast;
    cast.name = name + "_cast";
    cast.op_type = "Cast";
    cast.inputs = {id};
    cast.outputs = {real};
    cast.set("to", kOnnxFloat);
    back.push_back(std::move(cast));
  }
  out_.push_back(std::move(node));
  for (Node& cast : back) out_.push_back(std::move(cast));
}

Status Converter::run(std::vector<LayerDecision>& layers) {
  for (graph::Value& value : graph_.values) {
    const auto it = outer_.find(value.name);
    if (value.captured && it != outer_.end()) value.type.dtype = it->second;
  }
  choose_nodes();
  choose_values();
  std::map<std::string, DType> types = outer_;
  for (const graph::Value& value : graph_.values) {
    if (!value.captured) types[value.name] = value.type.dtype;
  }
  std::vector<Node> nodes = std::move(graph_.nodes);
  graph_.nodes.clear();
  for (std::size_t n = 0; n < nodes.size(); ++n) {
    Status status;
    // Bodies take and give f32, as the operator around them does here.
    passes::for_each_subgraph(nodes[n], [&](Graph& body) {
      if (status.ok()) status = Converter(body, recipe_, names_, types, true).run(layers);
    });
    NARROW_RETURN_IF_ERROR(std::move(status));
    LayerDecision layer;
    layer.node = nodes[n].name;
    layer.op_type = nodes[n].op_type;
    layer.decision = node_half_[n] ? Decision::kConverted : Decision::kFloat;
    layer.reason = reasons_[n];
    for (ValueId id : nodes[n].inputs) {
      const Tensor* tensor = graph_.constant(id);
      if (tensor != nullptr && tensor->dtype() == DType::kF32) layer.weight_bytes_before += tensor->bytes();
    }
    layer.weight_bytes_after = node_half_[n] ? layer.weight_bytes_before / 2 : layer.weight_bytes_before;
    layers.push_back(std::move(layer));
    convert_node(std::move(nodes[n]), node_half_[n]);
  }
  graph_.nodes = std::move(out_);
  NARROW_RETURN_IF_ERROR(graph::sort_topologically(graph_));
  graph::remove_dead(graph_);
  return {};
}

}  // namespace narrow::quantizers::float16
