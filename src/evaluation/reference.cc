#include "evaluation/reference.h"

#include <algorithm>
#include <atomic>
#include <string>

#include "evaluation/session.h"
#include "evaluation/similarity.h"

namespace narrow::evaluation {
namespace {

std::vector<std::string> output_names(const graph::Graph& graph) {
  std::vector<std::string> names;
  for (const graph::ValueId id : graph.outputs) names.push_back(graph.value(id).name);
  return names;
}

class KeepingWorker final : public Worker {
 public:
  KeepingWorker(std::unique_ptr<runtime::Session> session, std::vector<std::string> names, std::vector<SampleRecord>& records, std::vector<Outputs>& kept,
                std::atomic<std::uint64_t>& room)
      : session_(std::move(session)), names_(std::move(names)), records_(records), kept_(kept), room_(room) {}

  Status visit(std::size_t index, const datasets::Sample& sample) override {
    NARROW_TRY(const Outputs outputs, session_->run(sample.inputs));
    NARROW_TRY(records_[index], record_sample(sample, outputs, outputs));
    if (sample.score) records_[index].embedding = sentence_embedding(sample, outputs, names_);
    std::uint64_t bytes = 0;
    for (const Tensor& output : outputs) bytes += output.dtype() == DType::kString ? 0 : output.bytes();
    if (room_.load() < bytes) return {};
    room_ -= bytes;
    for (const Tensor& output : outputs) kept_[index].push_back(output.clone());
    return {};
  }

 private:
  std::unique_ptr<runtime::Session> session_;
  const std::vector<std::string> names_;
  std::vector<SampleRecord>& records_;
  std::vector<Outputs>& kept_;
  std::atomic<std::uint64_t>& room_;
};

class ComparingWorker final : public Worker {
 public:
  ComparingWorker(std::unique_ptr<runtime::Session> session, std::unique_ptr<runtime::Session> reference, std::vector<std::string> names,
                  const std::vector<Outputs>& kept, std::vector<SampleRecord>& records)
      : session_(std::move(session)), reference_(std::move(reference)), names_(std::move(names)), kept_(kept), records_(records) {}

  Status visit(std::size_t index, const datasets::Sample& sample) override {
    Outputs again;
    if (kept_[index].empty()) {
      NARROW_TRY(again, reference_->run(sample.inputs));
    }
    NARROW_TRY(const Outputs outputs, session_->run(sample.inputs));
    NARROW_TRY(records_[index], record_sample(sample, outputs, kept_[index].empty() ? again : kept_[index]));
    if (sample.score) records_[index].embedding = sentence_embedding(sample, outputs, names_);
    return {};
  }

 private:
  std::unique_ptr<runtime::Session> session_, reference_;
  const std::vector<std::string> names_;
  const std::vector<Outputs>& kept_;
  std::vector<SampleRecord>& records_;
};

}  // namespace

Result<Reference> Reference::run(const graph::Graph& model, std::shared_ptr<const datasets::Dataset> data, const SweepOptions& options, std::uint64_t memory) {
  Reference reference;
  reference.graph_ = model.clone();
  reference.data_ = std::move(data);
  reference.options_ = options;
  reference.options_.phase = "evaluating";
  const std::size_t samples = reference.data_->size();
  reference.outputs_.resize(samples);
  std::vector<SampleRecord> records(samples);
  std::atomic<std::uint64_t> room{memory};
  NARROW_RETURN_IF_ERROR(sweep(*reference.data_, options, [&](int threads) -> Result<std::unique_ptr<Worker>> {
    runtime::SessionOptions session_options;
    session_options.threads = threads;
    NARROW_TRY(auto session, open_session(model, session_options));
    return std::unique_ptr<Worker>(std::make_unique<KeepingWorker>(std::move(session), output_names(model), records, reference.outputs_, room));
  }));
  reference.metrics_ = summarize(records, false);
  return reference;
}

Result<Metrics> Reference::measure(const graph::Graph& model) const {
  std::vector<SampleRecord> records(data_->size());
  const bool all_kept = std::none_of(outputs_.begin(), outputs_.end(), [](const Outputs& outputs) { return outputs.empty(); });
  NARROW_RETURN_IF_ERROR(sweep(*data_, options_, [&](int threads) -> Result<std::unique_ptr<Worker>> {
    runtime::SessionOptions session_options;
    session_options.threads = threads;
    NARROW_TRY(auto session, open_session(model, session_options));
    std::unique_ptr<runtime::Session> reference;
    if (!all_kept) {
      NARROW_TRY(reference, open_session(graph_, session_options));
    }
    return std::unique_ptr<Worker>(std::make_unique<ComparingWorker>(std::move(session), std::move(reference), output_names(model), outputs_, records));
  }));
  return summarize(records, true);
}

}  // namespace narrow::evaluation
