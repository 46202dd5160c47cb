// What "0 threads" means.
#pragma once

#include "base/thread_pool.h"

namespace narrow {

inline int resolve_threads(int asked) { return asked > 0 ? asked : base::available_processors(); }

}  // namespace narrow
