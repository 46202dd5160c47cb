// A whole file, mapped read-only. Pages come in when touched, so a model larger than memory can be opened.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "narrow/result.h"

namespace narrow::base {

using ByteSpan = std::span<const std::uint8_t>;

class MappedFile {
 public:
  // Errors: not_found; io (directory, device, FIFO, permission). An empty file maps to an empty span.
  static Result<std::shared_ptr<const MappedFile>> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  ByteSpan bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }

  // Lets go of the memory behind `bytes`, a part of this file's: resident pages fall, and reading them again reads the file
  // again. Views stay valid.
  void release(ByteSpan bytes) const;
  // The same for bytes of which is not known whose they are: nothing happens where they are no open file's.
  static void release_if_mapped(ByteSpan bytes);

 private:
  MappedFile(std::string path, const std::uint8_t* data, std::size_t size);
  std::string path_;
  const std::uint8_t* data_;
  std::size_t size_;
};

}  // namespace narrow::base
