// Causes that lie in the weights and biases.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "diagnosis/causes.h"
#include "diagnosis/repairs.h"
#include "evaluation/difference.h"

namespace narrow::diagnosis {
namespace {

evaluation::Difference difference(const ConstantSite& site) {
  evaluation::Difference found;
  evaluation::add_tensors(found, site.original, site.restored);
  return found;
}

// In the mean over output channels: channels weigh alike, as small ones matter as much as large ones to what reads them.
double channels_db(const ConstantSite& site, const Tensor& made) {
  const Channels channels = site.channels();
  std::vector<double> signal(channels.count), noise(channels.count);
  const std::span<const float> from = site.original.data<float>(), to = made.data<float>();
  for (std::size_t i = 0; i < from.size(); ++i) {
    const std::size_t channel = channels.of(i);
    signal[channel] += static_cast<double>(from[i]) * from[i];
    noise[channel] += (static_cast<double>(from[i]) - to[i]) * (static_cast<double>(from[i]) - to[i]);
  }
  double sum = 0;
  std::size_t counted = 0;
  for (std::size_t i = 0; i < signal.size(); ++i) {
    if (!(signal[i] > 0)) continue;
    sum += noise[i] > 0 ? std::clamp(10 * std::log10(signal[i] / noise[i]), -10.0, 80.0) : 80.0;
    ++counted;
  }
  return counted == 0 ? 0 : sum / static_cast<double>(counted);
}

// The float model's biases of these layers: corrections of a bias make up for the weights as they were.
void add_biases(const Evidence& evidence, std::vector<std::pair<const ConstantSite*, Tensor>>& constants) {
  const std::size_t count = constants.size();
  for (std::size_t i = 0; i < count; ++i) {
    for (const ConstantSite& bias : evidence.pairing.biases) {
      if (bias.reference_node == constants[i].first->reference_node) constants.emplace_back(&bias, bias.original);
    }
  }
}

// Which weights a quantizer rounded with one scale for all channels although a scale each would be much better.
constexpr double kWorthAScaleEach = 3;   // dB, in the mean over channels
constexpr double kNotTheSame = 8;        // dB: rounding alone leaves more, even to 3 bits
constexpr double kBiasesDiffer = 0.2;    // of the layer's output, root mean square: corrections stay far below

using Constants = std::vector<std::pair<const ConstantSite*, Tensor>>;

// A weight, and what it was and would be worth.
struct Weight {
  const ConstantSite* site;
  double before, after;
};

// The finding that these weights are to blame: what the outputs win with `mended` in their place.
Result<Finding> blame(const Evidence& evidence, std::string cause, std::vector<Weight>& weights, Constants mended) {
  std::stable_sort(weights.begin(), weights.end(), [](const Weight& a, const Weight& b) { return a.after - a.before > b.after - b.before; });
  add_biases(evidence, mended);
  NARROW_TRY(const double db, evidence.measure(with_constants(evidence.quantized, mended)));
  Finding finding;
  finding.cause = std::move(cause);
  finding.gain_db = db - evidence.sqnr_db;
  for (const Weight& weight : weights) finding.layers.push_back(weight.site->layer);
  return finding;
}

// Root mean square of what the layer makes, where that is a site; else 0.
double output_rms(const Evidence& evidence, const std::string& layer) {
  for (std::size_t i = 0; i < evidence.pairing.activations.size(); ++i) {
    const SiteStatistics& live = evidence.live[i];
    if (live.count > 0 && layer_of(evidence.reference, evidence.reference_uses, evidence.pairing.activations[i].reference) == layer) {
      return std::sqrt(live.signal / static_cast<double>(live.count));
    }
  }
  return 0;
}

}  // namespace

Status find_weights(const Evidence& evidence, Findings& findings) {
  std::vector<Weight> shared, foreign;
  Constants per_channel, originals;
  for (const ConstantSite& site : evidence.pairing.weights) {
    if (site.scales == 1 && site.channels().count > 1) {
      Tensor rounded = rounded_per_channel(site);
      const double before = channels_db(site, site.restored), after = channels_db(site, rounded);
      if (after - before < kWorthAScaleEach) continue;
      shared.push_back({&site, before, after});
      per_channel.emplace_back(&site, std::move(rounded));
    } else if (const double whole = difference(site).sqnr_db(); whole < kNotTheSame) {
      foreign.push_back({&site, whole, 200});
      originals.emplace_back(&site, site.original);
    }
  }
  if (!shared.empty()) {
    NARROW_TRY(Finding finding, blame(evidence, "per_tensor_weights", shared, std::move(per_channel)));
    const Weight& worst = shared.front();
    const auto depthwise = std::count_if(shared.begin(), shared.end(), [](const Weight& weight) { return weight.site->depthwise; });
    finding.evidence = fmt::format("{} layers ({} depthwise) have one weight scale for all channels; the weights of '{}' are at {:.1f} dB in the mean over channels, and at {:.1f} dB with a scale each",
                                   shared.size(), depthwise, worst.site->layer, worst.before, worst.after);
    finding.remedy = "quantize weights per channel: leave --per-tensor out (in a recipe: per_channel = true)";
    findings.push_back(std::move(finding));
  }
  if (!foreign.empty()) {
    NARROW_TRY(Finding finding, blame(evidence, "weights_differ", foreign, std::move(originals)));
    finding.evidence = fmt::format("the weights of {} layers are not the float model's, rounded: '{}' agrees to {:.1f} dB", foreign.size(),
                                   foreign.front().site->layer, foreign.front().before);
    finding.remedy = "quantize this float model again: the quantized file comes from another checkpoint, was equalized, or is damaged";
    findings.push_back(std::move(finding));
  }
  return {};
}

Status find_biases(const Evidence& evidence, Findings& findings) {
  Constants originals;
  Finding finding;
  double worst = 0;
  const ConstantSite* first = nullptr;
  for (const ConstantSite& site : evidence.pairing.biases) {
    const evaluation::Difference found = difference(site);
    const double moved = std::sqrt(found.noise / static_cast<double>(std::max<std::uint64_t>(found.elements, 1))), output = output_rms(evidence, site.layer);
    if (!(output > 0) || moved < kBiasesDiffer * output) continue;
    if (moved / output > worst) {
      worst = moved / output;
      first = &site;
    }
    originals.emplace_back(&site, site.original);
    finding.layers.push_back(site.layer);
  }
  if (originals.empty()) return {};
  NARROW_TRY(const double mended, evidence.measure(with_constants(evidence.quantized, originals)));
  finding.cause = "biases_differ";
  finding.gain_db = mended - evidence.sqnr_db;
  finding.evidence = fmt::format("the biases of {} layers are far from the float model's: that of '{}' is off by {:.2g} times what the layer puts out", originals.size(), first->layer, worst);
  finding.remedy = "a bias overflowed its 32 bits, its scale is not input scale times weight scale, or it was corrected too far: quantize again, or keep biases in float";
  findings.push_back(std::move(finding));
  return {};
}

void find_dead_channels(const Evidence& evidence, Findings& findings) {
  Finding finding;
  std::size_t channels = 0, all = 0;
  for (const ConstantSite& site : evidence.pairing.weights) {
    const Channels of_site = site.channels();
    std::vector<bool> alive(of_site.count);
    const std::span<const float> values = site.original.data<float>();
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (values[i] != 0) alive[of_site.of(i)] = true;
    }
    const auto dead = static_cast<std::size_t>(std::count(alive.begin(), alive.end(), false));
    all += alive.size();
    channels += dead;
    if (dead > 0) finding.layers.push_back(site.layer);
  }
  if (channels == 0) return;
  finding.cause = "dead_channels";
  finding.evidence = fmt::format("{} of {} channels have weights that are all zero, first in '{}'", channels, all, finding.layers.front());
  finding.remedy = "they cost time and bytes and can be pruned before quantizing";
  findings.push_back(std::move(finding));
}

void find_float_weights(const Evidence& evidence, Findings& findings) {
  if (evidence.pairing.floats.empty()) return;
  std::vector<FloatLayer> floats = evidence.pairing.floats;
  std::stable_sort(floats.begin(), floats.end(), [](const FloatLayer& a, const FloatLayer& b) { return a.bytes > b.bytes; });
  std::uint64_t bytes = 0;
  Finding finding;
  finding.cause = "left_in_float";
  for (const FloatLayer& layer : floats) {
    bytes += layer.bytes;
    finding.layers.push_back(layer.layer);
  }
  std::string reason;
  if (evidence.target != nullptr) {
    const graph::Node& node = evidence.quantized.nodes[static_cast<std::size_t>(floats.front().quantized_node)];
    const targets::OperatorRule* rule = evidence.target->find(node.op_type);
    if (rule == nullptr) reason = fmt::format(" ({} has no integer kernel for {})", evidence.target->name, node.op_type);
    else if (rule->refuses != nullptr && !rule->refuses(evidence.quantized, node).empty()) reason = fmt::format(" ({})", rule->refuses(evidence.quantized, node));
  }
  finding.evidence = fmt::format("{} layers keep {:.1f} KiB of weights in float, most of it in '{}'{}", floats.size(), static_cast<double>(bytes) / 1024,
                                 floats.front().layer, reason);
  finding.remedy = reason.empty() ? "let them be quantized: drop the rule that excludes them" : "choose another target, or weight-only quantization for these layers";
  findings.push_back(std::move(finding));
}

void find_overflow(const Evidence& evidence, Findings& findings) {
  // 32 bits hold the largest sum of u8 x s8 products of this many terms.
  constexpr std::int64_t kMostTerms = 2147483647 / (255 * 128);
  for (const ConstantSite& site : evidence.pairing.weights) {
    const std::int64_t terms = site.original.size() / static_cast<std::int64_t>(site.channels().count);
    if (terms <= kMostTerms) continue;
    Finding finding;
    finding.cause = "accumulator_overflow";
    finding.layers.push_back(site.layer);
    finding.evidence = fmt::format("'{}' adds up {} products of 8 bits each, more than 32 bits are sure to hold ({})", site.layer, terms, kMostTerms);
    finding.remedy = "keep this layer in float";
    finding.flag = fmt::format("--exclude '{}'", site.layer);
    finding.excluded = {site.layer};
    findings.push_back(std::move(finding));
  }
}

}  // namespace narrow::diagnosis
