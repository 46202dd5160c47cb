#include "evaluation/session.h"

#include "passes/lower_qdq.h"
#include "passes/passes.h"

namespace narrow::evaluation {

Result<std::unique_ptr<runtime::Session>> open_session(const graph::Graph& graph, runtime::SessionOptions options) {
  graph::Graph lowered = graph.clone();
  // What is measured here runs with the model's own constants: those that callers might override are constants too.
  std::erase_if(lowered.inputs, [&](graph::ValueId id) { return lowered.constant(id) != nullptr; });
  NARROW_RETURN_IF_ERROR(passes::lower_qdq(lowered));
  NARROW_RETURN_IF_ERROR(passes::optimize_for_running(lowered));
  return runtime::Session::create(lowered, std::move(options));
}

}  // namespace narrow::evaluation
