// Convolution by its definition, any rank. The fallback for what oneDNN refuses.
#include <algorithm>

#include "kernels/convolution/convolution.h"

namespace narrow::kernels {
namespace {

std::int64_t product(const std::vector<Window>& axes, std::int64_t Window::*field) {
  std::int64_t total = 1;
  for (const Window& axis : axes) total *= axis.*field;
  return total;
}

class ReferenceConvolution final : public Convolution {
 public:
  ReferenceConvolution(const ConvolutionProblem& problem, const float* weights) : p_(problem) {
    ins_ = product(p_.axes, &Window::in);
    outs_ = product(p_.axes, &Window::out);
    taps_ = product(p_.axes, &Window::kernel);
    if (weights != nullptr) weights_.assign(weights, weights + p_.in_channels * (p_.out_channels / p_.groups) * taps_);
  }

  Status run(const ConvolutionArguments& a, base::ThreadPool& pool) override {
    const float* w = weights_.empty() ? a.weights : weights_.data();
    pool.parallel_for(static_cast<std::size_t>(p_.batch * p_.groups), [&](std::size_t job, int) {
      const std::int64_t n = static_cast<std::int64_t>(job) / p_.groups, g = static_cast<std::int64_t>(job) % p_.groups;
      run_group(a, w, n, g);
    });
    return {};
  }

  std::string describe() const override { return "reference; no faster kernel takes this problem, or NARROW_ISA says scalar"; }

 private:
  // Where tap `tap` of position `near` lands on the far side, or -1 outside. `near` counts outputs, for a transposed
  // convolution inputs.
  std::int64_t far_index(std::int64_t near, std::int64_t tap) const {
    std::int64_t index = 0, scale = 1;
    for (std::size_t i = p_.axes.size(); i-- > 0;) {
      const Window& axis = p_.axes[i];
      const std::int64_t near_size = p_.transposed ? axis.in : axis.out, far_size = p_.transposed ? axis.out : axis.in;
      const std::int64_t position = near % near_size * axis.stride - axis.pad_begin + tap % axis.kernel * axis.dilation;
      if (position < 0 || position >= far_size) return -1;
      index += position * scale;
      scale *= far_size;
      near /= near_size;
      tap /= axis.kernel;
    }
    return index;
  }

  void run_group(const ConvolutionArguments& a, const float* w, std::int64_t n, std::int64_t g) const {
    const std::int64_t ic = p_.in_channels / p_.groups, oc = p_.out_channels / p_.groups;
    // Steps between positions and between channels.
    const std::int64_t x_step = p_.channels_last ? p_.in_channels : 1, x_channel = p_.channels_last ? 1 : ins_;
    const std::int64_t y_step = p_.channels_last ? p_.out_channels : 1, y_channel = p_.channels_last ? 1 : outs_;
    const float* x = a.source + n * p_.in_channels * ins_ + g * ic * x_channel;
    const std::int64_t y_start = n * p_.out_channels * outs_ + g * oc * y_channel;
    float* y = a.destination + y_start;
    for (std::int64_t o = 0; o < oc; ++o) {
      for (std::int64_t at = 0; at < outs_; ++at) y[o * y_channel + at * y_step] = p_.has_bias ? a.bias[g * oc + o] : 0.0f;
    }
    for (std::int64_t near = 0; near < (p_.transposed ? ins_ : outs_); ++near) {
      for (std::int64_t tap = 0; tap < taps_; ++tap) {
        const std::int64_t far = far_index(near, tap);
        if (far < 0) continue;
        const std::int64_t in = p_.transposed ? near : far, out = p_.transposed ? far : near;
        for (std::int64_t o = 0; o < oc; ++o) {
          float sum = 0;
          for (std::int64_t i = 0; i < ic; ++i) {
            const std::int64_t at = p_.transposed ? (g * ic + i) * oc + o : (g * oc + o) * ic + i;
            sum += x[i * x_channel + in * x_step] * w[at * taps_ + tap];
          }
          y[o * y_channel + out * y_step] += sum;
        }
      }
    }
    for (std::int64_t o = 0; o < oc; ++o) {
      for (std::int64_t at = 0; at < outs_; ++at) {
        const std::int64_t index = o * y_channel + at * y_step;
        y[index] = p_.activation(y[index] + (p_.has_residual ? a.residual[y_start + index] : 0.0f));
      }
    }
  }

  const ConvolutionProblem p_;
  std::int64_t ins_, outs_, taps_;
  std::vector<float> weights_;
};

}  // namespace

Result<std::unique_ptr<Convolution>> make_reference_convolution(const ConvolutionProblem& problem,
                                                                const float* weights) {
  return std::unique_ptr<Convolution>(std::make_unique<ReferenceConvolution>(problem, weights));
}

}  // namespace narrow::kernels
