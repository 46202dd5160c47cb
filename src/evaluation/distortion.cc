#include "evaluation/distortion.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <unordered_map>
#include <unordered_set>

#include "evaluation/accuracy.h"
#include "evaluation/difference.h"

namespace narrow::evaluation {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::ValueId;

constexpr std::size_t kBins = 96;

struct Pair {
  ValueId reference, quantized;
};

bool is_activation(const graph::Node& node) { return node.is("Relu") || node.is("Clip") || node.is("BatchNormalization"); }

std::vector<Pair> resolve(const DistortionRequest& request) {
  std::vector<Pair> pairs;
  std::unordered_set<ValueId> seen;
  for (const auto& [reference, quantized] : request.correspondence) {
    const ValueId from = request.reference->find_value(reference), to = request.quantized->find_value(quantized);
    if (from == kNoValue || to == kNoValue || request.reference->constant(from) != nullptr) continue;
    if (seen.insert(from).second) pairs.push_back({from, to});
  }
  return pairs;
}

// The node that a value's error should be laid at: activations and normalisations are folded into what feeds them.
LayerDistortion name_layer(const Graph& graph, const graph::Uses& uses, ValueId value) {
  LayerDistortion layer;
  layer.value = graph.value(value).name;
  int index = uses.producer[static_cast<std::size_t>(value)];
  if (index < 0) {
    layer.layer = layer.value;
    layer.op_type = "input";
    return layer;
  }
  std::string suffix;
  while (true) {
    const graph::Node& node = graph.nodes[static_cast<std::size_t>(index)];
    layer.layer = node.name;
    layer.op_type = node.op_type + suffix;
    const ValueId input = node.input(0);
    if (!is_activation(node) || input == kNoValue) break;
    const int before = uses.producer[static_cast<std::size_t>(input)];
    if (before < 0 || uses.readers[static_cast<std::size_t>(input)].size() != 1) break;
    suffix = " + " + node.op_type + suffix;
    index = before;
  }
  return layer;
}

class DistortionWorker final : public Worker {
 public:
  DistortionWorker(const std::vector<Pair>& pairs, std::vector<std::vector<Difference>>& differences,
                   std::vector<SampleRecord>& records)
      : differences_(differences), records_(records) {
    for (std::size_t i = 0; i < pairs.size(); ++i) by_quantized_[pairs[i].quantized].push_back({pairs[i].reference, i});
  }

  Status open(const Graph& reference, const Graph& quantized, const std::vector<Pair>& pairs, int threads) {
    runtime::SessionOptions options;
    options.threads = threads;
    for (const Pair& pair : pairs) options.tapped.push_back(pair.reference);
    options.tap = [this](ValueId id, const Tensor& tensor) -> Status {
      kept_[id] = tensor.clone();
      return {};
    };
    NARROW_TRY(reference_, runtime::Session::create(reference, options));
    options.tapped.clear();
    for (const auto& [id, targets] : by_quantized_) options.tapped.push_back(id);
    std::sort(options.tapped.begin(), options.tapped.end());
    options.tap = [this](ValueId id, const Tensor& tensor) -> Status {
      for (const auto& [reference_id, slot] : by_quantized_.at(id)) {
        const auto kept = kept_.find(reference_id);
        if (kept == kept_.end() || !is_float(tensor.dtype())) continue;
        add_tensors(differences_[index_][slot], kept->second, tensor);
        kept_.erase(kept);
      }
      return {};
    };
    NARROW_TRY(quantized_, runtime::Session::create(quantized, options));
    return {};
  }

  Status visit(std::size_t index, const datasets::Sample& sample) override {
    index_ = index;
    kept_.clear();
    auto reference = reference_->run(sample.inputs);
    if (!reference.ok()) return std::move(reference).error().context("in the float model");
    auto quantized = quantized_->run(sample.inputs);
    if (!quantized.ok()) return std::move(quantized).error().context("in the quantized model");
    NARROW_TRY(records_[index], record_sample(sample, *quantized, *reference));
    kept_.clear();
    return {};
  }

 private:
  std::unique_ptr<runtime::Session> reference_, quantized_;
  std::unordered_map<ValueId, std::vector<std::pair<ValueId, std::size_t>>> by_quantized_;
  std::unordered_map<ValueId, Tensor> kept_;
  std::size_t index_ = 0;
  std::vector<std::vector<Difference>>& differences_;
  std::vector<SampleRecord>& records_;
};

class HistogramWorker final : public Worker {
 public:
  HistogramWorker(std::unordered_map<ValueId, ValueHistogram*> targets,
                  std::vector<std::map<const ValueHistogram*, std::vector<std::uint64_t>>>& counts)
      : targets_(std::move(targets)), counts_(counts) {}

  Status open(const Graph& reference, int threads) {
    runtime::SessionOptions options;
    options.threads = threads;
    for (const auto& [id, target] : targets_) options.tapped.push_back(id);
    options.tap = [this](ValueId id, const Tensor& tensor) -> Status {
      const ValueHistogram* histogram = targets_.at(id);
      std::vector<std::uint64_t>& counts = counts_[index_][histogram];
      counts.resize(kBins);
      const double width = (histogram->high - histogram->low) / kBins;
      for (const float value : tensor.to_float()) {
        if (!std::isfinite(value)) continue;
        const double bin = width > 0 ? (value - histogram->low) / width : 0;
        ++counts[static_cast<std::size_t>(std::clamp(bin, 0.0, static_cast<double>(kBins - 1)))];
      }
      return {};
    };
    NARROW_TRY(session_, runtime::Session::create(reference, options));
    return {};
  }

  Status visit(std::size_t index, const datasets::Sample& sample) override {
    index_ = index;
    auto ran = session_->run(sample.inputs);
    return ran.ok() ? Status{} : Status{std::move(ran).error()};
  }

 private:
  std::unique_ptr<runtime::Session> session_;
  std::unordered_map<ValueId, ValueHistogram*> targets_;
  std::vector<std::map<const ValueHistogram*, std::vector<std::uint64_t>>>& counts_;
  std::size_t index_ = 0;
};

Status fill_histograms(const DistortionRequest& request, const datasets::Dataset& data,
                       std::vector<ValueHistogram>& histograms) {
  std::unordered_map<ValueId, ValueHistogram*> targets;
  for (ValueHistogram& histogram : histograms) targets[request.reference->find_value(histogram.value)] = &histogram;
  std::vector<std::map<const ValueHistogram*, std::vector<std::uint64_t>>> counts(data.size());
  SweepOptions options = request.sweep;
  options.phase = "drawing histograms";
  NARROW_RETURN_IF_ERROR(sweep(data, options, [&](int threads) -> Result<std::unique_ptr<Worker>> {
    auto worker = std::make_unique<HistogramWorker>(targets, counts);
    NARROW_RETURN_IF_ERROR(worker->open(*request.reference, threads));
    return std::unique_ptr<Worker>(std::move(worker));
  }));
  for (ValueHistogram& histogram : histograms) {
    histogram.counts.assign(kBins, 0);
    for (const auto& sample : counts) {
      const auto found = sample.find(&histogram);
      if (found == sample.end()) continue;
      for (std::size_t bin = 0; bin < kBins; ++bin) histogram.counts[bin] += found->second[bin];
    }
  }
  return {};
}

}  // namespace

Correspondence match_by_name(const Graph& reference, const Graph& quantized) {
  const graph::Uses uses(quantized);
  std::unordered_map<std::string, ValueId> by_name;
  for (std::size_t i = 0; i < quantized.values.size(); ++i) by_name[quantized.values[i].name] = static_cast<ValueId>(i);
  Correspondence pairs;
  for (const graph::Node& node : reference.nodes) {
    for (const ValueId output : node.outputs) {
      if (output == kNoValue) continue;
      const std::string& name = reference.value(output).name;
      const auto found = by_name.find(name);
      if (found == by_name.end() || quantized.constant(found->second) != nullptr) continue;
      ValueId match = found->second;
      for (const graph::Uses::Use& use : uses.readers[static_cast<std::size_t>(match)]) {
        const graph::Node& quantize = quantized.nodes[static_cast<std::size_t>(use.node)];
        if (!quantize.is("QuantizeLinear") || use.input != 0 || quantize.output(0) == kNoValue) continue;
        for (const graph::Uses::Use& next : uses.readers[static_cast<std::size_t>(quantize.output(0))]) {
          const graph::Node& dequantize = quantized.nodes[static_cast<std::size_t>(next.node)];
          if (dequantize.is("DequantizeLinear") && next.input == 0) match = dequantize.output(0);
        }
      }
      pairs.emplace_back(name, quantized.value(match).name);
    }
  }
  return pairs;
}

std::optional<std::pair<double, double>> representable_range(const Graph& quantized, ValueId value) {
  const graph::Uses uses(quantized);
  for (int hops = 0; hops < 3; ++hops) {
    if (value == kNoValue) return std::nullopt;
    const int index = uses.producer[static_cast<std::size_t>(value)];
    if (index < 0) return std::nullopt;
    const graph::Node& node = quantized.nodes[static_cast<std::size_t>(index)];
    if (node.is("DequantizeLinear")) {
      const Tensor* scale = quantized.constant(node.input(1));
      const Tensor* zero_point = quantized.constant(node.input(2));
      if (scale == nullptr || scale->size() != 1 || zero_point == nullptr || zero_point->size() != 1) return std::nullopt;
      if (!is_integer(zero_point->dtype()) || bits_of(zero_point->dtype()) > 16) return std::nullopt;
      const IntegerRange codes = integer_range(zero_point->dtype());
      const double step = scale->at_as_double(0), zero = zero_point->at_as_double(0);
      return std::pair((static_cast<double>(codes.min) - zero) * step, (static_cast<double>(codes.max) - zero) * step);
    }
    if (!is_activation(node)) return std::nullopt;
    value = node.input(0);
  }
  return std::nullopt;
}

Result<DistortionReport> measure_distortion(const DistortionRequest& request, const datasets::Dataset& data) {
  std::vector<Pair> pairs = resolve(request);
  const graph::Uses uses(*request.reference);
  std::stable_sort(pairs.begin(), pairs.end(), [&](const Pair& a, const Pair& b) {
    return uses.producer[static_cast<std::size_t>(a.reference)] < uses.producer[static_cast<std::size_t>(b.reference)];
  });

  std::vector<std::vector<Difference>> differences(data.size(), std::vector<Difference>(pairs.size()));
  std::vector<SampleRecord> records(data.size());
  NARROW_RETURN_IF_ERROR(sweep(data, request.sweep, [&](int threads) -> Result<std::unique_ptr<Worker>> {
    auto worker = std::make_unique<DistortionWorker>(pairs, differences, records);
    NARROW_RETURN_IF_ERROR(worker->open(*request.reference, *request.quantized, pairs, threads));
    return std::unique_ptr<Worker>(std::move(worker));
  }));

  DistortionReport report;
  report.outputs = summarize(records, true);
  std::vector<std::pair<Difference, std::size_t>> measured;  // and the pair it belongs to
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    Difference sum;
    for (const std::vector<Difference>& sample : differences) sum.merge(sample[i]);
    if (sum.elements == 0) continue;
    LayerDistortion layer = name_layer(*request.reference, uses, pairs[i].reference);
    layer.sqnr_db = sum.sqnr_db();
    layer.cosine = sum.cosine();
    layer.max_error = sum.max_error;
    report.layers.push_back(std::move(layer));
    measured.emplace_back(sum, i);
  }

  std::vector<std::size_t> worst(report.layers.size());
  for (std::size_t i = 0; i < worst.size(); ++i) worst[i] = i;
  std::stable_sort(worst.begin(), worst.end(),
                   [&](std::size_t a, std::size_t b) { return report.layers[a].sqnr_db < report.layers[b].sqnr_db; });
  worst.resize(std::min(worst.size(), request.histograms));
  for (const std::size_t i : worst) {
    ValueHistogram histogram;
    histogram.layer = report.layers[i].layer;
    histogram.value = report.layers[i].value;
    histogram.low = measured[i].first.low;
    histogram.high = measured[i].first.high;
    if (const auto range = representable_range(*request.quantized, pairs[measured[i].second].quantized)) {
      histogram.clip_low = range->first;
      histogram.clip_high = range->second;
    }
    report.histograms.push_back(std::move(histogram));
  }
  if (!report.histograms.empty()) NARROW_RETURN_IF_ERROR(fill_histograms(request, data, report.histograms));
  return report;
}

}  // namespace narrow::evaluation
