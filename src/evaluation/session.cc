#include "evaluation/session.h"

#include "passes/lower_qdq.h"
#include "passes/passes.h"

namespace narrow::evaluation {

Result<std::unique_ptr<runtime::Session>> open_session(const graph::Graph& graph, runtime::SessionOptions options) {
  graph::Graph lowered = graph.clone();
  NARROW_RETURN_IF_ERROR(passes::lower_qdq(lowered));
  NARROW_RETURN_IF_ERROR(passes::optimize_for_running(lowered));
  return runtime::Session::create(lowered, std::move(options));
}

}  // namespace narrow::evaluation
