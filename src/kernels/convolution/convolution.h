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

// Source [batch, in_channels, in…], destination [batch, out_channels, out…], row-major.
// Weights: [out_channels, in_channels/groups, kernel…], transposed: [in_channels, out_channels/groups, kernel…].
struct ConvolutionProblem {
  std::int64_t batch = 1, in_channels = 1, out_channels = 1, groups = 1;
  std::vector<Window> axes;
  bool transposed = false;
  bool has_bias = false;  // one number an output channel

  bool operator==(const ConvolutionProblem&) const = default;
};

// One problem, made ready. Not safe for concurrent runs.
class Convolution {
 public:
  // The fastest implementation that accepts the problem; never refuses a valid problem. `weights` (copied, packed) may
  // be null: then each run brings them. Errors: resource_exhausted.
  static Result<std::unique_ptr<Convolution>> create(const ConvolutionProblem& problem, const float* weights, int threads);
  virtual ~Convolution() = default;

  // `weights` is read only when none were given to create(), `bias` only when the problem has one.
  virtual Status run(const float* source, const float* weights, const float* bias, float* destination,
                     base::ThreadPool& pool) = 0;
  virtual std::string describe() const = 0;
};

// The implementations, in the order in which create() asks. Errors: unsupported when one cannot take the problem.
Result<std::unique_ptr<Convolution>> make_onednn_convolution(const ConvolutionProblem& problem, const float* weights,
                                                             int threads);
Result<std::unique_ptr<Convolution>> make_reference_convolution(const ConvolutionProblem& problem, const float* weights);

}  // namespace narrow::kernels
