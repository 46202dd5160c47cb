#include "kernels/conv_s8/conv_s8.h"

#include <algorithm>
#include <cstring>

#include "kernels/codes/codes.h"
#include "kernels/conv_s8/depthwise_s8.h"

namespace narrow::kernels {
namespace {

constexpr std::int64_t kBlockBytes = 64 << 10;  // input pixels of one task: with weights and output they fit the second-level cache
constexpr std::int64_t kLeastPixels = 24;       // of one task
constexpr std::int64_t kSlack = 64;             // readable bytes behind copied lines

std::int64_t extent(const ConvAxis& a) { return (a.kernel - 1) * a.dilation + 1; }

// Output pixels [begin, begin + count) of one output plane, and where their inputs lie: in the image itself, or in the
// lines that they read, copied with padding around.
struct Block {
  std::int64_t image, depth, begin, count;
};

class Source {
 public:
  // `copies`: taps reach into the padding, or runs end where nothing may be read behind them.
  Source(const ConvS8Shape& s, bool copies, std::uint8_t fill) : s_(s), copies_(copies), fill_(fill) {
    width_ = copies ? (s.axes[2].out - 1) * s.axes[2].stride + extent(s.axes[2]) : s.axes[2].in;
  }

  // Bytes that place() needs at most for blocks of `pixels`.
  std::size_t scratch_bytes(std::int64_t pixels) const {
    const std::int64_t pointers = pixels + s_.taps() * 2;
    return static_cast<std::size_t>(pointers * 8 + (copies_ ? s_.axes[0].kernel * lines(lines_across(pixels)) * width_ * s_.channels + kSlack : 0));
  }

  // Fills rows and the offset of each tap's channel 0; `copied` has room behind both.
  void place(const std::uint8_t* x, const Block& b, const std::uint8_t** rows, std::int64_t* offsets, std::uint8_t* copied) const {
    const ConvAxis &depth = s_.axes[0], &height = s_.axes[1], &across = s_.axes[2];
    const std::int64_t first = b.begin / across.out, last = (b.begin + b.count - 1) / across.out;
    const std::int64_t line = width_ * s_.channels, plane = copies_ ? lines(last - first + 1) * line : height.in * line;
    const std::uint8_t* image = x + b.image * s_.pixels_in() * s_.channels;
    const std::uint8_t* origin = copies_ ? copied : image + (b.depth * depth.stride) * plane + first * height.stride * line;
    if (copies_) copy_lines(image, b, first, last, copied);
    for (std::int64_t i = 0, oh = first, ow = b.begin % across.out; i < b.count; ++i) {
      rows[i] = origin + (oh - first) * height.stride * line + ow * across.stride * s_.channels;
      if (++ow == across.out) ow = 0, ++oh;
    }
    for (std::int64_t kd = 0, t = 0; kd < depth.kernel; ++kd) {
      for (std::int64_t kh = 0; kh < height.kernel; ++kh) {
        for (std::int64_t kw = 0; kw < across.kernel; ++kw, ++t) {
          offsets[t] = kd * (copies_ ? 1 : depth.dilation) * plane + kh * height.dilation * line + kw * across.dilation * s_.channels;
        }
      }
    }
  }

 private:
  std::int64_t lines(std::int64_t out_lines) const { return (out_lines - 1) * s_.axes[1].stride + extent(s_.axes[1]); }
  std::int64_t lines_across(std::int64_t pixels) const { return std::min(s_.axes[1].out, (pixels + s_.axes[2].out - 2) / s_.axes[2].out + 1); }

  void copy_lines(const std::uint8_t* image, const Block& b, std::int64_t first, std::int64_t last, std::uint8_t* to) const {
    const ConvAxis &depth = s_.axes[0], &height = s_.axes[1], &across = s_.axes[2];
    const std::int64_t line = width_ * s_.channels;
    const std::int64_t left = std::min(across.pad, width_), copied = std::clamp<std::int64_t>(width_ - left, 0, across.in), right = width_ - left - copied;
    for (std::int64_t kd = 0; kd < depth.kernel; ++kd) {
      const std::int64_t id = b.depth * depth.stride - depth.pad + kd * depth.dilation;
      for (std::int64_t h = 0; h < lines(last - first + 1); ++h, to += line) {
        const std::int64_t ih = first * height.stride - height.pad + h;
        if (id < 0 || id >= depth.in || ih < 0 || ih >= height.in) {
          std::memset(to, fill_, static_cast<std::size_t>(line));
          continue;
        }
        std::memset(to, fill_, static_cast<std::size_t>(left * s_.channels));
        std::memcpy(to + left * s_.channels, image + (id * height.in + ih) * across.in * s_.channels, static_cast<std::size_t>(copied * s_.channels));
        std::memset(to + (left + copied) * s_.channels, fill_, static_cast<std::size_t>(right * s_.channels));
      }
    }
  }

  const ConvS8Shape& s_;
  bool copies_;
  std::uint8_t fill_;
  std::int64_t width_;  // pixels of a line
};

// Whether every tap of every output pixel lies inside the image.
bool stays_inside(const ConvS8Shape& s) {
  return std::all_of(s.axes.begin(), s.axes.end(), [](const ConvAxis& a) { return a.pad == 0 && (a.out - 1) * a.stride + extent(a) <= a.in; });
}

}  // namespace

const DepthwiseS8& depthwise_s8(base::Isa isa) {
  switch (isa) {
    case base::Isa::kScalar: return kDepthwiseS8Reference;
    case base::Isa::kAvx2: return kDepthwiseS8Avx2;
    case base::Isa::kAvx512: return kDepthwiseS8Avx512;
    case base::Isa::kAvx512Vnni: return kDepthwiseS8Avx512Vnni;
  }
  return kDepthwiseS8Reference;
}

const DepthwiseS8& depthwise_s8() {
  static const DepthwiseS8& chosen = depthwise_s8(base::effective_isa());
  return chosen;
}

ConvS8Weights::ConvS8Weights(const void* w, bool is_unsigned, std::int64_t filters, std::int64_t group_channels, std::int64_t taps,
                             std::int64_t groups, std::span<const std::int32_t> zero_points, std::int64_t row_taps)
    : filters_(filters), group_channels_(group_channels), groups_(groups), run_taps_(groups == 1 ? row_taps : 1) {
  const auto* source = static_cast<const std::uint8_t*>(w);
  const std::int32_t shift = is_unsigned ? 128 : 0;
  const bool symmetric = zero_points.empty() ? shift == 0
                                             : std::all_of(zero_points.begin(), zero_points.end(), [&](std::int32_t z) { return z == shift; });
  if (group_channels == 1 && groups == filters && groups > 1 && symmetric) {
    std::vector<std::int8_t> centred(static_cast<std::size_t>(filters * taps));
    depthwise_sums_.assign(static_cast<std::size_t>(filters), 0);
    for (std::int64_t i = 0; i < filters * taps; ++i) {
      centred[i] = static_cast<std::int8_t>(source[i] ^ (is_unsigned ? 0x80 : 0));
      depthwise_sums_[i / taps] += centred[i];
    }
    depthwise_ = depthwise_s8().pack(centred.data(), filters, taps);
    return;
  }
  // ONNX keeps the taps innermost; pixels keep the channels innermost.
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
    group_weights_.emplace_back(reordered.data(), is_unsigned, k, group_filters, 1, k, zeros, taps / run_taps_);
  }
}

std::int64_t ConvS8Weights::padded_filters() const {
  const std::int64_t own = depthwise_.empty() ? filters_ / groups_ : filters_;
  return (own + kPanelColumns - 1) / kPanelColumns * kPanelColumns;
}

std::vector<float> ConvS8Weights::lay_out(std::span<const float> per_filter) const {
  const std::int64_t parts = depthwise_.empty() ? groups_ : 1, own = filters_ / parts;
  std::vector<float> all(static_cast<std::size_t>(parts * padded_filters()), 0.0f);
  for (std::int64_t f = 0; f < filters_; ++f) all[f / own * padded_filters() + f % own] = per_filter[f];
  return all;
}

std::vector<std::int32_t> ConvS8Weights::offsets(std::int32_t x_zero, bool x_signed, const std::int32_t* bias) const {
  std::vector<std::int32_t> all;
  if (!depthwise_.empty()) {
    const std::int32_t zero = x_zero + (x_signed ? 128 : 0);
    all.assign(static_cast<std::size_t>(padded_filters()), 0);
    for (std::int64_t f = 0; f < filters_; ++f) {
      all[f] = static_cast<std::int32_t>(static_cast<std::uint32_t>(bias == nullptr ? 0 : bias[f]) -
                                         static_cast<std::uint32_t>(zero) * static_cast<std::uint32_t>(depthwise_sums_[f]));
    }
    return all;
  }
  const std::int64_t group_filters = filters_ / groups_;
  for (std::int64_t g = 0; g < groups_; ++g) {
    const std::vector<std::int32_t> part = group_weights_[g].offsets(x_zero, x_signed, bias == nullptr ? nullptr : bias + g * group_filters);
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

void ConvS8Weights::run(const ConvS8Shape& s, const std::uint8_t* x, bool x_signed, std::int32_t x_zero, const Output& output, void* y,
                        base::ThreadPool& pool) const {
  if (s.batch == 0 || s.pixels_out() == 0 || filters_ == 0) return;
  const bool depthwise = !depthwise_.empty();
  const bool wide = output.type == GemmOutput::kS32 || output.type == GemmOutput::kF32;
  const std::int64_t width = wide ? 4 : 1, group_filters = filters_ / groups_, taps = s.taps();
  const std::int64_t run_length = run_taps_ * group_channels_;
  const Source source(s, !stays_inside(s) || (!depthwise && run_length % 4 != 0), static_cast<std::uint8_t>(x_zero));

  // Tasks: blocks of output pixels, and strips of filters too where there are few pixels.
  const std::int64_t plane = s.axes[1].out * s.axes[2].out, planes = s.batch * s.axes[0].out;
  const std::int64_t wanted = pool.threads() > 1 ? (pool.threads() * 4 + planes - 1) / planes : 1;
  std::int64_t rows = std::clamp<std::int64_t>(kBlockBytes / std::max<std::int64_t>(s.channels * s.axes[2].stride * s.axes[1].stride, 1), 96, 1024);
  rows = std::max(kLeastPixels, std::min(rows, (plane + wanted - 1) / wanted));
  const std::int64_t blocks = (plane + rows - 1) / rows;
  rows = (plane + blocks - 1) / blocks;
  const std::int64_t strips = depthwise ? 1 : group_weights_[0].packed().strips();
  const std::int64_t cuts = !depthwise && groups_ == 1 && planes * blocks < pool.threads() ? std::min<std::int64_t>(pool.threads(), strips) : 1;
  const std::size_t scratch_bytes = source.scratch_bytes(rows);
  pool.parallel_for(static_cast<std::size_t>(planes * blocks * cuts), [&](std::size_t task, int worker) {
    const std::int64_t at = static_cast<std::int64_t>(task) / cuts, cut = static_cast<std::int64_t>(task) % cuts;
    const std::int64_t begin = at % blocks * rows, count = std::min(rows, plane - begin);
    if (count <= 0) return;
    std::uint8_t* scratch = pool.scratch(worker, scratch_bytes);
    auto** pixels = reinterpret_cast<const std::uint8_t**>(scratch);
    auto* offsets = reinterpret_cast<std::int64_t*>(scratch) + rows;
    auto* runs = offsets + taps;
    source.place(x, {at / blocks / s.axes[0].out, at / blocks % s.axes[0].out, begin, count}, pixels, offsets, reinterpret_cast<std::uint8_t*>(runs + taps));
    GemmEpilogue epilogue{output.type, output.offset.data(), output.scale.data(), output.bias.data(), output.zero_point, output.low, output.high};
    char* out = static_cast<char*>(y) + (at / blocks * plane + begin) * filters_ * width;
    if (depthwise) {
      depthwise_s8().run({pixels, count, offsets, taps, s.channels, x_signed}, depthwise_.data(), epilogue, out);
    }
    for (std::int64_t g = 0; g < groups_ && !depthwise; ++g) {
      for (std::int64_t r = 0; r < taps / run_taps_; ++r) runs[r] = offsets[r * run_taps_] + g * group_channels_;
      group_weights_[g].multiply({nullptr, 0, pixels, runs, x_signed, true}, count, strips * cut / cuts, strips * (cut + 1) / cuts, nullptr, epilogue,
                                 out + g * group_filters * width, filters_);
      epilogue.offset += padded_filters();
      if (!wide || output.type == GemmOutput::kF32) {
        epilogue.scale += padded_filters();
        epilogue.bias += padded_filters();
      }
    }
    if (output.table.empty()) return;
    auto* codes = reinterpret_cast<std::uint8_t*>(out);
    if (cuts == 1) return code_kernels().look_up(codes, static_cast<std::size_t>(count * filters_), output.table.data(), codes);
    const PackedS8& packed = group_weights_[0].packed();
    const std::int64_t first = packed.first_panel(strips * cut / cuts) * kPanelColumns;
    const std::int64_t last = std::min(filters_, packed.first_panel(strips * (cut + 1) / cuts) * kPanelColumns);
    for (std::int64_t i = 0; i < count; ++i) {
      code_kernels().look_up(codes + i * filters_ + first, static_cast<std::size_t>(last - first), output.table.data(), codes + i * filters_ + first);
    }
  });
}

std::string ConvS8Weights::describe(const ConvS8Shape& s) const {
  if (!depthwise_.empty()) return depthwise_s8().name;
  return std::string(s.taps() == 1 ? "pointwise " : "direct ") + gemm_s8_name();
}

}  // namespace narrow::kernels
