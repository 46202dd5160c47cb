#include "operators/operator.h"

#include <fmt/format.h>

#include <unordered_map>

#include "operators/families.h"

namespace narrow::operators {
namespace {

// The table: one row a family, each an array in the file of that name.
const std::span<const Operator> kFamilies[] = {
    convolution_operators(),
    identity_operators(),
    matmul_operators(),
    normalization_operators(),
    attention_operators(),
    rotary_embedding_operators(),
    microsoft_attention_operators(),
    group_query_attention_operators(),
    linear_attention_operators(),
    flex_attention_operators(),
    skip_normalization_operators(),
    gelu_operators(),
    fused_product_operators(),
    linear_operators(),
    inverse_operators(),
    pooling_operators(),
    recurrent_operators(),
    resize_operators(),
    softmax_operators(),
    quantize_operators(),
    dynamic_lstm_operators(),
    integer_pooling_operators(),
    integer_elementwise_operators(),
    integer_matmul_operators(),
    integer_conv_operators(),
    activation_operators(),
    elementwise_binary_operators(),
    elementwise_unary_operators(),
    logic_operators(),
    select_operators(),
    shape_operators(),
    conditional_operators(),
    selection_operators(),
    einsum_operators(),
    sequence_axis_operators(),
    search_operators(),
    scatter_operators(),
    loop_operators(),
    gated_operators(),
    ngram_operators(),
    sequence_operators(),
    optional_operators(),
    reduce_operators(),
    cast_operators(),
    constant_operators(),
    gather_operators(),
    expand_operators(),
    pad_operators(),
    slice_operators(),
    concat_operators(),
    transpose_operators(),
    signal_operators(),
    signal_window_operators(),
    grid_sample_operators(),
    roi_pooling_operators(),
    deform_conv_operators(),
    causal_conv_operators(),
    rearrange_operators(),
    determinant_operators(),
    random_operators(),
    loss_operators(),
    matmul_nbits_operators(),
    gather_quantized_operators(),
    integer_reduce_operators(),
    quantized_fusion_operators(),
};

std::string qualified(std::string_view domain, std::string_view name) {
  return domain.empty() || domain == "ai.onnx" ? std::string(name) : fmt::format("{}::{}", domain, name);
}

class FunctionKernel final : public Kernel {
 public:
  FunctionKernel(graph::Node node, RunFunction run) : node_(std::move(node)), run_(run) {}
  Status run(RunContext& context) override { return run_(node_, context); }

 private:
  graph::Node node_;
  RunFunction run_;
};

}  // namespace

std::span<const std::span<const Operator>> operator_families() { return kFamilies; }

const Operator* find_operator(std::string_view domain, std::string_view name) {
  static const std::unordered_map<std::string, const Operator*> index = [] {
    std::unordered_map<std::string, const Operator*> rows;
    for (const auto& family : kFamilies) {
      for (const Operator& op : family) rows.emplace(qualified(op.domain, op.name), &op);
    }
    return rows;
  }();
  const auto it = index.find(qualified(domain, name));
  return it == index.end() ? nullptr : it->second;
}

std::unique_ptr<Kernel> make_function_kernel(const graph::Node& node, RunFunction run) {
  return std::make_unique<FunctionKernel>(node, run);
}

Status check_arity(const graph::Node& node, const Operator& op) {
  const auto check = [&](const char* what, std::size_t found, int min, int max) -> Status {
    if (static_cast<int>(found) >= min && (max < 0 || static_cast<int>(found) <= max)) return {};
    return corrupt(fmt::format("node '{}' ({}) has {} {}, expected {}", node.name, node.op_type, found, what,
                               max < 0      ? fmt::format("at least {}", min)
                               : min == max ? fmt::format("{}", min)
                                            : fmt::format("{} to {}", min, max)));
  };
  NARROW_RETURN_IF_ERROR(check("inputs", node.inputs.size(), op.min_inputs, op.max_inputs));
  NARROW_RETURN_IF_ERROR(check("outputs", node.outputs.size(), op.min_outputs, op.max_outputs));
  for (int i = 0; i < op.min_inputs; ++i) {
    if (node.inputs[i] == graph::kNoValue) {
      return corrupt(fmt::format("node '{}' ({}) leaves out input {}, which is required", node.name, node.op_type, i));
    }
  }
  return {};
}

Result<std::unique_ptr<Kernel>> prepare(const PrepareContext& context) {
  const graph::Node& node = *context.node;
  const Operator* op = find_operator(node.domain, node.op_type);
  if (op == nullptr || (op->prepare == nullptr && op->run == nullptr)) {
    return unsupported(fmt::format("node '{}': narrow cannot run the operator {}", node.name,
                                   qualified(node.domain, node.op_type)));
  }
  NARROW_RETURN_IF_ERROR(check_arity(node, *op));
  if (op->run != nullptr) return make_function_kernel(node, op->run);
  Result<std::unique_ptr<Kernel>> kernel = op->prepare(context);
  return std::move(kernel).context(fmt::format("node '{}' ({})", node.name, node.op_type));
}

}  // namespace narrow::operators
