#include "quantizers/weight_only/weight_only.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "base/text.h"
#include "operators/infer.h"
#include "passes/edit.h"
#include "passes/passes.h"
#include "quantizers/matrix/matrix.h"
#include "quantizers/preparation.h"
#include "quantizers/rules.h"
#include "quantizers/weight_only/blocked.h"

namespace narrow::quantizers {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::Type;
using graph::ValueId;

constexpr std::int64_t kSmallestWeight = 1024;  // elements; below, scales and zeros eat up what codes save

// [K, N] as the matrix of a Linear, [N, K].
std::vector<float> rows_of(const Tensor& weight, bool transposed) {
  const std::span<const float> from = weight.data<float>();
  if (transposed) return {from.begin(), from.end()};
  const std::int64_t k = weight.shape()[0], n = weight.shape()[1];
  std::vector<float> out(from.size());
  for (std::int64_t i = 0; i < k; ++i) {
    for (std::int64_t j = 0; j < n; ++j) out[static_cast<std::size_t>(j * k + i)] = from[static_cast<std::size_t>(i * n + j)];
  }
  return out;
}

// Rewrites one graph; its bodies first, with the same tables of names.
class Rewriter {
 public:
  Rewriter(Graph& graph, const Request& request, passes::UniqueNames& names, base::ThreadPool& pool)
      : graph_(graph), request_(request), recipe_(request.recipe), names_(names), pool_(pool) {}

  Status run(std::vector<LayerDecision>& layers) {
    std::vector<Node> nodes = std::move(graph_.nodes);
    graph_.nodes.clear();
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      Node& node = nodes[i];
      Status status;
      passes::for_each_subgraph(node, [&](Graph& body) {
        if (!status.ok()) return;
        Rewriter inner(body, request_, names_, pool_);
        status = inner.run(layers);
        contributed_ = contributed_ || inner.contributed_;
      });
      NARROW_RETURN_IF_ERROR(std::move(status));
      NARROW_TRY(LayerDecision layer, visit(std::move(node)));
      layers.push_back(std::move(layer));
      if (request_.progress) request_.progress("quantizing", i + 1, nodes.size());
    }
    graph_.nodes = std::move(out_);
    graph::remove_dead(graph_);
    return {};
  }
  bool contributed() const { return contributed_; }

 private:
  struct Stored {
    BlockedTensors tensors;
    std::int64_t rows, columns;
    std::string note;
  };

  // Why the node stays float, or empty.
  std::string refuses(const Node& node, const Tensor* weight) const {
    if (node.op_type != "MatMul" && node.op_type != "Gemm") return "it is no product with weights";
    if (std::string reason = excluded_by(recipe_, node.name, node.op_type); !reason.empty()) return reason;
    if (weight == nullptr) return "its second factor is no constant of this graph";
    if (weight->dtype() != DType::kF32 || weight->rank() != 2) return "its weight is no f32 matrix";
    if (node.op_type == "Gemm" && node.get_int("transA", 0) != 0) return "its input is transposed";
    if (weight->size() < kSmallestWeight) return "its weight is small";
    return {};
  }

  LayerDecision keep(Node node, LayerDecision layer, std::string reason) {
    layer.reason = std::move(reason);
    layer.weight_bytes_after = layer.weight_bytes_before;
    out_.push_back(std::move(node));
    return layer;
  }

  Result<LayerDecision> visit(Node node) {
    LayerDecision layer;
    layer.node = node.name;
    layer.op_type = node.op_type;
    layer.weight_bytes_before = weight_bytes(graph_, node);
    const ValueId id = node.inputs.size() > 1 ? node.inputs[1] : kNoValue;
    const Tensor* weight = id != kNoValue && passes::is_fixed_constant(graph_, id) ? graph_.constant(id) : nullptr;
    if (std::string reason = refuses(node, weight); !reason.empty()) return keep(std::move(node), std::move(layer), std::move(reason));
    const bool transposed = node.op_type == "Gemm" && node.get_int("transB", 0) != 0;
    NARROW_TRY(const Stored* stored, store(id, *weight, transposed));
    if (stored == nullptr) {
      return keep(std::move(node), std::move(layer), fmt::format("no power of two from 16 on divides its groups of {} columns", group_size(weight->shape()[transposed ? 1 : 0])));
    }
    const std::uint64_t whole = weight->bytes();
    emit(node, id, *stored);
    layer.decision = Decision::kQuantized;
    layer.reason = stored->note.empty() ? fmt::format("weights of {} bits in groups of {}", recipe_.weights.bits, stored->tensors.block) : stored->note;
    layer.weight_bytes_after = layer.weight_bytes_before - whole + stored->tensors.codes.bytes() + stored->tensors.scales.bytes() +
                               (stored->tensors.zeros.defined() ? stored->tensors.zeros.bytes() : 0);
    return layer;
  }

  std::int64_t group_size(std::int64_t columns) const {
    const auto wanted = static_cast<std::int64_t>(std::min<std::uint64_t>(recipe_.weights.group_size, 1u << 30));
    return wanted == 0 ? columns : std::min(wanted, columns);
  }

  // The codes of a weight, made once for all its readers; null where its groups have no form in ONNX.
  Result<const Stored*> store(ValueId id, const Tensor& weight, bool transposed) {
    const std::int64_t rows = weight.shape()[transposed ? 0 : 1], columns = weight.shape()[transposed ? 1 : 0];
    auto [found, fresh] = stored_.try_emplace({id, transposed});
    if (fresh) {
      NARROW_TRY(const MatrixMethod* method, find_matrix_method("rounding"));
      MatrixOptions options;
      options.bits = static_cast<int>(recipe_.weights.bits);
      options.group_size = group_size(columns);
      options.symmetric = recipe_.weights.symmetric;
      options.scale_type = encodings::ScaleType::kF32;
      encodings::GroupedMatrix shape;
      shape.columns = columns;
      shape.group_size = options.group_size;
      if (block_of(shape) != 0) {
        auto made = quantize_matrix(*method, rows_of(weight, transposed), rows, columns, nullptr, options, pool_);
        if (!made.ok()) return std::move(made).context(fmt::format("'{}'", base::escape_controls(graph_.value(id).name))).error();
        found->second = Stored{recipe_.form == "qoperator" ? to_matmul_nbits(made->matrix) : to_dequantize_linear(made->matrix), rows, columns, made->note};
      }
    }
    return found->second ? &*found->second : nullptr;
  }

  ValueId constant(const std::string& name, const Tensor& tensor) { return tensor.defined() ? graph_.add_constant(names_.make(name), tensor) : kNoValue; }

  // x·W in place of the node, and its bias.
  void emit(const Node& node, ValueId weight, const Stored& stored) {
    auto [codes, fresh] = codes_.try_emplace({weight, &stored});
    if (fresh) {
      const std::string name = graph_.value(weight).name;
      codes->second = {constant(name + "_q", stored.tensors.codes), constant(name + "_s", stored.tensors.scales), constant(name + "_z", stored.tensors.zeros)};
      if (recipe_.form != "qoperator") {
        const ValueId real = graph_.add_value(names_.make(name + "_dq"), Type::tensor(DType::kF32, {stored.columns, stored.rows}));
        add("DequantizeLinear", name + "_dq", codes->second, real);
        out_.back().set("axis", std::int64_t{0});
        out_.back().set("block_size", stored.tensors.block);
        codes->second = {real};
      }
    }
    const ValueId y = node.outputs[0], bias = node.inputs.size() > 2 ? node.inputs[2] : kNoValue;
    const ValueId product = bias == kNoValue ? y : graph_.add_value(names_.make(node.name + "_product"), graph_.value(y).type);
    const std::string name = bias == kNoValue ? node.name : node.name + "_product";
    std::vector<ValueId> inputs = {node.inputs[0]};
    inputs.insert(inputs.end(), codes->second.begin(), codes->second.end());
    while (inputs.back() == kNoValue) inputs.pop_back();
    add(recipe_.form == "qoperator" ? "MatMulNBits" : "MatMul", name, std::move(inputs), product);
    if (recipe_.form == "qoperator") {
      Node& made = out_.back();
      made.domain = "com.microsoft";
      made.set("K", stored.columns);
      made.set("N", stored.rows);
      made.set("bits", static_cast<std::int64_t>(stored.tensors.bits));
      made.set("block_size", stored.tensors.block);
      contributed_ = true;
    }
    if (bias != kNoValue) add("Add", node.name, {product, bias}, y);
  }

  void add(std::string op, std::string name, std::vector<ValueId> inputs, ValueId output) {
    Node node;
    node.op_type = std::move(op);
    node.name = std::move(name);
    node.inputs = std::move(inputs);
    node.outputs = {output};
    out_.push_back(std::move(node));
  }

  Graph& graph_;
  const Request& request_;
  const Recipe& recipe_;
  passes::UniqueNames& names_;
  base::ThreadPool& pool_;
  std::vector<Node> out_;
  std::map<std::pair<ValueId, bool>, std::optional<Stored>> stored_;
  std::map<std::pair<ValueId, const Stored*>, std::vector<ValueId>> codes_;
  bool contributed_ = false;
};

Status check(const Recipe& recipe) {
  if (recipe.weights.bits == 2 && recipe.form != "qoperator") {
    return unsupported("DequantizeLinear knows no blocks of 2-bit weights").hint("use --form qoperator, or --bits 4");
  }
  return {};
}

}  // namespace

Result<Outcome> quantize_weight_only(const Request& request) {
  NARROW_RETURN_IF_ERROR(check(request.recipe));
  NARROW_TRY(Prepared prepared, prepare_model(*request.model));
  Graph& graph = prepared.model.graph;
  NARROW_TRY([[maybe_unused]] const int factors, passes::fold_gemm_factors(graph));
  Outcome outcome;
  outcome.warnings = std::move(prepared.warnings);
  std::vector<LayerDecision> decided;
  base::ThreadPool pool(std::max(1, request.threads));
  passes::UniqueNames names(graph);
  Rewriter rewriter(graph, request, names, pool);
  NARROW_RETURN_IF_ERROR(rewriter.run(decided));
  NARROW_RETURN_IF_ERROR(graph::verify(graph, "the quantized graph"));
  NARROW_TRY([[maybe_unused]] const operators::Inference types, operators::infer_types(graph));
  if (std::none_of(decided.begin(), decided.end(), [](const LayerDecision& l) { return l.decision != Decision::kFloat; })) {
    return unsupported("no layer of this model is a MatMul or Gemm with a constant weight of useful size").hint("use --method static for convolutional models");
  }
  if (rewriter.contributed()) prepared.model.opsets["com.microsoft"] = 1;
  outcome.layers = decisions_for(request.model->graph, std::move(decided));
  outcome.correspondence = same_named_values(request.model->graph, graph);
  outcome.model = std::move(prepared.model);
  record(outcome.model, request.recipe);
  return outcome;
}

}  // namespace narrow::quantizers
