// ZIP archives (PKWARE APPNOTE 6.3): reading stored and deflated entries, zip64 included; writing stored entries.
//
// Nothing is ever unpacked to disk, so entry names are only names. Encrypted, split and other-method archives are
// unsupported; overlapping or duplicate entries, sizes that no data can have and wrong checksums are corrupt.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/atomic_file.h"
#include "narrow/result.h"
#include "wire/inflate.h"

namespace narrow::wire {

struct ZipEntry {
  std::string name;
  bool deflated = false;
  std::uint32_t crc = 0;
  std::uint64_t packed_size = 0;
  std::uint64_t size = 0;
  std::uint64_t data_offset = 0;  // of the packed bytes
};

// An entry's bytes: a view into the archive when stored, otherwise owned.
struct ZipContent {
  ByteSpan bytes;
  std::vector<std::uint8_t> owned;

  explicit ZipContent(ByteSpan view) : bytes(view) {}
  explicit ZipContent(std::vector<std::uint8_t> data) : bytes(data), owned(std::move(data)) {}
  ZipContent(ZipContent&&) noexcept = default;  // a moved vector keeps its address
  ZipContent& operator=(ZipContent&&) noexcept = default;
};

class ZipReader {
 public:
  // Reads and checks the directory; `bytes` must outlive the reader. `where` names the archive in messages.
  // Errors: corrupt, unsupported.
  static Result<ZipReader> open(ByteSpan bytes, std::string where);

  const std::vector<ZipEntry>& entries() const { return entries_; }
  const ZipEntry* find(std::string_view name) const;  // null when there is none

  // Errors: corrupt (damaged data, wrong size or checksum); resource_exhausted when the entry is
  // compressed and larger than `limit` (a stored one takes no memory).
  Result<ZipContent> read(const ZipEntry& entry, std::uint64_t limit) const;

 private:
  ByteSpan bytes_;
  std::string where_;
  std::vector<ZipEntry> entries_;
};

bool is_zip(ByteSpan bytes);

// Writes entries as they come, uncompressed, with zip64 records where sizes ask for them.
class ZipWriter {
 public:
  explicit ZipWriter(base::AtomicFile& file) : file_(file) {}
  Status add(const std::string& name, ByteSpan bytes);
  Status finish();  // writes the directory; the caller commits the file

 private:
  struct Written {
    std::string name;
    std::uint32_t crc;
    std::uint64_t size, offset;
  };
  base::AtomicFile& file_;
  std::vector<Written> written_;
};

}  // namespace narrow::wire
