#include "language/spec.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace narrow::language {
namespace {

// Wavelengths beyond `low` of the original context are divided by the factor, those below `high` stay, between it is blended
// (Llama 3.1's model card and reference code).
double llama3_frequency(const Rope& rope, double frequency) {
  const double wavelength = 2 * std::numbers::pi / frequency, context = static_cast<double>(rope.original_positions);
  if (wavelength < context / rope.high_frequency) return frequency;
  if (wavelength > context / rope.low_frequency) return frequency / rope.factor;
  const double smooth = (context / wavelength - rope.low_frequency) / (rope.high_frequency - rope.low_frequency);
  return (1 - smooth) * frequency / rope.factor + smooth * frequency;
}

// YaRN (Peng et al. 2023, arXiv:2309.00071): a ramp over the dimensions between two numbers of rotations.
double yarn_frequency(const Rope& rope, std::int64_t i, double frequency) {
  const auto dimension_of = [&](double rotations) {
    return static_cast<double>(rope.dims) * std::log(static_cast<double>(rope.original_positions) / (rotations * 2 * std::numbers::pi)) / (2 * std::log(rope.theta));
  };
  const double low = std::max(0.0, std::floor(dimension_of(rope.beta_fast)));
  const double high = std::min(static_cast<double>(rope.dims - 1), std::ceil(dimension_of(rope.beta_slow)));
  const double ramp = std::clamp((static_cast<double>(i) - low) / std::max(high - low, 0.001), 0.0, 1.0);
  return frequency / rope.factor * ramp + frequency * (1 - ramp);
}

}  // namespace

std::string layer_name(const std::string& pattern, std::int64_t layer, std::int64_t expert) {
  std::string name = pattern;
  for (const std::int64_t number : {layer, expert}) {
    const std::size_t at = name.find("{}");
    if (at != std::string::npos && number >= 0) name.replace(at, 2, std::to_string(number));
  }
  return name;
}

std::vector<double> rope_frequencies(const Rope& rope, std::int64_t positions) {
  const std::int64_t half = rope.dims / 2;
  std::vector<double> frequencies;
  for (std::int64_t i = 0; i < half; ++i) {
    double frequency = std::pow(rope.theta, -2.0 * static_cast<double>(i) / static_cast<double>(rope.dims));
    switch (rope.scaling) {
      case Rope::Scaling::kNone: break;
      case Rope::Scaling::kLinear: frequency /= rope.factor; break;
      case Rope::Scaling::kLlama3: frequency = llama3_frequency(rope, frequency); break;
      case Rope::Scaling::kYarn: frequency = yarn_frequency(rope, i, frequency); break;
      case Rope::Scaling::kLongRope: {
        const auto& factors = positions > rope.original_positions ? rope.long_factors : rope.short_factors;
        frequency /= factors[static_cast<std::size_t>(i)];
        break;
      }
    }
    frequencies.push_back(frequency);
  }
  return frequencies;
}

Angles make_angles(const Rope& rope, std::int64_t positions) {
  const std::vector<double> frequencies = rope_frequencies(rope, positions);
  Angles angles;
  angles.cosines.reserve(static_cast<std::size_t>(positions) * frequencies.size());
  angles.sines.reserve(angles.cosines.capacity());
  for (std::int64_t p = 0; p < positions; ++p) {
    for (const double frequency : frequencies) {
      const double angle = static_cast<double>(p) * frequency;
      angles.cosines.push_back(static_cast<float>(std::cos(angle) * rope.attention_factor));
      angles.sines.push_back(static_cast<float>(std::sin(angle) * rope.attention_factor));
    }
  }
  return angles;
}

}  // namespace narrow::language
