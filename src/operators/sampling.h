// Reading an image of any spatial rank between its pixels.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

namespace narrow::operators {

enum class Interpolation { kNearest, kLinear, kCubic };
enum class Border { kZeros, kClamp, kReflect };  // what lies beyond the image

// One pixel's part in a sample: its offset in the image, row-major.
template <typename T>
struct Tap {
  std::int64_t offset;
  T weight;
};

// `align_corners`: reflection is about the centres of the outermost pixels instead of their outer edges.
template <typename T>
class Sampler {
 public:
  // `sizes` are the image's spatial dimensions, each at least 1.
  Sampler(std::span<const std::int64_t> sizes, Interpolation interpolation, Border border, bool align_corners)
      : sizes_(sizes.begin(), sizes.end()), interpolation_(interpolation), border_(border), align_corners_(align_corners) {}

  // The taps of a position in pixels (pixel i lies at i), slowest axis first. Replaces what `taps` held; empty where
  // the sample is zero.
  void find(const T* position, std::vector<Tap<T>>& taps) const {
    taps.assign(1, {0, T(1)});
    for (std::size_t d = 0; d < sizes_.size(); ++d) {
      Tap<T> axis[4];
      const int count = axis_taps(position[d], sizes_[d], axis);
      const std::size_t before = taps.size();
      for (int k = 1; k < count; ++k) {
        for (std::size_t i = 0; i < before; ++i) taps.push_back({taps[i].offset * sizes_[d] + axis[k].offset, taps[i].weight * axis[k].weight});
      }
      for (std::size_t i = 0; i < before && count > 0; ++i) taps[i] = {taps[i].offset * sizes_[d] + axis[0].offset, taps[i].weight * axis[0].weight};
      if (count == 0) taps.clear();
    }
  }

 private:
  T low() const { return align_corners_ ? T(0) : T(-0.5); }
  T high(std::int64_t size) const { return static_cast<T>(size) - (align_corners_ ? T(1) : T(0.5)); }

  T reflect(T at, std::int64_t size) const {
    const T from = low(), to = high(size), range = to - from;
    if (at >= from && at <= to) return at;
    if (!(range > 0) || !std::isfinite(at)) return 0;
    const T distance = at < from ? from - at : at - to;
    const T rest = std::fmod(distance, range);
    const bool even = std::fmod(std::floor(distance / range), T(2)) == 0;
    return (at < from) == even ? from + rest : to - rest;
  }

  // Taps along one axis; a tap beyond an image that is surrounded by zeros is left out.
  int axis_taps(T at, std::int64_t size, Tap<T>* taps) const {
    if (interpolation_ == Interpolation::kNearest) at = std::nearbyint(at);
    if (border_ == Border::kZeros && !(at > T(-3) && at < static_cast<T>(size + 2))) return 0;
    if (border_ == Border::kClamp) {
      // A cubic curve still bends beyond the outermost pixel: there each tap is clamped, not the position (as PyTorch and
      // ONNX Runtime do). Three pixels out all taps are the same.
      const T beyond = interpolation_ == Interpolation::kCubic ? T(3) : T(0);
      at = std::isnan(at) ? T(0) : std::clamp(at, -beyond, static_cast<T>(size - 1) + beyond);
    }
    if (border_ == Border::kReflect) at = reflect(at, size);
    const std::int64_t base = static_cast<std::int64_t>(std::floor(at));
    const T t = at - static_cast<T>(base);
    int count = 0;
    const auto add = [&](std::int64_t i, T weight) {
      if (border_ == Border::kReflect) i = static_cast<std::int64_t>(reflect(static_cast<T>(i), size));
      else if (border_ == Border::kZeros && (i < 0 || i >= size)) return;
      taps[count++] = {std::clamp<std::int64_t>(i, 0, size - 1), weight};
    };
    switch (interpolation_) {
      case Interpolation::kNearest:
        add(base, 1);
        break;
      case Interpolation::kLinear:
        add(base, 1 - t);
        add(base + 1, t);
        break;
      case Interpolation::kCubic: {  // Keys 1981, a = -0.75
        constexpr T a = T(-0.75);
        const auto near = [](T x) { return ((a + 2) * x - (a + 3)) * x * x + 1; };
        const auto far = [](T x) { return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a; };
        add(base - 1, far(t + 1));
        add(base, near(t));
        add(base + 1, near(1 - t));
        add(base + 2, far(2 - t));
        break;
      }
    }
    return count;
  }

  std::vector<std::int64_t> sizes_;
  Interpolation interpolation_;
  Border border_;
  bool align_corners_;
};

}  // namespace narrow::operators
