#include "datasets/data_care.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>

#include <fmt/format.h>


namespace narrow::datasets {
namespace {

constexpr std::size_t kSketch = 64;            // means of so many stretches of an input stand for it
constexpr double kSimilarCorrelation = 0.9995;  // of two sketches, their mean and spread alike too
constexpr double kExtreme = 1000;               // times the usual largest magnitude of a sample
constexpr double kSimilarShare = 0.1;          // of the samples; above it is worth a word

struct InputSummary {
  double min = std::numeric_limits<double>::infinity(), max = -min;
  double sum = 0, squares = 0, count = 0;
  std::size_t constant_samples = 0;
  std::string constant_example;
  std::vector<double> reach;   // each sample's largest magnitude
  std::string farthest;        // the sample with the largest
  double mean() const { return count > 0 ? sum / count : 0; }
  double deviation() const { return count > 0 ? std::sqrt(std::max(0.0, squares / count - mean() * mean())) : 0; }
};

using Sketch = std::array<float, kSketch>;

struct SampleSketch {
  std::string name;
  std::vector<float> values;  // the sketches of all float inputs
};

Sketch sketch_of(std::span<const float> x) {
  Sketch sketch{};
  for (std::size_t s = 0; s < kSketch; ++s) {
    const std::size_t from = x.size() * s / kSketch, to = std::max(from + 1, x.size() * (s + 1) / kSketch);
    double sum = 0;
    for (std::size_t i = from; i < std::min(to, x.size()); ++i) sum += x[i];
    sketch[s] = static_cast<float>(sum / static_cast<double>(to - from));
  }
  return sketch;
}

bool similar(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size() || a.empty()) return false;
  double sa = 0, sb = 0, aa = 0, bb = 0, ab = 0, distance = 0;
  const auto n = static_cast<double>(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    sa += a[i];
    sb += b[i];
    aa += static_cast<double>(a[i]) * a[i];
    bb += static_cast<double>(b[i]) * b[i];
    ab += static_cast<double>(a[i]) * b[i];
    distance += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
  }
  if (distance == 0) return true;
  const double va = aa - sa * sa / n, vb = bb - sb * sb / n, cov = ab - sa * sb / n;
  if (!(va > 0) || !(vb > 0)) return false;
  // The same shape and the same size: a brighter copy of a picture is another input.
  return cov / std::sqrt(va * vb) > kSimilarCorrelation && distance < 0.01 * std::max(va, vb);
}

Status look_at(const Sample& sample, std::map<std::string, InputSummary>& inputs, SampleSketch& sketch) {
  sketch.name = sample.name;
  for (const auto& [name, tensor] : sample.inputs) {
    if (!is_float(tensor.dtype()) && tensor.dtype() != DType::kU8 && tensor.dtype() != DType::kS8) continue;
    const std::vector<float> x = tensor.to_float();
    InputSummary& summary = inputs[name];
    double low = std::numeric_limits<double>::infinity(), high = -low;
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (!std::isfinite(x[i])) {
        return invalid_argument(fmt::format("{}: input '{}' holds {} at element {}", sample.name, name,
                                            std::isnan(x[i]) ? "NaN" : "an infinity", i))
            .hint("Remove the sample or repair how it was made; statistics over it mean nothing.");
      }
      low = std::min(low, static_cast<double>(x[i]));
      high = std::max(high, static_cast<double>(x[i]));
      summary.sum += x[i];
      summary.squares += static_cast<double>(x[i]) * x[i];
    }
    if (x.empty()) continue;
    summary.count += static_cast<double>(x.size());
    const double reach = std::max(std::abs(low), std::abs(high));
    if (summary.reach.empty() || reach > *std::max_element(summary.reach.begin(), summary.reach.end())) summary.farthest = sample.name;
    summary.reach.push_back(reach);
    summary.min = std::min(summary.min, low);
    summary.max = std::max(summary.max, high);
    if (x.size() > 1 && low == high && summary.constant_samples++ == 0) summary.constant_example = sample.name;
    const Sketch s = sketch_of(x);
    sketch.values.insert(sketch.values.end(), s.begin(), s.end());
  }
  return {};
}

// What pixel values of 0..255 become: the ends of the range over all channels.
std::pair<double, double> expected_range(const Preprocess& p) {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  const std::size_t channels = std::max({p.mean.size(), p.std.size(), std::size_t{1}});
  for (std::size_t c = 0; c < channels; ++c) {
    const double mean = p.mean.empty() ? 0 : p.mean[std::min(c, p.mean.size() - 1)];
    const double std = p.std.empty() ? 1 : p.std[std::min(c, p.std.size() - 1)];
    for (double pixel : {0.0, 255.0}) {
      const double v = (pixel * p.scale - mean) / std;
      low = std::min(low, v);
      high = std::max(high, v);
    }
  }
  return {low, high};
}

void check_range(const std::string& name, const InputSummary& s, bool pictures, const DataCareOptions& options, std::vector<DataWarning>& out) {
  if (s.count == 0) return;
  const double spread = s.max - s.min;
  if (pictures) {
    const auto [low, high] = expected_range(options.preprocess);
    if (spread < 0.02 * (high - low)) {
      out.push_back({"range", fmt::format("input '{}' spans only {:.4g} to {:.4g}, while the preprocessing ({}) makes {:.4g} to {:.4g} of "
                                          "pixels: the pictures are nearly blank, or were already scaled to 0..1", name, s.min, s.max, to_string(options.preprocess), low, high)});
      return;
    }
    const bool normalised = !options.preprocess.std.empty();
    if (normalised && (std::abs(s.mean()) > 4 || s.deviation() > 4 || s.deviation() < 0.02)) {
      out.push_back({"range", fmt::format("input '{}' has mean {:.3g} and deviation {:.3g} after preprocessing ({}), expected near 0 and 1: "
                                          "mean and std look meant for another scale (0..1 against 0..255). Check scale, mean and std",
                                          name, s.mean(), s.deviation(), to_string(options.preprocess))});
    }
    const bool fraction_mean = !options.preprocess.mean.empty() && options.preprocess.scale == 1 &&
                               *std::max_element(options.preprocess.mean.begin(), options.preprocess.mean.end()) <= 1 &&
                               *std::max_element(options.preprocess.mean.begin(), options.preprocess.mean.end()) > 0;
    if (!normalised && fraction_mean) {
      out.push_back({"range", fmt::format("a mean of at most 1 is taken from pixel values of 0..255 ({}). Did you mean scale=1/255 as well?",
                                          to_string(options.preprocess))});
    }
    return;
  }
  // Arrays: nothing says what is right, so only what is hardly ever meant.
  std::vector<double> reach = s.reach;
  std::nth_element(reach.begin(), reach.begin() + static_cast<std::ptrdiff_t>(reach.size() / 2), reach.end());
  const double usual = reach[reach.size() / 2], largest = std::max(std::abs(s.min), std::abs(s.max));
  if (largest > kExtreme * usual && usual > 0) {
    out.push_back({"range", fmt::format("input '{}' reaches {:.4g} in {}, while most samples stay within {:.4g}: one value will decide the range. "
                                        "Look whether the sample is broken", name, largest, s.farthest, usual)});
  }
}

}  // namespace

Result<std::vector<DataWarning>> check_data(const Dataset& data, const DataCareOptions& options) {
  std::vector<DataWarning> warnings;
  const std::size_t count = std::min(std::max<std::size_t>(options.samples, 1), data.size());
  std::map<std::string, InputSummary> inputs;
  std::vector<SampleSketch> sketches(count);
  for (std::size_t i = 0; i < count; ++i) {
    const auto at = static_cast<std::size_t>(static_cast<unsigned __int128>(i) * data.size() / count);
    NARROW_TRY(const Sample sample, data.read(at));
    NARROW_RETURN_IF_ERROR(look_at(sample, inputs, sketches[i]));
  }
  if (data.size() < options.few) {
    warnings.push_back({"few_samples", fmt::format("only {} sample{}: ranges from fewer than {} are often too narrow. Give more data", data.size(),
                                                   data.size() == 1 ? "" : "s", options.few)});
  }
  for (const auto& [name, summary] : inputs) {
    if (summary.constant_samples != 0) {
      warnings.push_back({"constant_input", fmt::format("input '{}' has one value throughout in {} of {} samples looked at (first: {}). "
                                                        "Blank samples teach nothing about ranges", name, summary.constant_samples, count, summary.constant_example)});
    }
    check_range(name, summary, data.pictures(), options, warnings);
  }
  // Each sample counts once, with the first that it resembles.
  std::size_t alike = 0;
  std::string example;
  for (std::size_t i = 1; i < count; ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (!similar(sketches[i].values, sketches[j].values)) continue;
      if (alike++ == 0) example = fmt::format("{} and {}", sketches[j].name, sketches[i].name);
      break;
    }
  }
  if (count > 1 && static_cast<double>(alike) > kSimilarShare * static_cast<double>(count)) {
    warnings.push_back({"similar_samples", fmt::format("{} of {} samples looked at are nearly copies of another (for instance {}). Give more "
                                                       "varied data", alike, count, example)});
  }
  return warnings;
}

}  // namespace narrow::datasets
