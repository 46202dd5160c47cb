#include "diagnosis/output_meter.h"

#include <functional>

#include "evaluation/difference.h"
#include "evaluation/session.h"

namespace narrow::diagnosis {
namespace {

using Visit = std::function<void(std::size_t index, const std::vector<Tensor>& outputs)>;

class OutputWorker final : public evaluation::Worker {
 public:
  OutputWorker(std::unique_ptr<runtime::Session> session, const Visit& visit) : session_(std::move(session)), visit_(visit) {}
  Status visit(std::size_t index, const datasets::Sample& sample) override {
    NARROW_TRY(const std::vector<Tensor> outputs, session_->run(sample.inputs));
    visit_(index, outputs);
    return {};
  }

 private:
  std::unique_ptr<runtime::Session> session_;
  const Visit& visit_;
};

Status run(const graph::Graph& graph, const datasets::Dataset& data, const evaluation::SweepOptions& options, const Visit& visit) {
  return evaluation::sweep(data, options, [&](int threads) -> Result<std::unique_ptr<evaluation::Worker>> {
    runtime::SessionOptions session_options;
    session_options.threads = threads;
    NARROW_TRY(std::unique_ptr<runtime::Session> session, evaluation::open_session(graph, session_options));
    return std::unique_ptr<evaluation::Worker>(std::make_unique<OutputWorker>(std::move(session), visit));
  });
}

}  // namespace

Result<OutputMeter> OutputMeter::create(const graph::Graph& reference, std::shared_ptr<const datasets::Dataset> data,
                                        const evaluation::SweepOptions& options) {
  OutputMeter meter;
  meter.data_ = std::move(data);
  meter.options_ = options;
  meter.expected_.resize(meter.data_->size());
  NARROW_RETURN_IF_ERROR(run(reference, *meter.data_, options, [&](std::size_t index, const std::vector<Tensor>& outputs) {
    for (const Tensor& output : outputs) meter.expected_[index].push_back(output.clone());
  }));
  return meter;
}

Result<double> OutputMeter::measure(const graph::Graph& quantized) const {
  std::vector<double> db(expected_.size());
  NARROW_RETURN_IF_ERROR(run(quantized, *data_, options_, [&](std::size_t index, const std::vector<Tensor>& outputs) {
    evaluation::Difference difference;
    for (std::size_t i = 0; i < std::min(outputs.size(), expected_[index].size()); ++i) {
      evaluation::add_tensors(difference, expected_[index][i], outputs[i]);
    }
    db[index] = difference.sqnr_db();
  }));
  double sum = 0;
  for (const double value : db) sum += value;
  return sum / static_cast<double>(db.size());
}

}  // namespace narrow::diagnosis
