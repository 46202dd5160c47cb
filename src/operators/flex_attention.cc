// FlexAttention of ai.onnx.preview: attention whose scores and probabilities pass through subgraphs. Since a subgraph sees
// them whole, they are held whole.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/checked.h"
#include "kernels/gemm/gemm.h"
#include "kernels/softmax/softmax.h"
#include "operators/attention_heads.h"
#include "operators/element_type.h"
#include "operators/families.h"
#include "operators/type_rules.h"

namespace narrow::operators {
namespace {

using graph::GraphPtr;
using graph::Node;
using graph::Type;

// The subgraph attribute, null when absent. Errors: corrupt, unless it has one input and one output.
Result<GraphPtr> read_modifier(const Node& node, const char* name) {
  GraphPtr graph = node.get_graph(name);
  if (graph == nullptr || (graph->inputs.size() == 1 && graph->outputs.size() == 1)) return graph;
  return bad_attribute(node, fmt::format("{} has {} inputs and {} outputs, expected one of each", name, graph->inputs.size(), graph->outputs.size()));
}

// The element type that scores have where subgraphs see them.
Result<DType> read_precision(const Node& node, DType input) {
  if (!node.has("softmax_precision")) return input == DType::kF64 ? DType::kF64 : DType::kF32;
  const auto dtype = dtype_from_number(node.get_int("softmax_precision", 0));
  if (dtype && contains(kFloatTypes, *dtype)) return *dtype;
  return bad_attribute(node, fmt::format("softmax_precision is {}, expected a floating-point type", node.get_int("softmax_precision", 0)));
}

Status infer(InferContext& context) {
  const Node& node = context.node();
  const Type& q = context.input(0);
  const Type& k = context.input(1);
  const Type& v = context.input(2);
  for (std::size_t i = 0; i < 3; ++i) NARROW_RETURN_IF_ERROR(check_rank(context, i, 4, 4));
  NARROW_TRY(const DType precision, read_precision(node, q.dtype));
  Type scores = Type::tensor(precision, std::vector<graph::Dim>(4));
  if (q.ranked) std::copy_n(q.dims.begin(), 3, scores.dims.begin());
  if (k.ranked) scores.dims[3] = k.dims[2];
  for (const char* name : {"score_mod", "prob_mod"}) {
    NARROW_TRY(const GraphPtr modifier, read_modifier(node, name));
    if (modifier == nullptr) continue;
    NARROW_TRY([[maybe_unused]] const auto types, context.infer_subgraph(*modifier, std::array{scores}));
  }
  Type y = q;
  if (y.ranked) y.dims[3] = v.ranked ? v.dims[3] : graph::Dim();
  context.set_output(0, y);
  return {};
}

class FlexAttentionKernel final : public Kernel {
 public:
  static Result<std::unique_ptr<Kernel>> prepare(const PrepareContext& context) {
    auto kernel = std::make_unique<FlexAttentionKernel>();
    kernel->node_ = *context.node;
    NARROW_RETURN_IF_ERROR(kernel->ready(context, "score_mod", kernel->score_modifier_));
    NARROW_RETURN_IF_ERROR(kernel->ready(context, "prob_mod", kernel->probability_modifier_));
    return std::unique_ptr<Kernel>(std::move(kernel));
  }

  Status run(RunContext& context) override {
    const Tensor& query = context.input(0);
    NARROW_TRY(const HeadShape q, read_heads(node_, query, "Q", std::nullopt));
    NARROW_TRY(const HeadShape k, read_heads(node_, context.input(1), "K", std::nullopt));
    NARROW_TRY(const HeadShape v, read_heads(node_, context.input(2), "V", std::nullopt));
    if (k.batch != q.batch || v.batch != q.batch || k.size != q.size || v.heads != k.heads || v.length != k.length || k.heads == 0 || q.heads % k.heads != 0) {
      return bad_input(node_, fmt::format("Q {}, K {} and V {} do not go together", to_string(q.dims()), to_string(k.dims()), to_string(v.dims())));
    }
    NARROW_TRY(const DType precision, read_precision(node_, query.dtype()));
    NARROW_TRY(const FloatInput left, FloatInput::open(query, "Q"));
    NARROW_TRY(const FloatInput right, FloatInput::open(context.input(1), "K"));
    NARROW_TRY(const FloatInput value, FloatInput::open(context.input(2), "V"));
    const Shape shape{q.batch, q.heads, q.length, k.length};
    const auto count = base::checked_product(shape);
    if (!count) return bad_input(node_, fmt::format("the scores {} are too large", to_string(shape)));
    NARROW_TRY(std::vector<float> scores, make_floats(node_, *count));
    const std::int64_t group = q.heads / k.heads, block = q.length * k.length;
    NARROW_RETURN_IF_ERROR(for_each_head(context, q, [&](std::int64_t head) {
      return kernels::gemm_f32(false, true, q.length, k.length, q.size, read_scale(node_, q.size, false), left.data() + head * q.length * q.size, q.size,
                               right.data() + head / group * k.length * k.size, k.size, 0, scores.data() + head * block, k.length, 1);
    }));
    NARROW_RETURN_IF_ERROR(modify(context, score_modifier_.get(), "score_mod", precision, shape, scores));
    kernels::softmax_f32(kernels::SoftmaxKind::kSoftmax, scores.data(), q.batch * q.heads * q.length, k.length, 1, scores.data(), context.pool());
    NARROW_RETURN_IF_ERROR(modify(context, probability_modifier_.get(), "prob_mod", precision, shape, scores));
    const HeadShape y{q.batch, q.heads, q.length, v.size, true};
    NARROW_TRY(FloatOutput output, FloatOutput::create(context, 0, query.dtype(), y.dims()));
    NARROW_RETURN_IF_ERROR(for_each_head(context, q, [&](std::int64_t head) {
      return kernels::gemm_f32(false, false, q.length, v.size, k.length, 1, scores.data() + head * block, k.length,
                               value.data() + head / group * v.length * v.size, v.size, 0, output.data() + head * q.length * v.size, v.size, 1);
    }));
    output.store();
    return {};
  }

 private:
  Status ready(const PrepareContext& context, const char* name, std::unique_ptr<Subgraph>& modifier) const {
    NARROW_TRY(const GraphPtr graph, read_modifier(node_, name));
    if (graph == nullptr) return {};
    if (!context.make_subgraph) return unsupported(fmt::format("{}: a node with subgraphs runs only in a session", where(node_)));
    NARROW_TRY(modifier, context.make_subgraph(*graph));
    return {};
  }

  // Calls body(batch · heads + head) for all; the last error, if any.
  template <typename Body>
  static Status for_each_head(RunContext& context, const HeadShape& q, Body&& body) {
    std::vector<Status> done(static_cast<std::size_t>(q.batch * q.heads));
    context.pool().parallel_for(done.size(), [&](std::size_t head, int) { done[head] = body(static_cast<std::int64_t>(head)); });
    for (Status& status : done) NARROW_RETURN_IF_ERROR(std::move(status));
    return {};
  }

  Status modify(RunContext& context, Subgraph* modifier, const char* name, DType precision, const Shape& shape, std::vector<float>& scores) const {
    if (modifier == nullptr) return {};
    NARROW_TRY(Tensor given, Tensor::create(precision, shape));
    switch (precision) {
      case DType::kF64: std::copy(scores.begin(), scores.end(), given.mutable_data<double>().begin()); break;
      case DType::kF16: std::transform(scores.begin(), scores.end(), given.mutable_data<base::Float16>().begin(), base::to_float16); break;
      case DType::kBF16: std::transform(scores.begin(), scores.end(), given.mutable_data<base::BFloat16>().begin(), base::to_bfloat16); break;
      default: std::copy(scores.begin(), scores.end(), given.mutable_data<float>().begin());
    }
    const RuntimeValue input(std::move(given));
    NARROW_TRY(const std::vector<RuntimeValue> found, modifier->run(std::span<const RuntimeValue>(&input, 1), context));
    if (found.size() != 1 || !found[0].is_tensor() || found[0].tensor().shape() != shape) {
      return bad_input(node_, fmt::format("{} gives {}, expected one tensor of shape {}", name, found.empty() ? "nothing" : to_string(found[0]), to_string(shape)));
    }
    NARROW_TRY(const FloatInput changed, FloatInput::open(found[0].tensor(), name));
    std::copy_n(changed.data(), changed.size(), scores.data());
    return {};
  }

  Node node_;
  std::unique_ptr<Subgraph> score_modifier_, probability_modifier_;
};

const std::array kOperators = {
    Operator{.name = "FlexAttention", .domain = "ai.onnx.preview", .min_inputs = 3, .max_inputs = 3, .infer = infer, .prepare = FlexAttentionKernel::prepare},
};

}  // namespace

std::span<const Operator> flex_attention_operators() { return kOperators; }

}  // namespace narrow::operators
