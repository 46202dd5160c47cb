#include "passes/passes.h"

namespace narrow::passes {

Result<NameMap> optimize_for_running(graph::Graph& graph, const NameSet& keep) {
  NARROW_RETURN_IF_ERROR(unfuse(graph, UnfuseScope::kConvolutions));
  // Folding into a convolution removes its own output, so it waits for graphs of which nothing else is observed.
  if (keep.empty()) {
    NARROW_RETURN_IF_ERROR(fold_batch_norm(graph));
    NARROW_RETURN_IF_ERROR(fuse_patterns(graph));
  }
  NARROW_RETURN_IF_ERROR(fuse_convolution(graph, keep));
  return assign_layout(graph);
}

}  // namespace narrow::passes
