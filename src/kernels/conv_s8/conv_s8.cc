#include "kernels/conv_s8/conv_s8.h"

#include <algorithm>
#include <cstring>

#include "kernels/conv_s8/depthwise_s8.h"

namespace narrow::kernels {
namespace {

constexpr std::int64_t kGatherBytes = 96 << 10;  // a block of gathered pixels that stays in the second-level cache

// Output pixel number -> its coordinates.
struct Position {
  std::int64_t d, h, w;
  Position(const ConvS8Shape& s, std::int64_t pixel)
      : d(pixel / (s.axes[1].out * s.axes[2].out)), h(pixel / s.axes[2].out % s.axes[1].out), w(pixel % s.axes[2].out) {}
};

// The taps of one output pixel, `channels` bytes each from `x` (channel `first` on), tap-major; padding is `fill`.
void gather(const ConvS8Shape& s, const std::uint8_t* x, std::int64_t pixel, std::int64_t first, std::int64_t channels,
            std::uint8_t fill, std::uint8_t* out) {
  const Position at(s, pixel);
  const ConvAxis &depth = s.axes[0], &height = s.axes[1], &width = s.axes[2];
  const std::int64_t left = at.w * width.stride - width.pad;
  const bool inside = left >= 0 && left + (width.kernel - 1) * width.dilation < width.in;
  const bool row_at_once = inside && width.dilation == 1 && channels == s.channels;
  const auto row_bytes = static_cast<std::size_t>(width.kernel * channels);
  for (std::int64_t kd = 0; kd < depth.kernel; ++kd) {
    const std::int64_t id = at.d * depth.stride - depth.pad + kd * depth.dilation;
    for (std::int64_t kh = 0; kh < height.kernel; ++kh) {
      const std::int64_t ih = at.h * height.stride - height.pad + kh * height.dilation;
      if (id < 0 || id >= depth.in || ih < 0 || ih >= height.in) {
        std::memset(out, fill, row_bytes);
        out += row_bytes;
        continue;
      }
      const std::uint8_t* row = x + ((id * height.in + ih) * width.in) * s.channels + first;
      if (row_at_once) {
        std::memcpy(out, row + left * s.channels, row_bytes);
        out += row_bytes;
        continue;
      }
      for (std::int64_t kw = 0; kw < width.kernel; ++kw, out += channels) {
        const std::int64_t iw = left + kw * width.dilation;
        if (iw < 0 || iw >= width.in) std::memset(out, fill, static_cast<std::size_t>(channels));
        else std::memcpy(out, row + iw * s.channels, static_cast<std::size_t>(channels));
      }
    }
  }
}

bool is_pointwise(const ConvS8Shape& s) {
  return std::all_of(s.axes.begin(), s.axes.end(), [](const ConvAxis& a) { return a.kernel == 1 && a.stride == 1 && a.pad == 0 && a.in == a.out; });
}

}  // namespace

DepthwiseS8 depthwise_s8(base::Isa isa) {
  switch (isa) {
    case base::Isa::kScalar: return depthwise_s8_reference;
    case base::Isa::kAvx2: return depthwise_s8_avx2;
    case base::Isa::kAvx512: case base::Isa::kAvx512Vnni: return depthwise_s8_avx512;
  }
  return depthwise_s8_reference;
}

DepthwiseS8 depthwise_s8() {
  static const DepthwiseS8 chosen = depthwise_s8(base::effective_isa());
  return chosen;
}

ConvS8Weights::ConvS8Weights(const void* w, bool is_unsigned, std::int64_t filters, std::int64_t group_channels, std::int64_t taps,
                             std::int64_t groups, std::span<const std::int32_t> zero_points)
    : filters_(filters), group_channels_(group_channels), groups_(groups) {
  const auto* source = static_cast<const std::uint8_t*>(w);
  const std::int32_t shift = is_unsigned ? 128 : 0;
  const bool symmetric = zero_points.empty() ? shift == 0
                                             : std::all_of(zero_points.begin(), zero_points.end(), [&](std::int32_t z) { return z == shift; });
  if (group_channels == 1 && groups == filters && groups > 1 && symmetric) {
    const std::int64_t padded = (filters + kPanelColumns - 1) / kPanelColumns * kPanelColumns;
    depthwise_.assign(static_cast<std::size_t>(taps * padded), 0);
    depthwise_sums_.assign(static_cast<std::size_t>(padded), 0);
    for (std::int64_t f = 0; f < filters; ++f) {
      for (std::int64_t t = 0; t < taps; ++t) {
        const auto value = static_cast<std::int8_t>(source[f * taps + t] ^ (is_unsigned ? 0x80 : 0));
        depthwise_[t * padded + f] = value;
        depthwise_sums_[f] += value;
      }
    }
    return;
  }
  // ONNX keeps the taps innermost; gathered pixels keep the channels innermost.
  const std::int64_t group_filters = filters / groups, k = taps * group_channels;
  std::vector<std::uint8_t> reordered(static_cast<std::size_t>(group_filters * k));
  for (std::int64_t g = 0; g < groups; ++g) {
    for (std::int64_t f = 0; f < group_filters; ++f) {
      const std::uint8_t* filter = source + (g * group_filters + f) * k;
      for (std::int64_t c = 0; c < group_channels; ++c) {
        for (std::int64_t t = 0; t < taps; ++t) reordered[f * k + t * group_channels + c] = filter[c * taps + t];
      }
    }
    const auto zeros = zero_points.size() > 1 ? zero_points.subspan(static_cast<std::size_t>(g * group_filters), static_cast<std::size_t>(group_filters)) : zero_points;
    group_weights_.emplace_back(reordered.data(), is_unsigned, k, group_filters, 1, k, zeros);
  }
}

std::vector<std::int32_t> ConvS8Weights::offsets(std::int32_t x_zero, bool x_signed, const std::int32_t* bias) const {
  std::vector<std::int32_t> all;
  if (!depthwise_.empty()) {
    const std::int32_t zero = x_zero + (x_signed ? 128 : 0);
    for (std::int64_t f = 0; f < filters_; ++f) {
      all.push_back(static_cast<std::int32_t>(static_cast<std::uint32_t>(bias == nullptr ? 0 : bias[f]) -
                                              static_cast<std::uint32_t>(zero) * static_cast<std::uint32_t>(depthwise_sums_[f])));
    }
    return all;
  }
  const std::int64_t group_filters = filters_ / groups_;
  for (std::int64_t g = 0; g < groups_; ++g) {
    const std::vector<std::int32_t> part = group_weights_[g].offsets(x_zero, x_signed, bias == nullptr ? nullptr : bias + g * group_filters);
    all.insert(all.end(), part.begin(), part.begin() + group_filters);
  }
  return all;
}

void ConvS8Weights::run(const ConvS8Shape& s, const std::uint8_t* x, bool x_signed, std::int32_t x_zero, const Output& output, void* y,
                        base::ThreadPool& pool) const {
  if (s.batch == 0 || s.pixels_out() == 0 || filters_ == 0) return;
  if (!depthwise_.empty()) return run_depthwise(s, x, x_signed, x_zero, output, y, pool);
  const bool wide = output.type == GemmOutput::kS32 || output.type == GemmOutput::kF32;
  const std::int64_t width = wide ? 4 : 1, group_filters = filters_ / groups_, k = s.taps() * group_channels_;
  const bool direct = is_pointwise(s);
  const auto fill = static_cast<std::uint8_t>(x_zero);

  // Per group: the epilogue's arrays, padded to whole panels.
  struct Arrays { std::vector<std::int32_t> offset; std::vector<float> scale, bias; };
  std::vector<Arrays> arrays;
  for (std::int64_t g = 0; g < groups_; ++g) {
    const auto part = [&]<typename T>(const std::vector<T>& all) {
      if (all.empty()) return std::vector<T>{};
      return pad_to_panels<T>(std::span<const T>(all).subspan(static_cast<std::size_t>(g * group_filters), static_cast<std::size_t>(group_filters)), group_filters, T{});
    };
    arrays.push_back({part(output.offset), part(output.scale), part(output.bias)});
  }

  // Tasks: blocks of pixels, and blocks of filters too where there are few pixels.
  const std::int64_t pixels = s.batch * s.pixels_out();
  std::int64_t rows = std::clamp<std::int64_t>(kGatherBytes / std::max<std::int64_t>(k, 1), 12, 336);
  const std::int64_t wanted = pool.threads() > 1 ? pool.threads() * 4 : 1;
  rows = std::max<std::int64_t>(12, std::min(rows, (pixels + wanted - 1) / wanted));
  const std::int64_t blocks = (pixels + rows - 1) / rows;
  const std::int64_t panels = (group_filters + kPanelColumns - 1) / kPanelColumns;
  const std::int64_t cuts = groups_ == 1 && blocks < pool.threads() ? std::min<std::int64_t>(pool.threads(), (panels + 3) / 4) : 1;
  std::vector<std::vector<std::uint8_t>> scratch(static_cast<std::size_t>(pool.threads()));
  pool.parallel_for(static_cast<std::size_t>(blocks * groups_ * cuts), [&](std::size_t task, int worker) {
    const std::int64_t block = static_cast<std::int64_t>(task) / (groups_ * cuts);
    const std::int64_t g = static_cast<std::int64_t>(task) / cuts % groups_, cut = static_cast<std::int64_t>(task) % cuts;
    const std::int64_t begin = block * rows, count = std::min(rows, pixels - begin);
    const std::uint8_t* a = x + begin * s.channels + g * group_channels_;
    std::int64_t lda = s.channels;
    if (!direct) {
      std::vector<std::uint8_t>& mine = scratch[static_cast<std::size_t>(worker)];
      mine.resize(static_cast<std::size_t>(rows * k));
      for (std::int64_t i = 0; i < count; ++i) {
        const std::int64_t image = (begin + i) / s.pixels_out(), pixel = (begin + i) % s.pixels_out();
        gather(s, x + image * s.pixels_in() * s.channels, pixel, g * group_channels_, group_channels_, fill, mine.data() + i * k);
      }
      a = mine.data();
      lda = k;
    }
    GemmEpilogue epilogue;
    epilogue.output = output.type;
    epilogue.offset = arrays[g].offset.data();
    epilogue.scale = arrays[g].scale.data();
    epilogue.bias = arrays[g].bias.data();
    epilogue.zero_point = output.zero_point;
    epilogue.low = output.low;
    epilogue.high = output.high;
    const std::int64_t first = panels * cut / cuts, last = panels * (cut + 1) / cuts;
    group_weights_[g].multiply(a, lda, x_signed, count, first, last, nullptr, epilogue,
                               static_cast<char*>(y) + (begin * filters_ + g * group_filters) * width, filters_);
  });
}

void ConvS8Weights::run_depthwise(const ConvS8Shape& s, const std::uint8_t* x, bool x_signed, std::int32_t x_zero, const Output& output,
                                  void* y, base::ThreadPool& pool) const {
  const bool wide = output.type == GemmOutput::kS32 || output.type == GemmOutput::kF32;
  const std::int64_t width = wide ? 4 : 1;
  const std::int64_t padded = static_cast<std::int64_t>(depthwise_sums_.size());
  const std::vector<std::int32_t> offset = pad_to_panels<std::int32_t>(output.offset, filters_, 0);
  const std::vector<float> scale = output.scale.empty() ? std::vector<float>{} : pad_to_panels<float>(output.scale, filters_, 0);
  const std::vector<float> bias = output.bias.empty() ? std::vector<float>{} : pad_to_panels<float>(output.bias, filters_, 0);
  GemmEpilogue epilogue{output.type, offset.data(), scale.data(), bias.data(), output.zero_point, output.low, output.high};
  const std::vector<std::uint8_t> padding(static_cast<std::size_t>(s.channels), static_cast<std::uint8_t>(x_zero));
  const DepthwiseS8 kernel = depthwise_s8();
  const ConvAxis &depth = s.axes[0], &height = s.axes[1], &across = s.axes[2];
  const std::int64_t lines = s.batch * depth.out * height.out;
  pool.parallel_for(static_cast<std::size_t>(lines), [&](std::size_t line, int) {
    const std::int64_t image = static_cast<std::int64_t>(line) / (depth.out * height.out);
    const std::uint8_t* source = x + image * s.pixels_in() * s.channels;
    std::vector<const std::uint8_t*> taps(static_cast<std::size_t>(s.taps()));
    const std::int64_t od = static_cast<std::int64_t>(line) / height.out % depth.out, oh = static_cast<std::int64_t>(line) % height.out;
    for (std::int64_t ow = 0; ow < across.out; ++ow) {
      std::size_t t = 0;
      for (std::int64_t kd = 0; kd < depth.kernel; ++kd) {
        const std::int64_t id = od * depth.stride - depth.pad + kd * depth.dilation;
        for (std::int64_t kh = 0; kh < height.kernel; ++kh) {
          const std::int64_t ih = oh * height.stride - height.pad + kh * height.dilation;
          const bool row_inside = id >= 0 && id < depth.in && ih >= 0 && ih < height.in;
          for (std::int64_t kw = 0; kw < across.kernel; ++kw, ++t) {
            const std::int64_t iw = ow * across.stride - across.pad + kw * across.dilation;
            taps[t] = row_inside && iw >= 0 && iw < across.in ? source + ((id * height.in + ih) * across.in + iw) * s.channels : padding.data();
          }
        }
      }
      kernel(taps.data(), s.taps(), x_signed, depthwise_.data(), padded, filters_, epilogue,
             static_cast<char*>(y) + (static_cast<std::int64_t>(line) * across.out + ow) * filters_ * width);
    }
  });
}

std::string ConvS8Weights::describe(const ConvS8Shape& s) const {
  if (!depthwise_.empty()) return depthwise_s8() == depthwise_s8_reference ? "depthwise_s8 scalar" : "depthwise_s8";
  return std::string(is_pointwise(s) ? "pointwise " : "gathered ") + gemm_s8_name();
}

}  // namespace narrow::kernels
