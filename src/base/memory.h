// Memory between this process and the system.
#pragma once

namespace narrow::base {

// Gives freed memory that the allocator has kept back to the system, where the C library can: worth it between phases whose
// buffers differ in size.
void return_freed_memory();

}  // namespace narrow::base
