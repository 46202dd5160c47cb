// Conv and ConvTranspose; and in domain "narrow" the Conv that passes/assign_layout makes: attribute channels_last lays
// data out [N, spatial…, C] (weights stay as in ONNX), input 3 is added to the result, then `activation` (relu, clip,
// swish, sigmoid, tanh, hard_swish; parameters `alpha`, `beta`) is applied.
#include <fmt/format.h>

#include <array>
#include <list>

#include "kernels/convolution/convolution.h"
#include "operators/families.h"
#include "operators/float_io.h"
#include "operators/layout.h"
#include "operators/window.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using kernels::ConvolutionProblem;

bool transposed(const Node& node) { return node.op_type == "ConvTranspose"; }

Result<kernels::ConvolutionActivation> read_activation(const Node& node) {
  using Kind = kernels::ConvolutionActivation::Kind;
  if (node.domain != "narrow") return kernels::ConvolutionActivation{};
  const std::string name = node.get_string("activation", "");
  constexpr std::pair<std::string_view, Kind> kKinds[] = {{"", Kind::kNone}, {"relu", Kind::kRelu}, {"clip", Kind::kClip}, {"swish", Kind::kSwish},
                                                          {"sigmoid", Kind::kSigmoid}, {"tanh", Kind::kTanh}, {"hard_swish", Kind::kHardSwish}};
  for (const auto& [known, kind] : kKinds) {
    if (name == known) return kernels::ConvolutionActivation{kind, node.get_float("alpha", 0), node.get_float("beta", 0)};
  }
  return corrupt(fmt::format("node '{}' ({}): unknown activation '{}'", node.name, node.op_type, name));
}

Result<std::int64_t> read_group(const Node& node) {
  const std::int64_t group = node.get_int("group", 1);
  if (group >= 1) return group;
  return corrupt(fmt::format("node '{}' ({}): group is {}, expected 1 or more", node.name, node.op_type, group));
}

// The rules that bind source, weight and bias shapes together, over whatever is known. -1 stands for unknown.
Status check_channels(const Node& node, std::int64_t group, std::int64_t source, std::int64_t w0, std::int64_t w1,
                      std::int64_t bias) {
  const auto disagree = [&](std::string what) {
    return corrupt(fmt::format("node '{}' ({}): {}", node.name, node.op_type, what));
  };
  const std::int64_t grouped = w0;  // the weight dimension that the groups share out
  if (grouped >= 0 && grouped % group != 0) {
    return disagree(fmt::format("the weight's first dimension is {}, which {} groups do not divide", grouped, group));
  }
  if (transposed(node)) {
    if (source >= 0 && w0 >= 0 && source != w0) {
      return disagree(fmt::format("the input has {} channels, the weight expects {}", source, w0));
    }
    if (bias >= 0 && w1 >= 0 && bias != w1 * group) {
      return disagree(fmt::format("the bias has {} elements, expected {}", bias, w1 * group));
    }
    return {};
  }
  if (source >= 0 && w1 >= 0 && source != w1 * group) {
    return disagree(fmt::format("the input has {} channels, the weight expects {} ({} groups of {})", source, w1 * group, group, w1));
  }
  if (bias >= 0 && w0 >= 0 && bias != w0) return disagree(fmt::format("the bias has {} elements, expected {}", bias, w0));
  return {};
}

Status check_rank(const Node& node, const char* what, int found, int expected) {
  if (found == expected) return {};
  return corrupt(fmt::format("node '{}' ({}): {} has rank {}, expected {}", node.name, node.op_type, what, found, expected));
}

Status infer_convolution(InferContext& context) {
  const Node& node = context.node();
  Type x = context.input(0);
  if (channels_last(node)) x.dims = to_channels_first(std::move(x.dims));
  const Type& w = context.input(1);
  const Type& b = context.input(2);
  NARROW_TRY(const std::int64_t group, read_group(node));
  NARROW_TRY(const WindowAttributes attributes, read_window(node));
  if (x.ranked && x.rank() < 3) return corrupt(fmt::format("node '{}' ({}): the input has rank {}, expected 3 or more", node.name, node.op_type, x.rank()));
  if (x.ranked && w.ranked) NARROW_RETURN_IF_ERROR(check_rank(node, "the weight", w.rank(), x.rank()));
  if (w.ranked && w.rank() < 3) return corrupt(fmt::format("node '{}' ({}): the weight has rank {}, expected 3 or more", node.name, node.op_type, w.rank()));
  if (b.ranked) NARROW_RETURN_IF_ERROR(check_rank(node, "the bias", b.rank(), 1));
  const Dim unknown;
  const Dim& w0 = w.ranked ? w.dims[0] : unknown;
  const Dim& w1 = w.ranked ? w.dims[1] : unknown;
  NARROW_RETURN_IF_ERROR(check_channels(node, group, x.ranked ? x.dims[1].size : -1, w0.size, w1.size, b.ranked ? b.dims[0].size : -1));

  Type y = Type::tensor(x.dtype != DType::kUndefined ? x.dtype : w.dtype);
  const int rank = x.ranked ? x.rank() : w.ranked ? w.rank() : -1;
  if (rank >= 0) {
    y.ranked = true;
    y.dims.resize(static_cast<std::size_t>(rank));
    if (x.ranked) y.dims[0] = x.dims[0];
    if (transposed(node)) {
      if (w1.known()) y.dims[1] = w1.size * group;
    } else {
      y.dims[1] = w0;
    }
    std::vector<std::int64_t> kernel = attributes.kernel;
    if (w.ranked) {
      std::vector<std::int64_t> from_weight;
      for (int i = 2; i < rank; ++i) from_weight.push_back(w.dims[i].size);
      bool known = true;
      for (std::int64_t size : from_weight) known = known && size >= 0;
      if (known) kernel = from_weight;
    }
    if (x.ranked) {
      NARROW_TRY(std::vector<Dim> spatial,
                 window_output_dims(node, attributes, std::span(x.dims).subspan(2), kernel, transposed(node)));
      std::copy(spatial.begin(), spatial.end(), y.dims.begin() + 2);
    }
  }
  if (channels_last(node)) y.dims = to_channels_last(std::move(y.dims));
  context.set_output(0, std::move(y));
  return {};
}

class ConvolutionKernel final : public Kernel {
 public:
  static Result<std::unique_ptr<Kernel>> prepare(const PrepareContext& context) {
    auto kernel = std::make_unique<ConvolutionKernel>();
    kernel->node_ = *context.node;
    kernel->threads_ = context.threads;
    NARROW_TRY(kernel->group_, read_group(*context.node));
    NARROW_TRY(kernel->attributes_, read_window(*context.node));
    NARROW_TRY(kernel->activation_, read_activation(*context.node));
    if (const Tensor* w = context.constants[1]) kernel->weight_ = *w;
    const auto shape = context.input_types[0].static_shape();
    if (shape && kernel->weight_.defined()) {
      NARROW_TRY(const ConvolutionProblem problem, kernel->problem_of(*shape, kernel->weight_.shape(), context.node->input(2) != graph::kNoValue,
                                                                                context.node->input(3) != graph::kNoValue));
      NARROW_RETURN_IF_ERROR(kernel->ready(problem));
    }
    return std::unique_ptr<Kernel>(std::move(kernel));
  }

  Status run(RunContext& context) override {
    const Tensor& x = context.input(0);
    const Tensor& w = context.input(1);
    if (x.shape() != last_x_ || w.shape() != last_w_) {
      NARROW_TRY(last_, problem_of(x.shape(), w.shape(), context.has_input(2), context.has_input(3)));
      last_y_ = {last_.batch, last_.out_channels};
      for (const kernels::Window& axis : last_.axes) last_y_.push_back(axis.out);
      if (last_.channels_last) last_y_ = to_channels_last(std::move(last_y_));
      last_x_ = x.shape();
      last_w_ = w.shape();
    }
    const ConvolutionProblem& problem = last_;
    const Shape& shape = last_y_;
    if (problem.has_bias && context.input(2).size() != problem.out_channels) {
      return invalid_argument(fmt::format("node '{}' ({}): the bias has {} elements, expected {}", node_.name, node_.op_type, context.input(2).size(), problem.out_channels));
    }
    if (problem.has_residual && context.input(3).shape() != shape) {
      return invalid_argument(fmt::format("node '{}' ({}): the residual has shape {}, expected {}", node_.name, node_.op_type, to_string(context.input(3).shape()), to_string(shape)));
    }
    NARROW_TRY(FloatOutput y, FloatOutput::create(context, 0, x.dtype(), shape));
    if (y.size() == 0) return {};
    NARROW_TRY(const FloatInput source, FloatInput::open(x, "the input"));
    FloatInput weights, bias, residual;
    if (!weight_.defined()) {
      NARROW_TRY(weights, FloatInput::open(w, "the weight"));
    }
    if (problem.has_bias) {
      NARROW_TRY(bias, FloatInput::open(context.input(2), "the bias"));
    }
    if (problem.has_residual) {
      NARROW_TRY(residual, FloatInput::open(context.input(3), "the residual"));
    }
    NARROW_RETURN_IF_ERROR(ready(problem));
    const kernels::ConvolutionArguments arguments = {source.data(), weights.data(), bias.data(), residual.data(), y.data()};
    NARROW_RETURN_IF_ERROR(made_.front().second->run(arguments, context.pool()));
    y.store();
    return {};
  }

  std::string describe() const override { return made_.empty() ? "chosen at the first run" : made_.front().second->describe(); }

 private:
  // Shapes that alternate (a few sequence lengths, batch sizes) keep their packed weights; rarer ones are made anew.
  static constexpr std::size_t kKept = 4;

  Result<ConvolutionProblem> problem_of(Shape x, const Shape& w, bool has_bias, bool has_residual) const {
    const bool last = channels_last(node_);
    if (last) x = to_channels_first(std::move(x));
    if (x.size() < 3 || w.size() != x.size()) {
      return invalid_argument(fmt::format("node '{}' ({}): input {} and weight {} have ranks that do not fit", node_.name, node_.op_type, to_string(x), to_string(w)));
    }
    NARROW_RETURN_IF_ERROR(check_channels(node_, group_, x[1], w[0], w[1], -1));
    const std::span<const std::int64_t> in = std::span(x).subspan(2), kernel = std::span(w).subspan(2);
    ConvolutionProblem problem;
    problem.batch = x[0];
    problem.in_channels = x[1];
    problem.groups = group_;
    problem.transposed = transposed(node_);
    problem.out_channels = problem.transposed ? w[1] * group_ : w[0];
    problem.channels_last = last;
    problem.has_bias = has_bias;
    problem.has_residual = has_residual;
    problem.activation = activation_;
    NARROW_TRY(problem.axes, problem.transposed ? resolve_transposed_window(node_, attributes_, in, kernel)
                                                : resolve_window(node_, attributes_, in, kernel));
    return problem;
  }

  // Moves the implementation of `problem` to the front, making it if needed.
  Status ready(const ConvolutionProblem& problem) {
    for (auto it = made_.begin(); it != made_.end(); ++it) {
      if (it->first == problem) {
        made_.splice(made_.begin(), made_, it);
        return {};
      }
    }
    FloatInput weights;
    if (weight_.defined()) {
      NARROW_TRY(weights, FloatInput::open(weight_, "the weight"));
    }
    NARROW_TRY(auto made, kernels::Convolution::create(problem, weight_.defined() ? weights.data() : nullptr, threads_));
    made_.emplace_front(problem, std::move(made));
    if (made_.size() > kKept) made_.pop_back();
    return {};
  }

  Node node_;
  int threads_ = 1;
  std::int64_t group_ = 1;
  WindowAttributes attributes_;
  kernels::ConvolutionActivation activation_;
  Tensor weight_;  // defined when constant
  Shape last_x_, last_w_, last_y_;  // of the last run, and what was made of them
  ConvolutionProblem last_;
  std::list<std::pair<ConvolutionProblem, std::unique_ptr<kernels::Convolution>>> made_;
};

constexpr QuantRule kConvRule = {.role = QuantRole::kCompute, .weight_input = 1, .bias_input = 2,
                                 .weight_axis = [](const Node&, int) { return 0; }};
constexpr QuantRule kConvTransposeRule = {.role = QuantRole::kCompute, .weight_input = 1, .bias_input = 2,
                                          .weight_axis = [](const Node&, int) { return 1; }};

const std::array kOperators = {
    Operator{.name = "Conv", .since = 22, .min_inputs = 2, .max_inputs = 3, .infer = infer_convolution,
             .prepare = ConvolutionKernel::prepare, .quant = kConvRule},
    Operator{.name = "ConvTranspose", .since = 22, .min_inputs = 2, .max_inputs = 3, .infer = infer_convolution,
             .prepare = ConvolutionKernel::prepare, .quant = kConvTransposeRule},
    Operator{.name = "Conv", .domain = "narrow", .min_inputs = 2, .max_inputs = 4, .infer = infer_convolution,
             .prepare = ConvolutionKernel::prepare},
};

}  // namespace

std::span<const Operator> convolution_operators() { return kOperators; }

}  // namespace narrow::operators
