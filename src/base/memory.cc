#include "base/memory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>

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

Result<std::shared_ptr<void>> file_pages(const std::string& folder, std::size_t bytes) {
  const std::size_t size = std::max<std::size_t>(bytes, 1);
  const auto failed = [&](int error) { return io_error(fmt::format("cannot keep {} bytes in a temporary file in '{}': {}", size, folder, std::strerror(error))).hint("Make room there, or leave out the limit of memory."); };
  int fd = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0) {  // a file system that has no such files
    std::string name = folder + "/.narrow-XXXXXX";
    fd = ::mkostemp(name.data(), O_CLOEXEC);
    if (fd < 0) return failed(errno);
    ::unlink(name.c_str());
  }
  // Room is taken now: a full disk would otherwise end the process when a page is written back.
  if (const int error = ::posix_fallocate(fd, 0, static_cast<off_t>(size)); error != 0) {
    ::close(fd);
    return failed(error);
  }
  void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  const int error = errno;
  ::close(fd);
  if (data == MAP_FAILED) return failed(error);
  return std::shared_ptr<void>(data, [size](void* pages) { munmap(pages, size); });
}

void release_file_pages(const void* data, std::size_t bytes) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<std::uintptr_t>(data) / page * page, last = reinterpret_cast<std::uintptr_t>(data) + bytes;
  if (bytes != 0) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

void return_freed_memory() {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

}  // namespace narrow::base
