// Writing that is all or nothing: bytes go to a temporary file in the destination's folder; commit() flushes it to disk
// and renames it over the destination. Destroyed without commit(), or interrupted, the destination is untouched.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "narrow/result.h"

namespace narrow::base {

class AtomicFile {
 public:
  // Errors: io (folder missing or not writable).
  static Result<AtomicFile> create(const std::string& destination);
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();

  Status write(std::span<const std::uint8_t> bytes);
  Status write(std::string_view text);
  std::uint64_t position() const { return position_; }
  // Bytes at any place, past or beyond what write() wrote; position() does not move. May be called from several threads,
  // for parts that do not overlap.
  Status write_at(std::uint64_t offset, std::span<const std::uint8_t> bytes);
  Status commit();

 private:
  AtomicFile(int fd, std::string temporary, std::string destination);
  Status flush_buffer();

  int fd_;
  std::string temporary_;
  std::string destination_;
  std::string buffer_;
  std::uint64_t position_ = 0;
};

Status write_file(const std::string& destination, std::string_view text);

// Removes every temporary file that is still open. Async-signal-safe: for a SIGINT/SIGTERM handler.
void remove_temporary_files();

}  // namespace narrow::base
