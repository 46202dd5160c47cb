#include "operators/resize_axis.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <utility>

namespace narrow::operators {
namespace {

using Attributes = ResizeAttributes;
using Coordinates = Attributes::Coordinates;
using Mode = Attributes::Mode;

template <typename E, std::size_t N>
Result<E> read_word(const graph::Node& node, std::string_view name, const std::array<std::pair<std::string_view, E>, N>& words) {
  const std::string found = node.get_string(name, words[0].first);
  std::string known;
  for (const auto& [word, value] : words) {
    if (found == word) return value;
    known += (known.empty() ? "" : ", ") + std::string(word);
  }
  return corrupt(fmt::format("node '{}' ({}): {} is '{}', expected one of {}", node.name, node.op_type, name, found, known));
}

// Where output `o` lies on the input. In f32, as the runtimes compute it: ties between pixels fall the same way.
float coordinate(const Attributes& a, std::int64_t o, std::int64_t in, std::int64_t out, float scale, float roi_begin, float roi_end) {
  const float position = static_cast<float>(o), input = static_cast<float>(in);
  switch (a.coordinates) {
    case Coordinates::kHalfPixel:
      return (position + 0.5f) / scale - 0.5f;
    case Coordinates::kHalfPixelSymmetric: {
      const float exact = scale * input;
      const float offset = input / 2 * (1 - static_cast<float>(out) / exact);
      return offset + (position + 0.5f) / scale - 0.5f;
    }
    case Coordinates::kPytorchHalfPixel:
      return out > 1 ? (position + 0.5f) / scale - 0.5f : 0.0f;
    case Coordinates::kAlignCorners: {
      // The exact, not the rounded, output size: the standard's reading.
      const float exact = scale * input;
      return out == 1 || exact == 1 ? 0.0f : position * (input - 1) / (exact - 1);
    }
    case Coordinates::kAsymmetric:
      return position / scale;
    case Coordinates::kTfCropAndResize:
      return out > 1 ? roi_begin * (input - 1) + position * (roi_end - roi_begin) * (input - 1) / static_cast<float>(out - 1)
                     : 0.5f * (roi_begin + roi_end) * (input - 1);
  }
  return 0;
}

std::int64_t nearest_index(Attributes::Nearest rule, float x) {
  switch (rule) {
    case Attributes::Nearest::kRoundPreferFloor: return static_cast<std::int64_t>(std::ceil(x - 0.5f));
    case Attributes::Nearest::kRoundPreferCeil: return static_cast<std::int64_t>(std::floor(x + 0.5f));
    case Attributes::Nearest::kFloor: return static_cast<std::int64_t>(std::floor(x));
    case Attributes::Nearest::kCeil: return static_cast<std::int64_t>(std::ceil(x));
  }
  return 0;
}

float cubic(float distance, float a) {
  const float x = std::fabs(distance);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  return 0;
}

// An antialiasing filter of more taps than this would cost more than any image is worth.
constexpr float kMostTaps = 1 << 20;

}  // namespace

Result<ResizeAttributes> read_resize(const graph::Node& node) {
  using Pair = std::pair<std::string_view, Coordinates>;
  Attributes a;
  NARROW_TRY(a.mode, read_word(node, "mode", std::array{std::pair{std::string_view("nearest"), Mode::kNearest}, std::pair{std::string_view("linear"), Mode::kLinear},
                                                        std::pair{std::string_view("cubic"), Mode::kCubic}}));
  NARROW_TRY(a.coordinates, read_word(node, "coordinate_transformation_mode",
                                      std::array{Pair{"half_pixel", Coordinates::kHalfPixel}, Pair{"half_pixel_symmetric", Coordinates::kHalfPixelSymmetric},
                                                 Pair{"pytorch_half_pixel", Coordinates::kPytorchHalfPixel}, Pair{"align_corners", Coordinates::kAlignCorners},
                                                 Pair{"asymmetric", Coordinates::kAsymmetric}, Pair{"tf_crop_and_resize", Coordinates::kTfCropAndResize}}));
  using Rounding = std::pair<std::string_view, Attributes::Nearest>;
  NARROW_TRY(a.nearest, read_word(node, "nearest_mode",
                                  std::array{Rounding{"round_prefer_floor", Attributes::Nearest::kRoundPreferFloor}, Rounding{"round_prefer_ceil", Attributes::Nearest::kRoundPreferCeil},
                                             Rounding{"floor", Attributes::Nearest::kFloor}, Rounding{"ceil", Attributes::Nearest::kCeil}}));
  using Ratio = std::pair<std::string_view, Attributes::AspectRatio>;
  NARROW_TRY(a.aspect_ratio, read_word(node, "keep_aspect_ratio_policy",
                                       std::array{Ratio{"stretch", Attributes::AspectRatio::kStretch}, Ratio{"not_larger", Attributes::AspectRatio::kNotLarger},
                                                  Ratio{"not_smaller", Attributes::AspectRatio::kNotSmaller}}));
  a.antialias = node.get_int("antialias", 0) != 0;
  a.exclude_outside = node.get_int("exclude_outside", 0) != 0;
  a.cubic_a = node.get_float("cubic_coeff_a", -0.75f);
  a.extrapolation = node.get_float("extrapolation_value", 0.0f);
  return a;
}

Result<kernels::AxisTable> make_axis_table(const ResizeAttributes& a, std::int64_t in, std::int64_t out, float scale,
                                           float roi_begin, float roi_end) {
  kernels::AxisTable table;
  table.in = in;
  table.out = out;
  const bool nearest = a.mode == Mode::kNearest;
  // The filter reaches `reach` pixels to either side, stretched when antialiasing a reduction.
  const float reach = a.mode == Mode::kCubic ? 2.0f : 1.0f;
  const float squeeze = a.antialias && !nearest ? std::min(scale, 1.0f) : 1.0f;
  if (!(reach / squeeze < kMostTaps)) return resource_exhausted(fmt::format("Resize: scale {} needs too long a filter", scale));
  const int first = static_cast<int>(std::floor(-reach / squeeze)) + 1;
  table.taps = nearest ? 1 : 2 - 2 * first;
  const auto entries = static_cast<std::size_t>(out) * static_cast<std::size_t>(table.taps);
  if (entries > (std::size_t{1} << 31)) return resource_exhausted("Resize: the filter table is too large");
  table.index.resize(entries);
  table.weight.resize(entries, 1.0f);
  if (a.coordinates == Coordinates::kTfCropAndResize) table.outside.resize(static_cast<std::size_t>(out));
  const auto clamp = [in](std::int64_t i) { return static_cast<std::int32_t>(std::clamp<std::int64_t>(i, 0, in - 1)); };
  const float limit = 4e9f;  // beyond any size; keeps the conversion to an integer defined
  for (std::int64_t o = 0; o < out; ++o) {
    float x = coordinate(a, o, in, out, scale, roi_begin, roi_end);
    if (!table.outside.empty()) table.outside[static_cast<std::size_t>(o)] = !(x >= 0 && x <= static_cast<float>(in - 1));
    x = std::isnan(x) ? 0.0f : std::clamp(x, -limit, limit);
    if (nearest) {
      table.index[static_cast<std::size_t>(o)] = clamp(nearest_index(a.nearest, x));
      continue;
    }
    // A coordinate on a pixel belongs to the interval that ends there.
    const float floor = std::floor(x);
    const std::int64_t base = static_cast<std::int64_t>(floor) - (x == floor ? 1 : 0);
    const float ratio = x == floor ? 1.0f : x - floor;
    float sum = 0;
    for (int t = 0; t < table.taps; ++t) {
      const std::int64_t index = base + first + t;
      const float distance = (static_cast<float>(first + t) - ratio) * squeeze;
      float weight = a.mode == Mode::kCubic ? cubic(distance, a.cubic_a) : std::max(0.0f, 1 - std::fabs(distance));
      if (a.exclude_outside && (index < 0 || index >= in)) weight = 0;
      const std::size_t at = static_cast<std::size_t>(o * table.taps + t);
      table.index[at] = clamp(index);
      table.weight[at] = weight;
      sum += weight;
    }
    if ((squeeze < 1 || a.exclude_outside) && sum != 0) {
      for (int t = 0; t < table.taps; ++t) table.weight[static_cast<std::size_t>(o * table.taps + t)] /= sum;
    }
  }
  return table;
}

}  // namespace narrow::operators
