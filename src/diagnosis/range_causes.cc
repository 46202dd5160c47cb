// Causes that lie in activations' ranges: calibration that does not fit live data, channels that spread a range.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "diagnosis/causes.h"
#include "diagnosis/repairs.h"

namespace narrow::diagnosis {
namespace {

// What rounding to this site's codes over [low, high] would cost, as squared error: a step's variance a value.
double expected_noise(const ActivationSite& site, const SiteStatistics& live) {
  const double low = std::min(live.min, 0.0), high = std::max(live.max, 0.0);
  const IntegerRange codes = integer_range(site.storage_type);
  const bool symmetric = site.zero_point == 0 && codes.min < 0;
  const double width = symmetric ? 2 * std::max(-low, high) : high - low;
  const double step = width / static_cast<double>(codes.max - codes.min);
  return static_cast<double>(live.count) * step * step / 12;
}

std::string layer_name(const Evidence& evidence, const ActivationSite& site) {
  return layer_of(evidence.reference, evidence.reference_uses, site.reference);
}

// The samples that lose most to clipping at a site, by name.
std::string most_clipped(const Evidence& evidence, const SiteStatistics& live) {
  std::vector<std::size_t> order(live.samples.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return live.samples[a].clipped > live.samples[b].clipped; });
  std::string names;
  for (std::size_t i = 0; i < std::min<std::size_t>(order.size(), 3); ++i) {
    if (live.samples[order[i]].clipped <= 0) break;
    names += fmt::format("{}'{}'", names.empty() ? "" : ", ", evidence.samples[order[i]]);
  }
  return names;
}

// Channels that a site's range is owed to: the few whose absence would make it `kSpread` times smaller, where the steps they
// force on the others drown the middle one of those (to less than kDrowned dB).
constexpr double kSpread = 3;
constexpr double kDrowned = 20;
struct Outliers {
  std::vector<std::size_t> channels;   // largest first
  double largest = 0, rest = 0;
};

Outliers outliers_of(double scale, const SiteStatistics& live) {
  const std::vector<double>& largest = live.channel_largest;
  std::vector<std::size_t> order(largest.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return largest[a] > largest[b]; });
  Outliers found;
  const std::size_t most = std::max<std::size_t>(1, largest.size() / 32);
  if (largest.size() < 8 || live.channel_rms.size() != largest.size()) return found;
  std::vector<double> rms = live.channel_rms;
  std::nth_element(rms.begin(), rms.begin() + static_cast<std::ptrdiff_t>(rms.size() / 2), rms.end());
  const double step = scale / std::sqrt(12.0);
  if (20 * std::log10(std::max(rms[rms.size() / 2], 1e-30) / step) > kDrowned) return found;
  for (std::size_t count = 1; count <= most; ++count) {
    if (largest[order[count]] * kSpread > largest[order[0]]) continue;
    found.channels.assign(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count));
    found.largest = largest[order[0]];
    found.rest = largest[order[count]];
    return found;
  }
  return found;
}

// The BatchNormalization that makes the value, through activations; -1: none.
int normalization_behind(const Evidence& evidence, graph::ValueId value) {
  while (value != graph::kNoValue) {
    const int maker = evidence.reference_uses.producer[static_cast<std::size_t>(value)];
    if (maker < 0) return -1;
    const graph::Node& node = evidence.reference.nodes[static_cast<std::size_t>(maker)];
    if (node.is("BatchNormalization")) return maker;
    if (!node.is("Relu") && !node.is("Clip") && !node.is("LeakyRelu")) return -1;
    value = node.input(0);
  }
  return -1;
}

}  // namespace

Status find_ranges(const Evidence& evidence, Findings& findings) {
  struct Bad { std::size_t site; double before, after; };
  std::vector<Bad> bad;
  std::vector<std::pair<const ActivationSite*, std::pair<double, double>>> ranges;
  double clipped = 0, rounded = 0;
  for (std::size_t i = 0; i < evidence.pairing.activations.size(); ++i) {
    const ActivationSite& site = evidence.pairing.activations[i];
    const SiteStatistics& live = evidence.live[i];
    if (live.count == 0 || !(live.signal > 0)) continue;
    const double before = live.clipped + live.rounded, after = expected_noise(site, live);
    if (after > 0.7 * before) continue;
    bad.push_back({i, before / live.signal, after / live.signal});
    ranges.push_back({&site, {live.min, live.max}});
    clipped += live.clipped / live.signal;
    rounded += live.rounded / live.signal;
  }
  if (bad.empty()) return {};
  std::stable_sort(bad.begin(), bad.end(), [](const Bad& a, const Bad& b) { return a.before - a.after > b.before - b.after; });
  NARROW_TRY(const double mended, evidence.measure(with_ranges(evidence.quantized, ranges)));
  const ActivationSite& site = evidence.pairing.activations[bad.front().site];
  const SiteStatistics& live = evidence.live[bad.front().site];
  Finding finding;
  finding.gain_db = mended - evidence.sqnr_db;
  for (const Bad& b : bad) finding.layers.push_back(layer_name(evidence, evidence.pairing.activations[b.site]));
  if (clipped > rounded) {
    finding.cause = "calibration_too_narrow";
    const std::string names = most_clipped(evidence, live);
    finding.evidence = fmt::format("{} of {} activation ranges cut live data off; '{}' holds [{:.4g}, {:.4g}] and saw [{:.4g}, {:.4g}], {:.2f} % of its values outside{}{}",
                                   bad.size(), evidence.pairing.activations.size(), site.value, site.low(), site.high(), live.min, live.max,
                                   100.0 * static_cast<double>(live.outside) / static_cast<double>(live.count), names.empty() ? "" : ", most in samples ", names);
    finding.remedy = "calibrate on data like this, or with an observer that clips less";
    finding.flag = "--observer min_max";
  } else {
    finding.cause = "calibration_too_wide";
    finding.evidence = fmt::format("{} of {} activation ranges are far wider than live data; '{}' holds [{:.4g}, {:.4g}] and saw [{:.4g}, {:.4g}]",
                                   bad.size(), evidence.pairing.activations.size(), site.value, site.low(), site.high(), live.min, live.max);
    finding.remedy = "calibrate on data like this";
  }
  findings.push_back(std::move(finding));
  return {};
}

Status find_outlier_channels(const Evidence& evidence, Findings& findings) {
  struct Spread { std::size_t site; Outliers outliers; };
  std::vector<Spread> spread;
  for (std::size_t i = 0; i < evidence.pairing.activations.size(); ++i) {
    Outliers outliers = outliers_of(evidence.pairing.activations[i].scale, evidence.live[i]);
    if (!outliers.channels.empty()) spread.push_back({i, std::move(outliers)});
  }
  if (spread.empty()) return {};
  std::stable_sort(spread.begin(), spread.end(), [](const Spread& a, const Spread& b) {
    return a.outliers.largest / a.outliers.rest > b.outliers.largest / b.outliers.rest;
  });
  // A channel that large has small weights in its readers: both are rounded away together.
  std::vector<const ActivationSite*> sites;
  std::vector<std::pair<const ConstantSite*, Tensor>> weights;
  for (const Spread& s : spread) {
    const ActivationSite& site = evidence.pairing.activations[s.site];
    sites.push_back(&site);
    for (const ConstantSite& weight : evidence.pairing.weights) {
      const graph::Node& node = evidence.reference.nodes[static_cast<std::size_t>(weight.reference_node)];
      if (node.input(0) == site.reference) weights.emplace_back(&weight, weight.original);
    }
    // A BatchNormalization of its own makes the channel large: rounded with one scale, its factors drown like the channels do.
    const int maker = normalization_behind(evidence, site.reference);
    for (const ConstantSite& factor : evidence.pairing.factors) {
      if (factor.reference_node == maker) weights.emplace_back(&factor, factor.original);
    }
  }
  NARROW_TRY(const double mended, evidence.measure(without_quantization(with_constants(evidence.quantized, weights), sites)));
  const ActivationSite& site = *sites.front();
  const Outliers& worst = spread.front().outliers;
  Finding finding;
  finding.cause = "outlier_channels";
  finding.gain_db = mended - evidence.sqnr_db;
  for (const ActivationSite* s : sites) finding.layers.push_back(layer_name(evidence, *s));
  finding.evidence = fmt::format("channel {} of '{}' reaches {:.4g} where the others stay below {:.4g}, so that they share {:.0f} of {} steps",
                                 worst.channels.front(), site.value, worst.largest, worst.rest,
                                 std::max(1.0, std::round((site.high() - site.low()) / site.scale * worst.rest / worst.largest)),
                                 integer_range(site.storage_type).max - integer_range(site.storage_type).min + 1);
  if (sites.size() > 1) finding.evidence += fmt::format("; {} more activations are like it", sites.size() - 1);
  finding.remedy = "equalize the channels, or keep the layers that read them in float";
  std::vector<std::string> readers;
  for (const auto& [weight, values] : weights) {
    if (weight->op_type != "BatchNormalization" && std::find(readers.begin(), readers.end(), weight->layer) == readers.end()) readers.push_back(weight->layer);
  }
  for (const std::string& reader : readers) finding.flag += fmt::format("{}--exclude '{}'", finding.flag.empty() ? "" : " ", reader);
  finding.excluded = std::move(readers);
  findings.push_back(std::move(finding));
  return {};
}

void find_outliers_behind_float(const Evidence& evidence, Findings& findings) {
  Finding finding;
  for (std::size_t i = 0; i < evidence.pairing.floats.size(); ++i) {
    const SiteStatistics& live = evidence.float_inputs[i];
    const Outliers outliers = outliers_of((std::max(live.max, 0.0) - std::min(live.min, 0.0)) / 255, live);
    if (outliers.channels.empty()) continue;
    const FloatLayer& layer = evidence.pairing.floats[i];
    if (finding.layers.empty()) {
      finding.evidence = fmt::format("'{}' stays in float, and 8 bits would not do: channel {} of its input '{}' reaches {:.4g} where the others stay below {:.4g}",
                                     layer.layer, outliers.channels.front(), evidence.reference.value(layer.reference_input).name, outliers.largest, outliers.rest);
    }
    finding.layers.push_back(layer.layer);
  }
  if (finding.layers.empty()) return;
  finding.cause = "outlier_channels";
  finding.remedy = "equalize the channels, so that the layer can be quantized";
  findings.push_back(std::move(finding));
}

}  // namespace narrow::diagnosis
