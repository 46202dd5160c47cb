#include "kernels/convolution/convolution.h"

#include <algorithm>
#include <cmath>

#include "base/cpu.h"

namespace narrow::kernels {

float ConvolutionActivation::operator()(float v) const {
  switch (kind) {
    case Kind::kNone: return v;
    case Kind::kRelu: return v < 0 ? alpha * v : v;
    case Kind::kClip: return std::min(std::max(v, alpha), beta);
    case Kind::kSwish: return v / (1 + std::exp(-alpha * v));
    case Kind::kSigmoid: return 1 / (1 + std::exp(-v));
    case Kind::kTanh: return std::tanh(v);
    case Kind::kHardSwish: return v * std::clamp(v / 6 + 0.5f, 0.0f, 1.0f);
  }
  return v;
}

namespace {

// Whether some output's window holds nothing but padding.
bool has_empty_window(const ConvolutionProblem& problem) {
  return std::any_of(problem.axes.begin(), problem.axes.end(), [](const Window& axis) {
    return axis.pad_begin >= axis.extent() || (axis.out - 1) * axis.stride - axis.pad_begin >= axis.in;
  });
}

}  // namespace

Result<std::unique_ptr<Convolution>> Convolution::create(const ConvolutionProblem& problem, const float* weights,
                                                         int threads) {
  if (base::effective_isa() == base::Isa::kScalar) return make_reference_convolution(problem, weights);
  // oneDNN 2.6 does not add the residual there.
  if (problem.has_residual && !problem.transposed && has_empty_window(problem)) return make_reference_convolution(problem, weights);
  // As fast as oneDNN's where that has a core to itself, ahead of it with an activation at the end, and on the pool: oneDNN's
  // OpenMP threads wait by spinning, which on a busy machine costs several times the work.
  auto own = make_channels_last_convolution(problem, weights);
  if (own.ok() || own.error().code() == ErrorCode::kResourceExhausted) return own;
  auto onednn = make_onednn_convolution(problem, weights, threads);
  if (onednn.ok() || onednn.error().code() == ErrorCode::kResourceExhausted) return onednn;
  return make_reference_convolution(problem, weights);
}

}  // namespace narrow::kernels
