#include "diagnosis/probe.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>

#include "runtime/session.h"

namespace narrow::diagnosis {
namespace {

// Channels stand second in pictures, last in sequences and rows.
int channel_axis(const Tensor& tensor) { return tensor.rank() >= 4 ? 1 : tensor.rank() >= 2 ? tensor.rank() - 1 : -1; }

struct Seen {
  SampleRange range;
  double signal = 0, rounded = 0;
  std::uint64_t count = 0, outside = 0, non_finite = 0;
  std::vector<double> largest, squares;   // by channel
  bool any = false;
};

// Rounds half to even without leaving the vector unit. Precondition: |x| < 2^22.
inline float nearest(float x) {
  constexpr float kMagic = 12582912.0f;
  return (x + kMagic) - kMagic;
}

// One run of values that belong to the same channel.
void look(std::span<const float> values, const ActivationSite& site, Seen& seen, double& largest, double& squares) {
  const float low = static_cast<float>(site.low()), high = static_cast<float>(site.high());
  const float step = static_cast<float>(site.scale), inverse = 1.0f / step, half = 0.5f * step;
  float min = INFINITY, max = -INFINITY;
  double signal = 0, clipped = 0, rounded = 0;
  std::uint64_t outside = 0, count = 0;
  for (const float x : values) {
    if (!(std::abs(x) <= std::numeric_limits<float>::max())) continue;
    ++count;
    min = std::min(min, x);
    max = std::max(max, x);
    const float clamped = std::min(std::max(x, low), high);
    const float cut = x - clamped, rest = clamped - nearest(clamped * inverse) * step;
    signal += static_cast<double>(x) * x;
    // Half a step beyond the ends is rounding, not clipping.
    const bool beyond = std::abs(cut) > half;
    outside += beyond;
    clipped += beyond ? static_cast<double>(cut) * cut : 0.0;
    const float error = cut + rest;
    rounded += beyond ? 0.0 : static_cast<double>(error) * error;
  }
  seen.non_finite += values.size() - count;
  if (count == 0) return;
  seen.range.min = seen.any ? std::min(seen.range.min, min) : min;
  seen.range.max = seen.any ? std::max(seen.range.max, max) : max;
  seen.any = true;
  seen.count += count;
  seen.signal += signal;
  seen.range.clipped += clipped;
  seen.rounded += rounded;
  seen.outside += outside;
  largest = std::max({largest, std::abs(static_cast<double>(min)), std::abs(static_cast<double>(max))});
  squares += signal;
}

Seen look(const Tensor& tensor, const ActivationSite& site) {
  Seen seen;
  const std::vector<float> values = tensor.to_float();
  const int axis = channel_axis(tensor);
  std::size_t channels = 1, inner = values.size();
  if (axis >= 0) {
    channels = static_cast<std::size_t>(tensor.shape()[static_cast<std::size_t>(axis)]);
    inner = 1;
    for (std::size_t i = static_cast<std::size_t>(axis) + 1; i < tensor.shape().size(); ++i) inner *= static_cast<std::size_t>(tensor.shape()[i]);
  }
  std::vector<double> largest(channels), squares(channels);
  std::size_t channel = 0;
  for (std::size_t at = 0; at + inner <= values.size() && inner > 0; at += inner) {
    look(std::span(values).subspan(at, inner), site, seen, largest[channel], squares[channel]);
    channel = channel + 1 == channels ? 0 : channel + 1;
  }
  if (axis >= 0) {
    seen.largest = std::move(largest);
    seen.squares = std::move(squares);
  }
  return seen;
}

class ProbeWorker final : public evaluation::Worker {
 public:
  ProbeWorker(std::span<const ActivationSite> sites, std::vector<std::vector<Seen>>& seen) : sites_(sites), seen_(seen) {
    for (std::size_t i = 0; i < sites.size(); ++i) by_value_[sites[i].reference].push_back(i);
  }

  Status open(const graph::Graph& reference, int threads) {
    runtime::SessionOptions options;
    options.threads = threads;
    for (const auto& [value, at] : by_value_) options.tapped.push_back(value);
    std::sort(options.tapped.begin(), options.tapped.end());
    options.tap = [this](graph::ValueId id, const Tensor& tensor) -> Status {
      if (!is_float(tensor.dtype())) return {};
      for (const std::size_t at : by_value_.at(id)) seen_[index_][at] = look(tensor, sites_[at]);
      return {};
    };
    NARROW_TRY(session_, runtime::Session::create(reference, options));
    return {};
  }

  Status visit(std::size_t index, const datasets::Sample& sample) override {
    index_ = index;
    auto ran = session_->run(sample.inputs);
    return ran.ok() ? Status{} : Status{std::move(ran).error().context("in the float model")};
  }

 private:
  std::span<const ActivationSite> sites_;
  std::vector<std::vector<Seen>>& seen_;
  std::unordered_map<graph::ValueId, std::vector<std::size_t>> by_value_;
  std::unique_ptr<runtime::Session> session_;
  std::size_t index_ = 0;
};

void add(SiteStatistics& sum, const Seen& seen, std::vector<double>& squares, std::uint64_t& per_channel) {
  sum.samples.push_back(seen.range);
  sum.non_finite += seen.non_finite;
  if (!seen.any) return;
  sum.min = sum.count == 0 ? seen.range.min : std::min(sum.min, static_cast<double>(seen.range.min));
  sum.max = sum.count == 0 ? seen.range.max : std::max(sum.max, static_cast<double>(seen.range.max));
  sum.signal += seen.signal;
  sum.clipped += seen.range.clipped;
  sum.rounded += seen.rounded;
  sum.outside += seen.outside;
  if (sum.count == 0) {
    sum.channel_largest.assign(seen.largest.size(), 0.0);
    squares.assign(seen.largest.size(), 0.0);
  }
  sum.count += seen.count;
  if (sum.channel_largest.size() != seen.largest.size()) {  // the axis of channels varies between samples
    sum.channel_largest.clear();
    return;
  }
  for (std::size_t i = 0; i < seen.largest.size(); ++i) {
    sum.channel_largest[i] = std::max(sum.channel_largest[i], seen.largest[i]);
    squares[i] += seen.squares[i];
  }
  if (!seen.largest.empty()) per_channel += seen.count / seen.largest.size();
}

}  // namespace

double SiteStatistics::sqnr_db() const {
  const double noise = clipped + rounded;
  if (noise <= 0) return 200;
  if (signal <= 0) return -200;
  return std::clamp(10 * std::log10(signal / noise), -200.0, 200.0);
}

Result<std::vector<SiteStatistics>> probe(const graph::Graph& reference, std::span<const ActivationSite> sites,
                                          const datasets::Dataset& data, const evaluation::SweepOptions& options) {
  std::vector<std::vector<Seen>> seen(data.size(), std::vector<Seen>(sites.size()));
  NARROW_RETURN_IF_ERROR(evaluation::sweep(data, options, [&](int threads) -> Result<std::unique_ptr<evaluation::Worker>> {
    auto worker = std::make_unique<ProbeWorker>(sites, seen);
    NARROW_RETURN_IF_ERROR(worker->open(reference, threads));
    return std::unique_ptr<evaluation::Worker>(std::move(worker));
  }));
  std::vector<SiteStatistics> statistics(sites.size());
  for (std::size_t site = 0; site < sites.size(); ++site) {
    std::vector<double> squares;
    std::uint64_t per_channel = 0;
    for (const std::vector<Seen>& sample : seen) add(statistics[site], sample[site], squares, per_channel);
    if (statistics[site].channel_largest.empty()) continue;
    for (const double sum : squares) statistics[site].channel_rms.push_back(std::sqrt(sum / static_cast<double>(std::max<std::uint64_t>(per_channel, 1))));
  }
  return statistics;
}

}  // namespace narrow::diagnosis
