#include "calibration/value_observer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "calibration/scan/scan.h"

namespace narrow::calibration {
namespace {

constexpr std::size_t kBlock = 4096;  // 16 KiB

void note(SampleSummary& summary, const ScanResult& scan, std::size_t n) {
  summary.min = summary.count == 0 ? scan.min : std::min(summary.min, scan.min);
  summary.max = summary.count == 0 ? scan.max : std::max(summary.max, scan.max);
  summary.count += n;
  summary.zeros += scan.zeros;
  summary.sum += scan.sum;
  summary.sum_squares += scan.sum_squares;
}

template <int rows>
void add_rows(const float* __restrict x, std::int64_t channels, float* __restrict sums) {
  for (std::int64_t c = 0; c < channels; ++c) {
    float sum = x[c];
    for (int r = 1; r < rows; ++r) sum += x[r * channels + c];
    sums[c] += sum;
  }
}

}  // namespace

void observe(std::span<const float> values, SampleSummary& summary, AdaptiveHistogram* histogram, std::vector<std::uint32_t>& tables) {
  std::optional<HistogramFiller> filler;
  if (histogram != nullptr) filler.emplace(*histogram, tables);
  const ScanKernel& kernel = scan_kernel();
  for (std::size_t at = 0; at < values.size(); at += kBlock) {
    std::span<const float> block = values.subspan(at, std::min(kBlock, values.size() - at));
    ScanResult scan = kernel.scan(block.data(), block.size());
    std::array<float, kBlock> finite;
    if (!scan.finite) {
      const auto end = std::copy_if(block.begin(), block.end(), finite.begin(), [](float v) { return std::isfinite(v); });
      const auto kept = static_cast<std::size_t>(end - finite.begin());
      summary.non_finite += block.size() - kept;
      if (kept == 0) continue;
      block = std::span<const float>(finite.data(), kept);
      scan = kernel.scan(block.data(), block.size());
    }
    note(summary, scan, block.size());
    if (filler) filler->add(block, scan.min, scan.max);
  }
}

void add_channels(std::span<const float> values, const Shape& shape, int axis, std::vector<double>& sums) {
  std::int64_t outer = 1, inner = 1;
  for (int i = 0; i < static_cast<int>(shape.size()); ++i) {
    if (i < axis) outer *= shape[i];
    if (i > axis) inner *= shape[i];
  }
  const std::int64_t channels = shape[axis];
  sums.resize(static_cast<std::size_t>(channels), 0.0);
  if (values.empty()) return;
  const float* x = values.data();
  if (inner == 1) {
    // Rows of channels: summed in floats for a while, so that the loop runs in vectors, then in doubles.
    constexpr std::int64_t kRows = 64;
    std::vector<float> some(static_cast<std::size_t>(channels));
    for (std::int64_t row = 0; row < outer; row += kRows) {
      std::fill(some.begin(), some.end(), 0.0f);
      std::int64_t left = std::min(outer - row, kRows);
      for (; left >= 4; left -= 4, x += 4 * channels) add_rows<4>(x, channels, some.data());
      for (; left > 0; --left, x += channels) add_rows<1>(x, channels, some.data());
      for (std::int64_t c = 0; c < channels; ++c) sums[static_cast<std::size_t>(c)] += some[static_cast<std::size_t>(c)];
    }
    return;
  }
  const ScanKernel& kernel = scan_kernel();
  for (std::int64_t o = 0; o < outer; ++o) {
    for (std::int64_t c = 0; c < channels; ++c, x += inner) {
      const ScanResult scan = kernel.scan(x, static_cast<std::size_t>(inner));
      sums[static_cast<std::size_t>(c)] += scan.finite ? scan.sum : 0;
    }
  }
}

void append(ValueStatistics& statistics, const SampleSummary& summary, double constant, const std::string& sample_name) {
  if (summary.non_finite != 0 && statistics.non_finite == 0) statistics.first_non_finite = sample_name;
  statistics.non_finite += summary.non_finite;
  if (summary.count == 0) return;
  if (statistics.count != 0 && statistics.channel_sums.size() != summary.channel_sums.size()) statistics.channels_differ = true;
  if (statistics.channels_differ) {
    statistics.channel_sums.clear();
  } else {
    statistics.channel_sums.resize(summary.channel_sums.size(), 0.0);
    for (std::size_t c = 0; c < summary.channel_sums.size(); ++c) statistics.channel_sums[c] += summary.channel_sums[c];
  }
  const Range range{summary.min, summary.max};
  if (statistics.count == 0) {
    statistics.seen = statistics.moving_average = range;
  } else {
    statistics.seen = {std::min(statistics.seen.min, range.min), std::max(statistics.seen.max, range.max)};
    const auto blend = [&](float old, float now) { return static_cast<float>(old + constant * (static_cast<double>(now) - old)); };
    statistics.moving_average = {blend(statistics.moving_average.min, range.min), blend(statistics.moving_average.max, range.max)};
  }
  statistics.count += summary.count;
  statistics.zeros += summary.zeros;
  statistics.sum += summary.sum;
  statistics.sum_squares += summary.sum_squares;
}

}  // namespace narrow::calibration
