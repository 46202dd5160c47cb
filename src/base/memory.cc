#include "base/memory.h"

#include <sys/mman.h>

#include <algorithm>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace narrow::base {

std::shared_ptr<void> system_pages(std::size_t bytes) {
  const std::size_t size = std::max<std::size_t>(bytes, 1);
  void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return nullptr;
  return {data, [size](void* pages) { munmap(pages, size); }};
}

void return_freed_memory() {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

}  // namespace narrow::base
