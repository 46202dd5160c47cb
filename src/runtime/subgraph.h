// The bodies of If, Loop and Scan as something their kernels can run.
#pragma once

#include <memory>
#include <string>

#include "graph/graph.h"
#include "operators/operator.h"
#include "runtime/environment.h"

namespace narrow::runtime {

// What `body` captures is a constant of `enclosing`, or is read from the enclosing node's RunContext at each run. The
// outputs of a run are owned: they outlive the next one. Errors: corrupt, unsupported (too deep).
Result<std::unique_ptr<operators::Subgraph>> make_subgraph(const graph::Graph& body, const graph::Graph& enclosing,
                                                           Environment& environment, int depth, std::string scope);

}  // namespace narrow::runtime
