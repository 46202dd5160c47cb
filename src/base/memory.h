// Memory between this process and the system.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "narrow/result.h"

namespace narrow::base {

// Zero-filled pages of their own, which go back to the system when the last owner lets go: for large buffers that come and go
// between others that stay. Null when there is no memory.
std::shared_ptr<void> system_pages(std::size_t bytes);

// Zero-filled pages of a temporary file in `folder`, for buffers that need not stay in memory. The file has no name: it is gone when
// the last owner lets go, and when the process ends, however it does. Errors: io (the folder, no room on the disk).
Result<std::shared_ptr<void>> file_pages(const std::string& folder, std::size_t bytes);
// Lets go of the memory behind a part of what file_pages gave; touching it again reads the file.
void release_file_pages(const void* data, std::size_t bytes);

// Gives freed memory that the allocator has kept back to the system, where the C library can: worth it between phases whose
// buffers differ in size.
void return_freed_memory();

}  // namespace narrow::base
