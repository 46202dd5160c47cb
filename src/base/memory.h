// Memory between this process and the system.
#pragma once

#include <cstddef>
#include <memory>

namespace narrow::base {

// Zero-filled pages of their own, which go back to the system when the last owner lets go: for large buffers that come and go
// between others that stay. Null when there is no memory.
std::shared_ptr<void> system_pages(std::size_t bytes);

// Gives freed memory that the allocator has kept back to the system, where the C library can: worth it between phases whose
// buffers differ in size.
void return_freed_memory();

}  // namespace narrow::base
