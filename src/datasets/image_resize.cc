#include <algorithm>
#include <cmath>
#include <cstring>

#include "datasets/image.h"

namespace narrow::datasets {
namespace {

constexpr int kPrecision = 32 - 8 - 2;  // fixed point with room for 8-bit samples and the filter's sum

// For each output sample: the first input sample it reads and its weights (equal `taps` for all, zero padded).
struct Filter {
  int taps = 0;
  std::vector<int> first, count;
  std::vector<std::int32_t> weights;
};

// The triangle filter of support max(1, in/out) around the centre of each output sample, normalised.
Filter make_filter(int in, int out, int begin, int count) {
  const double scale = static_cast<double>(in) / out;
  const double support = std::max(scale, 1.0), inverse = 1.0 / support;
  Filter filter;
  filter.taps = static_cast<int>(std::ceil(support)) * 2 + 1;
  filter.weights.assign(static_cast<std::size_t>(count) * filter.taps, 0);
  std::vector<double> weight(static_cast<std::size_t>(filter.taps));
  for (int i = 0; i < count; ++i) {
    const double center = (begin + i + 0.5) * scale;
    const int low = std::max(0, static_cast<int>(center - support + 0.5));
    const int high = std::min(in, static_cast<int>(center + support + 0.5));
    double sum = 0;
    for (int k = low; k < high; ++k) {
      const double x = std::abs((k - center + 0.5) * inverse);
      sum += weight[static_cast<std::size_t>(k - low)] = x < 1.0 ? 1.0 - x : 0.0;
    }
    for (int k = low; k < high; ++k) {
      const double normalised = weight[static_cast<std::size_t>(k - low)] * (1.0 / sum);
      filter.weights[static_cast<std::size_t>(i) * filter.taps + (k - low)] =
          static_cast<std::int32_t>(0.5 + normalised * (1 << kPrecision));
    }
    filter.first.push_back(low);
    filter.count.push_back(high - low);
  }
  return filter;
}

std::uint8_t round_sample(std::int32_t sum) { return static_cast<std::uint8_t>(std::clamp(sum >> kPrecision, 0, 255)); }

template <int kChannels>
void horizontal(const std::uint8_t* in, const Filter& filter, int width, std::uint8_t* out) {
  for (int x = 0; x < width; ++x) {
    const std::int32_t* weights = filter.weights.data() + static_cast<std::size_t>(x) * filter.taps;
    const std::uint8_t* source = in + static_cast<std::size_t>(filter.first[x]) * kChannels;
    std::int32_t sum[kChannels];
    std::fill_n(sum, kChannels, 1 << (kPrecision - 1));
    for (int k = 0; k < filter.count[x]; ++k) {
      for (int c = 0; c < kChannels; ++c) sum[c] += source[k * kChannels + c] * weights[k];
    }
    for (int c = 0; c < kChannels; ++c) out[x * kChannels + c] = round_sample(sum[c]);
  }
}

}  // namespace

Image resize_bilinear(const Image& image, int width, int height, const Box& box) {
  if (width == image.width && height == image.height) return crop(image, box);
  const Filter columns = make_filter(image.width, width, box.x, box.width);
  const Filter rows = make_filter(image.height, height, box.y, box.height);
  const int channels = image.channels;
  const bool same_height = height == image.height;
  const int first_row = same_height ? box.y : rows.first.front();
  const int last_row = same_height ? box.y + box.height : rows.first.back() + rows.count.back();

  Image narrowed{box.width, last_row - first_row, channels, {}};
  narrowed.pixels.resize(static_cast<std::size_t>(narrowed.width) * narrowed.height * channels);
  for (int y = 0; y < narrowed.height; ++y) {
    const std::uint8_t* in = image.row(first_row + y);
    if (width == image.width) {
      std::memcpy(narrowed.row(y), in + static_cast<std::size_t>(box.x) * channels, static_cast<std::size_t>(box.width) * channels);
    } else if (channels == 3) {
      horizontal<3>(in, columns, box.width, narrowed.row(y));
    } else {
      horizontal<1>(in, columns, box.width, narrowed.row(y));
    }
  }
  if (same_height) return narrowed;

  Image out{box.width, box.height, channels, {}};
  const std::size_t stride = static_cast<std::size_t>(box.width) * channels;
  out.pixels.resize(stride * box.height);
  std::vector<std::int32_t> sum(stride);
  for (int y = 0; y < box.height; ++y) {
    std::fill(sum.begin(), sum.end(), 1 << (kPrecision - 1));
    for (int k = 0; k < rows.count[y]; ++k) {
      const std::int32_t weight = rows.weights[static_cast<std::size_t>(y) * rows.taps + k];
      const std::uint8_t* in = narrowed.row(rows.first[y] - first_row + k);
      for (std::size_t i = 0; i < stride; ++i) sum[i] += in[i] * weight;
    }
    std::uint8_t* row = out.row(y);
    for (std::size_t i = 0; i < stride; ++i) row[i] = round_sample(sum[i]);
  }
  return out;
}

}  // namespace narrow::datasets
