#include "narrow/run.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/model_impl.h"
#include "api/threads.h"
#include "evaluation/session.h"

namespace narrow {

struct Session::Impl {
  std::unique_ptr<runtime::Session> session;
};

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

Result<Session> Session::create(const Model& model, const RunOptions& options) {
  runtime::SessionOptions session_options;
  session_options.threads = resolve_threads(options.threads);
  session_options.profile = options.profile;
  auto impl = std::make_unique<Impl>();
  NARROW_TRY(impl->session, evaluation::open_session(model.impl().model.graph, session_options));
  return Session(std::move(impl));
}

Result<std::vector<NamedArray>> Session::run(const std::vector<NamedArray>& inputs) {
  std::vector<runtime::NamedTensor> tensors;
  for (const NamedArray& input : inputs) {
    auto tensor = to_tensor(input.array);
    if (!tensor.ok()) return std::move(tensor).error().context(fmt::format("in input '{}'", input.name));
    tensors.emplace_back(input.name, *std::move(tensor));
  }
  NARROW_TRY(const std::vector<Tensor> outputs, impl_->session->run(tensors));
  const graph::Graph& graph = impl_->session->graph();
  std::vector<NamedArray> named;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    named.push_back({graph.value(graph.outputs[i]).name, to_array(outputs[i])});
  }
  return named;
}

std::vector<KernelTime> Session::profile() const {
  std::vector<KernelTime> kernels;
  for (const runtime::NodeProfile& node : impl_->session->profile()) {
    const double calls = static_cast<double>(std::max<std::int64_t>(node.calls, 1));
    kernels.push_back({node.name, node.op_type, node.implementation, node.total_ms / calls});
  }
  std::stable_sort(kernels.begin(), kernels.end(),
                   [](const KernelTime& a, const KernelTime& b) { return a.ms_per_run > b.ms_per_run; });
  return kernels;
}

}  // namespace narrow
