#include "kernels/conv_s8/conv_s8.h"

#include <algorithm>
#include <functional>

#include "base/cpu.h"
#include "kernels/codes/codes.h"
#include "kernels/conv_s8/depthwise_s8.h"
#include "kernels/conv_s8/source.h"

namespace narrow::kernels {
namespace {

constexpr std::int64_t kBlockBytes = 64 << 10;  // input pixels of one task: with weights and output they fit the second-level cache
constexpr std::int64_t kLeastPixels = 24;       // of one task
}  // namespace

std::span<const DepthwiseS8* const> depthwise_s8_kernels() {
  static const std::vector<const DepthwiseS8*> kernels = [] {
    std::vector<const DepthwiseS8*> found = {&kDepthwiseS8Reference};
#if defined(__x86_64__)
    const base::Isa isa = base::effective_isa();
    if (isa >= base::Isa::kAvx2) found.push_back(&kDepthwiseS8Avx2);
    if (isa >= base::Isa::kAvx512) found.push_back(&kDepthwiseS8Avx512);
    if (isa >= base::Isa::kAvx512Vnni) found.push_back(&kDepthwiseS8Avx512Vnni);
#elif defined(__aarch64__)
    if (base::extensions().neon) found.push_back(&kDepthwiseS8Neon);
#endif
    return found;
  }();
  return kernels;
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
  const ConvSource source(s, !stays_inside(s) || (!depthwise && run_length % 4 != 0), static_cast<std::uint8_t>(x_zero));

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
  const auto piece = [&](std::size_t task, int worker) {
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
  };
  // Small layers are done before another thread wakes. By reference: a function object of this size would be allocated.
  constexpr std::int64_t kWorthThreads = 1 << 18;  // multiplications
  const std::int64_t tasks = planes * blocks * cuts, work = planes * plane * filters_ * taps * (depthwise ? 1 : group_channels_);
  if (work >= kWorthThreads) return pool.parallel_for(static_cast<std::size_t>(tasks), std::ref(piece));
  for (std::int64_t task = 0; task < tasks; ++task) piece(static_cast<std::size_t>(task), 0);
}

std::string ConvS8Weights::describe(const ConvS8Shape& s) const {
  if (!depthwise_.empty()) return std::string(depthwise_s8().name) + "; each filter reads one channel";
  if (s.taps() == 1) return std::string("pointwise ") + gemm_s8_name() + "; 1x1: pixels are the rows of one product";
  return std::string("direct ") + gemm_s8_name() + "; the product reads its rows where the pixels lie: no im2col";
}

}  // namespace narrow::kernels
