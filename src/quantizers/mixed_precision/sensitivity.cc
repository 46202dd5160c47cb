#include "quantizers/mixed_precision/sensitivity.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "base/thread_pool.h"
#include "passes/lower_qdq.h"
#include "passes/passes.h"
#include "quantizers/mixed_precision/sources.h"
#include "runtime/session.h"

namespace narrow::quantizers {
namespace {

using graph::Graph;
using graph::ValueId;
using mixed_precision::Remainder;
using mixed_precision::RoundedActivation;
using mixed_precision::RoundedWeights;

// What one sample looks like in the float model.
struct Kept {
  std::string name;
  std::unordered_map<std::string, Tensor> values;
  std::vector<Tensor> outputs;
};

Result<std::unique_ptr<runtime::Session>> open(const Graph& graph, bool lowered) {
  Graph running = graph.clone();
  if (lowered) NARROW_RETURN_IF_ERROR(passes::lower_qdq(running));
  NARROW_TRY(const passes::NameMap twins, passes::optimize_for_running(running));
  (void)twins;
  return runtime::Session::create(running, {});
}

double power(const Tensor& tensor) {
  double sum = 0;
  if (!is_float(tensor.dtype())) return 0;
  for (float x : tensor.to_float()) sum += std::isfinite(x) ? static_cast<double>(x) * x : 0;
  return sum;
}

double distance(const Tensor& a, const Tensor& b) {
  if (!is_float(a.dtype()) || a.shape() != b.shape()) return 0;
  const std::vector<float> x = a.to_float(), y = b.to_float();
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double d = static_cast<double>(x[i]) - y[i];
    // An output that turned NaN is as wrong as its whole signal.
    sum += std::isfinite(d) ? d * d : std::isfinite(x[i]) ? static_cast<double>(x[i]) * x[i] : 0;
  }
  return sum;
}

class Measurement {
 public:
  Measurement(const Graph& reference, const Graph& quantized, const datasets::Dataset& data, const SensitivityOptions& options)
      : reference_(reference), quantized_(quantized), data_(data), options_(options),
        weights_(mixed_precision::rounded_weights(reference, quantized)),
        activations_(mixed_precision::rounded_activations(reference, quantized)) {}

  Result<double> together() {
    NARROW_RETURN_IF_ERROR(keep_activations());
    return whole();
  }

  Result<Sensitivity> run() {
    NARROW_RETURN_IF_ERROR(keep_activations());
    Sensitivity result;
    result.samples = kept_.size();
    NARROW_TRY(result.together, whole());
    result.sources.resize(weights_.size() + activations_.size());
    base::ThreadPool pool(std::max(1, options_.threads));
    std::mutex mutex;
    std::optional<Error> failure;
    std::size_t done = 0;
    pool.parallel_for(result.sources.size(), [&](std::size_t i, int) {
      const auto noise = i < weights_.size() ? of_weights(weights_[i]) : of_activation(activations_[i - weights_.size()]);
      const std::lock_guard lock(mutex);
      if (!noise.ok()) {
        if (!failure) failure = noise.error();
        return;
      }
      NoiseSource& source = result.sources[i];
      if (i < weights_.size()) source.node = reference_.nodes[weights_[i].node].name;
      else source.value = reference_.value(activations_[i - weights_.size()].value).name;
      source.noise = *noise;
      if (options_.progress) options_.progress("measuring sensitivity", ++done, result.sources.size());
    });
    if (failure) return *std::move(failure);
    return result;
  }

 private:
  // Float activations that some remainder reads: all of them, of as many samples as memory allows.
  Status keep_activations() {
    runtime::SessionOptions options;
    Kept* now = nullptr;
    std::uint64_t bytes = 0;
    for (std::size_t v = 0; v < reference_.values.size(); ++v) {
      if (!reference_.values[v].constant) options.tapped.push_back(static_cast<ValueId>(v));
    }
    options.tap = [&](ValueId id, const Tensor& tensor) -> Status {
      bytes += tensor.dtype() == DType::kString ? 0 : tensor.bytes();
      now->values.emplace(reference_.value(id).name, tensor.clone());
      return {};
    };
    NARROW_TRY(const auto session, runtime::Session::create(reference_, std::move(options)));
    const std::size_t wanted = std::min(std::max<std::size_t>(1, options_.samples), data_.size());
    for (std::size_t i = 0; i < wanted; ++i) {
      NARROW_TRY(const datasets::Sample sample, data_.read(i * data_.size() / wanted));
      kept_.emplace_back();
      now = &kept_.back();
      now->name = sample.name;
      auto outputs = session->run(sample.inputs);
      if (!outputs.ok()) return std::move(outputs).error().context(fmt::format("while measuring sensitivity with {}", sample.name));
      for (const Tensor& output : *outputs) {
        now->outputs.push_back(output.clone());
        signal_ += power(output);
      }
      for (const auto& [name, tensor] : sample.inputs) now->values.emplace(name, tensor);
      if (bytes / kept_.size() * (kept_.size() + 1) > options_.memory) break;
    }
    return {};
  }

  Result<double> whole() {
    NARROW_TRY(const auto session, open(quantized_, true));
    double noise = 0;
    for (const Kept& sample : kept_) {
      std::vector<runtime::NamedTensor> inputs;
      for (ValueId id : reference_.inputs) {
        if (!reference_.value(id).constant) inputs.emplace_back(reference_.value(id).name, sample.values.at(reference_.value(id).name));
      }
      NARROW_TRY(const std::vector<Tensor> outputs, session->run(inputs));
      for (std::size_t i = 0; i < std::min(outputs.size(), sample.outputs.size()); ++i) noise += distance(sample.outputs[i], outputs[i]);
    }
    return relative(noise);
  }

  double relative(double noise) const { return signal_ > 0 ? noise / signal_ : noise > 0 ? INFINITY : 0; }

  // `change` may replace the value called `changed` before it is given.
  Result<double> through(const Remainder& rest, const std::string& changed, const RoundedActivation* rounding) const {
    if (rest.outputs.empty()) return 0.0;
    NARROW_TRY(const auto session, open(rest.graph, false));
    double noise = 0;
    for (const Kept& sample : kept_) {
      std::vector<runtime::NamedTensor> inputs;
      for (const std::string& name : rest.inputs) {
        const auto found = sample.values.find(name);
        if (found == sample.values.end()) return internal_error(fmt::format("sensitivity: '{}' was not kept", name));
        inputs.emplace_back(name, rounding != nullptr && name == changed ? rounding->round(found->second) : found->second);
      }
      auto outputs = session->run(inputs);
      if (!outputs.ok()) return std::move(outputs).error().context(fmt::format("while measuring sensitivity with {}", sample.name));
      for (std::size_t i = 0; i < outputs->size(); ++i) noise += distance(sample.outputs[rest.outputs[i]], (*outputs)[i]);
    }
    return relative(noise);
  }

  Result<double> of_weights(const RoundedWeights& weights) const { return through(mixed_precision::from_node(reference_, weights), "", nullptr); }

  Result<double> of_activation(const RoundedActivation& activation) const {
    const std::string& name = reference_.value(activation.value).name;
    double noise = 0;
    // As an output of the model it is seen itself.
    for (std::size_t i = 0; i < reference_.outputs.size(); ++i) {
      if (reference_.outputs[i] != activation.value) continue;
      for (const Kept& sample : kept_) noise += distance(sample.outputs[i], activation.round(sample.outputs[i]));
    }
    NARROW_TRY(const double behind, through(mixed_precision::behind_value(reference_, activation.value), name, &activation));
    return behind + relative(noise);
  }

  const Graph& reference_;
  const Graph& quantized_;
  const datasets::Dataset& data_;
  const SensitivityOptions& options_;
  const std::vector<RoundedWeights> weights_;
  const std::vector<RoundedActivation> activations_;
  std::vector<Kept> kept_;
  double signal_ = 0;
};

}  // namespace

Result<Sensitivity> measure_sensitivity(const Graph& reference, const Graph& quantized, const datasets::Dataset& data,
                                        const SensitivityOptions& options) {
  if (data.size() == 0) return invalid_argument("measuring sensitivity needs at least one sample");
  return Measurement(reference, quantized, data, options).run();
}

Result<double> measure_noise(const Graph& reference, const Graph& quantized, const datasets::Dataset& data, const SensitivityOptions& options) {
  if (data.size() == 0) return invalid_argument("measuring noise needs at least one sample");
  return Measurement(reference, quantized, data, options).together();
}

}  // namespace narrow::quantizers
