#include "calibration/calibrator.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>

#include <fmt/format.h>

#include "base/text.h"
#include "base/thread_pool.h"
#include "calibration/care.h"
#include "calibration/observers/observer.h"
#include "calibration/value_observer.h"
#include "passes/passes.h"
#include "runtime/session.h"

namespace narrow::calibration {
namespace {

// Samples between two points where all threads meet and their summaries are appended in order. Bounds the summaries
// kept, which are larger where channel sums are among them.
constexpr std::size_t kChunk = 64, kChunkWithChannels = 32;

struct SampleRecord {
  std::string name;
  std::vector<SampleSummary> values;
  std::optional<Error> error;
};

// One thread's session and histograms. The histograms of all threads add up to the same whatever thread saw what.
struct Worker {
  std::unique_ptr<runtime::Session> session;
  std::vector<AdaptiveHistogram> histograms;  // empty when none are kept
  std::vector<std::uint32_t> tables;          // working memory of the histograms
  SampleRecord* record = nullptr;  // of the sample that runs now
};

Result<std::vector<graph::ValueId>> find_values(const graph::Graph& graph, const std::vector<std::string>& names) {
  std::vector<graph::ValueId> ids;
  for (const std::string& name : names) {
    const graph::ValueId id = graph.find_value(name);
    if (id == graph::kNoValue) {
      return invalid_argument(fmt::format("calibration: the graph has no value '{}'", base::escape_controls(name)));
    }
    ids.push_back(id);
  }
  return ids;
}

class Calibration {
 public:
  Calibration(const graph::Graph& graph, const datasets::Dataset& data, const CalibrateOptions& options, bool histograms,
              std::vector<graph::ValueId> values)
      : graph_(graph), data_(data), options_(options), histograms_(histograms), values_(std::move(values)) {}

  Result<CalibrationTable> run(std::size_t samples) {
    NARROW_RETURN_IF_ERROR(optimize());
    const int threads = static_cast<int>(std::clamp<std::size_t>(samples, 1, static_cast<std::size_t>(std::max(1, options_.threads))));
    base::ThreadPool pool(threads);
    std::vector<Worker> workers(static_cast<std::size_t>(threads));
    std::vector<ValueStatistics> statistics(values_.size());
    DataCare care(values_.size());
    const std::size_t chunk = options_.channel_axes.empty() ? kChunk : std::max<std::size_t>(kChunkWithChannels, workers.size());
    std::vector<SampleRecord> records(std::min(chunk, samples));
    std::mutex progress_mutex;
    std::size_t done = 0;
    for (std::size_t first = 0; first < samples; first += chunk) {
      const std::size_t count = std::min(chunk, samples - first);
      std::atomic<bool> failed{false};
      pool.parallel_for(count, [&](std::size_t i, int w) {
        if (failed) return;
        SampleRecord& record = records[i];
        if (Status status = run_sample(workers[static_cast<std::size_t>(w)], first + i, samples, record); !status.ok()) {
          record.error = std::move(status).error();
          failed = true;
          return;
        }
        if (options_.progress) {
          std::lock_guard lock(progress_mutex);
          options_.progress(++done, samples);
        }
      });
      for (std::size_t i = 0; i < count; ++i) {
        if (records[i].error) return *std::move(records[i].error);
      }
      for (std::size_t i = 0; i < count; ++i) {
        for (std::size_t v = 0; v < values_.size(); ++v) {
          append(statistics[v], records[i].values[v], options_.moving_average_constant, records[i].name);
          if (records[i].values[v].count != 0) care.see(v, records[i].values[v].min, records[i].values[v].max);
        }
        care.end_sample(records[i].name);
      }
    }
    CalibrationTable table;
    table.samples = samples;
    table.observer = options_.observer;
    care.report(table);
    for (std::size_t v = 0; v < values_.size(); ++v) {
      if (histograms_) statistics[v].histogram = merged(workers, v);
      table.values.emplace(graph_.value(values_[v]).name, std::move(statistics[v]));
    }
    return table;
  }

 private:
  // What runs is the graph in its fastest form; statistics do not mind the order of a value's elements.
  Status optimize() {
    passes::NameSet keep;
    for (graph::ValueId id : values_) keep.insert(graph_.value(id).name);
    running_ = graph_.clone();
    NARROW_TRY(const passes::NameMap twins, passes::optimize_for_running(running_, keep));
    for (std::size_t i = 0; i < values_.size(); ++i) {
      const std::string& name = graph_.value(values_[i]).name;
      const auto twin = twins.find(name);
      const graph::ValueId id = running_.find_value(twin == twins.end() ? name : twin->second);
      if (id == graph::kNoValue) return internal_error(fmt::format("calibration: '{}' was optimized away", name));
      slot_.emplace(id, i);
      const auto axis = options_.channel_axes.find(name);
      // A twin of another name holds its channels last (passes/assign_layout.cc).
      axes_.push_back(axis == options_.channel_axes.end() ? kNoChannels : twin == twins.end() ? axis->second : kLastAxis);
      tapped_.push_back(id);
    }
    return {};
  }

  Status run_sample(Worker& worker, std::size_t index, std::size_t samples, SampleRecord& record) {
    // Spread evenly over the whole set, as datasets::take_samples does.
    const auto at = static_cast<std::size_t>(static_cast<unsigned __int128>(index) * data_.size() / samples);
    NARROW_TRY(datasets::Sample sample, data_.read(at));
    if (worker.session == nullptr) NARROW_RETURN_IF_ERROR(start(worker));
    record.name = sample.name;
    record.values.assign(values_.size(), SampleSummary{});
    worker.record = &record;
    // The outputs do not matter here, whatever they are.
    const std::vector<runtime::NamedValue> inputs(sample.inputs.begin(), sample.inputs.end());
    auto outputs = worker.session->run_values(inputs);
    if (!outputs.ok()) return std::move(outputs).error().context(fmt::format("while calibrating with {}", sample.name));
    return {};
  }

  Status start(Worker& worker) {
    if (histograms_) worker.histograms.assign(values_.size(), AdaptiveHistogram(2 * std::max(1, options_.histogram_bins)));
    runtime::SessionOptions options;
    options.threads = 1;
    options.tapped = tapped_;
    options.tap = [this, &worker](graph::ValueId id, const Tensor& tensor) -> Status {
      const auto slot = slot_.find(id);
      if (slot == slot_.end()) return {};
      AdaptiveHistogram* histogram = histograms_ ? &worker.histograms[slot->second] : nullptr;
      SampleSummary& summary = worker.record->values[slot->second];
      const auto see = [&](std::span<const float> values) {
        observe(values, summary, histogram, worker.tables);
        const int axis = axes_[slot->second] == kLastAxis ? tensor.rank() - 1 : axes_[slot->second];
        if (axis >= 0 && axis < tensor.rank()) add_channels(values, tensor.shape(), axis, summary.channel_sums);
      };
      if (tensor.dtype() == DType::kF32) see(tensor.data<float>());
      else see(tensor.to_float());
      return {};
    };
    NARROW_TRY(worker.session, runtime::Session::create(running_, std::move(options)));
    return {};
  }

  static Histogram merged(const std::vector<Worker>& workers, std::size_t value) {
    std::optional<AdaptiveHistogram> all;
    for (const Worker& worker : workers) {
      if (worker.histograms.empty()) continue;
      if (!all) all = worker.histograms[value];
      else all->merge(worker.histograms[value]);
    }
    return all ? all->result() : Histogram{};
  }

  const graph::Graph& graph_;
  const datasets::Dataset& data_;
  const CalibrateOptions& options_;
  bool histograms_;
  std::vector<graph::ValueId> values_;                      // in graph_
  static constexpr int kNoChannels = -1, kLastAxis = -2;

  graph::Graph running_;
  std::vector<graph::ValueId> tapped_;                      // in running_, parallel to values_
  std::vector<int> axes_;                                   // of the channels in running_, parallel to values_
  std::unordered_map<graph::ValueId, std::size_t> slot_;    // from a value of running_ to its place
};

}  // namespace

Result<CalibrationTable> calibrate(const graph::Graph& graph, const datasets::Dataset& data, const CalibrateOptions& options) {
  NARROW_TRY(const Observer* observer, find_observer(options.observer));
  if (data.size() == 0) return invalid_argument("calibration: the data set holds no samples");
  if (!(options.moving_average_constant > 0 && options.moving_average_constant <= 1)) {
    return invalid_argument(fmt::format("calibration: moving_average_constant is {}, expected above 0 and at most 1", options.moving_average_constant));
  }
  std::vector<std::string> names = options.values;
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  NARROW_TRY(std::vector<graph::ValueId> values, find_values(graph, names));
  const std::size_t samples = options.samples == 0 ? data.size() : std::min(options.samples, data.size());
  Calibration calibration(graph, data, options, observer->needs_histogram || options.always_histogram, std::move(values));
  return calibration.run(samples);
}

}  // namespace narrow::calibration
