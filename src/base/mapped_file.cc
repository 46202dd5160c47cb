#include "base/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>

namespace narrow::base {
namespace {

// Every mapping that is open, by its last byte.
struct Mappings {
  std::mutex mutex;
  std::map<const std::uint8_t*, const MappedFile*> by_end;
};
Mappings& mappings() {
  static Mappings all;
  return all;
}

}  // namespace

MappedFile::MappedFile(std::string path, const std::uint8_t* data, std::size_t size) : path_(std::move(path)), data_(data), size_(size) {
  if (size == 0) return;
  const std::lock_guard lock(mappings().mutex);
  mappings().by_end.emplace(data + size, this);
}

Result<std::shared_ptr<const MappedFile>> MappedFile::open(const std::string& path) {
  // O_NONBLOCK: opening a FIFO must not hang.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    const std::string message = fmt::format("cannot open '{}': {}", path, std::strerror(errno));
    if (errno == ENOENT || errno == ENOTDIR) return not_found(message).hint("Check the path.");
    return io_error(message);
  }
  struct stat info {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    const char* kind = S_ISDIR(info.st_mode) ? "a directory" : "not a regular file";
    return io_error(fmt::format("cannot read '{}': it is {}, expected a file", path, kind));
  }
  const auto size = static_cast<std::size_t>(info.st_size);
  void* data = nullptr;
  if (size != 0) {
    data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) {
      const int error = errno;
      ::close(fd);
      return io_error(fmt::format("cannot map '{}' ({} bytes): {}", path, size, std::strerror(error)));
    }
  }
  ::close(fd);
  return std::shared_ptr<const MappedFile>(new MappedFile(path, static_cast<const std::uint8_t*>(data), size));
}

MappedFile::~MappedFile() {
  if (size_ == 0) return;
  {
    const std::lock_guard lock(mappings().mutex);
    mappings().by_end.erase(data_ + size_);
  }
  ::munmap(const_cast<std::uint8_t*>(data_), size_);
}

void MappedFile::release(ByteSpan bytes) const {
  if (bytes.empty()) return;
  // Whole pages, outwards: what a neighbour loses comes back from the page cache when it is touched.
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<std::uintptr_t>(bytes.data()) / page * page;
  const auto last = reinterpret_cast<std::uintptr_t>(bytes.data() + bytes.size());
  ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

void MappedFile::release_if_mapped(ByteSpan bytes) {
  const std::lock_guard lock(mappings().mutex);
  const auto found = mappings().by_end.upper_bound(bytes.data());
  if (found == mappings().by_end.end()) return;
  const ByteSpan all = found->second->bytes();
  if (bytes.data() >= all.data() && bytes.data() + bytes.size() <= all.data() + all.size()) found->second->release(bytes);
}

}  // namespace narrow::base
