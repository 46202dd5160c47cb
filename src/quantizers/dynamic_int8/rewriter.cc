#include "quantizers/dynamic_int8/rewriter.h"

#include <fmt/format.h>

#include <algorithm>

#include "quantizers/embeddings.h"
#include "quantizers/preparation.h"
#include "quantizers/rules.h"
#include "quantizers/weights.h"

namespace narrow::quantizers::dynamic_int8 {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::Type;
using graph::ValueId;

// Below this the product is cheaper than finding the range of its input.
constexpr std::int64_t kSmallestWeight = 512;

encodings::AffineGrid grid_of(const Recipe& recipe) {
  return recipe.reduce_range ? encodings::AffineGrid{-64, 64, true} : encodings::AffineGrid{-127, 127, true};
}

// [rows, columns] of the last two dimensions, swapped.
Tensor transposed(const Tensor& t) {
  Shape shape = t.shape();
  const std::int64_t rows = shape[shape.size() - 2], columns = shape.back();
  std::swap(shape[shape.size() - 2], shape.back());
  Tensor out = *Tensor::create(DType::kF32, shape);
  const std::span<const float> in = t.data<float>();
  const std::span<float> to = out.mutable_data<float>();
  const std::int64_t matrices = rows * columns == 0 ? 0 : t.size() / (rows * columns);
  for (std::int64_t m = 0; m < matrices; ++m) {
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = 0; c < columns; ++c) to[(m * columns + c) * rows + r] = in[(m * rows + r) * columns + c];
    }
  }
  return out;
}

Tensor zeros_s8(const Shape& shape) { return *Tensor::create(DType::kS8, shape); }

}  // namespace

ValueId Rewriter::add_value(const std::string& name, Type type) { return graph_.add_value(names_.make(name), std::move(type)); }
ValueId Rewriter::add_constant(const std::string& name, Tensor tensor) { return graph_.add_constant(names_.make(name), std::move(tensor)); }

ValueId Rewriter::emit(std::string op, const std::string& name, std::vector<ValueId> inputs, Type type, ValueId output) {
  Node node;
  node.name = name;
  node.op_type = std::move(op);
  node.inputs = std::move(inputs);
  if (output == kNoValue) output = add_value(name, std::move(type));
  node.outputs = {output};
  out_.push_back(std::move(node));
  return output;
}

Rewriter::Stored Rewriter::store(std::string name, const Tensor& weight, int axis) {
  const encodings::AffineGrid grid = grid_of(recipe_);
  const QuantParams params = weight_params(extremes(weight, axis), grid);
  Stored stored;
  stored.codes = add_constant(name + "_q", quantize_weight(weight, axis, params, grid, DType::kS8));
  graph_.value(stored.codes).quant = weight_type(DType::kS8, axis, grid);
  const Shape shape = axis < 0 ? Shape{} : Shape{static_cast<std::int64_t>(params.scale.size())};
  stored.scale = add_constant(name + "_s", Tensor::from<float>(shape, std::span<const float>(params.scale)));
  stored.zero_point = add_constant(name + "_z", zeros_s8(shape));
  bytes_ += weight.size() + 4 * params.scale.size();
  return stored;
}

void Rewriter::stored_weight(Node& node, std::size_t i, const Tensor& weight, int axis) {
  const ValueId id = node.inputs[i];
  auto [made, fresh] = dequantized_.try_emplace({id, axis}, kNoValue);
  if (fresh) {
    const std::string name = graph_.value(id).name;
    const Stored stored = store(name, weight, axis);
    made->second = emit("DequantizeLinear", name + "_dq", {stored.codes, stored.scale, stored.zero_point}, Type::of(weight));
    if (axis >= 0) out_.back().set("axis", static_cast<std::int64_t>(axis));
  }
  node.inputs[i] = made->second;
}

void Rewriter::integer_product(const Node& node, const Tensor& weight, bool transpose, ValueId x, ValueId bias) {
  const int axis = weight.rank() == 2 && per_channel_choice(recipe_, node.name, node.op_type) ? 1 : -1;
  auto [made, fresh] = products_.try_emplace({node.inputs[1], axis * 2 + (transpose ? 1 : 0)});
  if (fresh) made->second = store(graph_.value(node.inputs[1]).name, transpose ? transposed(weight) : weight, axis);
  const Stored w = made->second;
  std::vector<ValueId>& q = quantized_inputs_[x];
  const std::string x_name = graph_.value(x).name;
  if (q.empty()) {
    Type codes = graph_.value(x).type;
    codes.dtype = DType::kU8;
    Node dynamic;
    dynamic.name = x_name + "_quantize";
    dynamic.op_type = "DynamicQuantizeLinear";
    dynamic.inputs = {x};
    q = {add_value(x_name + "_q", codes), add_value(x_name + "_s", Type::tensor(DType::kF32, {})),
         add_value(x_name + "_z", Type::tensor(DType::kU8, {}))};
    dynamic.outputs = q;
    out_.push_back(std::move(dynamic));
  }
  const std::vector<ValueId> codes = q;
  const ValueId y = node.outputs[0];
  Type sums = graph_.value(y).type;
  sums.dtype = DType::kS32;
  Type real = graph_.value(y).type;
  const ValueId sum = emit("MatMulInteger", node.name + "_integer", {codes[0], w.codes, codes[2], w.zero_point}, sums);
  const ValueId cast = emit("Cast", node.name + "_cast", {sum}, real);
  out_.back().set("to", std::int64_t{1});
  const ValueId scale = emit("Mul", node.name + "_scales", {codes[1], w.scale},
                             axis < 0 ? Type::tensor(DType::kF32, {}) : Type::of(*graph_.constant(w.scale)));
  const ValueId product = emit("Mul", bias == kNoValue ? node.name : node.name + "_product", {cast, scale}, real, bias == kNoValue ? y : kNoValue);
  if (bias != kNoValue) emit("Add", node.name, {product, bias}, real, y);
}

void Rewriter::integer_lstm(Node node, const Tensor& w, const Tensor& r) {
  const std::int64_t directions = w.shape()[0], gates = w.shape()[1];
  const encodings::AffineGrid grid = grid_of(recipe_);
  node.inputs.resize(8, kNoValue);
  // Scales run over directions and gate rows; flattening [directions, gates] makes that one axis.
  const auto put = [&](std::size_t i, const Tensor& weight) {
    const std::string name = graph_.value(node.inputs[i]).name;
    const std::int64_t width = weight.shape()[2];
    const Tensor rows = weight.reshaped({directions * gates, width});
    const QuantParams params = weight_params(extremes(rows, 0), grid);
    const Tensor codes = quantize_weight(rows, 0, params, grid, DType::kS8);
    Tensor turned = *Tensor::create(DType::kS8, {directions, width, gates});
    const std::span<const std::int8_t> from = codes.data<std::int8_t>();
    const std::span<std::int8_t> to = turned.mutable_data<std::int8_t>();
    for (std::int64_t d = 0; d < directions; ++d) {
      for (std::int64_t g = 0; g < gates; ++g) {
        for (std::int64_t k = 0; k < width; ++k) to[(d * width + k) * gates + g] = from[(d * gates + g) * width + k];
      }
    }
    node.inputs[i] = add_constant(name + "_q", std::move(turned));
    node.inputs.push_back(add_constant(name + "_s", Tensor::from<float>({directions, gates}, std::span<const float>(params.scale))));
    node.inputs.push_back(add_constant(name + "_z", zeros_s8({directions, gates})));
    bytes_ += weight.size() + 4 * params.scale.size();
  };
  put(1, w);
  put(2, r);
  node.op_type = "DynamicQuantizeLSTM";
  node.domain = "com.microsoft";
  node.erase("layout");
  contributed_ = true;
  out_.push_back(std::move(node));
}

bool Rewriter::recurrent(const Node& original, LayerDecision& layer) {
  if (!original.is("LSTM") && !original.is("GRU") && !original.is("RNN")) return false;
  Node node = original;
  const Tensor w = find_(graph_, node.input(1));
  const Tensor r = find_(graph_, node.input(2));
  const auto usable = [](const Tensor& t) { return t.dtype() == DType::kF32 && t.rank() == 3; };
  if (!usable(w) || !usable(r)) {
    layer.reason = "its weights are not constant";
    out_.push_back(std::move(node));
    return true;
  }
  if (node.is("LSTM") && target_.dynamic_lstm && node.get_int("layout", 0) == 0) {
    integer_lstm(std::move(node), w, r);
    layer.decision = Decision::kDynamic;
    return true;
  }
  layer.decision = Decision::kConverted;
  layer.reason = fmt::format("{} has no integer {}: its weights are stored as s8 and it computes in float", target_.name, node.op_type);
  stored_weight(node, 1, w, 1);
  stored_weight(node, 2, r, 1);
  out_.push_back(std::move(node));
  return true;
}

LayerDecision Rewriter::visit(Node node) {
  LayerDecision layer;
  layer.node = node.name;
  layer.op_type = node.op_type;
  layer.weight_bytes_before = weight_bytes(graph_, node);
  bytes_ = 0;
  const auto finish = [&]() -> LayerDecision {
    layer.weight_bytes_after = layer.decision == Decision::kFloat ? layer.weight_bytes_before : bytes_;
    return std::move(layer);
  };
  const auto keep = [&](std::string reason) -> LayerDecision {
    layer.reason = std::move(reason);
    out_.push_back(std::move(node));
    return finish();
  };
  if (std::string excluded = excluded_by(recipe_, node.name, node.op_type); !excluded.empty()) return keep(std::move(excluded));
  if (recurrent(node, layer)) return finish();

  const bool gemm = node.is("Gemm");
  if (gemm || node.is("MatMul")) {
    const Tensor w = find_(graph_, node.input(1));
    if (!w.defined()) return keep("its weights are not constant");
    if (w.dtype() != DType::kF32) return keep(fmt::format("its weights are {}, not f32", to_string(w.dtype())));
    if (w.rank() < 2) return keep("its weights are a vector");
    if (w.size() < kSmallestWeight) return keep("its weights are too few to pay for quantizing its input");
    // An unknown type is f32 here: the operator wants both inputs alike.
    if (const DType x = graph_.value(node.input(0)).type.dtype; x != DType::kF32 && x != DType::kUndefined) return keep(fmt::format("its input is {}, not f32", to_string(x)));
    if (!target_.dynamic_matmul) {
      const int axis = w.rank() != 2 ? -1 : gemm && node.get_int("transB", 0) != 0 ? 0 : 1;
      stored_weight(node, 1, w, axis);
      layer.decision = Decision::kConverted;
      layer.reason = fmt::format("weights are stored as s8; {} quantizes activations by itself", target_.name);
      out_.push_back(std::move(node));
      return finish();
    }
    if (gemm && (node.get_float("alpha", 1) != 1 || node.get_float("beta", 1) != 1)) return keep("its alpha and beta could not be folded");
    ValueId x = node.inputs[0];
    if (gemm && node.get_int("transA", 0) != 0) {
      Type turned = graph_.value(x).type;
      if (turned.dims.size() == 2) std::swap(turned.dims[0], turned.dims[1]);
      x = emit("Transpose", node.name + "_transposed", {x}, turned);
      out_.back().set("perm", std::vector<std::int64_t>{1, 0});
    }
    integer_product(node, w, gemm && node.get_int("transB", 0) != 0, x, gemm ? node.input(2) : kNoValue);
    layer.decision = Decision::kDynamic;
    return finish();
  }
  if (node.is("Gather") && node.get_int("axis", 0) == 0) {
    const Tensor table = find_(graph_, node.input(0));
    if (is_embedding(graph_, node, table)) {
      bytes_ += append_embedding(graph_, names_, recipe_, node, table, out_);
      layer.decision = Decision::kConverted;
      layer.reason = kEmbeddingReason;
      return finish();
    }
    return keep("not a large constant table of rows");
  }
  if (node.is("Conv") || node.is("ConvTranspose")) {
    const Tensor w = find_(graph_, node.input(1));
    if (recipe_.compress_weights && w.dtype() == DType::kF32 && w.size() >= kSmallestWeight) {
      stored_weight(node, 1, w, node.is("Conv") ? 0 : -1);
      layer.decision = Decision::kConverted;
      layer.reason = "weights are stored as s8 and it computes in float, as asked by compress_weights";
      out_.push_back(std::move(node));
      return finish();
    }
    return keep("dynamic quantization makes convolutions slower than float on CPUs: use the static method, or compress_weights to shrink the file");
  }
  return keep(fmt::format("{} has no dynamic integer form", node.op_type));
}

Status Rewriter::run(std::vector<LayerDecision>& layers) {
  std::vector<Node> nodes = std::move(graph_.nodes);
  graph_.nodes.clear();
  for (Node& node : nodes) layers.push_back(visit(std::move(node)));
  graph_.nodes = std::move(out_);
  NARROW_RETURN_IF_ERROR(graph::sort_topologically(graph_));
  graph::remove_dead(graph_);
  return {};
}

}  // namespace narrow::quantizers::dynamic_int8
