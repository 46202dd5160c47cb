// f32 convolution and transposed convolution of any spatial rank, groups and depthwise included.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/window.h"
#include "narrow/result.h"

namespace narrow::kernels {

// What happens to each output element last.
struct ConvolutionActivation {
  enum class Kind { kNone, kRelu, kClip, kSwish, kSigmoid, kTanh, kHardSwish };
  Kind kind = Kind::kNone;
  float alpha = 0, beta = 0;  // kRelu: slope below 0; kClip: the bounds; kSwish: x * sigmoid(alpha * x)

  float operator()(float value) const;
  bool operator==(const ConvolutionActivation&) const = default;
};

// Source [batch, in_channels, in…], destination and residual [batch, out_channels, out…], row-major; with
// channels_last [batch, in…, in_channels] and so on.
// Weights: [out_channels, in_channels/groups, kernel…], transposed: [in_channels, out_channels/groups, kernel…].
// destination = activation(convolution + bias + residual).
struct ConvolutionProblem {
  std::int64_t batch = 1, in_channels = 1, out_channels = 1, groups = 1;
  std::vector<Window> axes;
  bool transposed = false;
  bool channels_last = false;
  bool has_bias = false;  // one number an output channel
  bool has_residual = false;
  ConvolutionActivation activation;

  bool operator==(const ConvolutionProblem&) const = default;
};

struct ConvolutionArguments {
  const float* source = nullptr;
  const float* weights = nullptr;   // read only when create() was given none
  const float* bias = nullptr;      // read only when the problem has one, as is the residual
  const float* residual = nullptr;
  float* destination = nullptr;
};

// One problem, made ready. Not safe for concurrent runs.
class Convolution {
 public:
  // The fastest implementation that accepts the problem; never refuses a valid problem. `weights` (copied, packed) may
  // be null: then each run brings them. Errors: resource_exhausted.
  static Result<std::unique_ptr<Convolution>> create(const ConvolutionProblem& problem, const float* weights, int threads);
  virtual ~Convolution() = default;

  virtual Status run(const ConvolutionArguments& arguments, base::ThreadPool& pool) = 0;
  virtual std::string describe() const = 0;
};

// The implementations, in the order in which create() asks. Errors: unsupported when one cannot take the problem.
Result<std::unique_ptr<Convolution>> make_channels_last_convolution(const ConvolutionProblem& problem, const float* weights);
Result<std::unique_ptr<Convolution>> make_onednn_convolution(const ConvolutionProblem& problem, const float* weights,
                                                             int threads);
Result<std::unique_ptr<Convolution>> make_reference_convolution(const ConvolutionProblem& problem, const float* weights);

}  // namespace narrow::kernels
