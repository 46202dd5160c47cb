#include "base/memory.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace narrow::base {

void return_freed_memory() {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

}  // namespace narrow::base
