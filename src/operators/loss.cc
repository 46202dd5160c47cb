// Losses that graphs exported for evaluation end in: NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss.
#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <vector>

#include "operators/dispatch.h"
#include "operators/families.h"
#include "operators/float_io.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using graph::TypeKind;

// scores [N, C, d…], labels [N, d…], weights [C]
enum class Reduction { kNone, kSum, kMean };

Result<Reduction> reduction_of(const Node& node) {
  const std::string name = node.get_string("reduction", "mean");
  if (name == "none") return Reduction::kNone;
  if (name == "sum") return Reduction::kSum;
  if (name == "mean") return Reduction::kMean;
  return corrupt(fmt::format("{}: reduction is '{}', expected none, sum or mean", where(node), name));
}

bool is_softmax(const Node& node) { return node.op_type == "SoftmaxCrossEntropyLoss"; }

Status infer_loss(InferContext& context) {
  const Node& node = context.node();
  NARROW_RETURN_IF_ERROR(check_dtype(context, 0, kFloatTypes));
  NARROW_RETURN_IF_ERROR(check_dtype(context, 1, kIndexTypes));
  NARROW_RETURN_IF_ERROR(check_rank(context, 0, 2, -1));
  NARROW_RETURN_IF_ERROR(check_rank(context, 2, 1, 1));
  NARROW_TRY(const Reduction reduction, reduction_of(node));
  const Type& x = context.input(0);
  if (x.kind != TypeKind::kTensor) return {};
  Type y = Type::tensor(x.dtype, {});
  if (reduction == Reduction::kNone) {
    y = context.input(1);
    if (y.kind != TypeKind::kTensor) y = Type::tensor(x.dtype);
    y.dtype = x.dtype;
  }
  context.set_output(0, std::move(y));
  if (node.output(1) != graph::kNoValue) context.set_output(1, x);
  return {};
}

// Over dimension 1 of [batch, classes, inner].
void log_softmax(const float* x, std::int64_t batch, std::int64_t classes, std::int64_t inner, float* y) {
  for (std::int64_t i = 0; i < batch * inner; ++i) {
    const std::int64_t first = i / inner * classes * inner + i % inner;
    float top = x[first];
    for (std::int64_t c = 1; c < classes; ++c) top = std::max(top, x[first + c * inner]);
    double sum = 0;
    for (std::int64_t c = 0; c < classes; ++c) sum += std::exp(static_cast<double>(x[first + c * inner]) - top);
    const double log_sum = std::log(sum) + top;
    for (std::int64_t c = 0; c < classes; ++c) y[first + c * inner] = static_cast<float>(x[first + c * inner] - log_sum);
  }
}

Status run_loss(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  const Tensor& labels = context.input(1);
  NARROW_TRY(const Reduction reduction, reduction_of(node));
  Shape expected = x.shape();
  if (x.rank() >= 2) expected.erase(expected.begin() + 1);
  if (x.rank() < 2 || labels.shape() != expected || !contains(kIndexTypes, labels.dtype())) {
    return invalid_argument(fmt::format("{}: scores of shape {} and labels {}{}, expected [N, C, …] and s32 or s64 [N, …]", where(node),
                                        to_string(x.shape()), to_string(labels.dtype()), to_string(labels.shape())));
  }
  const std::int64_t batch = x.shape()[0], classes = x.shape()[1], inner = batch == 0 ? 0 : labels.size() / batch;
  FloatInput weights;
  if (context.has_input(2)) {
    if (context.input(2).shape() != Shape{classes}) {
      return invalid_argument(fmt::format("{}: weights of shape {}, expected [{}]", where(node), to_string(context.input(2).shape()), classes));
    }
    NARROW_TRY(weights, FloatInput::open(context.input(2), "the weights"));
  }
  NARROW_TRY(const FloatInput source, FloatInput::open(x, "the scores"));
  const float* logs = source.data();
  std::vector<float> made;
  if (is_softmax(node)) {
    if (classes > 0) {
      made.resize(static_cast<std::size_t>(x.size()));
      log_softmax(logs, batch, classes, inner, made.data());
    }
    logs = made.data();
    if (context.wants_output(1)) {
      NARROW_TRY(FloatOutput out, FloatOutput::create(context, 1, x.dtype(), x.shape()));
      std::copy(made.begin(), made.end(), out.data());
      out.store();
    }
  }
  std::optional<std::int64_t> ignored;
  if (node.has("ignore_index")) ignored = node.get_int("ignore_index", 0);
  NARROW_TRY(FloatOutput y, FloatOutput::create(context, 0, x.dtype(), reduction == Reduction::kNone ? labels.shape() : Shape{}));
  const std::vector<std::int64_t> label = labels.to_int64();
  double sum = 0, total_weight = 0;
  for (std::int64_t i = 0; i < labels.size(); ++i) {
    const std::int64_t c = label[i];
    double loss = 0;
    if (c != ignored) {
      if (c < 0 || c >= classes) return invalid_argument(fmt::format("{}: label {} of {} classes", where(node), c, classes));
      const double weight = weights.size() == 0 ? 1 : weights.data()[c];
      loss = -weight * logs[(i / inner * classes + c) * inner + i % inner];
      sum += loss;
      total_weight += weight;
    }
    if (reduction == Reduction::kNone) y.data()[i] = static_cast<float>(loss);
  }
  if (reduction == Reduction::kSum) y.data()[0] = static_cast<float>(sum);
  if (reduction == Reduction::kMean) y.data()[0] = static_cast<float>(sum / total_weight);
  y.store();
  return {};
}

const std::array kOperators = {
    Operator{.name = "NegativeLogLikelihoodLoss", .since = 22, .min_inputs = 2, .max_inputs = 3, .infer = infer_loss, .run = run_loss},
    Operator{.name = "SoftmaxCrossEntropyLoss", .since = 13, .min_inputs = 2, .max_inputs = 3, .max_outputs = 2, .infer = infer_loss, .run = run_loss},
};

}  // namespace

std::span<const Operator> loss_operators() { return kOperators; }

}  // namespace narrow::operators
