// The parts of com.microsoft's fused products become operators of their own, which the rest of narrow knows how to
// quantize and to lay out.
#include <algorithm>
#include <array>
#include <optional>

#include "passes/edit.h"
#include "passes/passes.h"

namespace narrow::passes {
namespace {

using graph::Attribute;
using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::Type;
using graph::ValueId;

bool is_microsoft(const Node& node, std::string_view op) { return node.domain == "com.microsoft" && node.op_type == op; }

// The activation's parameters by their names in ai.onnx, in the order of activation_params.
struct ActivationRow {
  std::string_view name;
  std::array<const char*, 2> parameters{};
};
constexpr ActivationRow kActivations[] = {{"Relu"}, {"Sigmoid"}, {"Tanh"}, {"Softplus"}, {"Softsign"}, {"HardSwish"}, {"Clip", {"min", "max"}},
                                                 {"LeakyRelu", {"alpha"}}, {"Elu", {"alpha"}}, {"ThresholdedRelu", {"alpha"}},
                                                 {"HardSigmoid", {"alpha", "beta"}}, {"Selu", {"alpha", "gamma"}}};

class Unfuser {
 public:
  Unfuser(Graph& graph, UnfuseScope scope) : graph_(graph), scope_(scope) {}

  int run() {
    int changed = 0;
    for (const Node& node : graph_.nodes) changed += take(node) ? 1 : 0;
    if (changed > 0) graph_.nodes = std::move(made_);
    return changed;
  }

 private:
  // Puts the node, or what stands for it, at the end of what is made.
  bool take(Node node) {
    const bool all = scope_ == UnfuseScope::kAll;
    if (is_microsoft(node, "FusedConv") && has_known_activation(node)) return split_activation(std::move(node), "Conv");
    if (all && is_microsoft(node, "FusedGemm") && has_known_activation(node)) return split_activation(std::move(node), "Gemm");
    if (all && (is_microsoft(node, "FusedMatMul") || is_microsoft(node, "TransposeMatMul")) && is_plain_product(node)) return to_matmul(std::move(node));
    if (all && is_microsoft(node, "Attention") && is_plain_attention(node)) return split_projection(std::move(node));
    if (all && is_microsoft(node, "EmbedLayerNormalization") && is_plain_embedding(node)) return split_embedding(std::move(node));
    made_.push_back(std::move(node));
    return false;
  }

  ValueId constant(const std::string& name, Tensor tensor) { return graph_.add_constant(name, std::move(tensor)); }

  // A node of ai.onnx whose output is a new value of the type of `like`.
  ValueId add(std::string_view op, const std::string& name, std::vector<ValueId> inputs, ValueId like, std::vector<Attribute> attributes = {}) {
    const ValueId output = graph_.add_value(name + "_out", like == kNoValue ? Type() : graph_.value(like).type);
    add_to(op, name, std::move(inputs), output, std::move(attributes));
    return output;
  }
  void add_to(std::string_view op, const std::string& name, std::vector<ValueId> inputs, ValueId output, std::vector<Attribute> attributes = {}) {
    Node node;
    node.name = graph_.unique_node_name(name);
    node.op_type = op;
    node.inputs = std::move(inputs);
    node.outputs = {output};
    node.attributes = std::move(attributes);
    made_.push_back(std::move(node));
  }

  // ---- FusedConv, FusedGemm ----

  static const ActivationRow* find_activation(const Node& node) {
    const std::string name = node.get_string("activation", "");
    const auto it = std::find_if(std::begin(kActivations), std::end(kActivations), [&](const ActivationRow& row) { return row.name == name; });
    return it == std::end(kActivations) ? nullptr : it;
  }
  // In f32, the type that the parameters are given in.
  bool has_known_activation(const Node& node) const {
    return find_activation(node) != nullptr && node.outputs.size() == 1 && node.outputs[0] != kNoValue && graph_.value(node.outputs[0]).type.dtype == DType::kF32;
  }

  // The parameter at this place of the list, or of the attribute that FusedGemm has in its stead.
  static std::optional<float> parameter(const Node& node, const ActivationRow& row, std::size_t i) {
    const std::vector<float> listed = node.get_floats("activation_params");
    if (i < listed.size()) return listed[i];
    const std::string attribute = std::string("activation_") + row.parameters[i];
    return node.has(attribute) ? std::optional(node.get_float(attribute, 0)) : std::nullopt;
  }

  bool split_activation(Node node, const char* plain) {
    const ActivationRow& row = *find_activation(node);
    const ValueId output = node.outputs[0];
    const std::string name = node.name;
    std::vector<ValueId> extra;  // Clip's bounds are inputs
    std::vector<Attribute> attributes;
    for (std::size_t i = 0; i < row.parameters.size() && row.parameters[i] != nullptr; ++i) {
      const std::optional<float> value = parameter(node, row, i);
      if (row.name == "Clip") extra.push_back(value ? constant(name + "_" + row.parameters[i], Tensor::scalar(*value)) : kNoValue);
      else if (value) attributes.push_back({row.parameters[i], *value});
    }
    const ValueId sum = node.input(3);
    if (node.inputs.size() > 3) node.inputs.resize(3);
    for (const char* attribute : {"activation", "activation_params", "activation_alpha", "activation_beta", "activation_gamma"}) node.erase(attribute);
    node.op_type = plain;
    node.domain = "";
    ValueId x = graph_.add_value(name + "_out", graph_.value(output).type);
    node.outputs[0] = x;
    made_.push_back(std::move(node));
    if (sum != kNoValue) x = add("Add", name + "_sum", {x, sum}, output);
    extra.insert(extra.begin(), x);
    add_to(row.name, name + "_activation", std::move(extra), output, std::move(attributes));
    return true;
  }

  // ---- FusedMatMul ----

  // By a constant matrix, as a linear layer has it.
  bool is_plain_product(const Node& node) const {
    const Tensor* b = is_fixed_constant(graph_, node.input(1)) ? graph_.constant(node.input(1)) : nullptr;
    const Type& a = graph_.value(node.input(0)).type;
    return b != nullptr && b->rank() == 2 && b->dtype() == DType::kF32 && a.ranked && a.rank() >= 2 && node.get_int("transA", 0) == 0 &&
           node.get_int("transBatchA", 0) == 0 && node.get_int("transBatchB", 0) == 0;
  }

  bool to_matmul(Node node) {
    const float alpha = node.get_float("alpha", 1.0f);
    const ValueId output = node.outputs[0];
    if (node.get_int("transB", 0) != 0) {
      node.inputs[1] = add("Transpose", node.name + "_weight", {node.inputs[1]}, kNoValue, {{"perm", std::vector<std::int64_t>{1, 0}}});
    }
    node.op_type = "MatMul";
    node.domain = "";
    node.attributes.clear();
    const std::string name = node.name;
    if (alpha == 1.0f) {
      made_.push_back(std::move(node));
      return true;
    }
    const ValueId product = graph_.add_value(name + "_out", graph_.value(output).type);
    node.outputs[0] = product;
    made_.push_back(std::move(node));
    add_to("Mul", name + "_alpha", {product, constant(name + "_factor", Tensor::scalar(alpha))}, output);
    return true;
  }

  // ---- Attention ----

  enum AttentionInput : std::size_t { kInput, kWeights, kBias, kMask, kPast, kScoreBias };

  // Constant projections of known sizes, no state, and a mask of a form that MultiHeadAttention takes too.
  bool is_plain_attention(const Node& node) const {
    const Tensor* weights = is_fixed_constant(graph_, node.input(kWeights)) ? graph_.constant(node.input(kWeights)) : nullptr;
    if (weights == nullptr || weights->rank() != 2 || weights->dtype() != DType::kF32 || node.output(1) != kNoValue || node.input(kPast) != kNoValue ||
        node.inputs.size() > 6 || node.get_int("do_rotary", 0) != 0 || node.get_int("past_present_share_buffer", 0) != 0) {
      return false;
    }
    if (node.input(kMask) != kNoValue) {
      const Type& mask = graph_.value(node.input(kMask)).type;
      const Type& x = graph_.value(node.input(kInput)).type;
      // One number a sequence, not two; a column of masks means none.
      const bool lengths = mask.rank() == 1 && x.ranked && x.rank() == 3 && mask.dims[0].same(x.dims[0]);
      const bool keys = (mask.rank() == 2 || mask.rank() == 3) && mask.dims.back().size != 1;
      if (!lengths && !keys) return false;
    }
    const std::vector<std::int64_t> sizes = hidden_sizes(node, weights->shape()[1]);
    return sizes.size() == 3 && std::all_of(sizes.begin(), sizes.end(), [](std::int64_t s) { return s > 0; }) &&
           sizes[0] + sizes[1] + sizes[2] == weights->shape()[1];
  }
  static std::vector<std::int64_t> hidden_sizes(const Node& node, std::int64_t columns) {
    const std::vector<std::int64_t> given = node.get_ints("qkv_hidden_sizes");
    return given.empty() ? std::vector<std::int64_t>(3, columns / 3) : given;
  }

  bool split_projection(Node node) {
    const std::string name = node.name;
    const std::vector<std::int64_t> sizes = hidden_sizes(node, graph_.constant(node.input(kWeights))->shape()[1]);
    ValueId x = add("MatMul", name + "_projection", {node.input(kInput), node.input(kWeights)}, kNoValue);
    if (node.input(kBias) != kNoValue) x = add("Add", name + "_bias", {x, node.input(kBias)}, kNoValue);
    Node split;
    split.name = graph_.unique_node_name(name + "_split");
    split.op_type = "Split";
    split.inputs = {x, constant(name + "_sizes", Tensor::from<std::int64_t>({3}, std::span<const std::int64_t>(sizes)))};
    split.attributes = {{"axis", std::int64_t{2}}};
    for (const char* part : {"_query", "_key", "_value"}) split.outputs.push_back(graph_.add_value(name + part, {}));
    std::vector<ValueId> inputs = split.outputs;
    made_.push_back(std::move(split));
    inputs.insert(inputs.end(), {kNoValue, node.input(kMask), node.input(kScoreBias)});
    while (inputs.back() == kNoValue) inputs.pop_back();
    node.op_type = "MultiHeadAttention";
    node.inputs = std::move(inputs);
    node.outputs.resize(1);
    for (const char* attribute : {"qkv_hidden_sizes", "do_rotary", "rotary_embedding_dim", "past_present_share_buffer"}) node.erase(attribute);
    made_.push_back(std::move(node));
    return true;
  }

  // ---- EmbedLayerNormalization ----

  enum EmbeddingInput : std::size_t { kIds, kSegments, kWords, kPositions, kSegmentTable, kGamma, kBeta, kTokenMask, kPositionIds };

  bool is_plain_embedding(const Node& node) const {
    return is_fixed_constant(graph_, node.input(kWords)) && node.input(kPositions) != kNoValue && node.input(kGamma) != kNoValue && node.output(0) != kNoValue &&
           (node.input(kSegments) == kNoValue) == (node.input(kSegmentTable) == kNoValue) && (node.output(1) == kNoValue || node.input(kTokenMask) != kNoValue);
  }

  // Rows of the tables, and SkipLayerNormalization of their sum.
  bool split_embedding(Node node) {
    const std::string name = node.name;
    ValueId tokens = add("Gather", name + "_words", {node.input(kWords), node.input(kIds)}, kNoValue);
    if (node.input(kSegments) != kNoValue) {
      const ValueId segments = add("Gather", name + "_segments", {node.input(kSegmentTable), node.input(kSegments)}, kNoValue);
      tokens = add("Add", name + "_tokens", {tokens, segments}, kNoValue);
    }
    ValueId rows = node.input(kPositionIds);
    if (rows == kNoValue) {
      const auto number = [&](const char* what, std::int64_t value) { return constant(name + what, Tensor::scalar<std::int64_t>(value)); };
      const ValueId shape = add("Shape", name + "_shape", {node.input(kIds)}, kNoValue);
      const ValueId length = add("Gather", name + "_length", {shape, number("_axis", 1)}, kNoValue);
      rows = add("Range", name + "_range", {number("_first", 0), length, number("_step", 1)}, kNoValue);
    }
    const ValueId positions = add("Gather", name + "_positions", {node.input(kPositions), rows}, kNoValue);
    if (node.output(1) != kNoValue) {
      const ValueId ones = add("Equal", name + "_ones", {node.input(kTokenMask), constant(name + "_one", Tensor::scalar<std::int32_t>(1))}, kNoValue);
      const ValueId counted = add("Cast", name + "_counted", {ones}, kNoValue, {{"to", std::int64_t{6}}});
      add_to("ReduceSum", name + "_count", {counted, constant(name + "_axes", Tensor::from<std::int64_t>({1}, {1}))}, node.outputs[1], {{"keepdims", std::int64_t{0}}});
    }
    node.op_type = "SkipLayerNormalization";
    node.inputs = {tokens, positions, node.input(kGamma), node.input(kBeta)};
    node.outputs = node.output(2) == kNoValue ? std::vector<ValueId>{node.outputs[0]} : std::vector<ValueId>{node.outputs[0], kNoValue, kNoValue, node.outputs[2]};
    node.erase("mask_index_type");
    made_.push_back(std::move(node));
    return true;
  }

  Graph& graph_;
  UnfuseScope scope_;
  std::vector<Node> made_;
};

}  // namespace

Result<int> unfuse(Graph& graph, UnfuseScope scope) { return Unfuser(graph, scope).run(); }

}  // namespace narrow::passes
