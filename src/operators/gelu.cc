// GELU of ai.onnx, and com.microsoft's forms of it: exact, by tanh, by sigmoid, with a bias, and as a gate.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/elementwise/elementwise.h"
#include "operators/dispatch.h"
#include "operators/elementwise.h"
#include "operators/families.h"
#include "operators/float_io.h"

namespace narrow::operators {
namespace {

using graph::Node;
using graph::Type;
using kernels::UnaryF32;

constexpr std::string_view kMicrosoft = "com.microsoft";

// In place, over n numbers. `scratch` has room for as many.
using Function = void (*)(float* y, std::int64_t n, float alpha, float* scratch);

void apply(UnaryF32 function, float* y, std::int64_t n) { kernels::unary_f32(function)(y, y, static_cast<std::size_t>(n), nullptr); }

void exact(float* y, std::int64_t n, float, float*) { apply(UnaryF32::kGelu, y, n); }

void by_tanh(float* y, std::int64_t n, float, float* scratch) {
  for (std::int64_t i = 0; i < n; ++i) scratch[i] = y[i] * (0.7978845608f + 0.0356774081f * y[i] * y[i]);
  apply(UnaryF32::kTanh, scratch, n);
  for (std::int64_t i = 0; i < n; ++i) y[i] *= 0.5f + 0.5f * scratch[i];
}

void by_sigmoid(float* y, std::int64_t n, float alpha, float* scratch) {
  for (std::int64_t i = 0; i < n; ++i) scratch[i] = alpha * y[i];
  apply(UnaryF32::kSigmoid, scratch, n);
  for (std::int64_t i = 0; i < n; ++i) y[i] *= scratch[i];
}

bool uses_tanh(const Node& node) { return node.op_type == "FastGelu" || node.get_string("approximate", "none") == "tanh"; }

Function function_of(const Node& node) {
  if (uses_tanh(node)) return by_tanh;
  return node.op_type == "QuickGelu" ? by_sigmoid : exact;
}

// The same in f64.
struct Gelu : UnaryFunction {
  using Types = TypeList<double>;
  static constexpr std::int64_t cost = 16;
  static UnaryParams params(const Node& node) {
    if (node.op_type == "QuickGelu") return {2.0f, node.get_float("alpha", 1.702f)};
    return {uses_tanh(node) ? 1.0f : 0.0f, 0};
  }
  static double of(double x, const UnaryParams& p) {
    if (p[0] == 0) return x * (0.5 * (1 + std::erf(x * 0.70710678118654752440)));
    if (p[0] == 1) return 0.5 * x * (1 + std::tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
    return x / (1 + std::exp(-p[1] * x));
  }
};

Status infer_onnx_gelu(InferContext& context) {
  const std::string mode = context.node().get_string("approximate", "none");
  if (mode != "none" && mode != "tanh") {
    return corrupt(fmt::format("{}: approximate is '{}', expected 'none' or 'tanh'", where(context.node()), mode));
  }
  return infer_unary<kFloatTypes>(context);
}

// The bias has one number for each element of the last dimension.
Status infer_gelu(InferContext& context) {
  NARROW_RETURN_IF_ERROR(check_dtype(context, 0, kFloatTypes));
  const Type& x = context.input(0);
  if (context.has_input(1)) {
    NARROW_RETURN_IF_ERROR(check_rank(context, 0, 1, -1));
    NARROW_RETURN_IF_ERROR(check_rank(context, 1, 1, 1));
    if (x.ranked && context.input(1).ranked) {
      NARROW_TRY([[maybe_unused]] const graph::Dim columns, unify_dims(context.node(), x.dims.back(), context.input(1).dims[0], "the last dimension"));
    }
  }
  context.set_output(0, x);
  return {};
}

Result<FloatInput> open_bias(const Node& node, RunContext& context) {
  if (!context.has_input(1)) return FloatInput();
  const Tensor& bias = context.input(1);
  const Shape& x = context.input(0).shape();
  if (x.empty() || bias.shape() != Shape{x.back()}) {
    return invalid_argument(fmt::format("{}: the bias has shape {}, expected one number for each of the last dimension of {}", where(node), to_string(bias.shape()), to_string(x)));
  }
  return FloatInput::open(bias, "the bias");
}

// Numbers are taken in pieces that fit the first-level cache.
constexpr std::int64_t kPiece = 1024;

// y = x + bias for the n numbers from position `at` of a tensor whose rows are as long as the bias.
void add_bias(const float* x, const FloatInput& bias, std::int64_t at, std::int64_t n, float* y) {
  while (n > 0) {
    const std::int64_t column = at % bias.size(), run = std::min(n, bias.size() - column);
    for (std::int64_t i = 0; i < run; ++i) y[i] = x[i] + bias.data()[column + i];
    at += run;
    x += run;
    y += run;
    n -= run;
  }
}

Status run_gelu(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  if (x.dtype() == DType::kF64 && !context.has_input(1)) return run_unary<Gelu>(node, context);
  NARROW_TRY(const FloatInput source, FloatInput::open(x, "the input"));
  NARROW_TRY(const FloatInput bias, open_bias(node, context));
  NARROW_TRY(FloatOutput y, FloatOutput::create(context, 0, x.dtype(), x.shape()));
  const float alpha = node.get_float("alpha", 1.702f);
  const Function function = function_of(node);
  parallel_ranges(context.pool(), x.size(), [&](std::int64_t begin, std::int64_t end) {
    float scratch[kPiece];
    for (std::int64_t at = begin; at < end; at += kPiece) {
      const std::int64_t n = std::min(kPiece, end - at);
      const float* in = source.data() + at;
      float* out = y.data() + at;
      if (bias.size() != 0) add_bias(in, bias, at, n, out);
      else if (in != out) std::copy_n(in, n, out);
      function(out, n, alpha, scratch);
    }
  }, 4);
  y.store();
  return {};
}

// ---- BiasSplitGelu: the left half of each row times the GELU of the right half ----

Status infer_split(InferContext& context) {
  NARROW_RETURN_IF_ERROR(infer_gelu(context));
  Type y = context.input(0);
  if (y.ranked) {
    graph::Dim& columns = y.dims.back();
    if (columns.known() && columns.size % 2 != 0) {
      return corrupt(fmt::format("{}: the input is {}, whose last dimension does not split in two", where(context.node()), graph::to_string(y)));
    }
    columns = divide_dims(columns, graph::Dim(2));
  }
  context.set_output(0, y);
  return {};
}

Status run_split(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  NARROW_TRY(const FloatInput source, FloatInput::open(x, "the input"));
  NARROW_TRY(const FloatInput bias, open_bias(node, context));
  Shape shape = x.shape();
  if (shape.back() % 2 != 0) return invalid_argument(fmt::format("{}: the input has shape {}, whose last dimension does not split in two", where(node), to_string(shape)));
  const std::int64_t half = shape.back() / 2, rows = half == 0 ? 0 : x.size() / (2 * half);
  shape.back() = half;
  NARROW_TRY(FloatOutput y, FloatOutput::create(context, 0, x.dtype(), shape));
  parallel_ranges(context.pool(), rows, [&](std::int64_t begin, std::int64_t end) {
    float scratch[kPiece];
    for (std::int64_t row = begin; row < end; ++row) {
      for (std::int64_t column = 0; column < half; column += kPiece) {
        const std::int64_t n = std::min(kPiece, half - column);
        const float* left = source.data() + row * 2 * half + column;
        float* out = y.data() + row * half + column;
        for (std::int64_t i = 0; i < n; ++i) out[i] = left[half + i] + bias.data()[half + column + i];
        exact(out, n, 0, scratch);
        for (std::int64_t i = 0; i < n; ++i) out[i] *= left[i] + bias.data()[column + i];
      }
    }
  }, 8 * std::max<std::int64_t>(1, half));
  y.store();
  return {};
}

constexpr Operator row(std::string_view name, int inputs, int most_inputs) {
  return {.name = name, .domain = kMicrosoft, .min_inputs = inputs, .max_inputs = most_inputs, .infer = infer_gelu, .run = run_gelu};
}

const std::array kOperators = {
    Operator{.name = "Gelu", .since = 20, .infer = infer_onnx_gelu, .run = run_gelu, .quant = kFollowRule, .flags = kInPlace},
    row("Gelu", 1, 1),
    row("QuickGelu", 1, 1),
    row("FastGelu", 1, 2),
    row("BiasGelu", 2, 2),
    Operator{.name = "BiasSplitGelu", .domain = kMicrosoft, .min_inputs = 2, .max_inputs = 2, .infer = infer_split, .run = run_split},
};

}  // namespace

std::span<const Operator> gelu_operators() { return kOperators; }

}  // namespace narrow::operators
