#include "kernels/convolution/convolution.h"

namespace narrow::kernels {

Result<std::unique_ptr<Convolution>> Convolution::create(const ConvolutionProblem& problem, const float* weights,
                                                         int threads) {
  auto onednn = make_onednn_convolution(problem, weights, threads);
  if (onednn.ok() || onednn.error().code() == ErrorCode::kResourceExhausted) return onednn;
  return make_reference_convolution(problem, weights);
}

}  // namespace narrow::kernels
