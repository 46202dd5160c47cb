// Opening a model for running as fast as it can: quantized parts are lowered to integer operators, float convolutions
// fused and laid out channels-last.
#pragma once

#include <memory>

#include "graph/graph.h"
#include "narrow/result.h"
#include "runtime/session.h"

namespace narrow::evaluation {

// Input and output names and order are the graph's; value ids are not (use runtime::Session to observe values).
// Errors: as runtime::Session::create.
Result<std::unique_ptr<runtime::Session>> open_session(const graph::Graph& graph, runtime::SessionOptions options);

}  // namespace narrow::evaluation
