#include <algorithm>
#include <cmath>

#include "kernels/elementwise/elementwise.h"
#include "kernels/recurrent/recurrent.h"

namespace narrow::kernels {
namespace {

template <typename F>
void map(float* values, std::int64_t count, F&& f) {
  for (std::int64_t i = 0; i < count; ++i) values[i] = f(values[i]);
}

}  // namespace

void apply(const Activation& activation, float* values, std::int64_t count) {
  const float a = activation.alpha, b = activation.beta;
  using Function = Activation::Function;
  switch (activation.function) {
    case Function::kSigmoid: unary_f32(UnaryF32::kSigmoid)(values, values, static_cast<std::size_t>(count), nullptr); return;
    case Function::kTanh: unary_f32(UnaryF32::kTanh)(values, values, static_cast<std::size_t>(count), nullptr); return;
    case Function::kRelu: map(values, count, [](float v) { return std::max(v, 0.0f); }); return;
    case Function::kAffine: map(values, count, [=](float v) { return a * v + b; }); return;
    case Function::kLeakyRelu: map(values, count, [=](float v) { return v < 0 ? a * v : v; }); return;
    case Function::kThresholdedRelu: map(values, count, [=](float v) { return v > a ? v : 0.0f; }); return;
    case Function::kScaledTanh: map(values, count, [=](float v) { return a * std::tanh(b * v); }); return;
    case Function::kHardSigmoid: map(values, count, [=](float v) { return std::clamp(a * v + b, 0.0f, 1.0f); }); return;
    case Function::kElu: map(values, count, [=](float v) { return v < 0 ? a * (std::exp(v) - 1) : v; }); return;
    case Function::kSoftsign: map(values, count, [](float v) { return v / (1 + std::fabs(v)); }); return;
    case Function::kSoftplus:
      map(values, count, [](float v) { return std::max(v, 0.0f) + std::log1p(std::exp(-std::fabs(v))); });
      return;
  }
}

}  // namespace narrow::kernels
