#include "base/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

namespace narrow::base {
namespace {

constexpr std::size_t kBufferSize = 1 << 20;

// Fixed slots so that a signal handler can walk them without locks or allocation.
constexpr int kSlots = 64;
constexpr std::size_t kPathMax = 4096;
struct Slot {
  std::atomic<int> state{0};  // 0 free, 1 being filled, 2 holds a path
  char path[kPathMax];
};
Slot g_slots[kSlots];

void remember(const std::string& path) {
  if (path.size() >= kPathMax) return;
  for (Slot& slot : g_slots) {
    int expected = 0;
    if (!slot.state.compare_exchange_strong(expected, 1)) continue;
    std::memcpy(slot.path, path.c_str(), path.size() + 1);
    slot.state.store(2);
    return;
  }
}

void forget(const std::string& path) {
  for (Slot& slot : g_slots) {
    if (slot.state.load() == 2 && path == slot.path) {
      slot.state.store(0);
      return;
    }
  }
}

Error write_error(const std::string& path, int error) {
  const std::string message = fmt::format("cannot write '{}': {}", path, std::strerror(error));
  if (error == ENOSPC || error == EDQUOT) {
    return resource_exhausted(message).hint("Free some space or write to another disk; nothing was left behind.");
  }
  return io_error(message).hint("Check that the folder exists and that you may write to it.");
}

}  // namespace

Result<AtomicFile> AtomicFile::create(const std::string& destination) {
  struct stat info {};
  if (::stat(destination.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) {
    return io_error(fmt::format("cannot write '{}': it is a directory, expected a file name", destination));
  }
  static std::atomic<unsigned> counter{0};
  for (int attempt = 0; attempt < 100; ++attempt) {
    std::string temporary =
        fmt::format("{}.{}.{}.partial", destination, static_cast<long>(::getpid()), counter.fetch_add(1));
    const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd >= 0) {
      remember(temporary);
      return AtomicFile(fd, std::move(temporary), destination);
    }
    if (errno != EEXIST) return write_error(destination, errno);
  }
  return write_error(destination, EEXIST);
}

AtomicFile::AtomicFile(int fd, std::string temporary, std::string destination)
    : fd_(fd), temporary_(std::move(temporary)), destination_(std::move(destination)) {
  buffer_.reserve(kBufferSize);
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      temporary_(std::move(other.temporary_)),
      destination_(std::move(other.destination_)),
      buffer_(std::move(other.buffer_)),
      position_(other.position_) {}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
  forget(temporary_);
}

Status AtomicFile::write_at(std::uint64_t offset, std::span<const std::uint8_t> bytes) {
  const auto start = static_cast<off_t>(offset), length = static_cast<off_t>(bytes.size());
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_, bytes.data(), std::min<std::size_t>(bytes.size(), 1u << 30), static_cast<off_t>(offset));
    if (n < 0) {
      if (errno == EINTR) continue;
      return write_error(destination_, errno);
    }
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
#ifdef SYNC_FILE_RANGE_WRITE
  // The disk starts now instead of at commit().
  if (length >= static_cast<off_t>(kBufferSize)) ::sync_file_range(fd_, start, length, SYNC_FILE_RANGE_WRITE);
#endif
  return {};
}

Status AtomicFile::flush_buffer() {
  const std::uint64_t size = buffer_.size();
  NARROW_RETURN_IF_ERROR(write_at(position_ - size, {reinterpret_cast<const std::uint8_t*>(buffer_.data()), buffer_.size()}));
  buffer_.clear();
  return {};
}

Status AtomicFile::write(std::string_view text) {
  return write(std::span(reinterpret_cast<const std::uint8_t*>(text.data()), text.size()));
}

Status AtomicFile::write(std::span<const std::uint8_t> bytes) {
  if (buffer_.size() + bytes.size() > kBufferSize) NARROW_RETURN_IF_ERROR(flush_buffer());
  if (bytes.size() > kBufferSize) {
    NARROW_RETURN_IF_ERROR(write_at(position_, bytes));
  } else {
    buffer_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  position_ += bytes.size();
  return {};
}

Status AtomicFile::commit() {
  NARROW_RETURN_IF_ERROR(flush_buffer());
  if (::fsync(fd_) != 0) return write_error(destination_, errno);
  if (::close(std::exchange(fd_, -1)) != 0 || ::rename(temporary_.c_str(), destination_.c_str()) != 0) {
    const int error = errno;
    ::unlink(temporary_.c_str());
    forget(temporary_);
    return write_error(destination_, error);
  }
  forget(temporary_);
  return {};
}

Status write_file(const std::string& destination, std::string_view text) {
  NARROW_TRY(AtomicFile file, AtomicFile::create(destination));
  NARROW_RETURN_IF_ERROR(file.write(text));
  return file.commit();
}

void remove_temporary_files() {
  for (Slot& slot : g_slots) {
    if (slot.state.load() == 2) ::unlink(slot.path);
  }
}

}  // namespace narrow::base
