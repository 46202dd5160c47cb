#include "wire/zip.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <unordered_set>

#include "base/checked.h"
#include "base/text.h"

namespace narrow::wire {
namespace {

constexpr std::uint32_t kLocalSignature = 0x04034B50, kCentralSignature = 0x02014B50, kEndSignature = 0x06054B50;
constexpr std::uint32_t kEnd64Signature = 0x06064B50, kLocator64Signature = 0x07064B50;
constexpr std::size_t kLocalSize = 30, kCentralSize = 46, kEndSize = 22, kEnd64Size = 56, kLocator64Size = 20;
constexpr std::uint16_t kZip64Extra = 1;
constexpr std::uint32_t kMax32 = 0xFFFFFFFF;
constexpr std::uint64_t kMaxEntries = 1'000'000;

std::uint64_t load(ByteSpan bytes, std::size_t at, int width) {
  std::uint64_t value = 0;
  for (int i = 0; i < width; ++i) value |= static_cast<std::uint64_t>(bytes[at + i]) << (8 * i);
  return value;
}
std::uint16_t load16(ByteSpan b, std::size_t at) { return static_cast<std::uint16_t>(load(b, at, 2)); }
std::uint32_t load32(ByteSpan b, std::size_t at) { return static_cast<std::uint32_t>(load(b, at, 4)); }
std::uint64_t load64(ByteSpan b, std::size_t at) { return load(b, at, 8); }

void store(std::string& out, std::uint64_t value, int width) {
  for (int i = 0; i < width; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
}

// `count` bytes at `at` lie inside `bytes`.
bool fits(ByteSpan bytes, std::uint64_t at, std::uint64_t count) {
  return at <= bytes.size() && count <= bytes.size() - at;
}

struct Directory {
  std::uint64_t entries = 0, size = 0, offset = 0;
};

std::optional<std::size_t> find_end(ByteSpan bytes) {
  if (bytes.size() < kEndSize) return std::nullopt;
  const std::size_t last = bytes.size() - kEndSize;
  const std::size_t first = last > 0xFFFF ? last - 0xFFFF : 0;  // a comment of at most 65535 bytes may follow
  for (std::size_t at = last + 1; at-- > first;) {
    if (load32(bytes, at) == kEndSignature && at + kEndSize + load16(bytes, at + 20) == bytes.size()) return at;
  }
  return std::nullopt;
}

Result<Directory> read_end(ByteSpan bytes, const std::string& where) {
  const auto end = find_end(bytes);
  if (!end) return corrupt(fmt::format("{}: not a complete ZIP archive: its directory is missing", where));
  if (load16(bytes, *end + 4) != load16(bytes, *end + 6)) {
    return unsupported(fmt::format("{}: the ZIP archive is split over several files", where));
  }
  Directory directory{load16(bytes, *end + 10), load32(bytes, *end + 12), load32(bytes, *end + 16)};
  if (directory.entries != 0xFFFF && directory.size != kMax32 && directory.offset != kMax32) return directory;
  // Zip64: the locator stands right before the end record. Without one the numbers are meant as they are.
  if (*end < kLocator64Size || load32(bytes, *end - kLocator64Size) != kLocator64Signature) return directory;
  const std::uint64_t at = load64(bytes, *end - kLocator64Size + 8);
  if (!fits(bytes, at, kEnd64Size) || load32(bytes, at) != kEnd64Signature) {
    return corrupt(fmt::format("{}: the zip64 end record is missing at byte {}", where, at));
  }
  return Directory{load64(bytes, at + 32), load64(bytes, at + 40), load64(bytes, at + 48)};
}

// Replaces the 32-bit fields that are saturated by their 64-bit values from the extra field.
bool apply_zip64(ByteSpan extra, ZipEntry& entry, std::uint64_t& local_offset) {
  const bool needed = entry.size == kMax32 || entry.packed_size == kMax32 || local_offset == kMax32;
  if (!needed) return true;
  for (std::size_t at = 0; at + 4 <= extra.size();) {
    const std::uint16_t id = load16(extra, at), length = load16(extra, at + 2);
    if (length > extra.size() - at - 4) return false;
    if (id == kZip64Extra) {
      ByteSpan field = extra.subspan(at + 4, length);
      for (std::uint64_t* value : {&entry.size, &entry.packed_size, &local_offset}) {
        if (*value != kMax32) continue;
        if (field.size() < 8) return false;
        *value = load64(field, 0);
        field = field.subspan(8);
      }
      return true;
    }
    at += 4 + length;
  }
  return true;  // exactly 2^32 - 1 bytes
}

// Finds the entry's data behind its local header; the directory's sizes and checksum are the ones that count (the
// local ones may be in a data descriptor behind the data).
Status locate(ByteSpan bytes, std::uint64_t local_offset, const std::string& what, ZipEntry& entry) {
  if (!fits(bytes, local_offset, kLocalSize) || load32(bytes, local_offset) != kLocalSignature) {
    return corrupt(fmt::format("{}: no local header at byte {}", what, local_offset));
  }
  const std::uint64_t name_length = load16(bytes, local_offset + 26);
  const std::uint64_t extra_length = load16(bytes, local_offset + 28);
  entry.data_offset = local_offset + kLocalSize + name_length + extra_length;
  if (!fits(bytes, entry.data_offset, entry.packed_size)) {
    return corrupt(fmt::format("{}: needs {} bytes at byte {}, the file has {}", what, entry.packed_size,
                               entry.data_offset, bytes.size()));
  }
  const auto* local_name = reinterpret_cast<const char*>(bytes.data() + local_offset + kLocalSize);
  if (std::string_view(local_name, name_length) != entry.name) {
    return corrupt(fmt::format("{}: the local header at byte {} names another entry", what, local_offset));
  }
  return {};
}

}  // namespace

bool is_zip(ByteSpan bytes) {
  return bytes.size() >= 4 && (load32(bytes, 0) == kLocalSignature || load32(bytes, 0) == kEndSignature);
}

Result<ZipReader> ZipReader::open(ByteSpan bytes, std::string where) {
  NARROW_TRY(const Directory directory, read_end(bytes, where));
  if (!fits(bytes, directory.offset, directory.size) || directory.entries > directory.size / kCentralSize) {
    return corrupt(fmt::format("{}: the ZIP directory ({} entries, {} bytes at byte {}) does not fit the file", where,
                               directory.entries, directory.size, directory.offset));
  }
  if (directory.entries > kMaxEntries) {
    return resource_exhausted(fmt::format("{}: {} entries, at most {} are read", where, directory.entries, kMaxEntries));
  }
  ZipReader reader;
  reader.bytes_ = bytes;
  reader.where_ = std::move(where);
  const ByteSpan central = bytes.subspan(directory.offset, directory.size);
  std::unordered_set<std::string> names;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> extents;  // [local header, end of data)
  std::size_t at = 0;
  for (std::uint64_t i = 0; i < directory.entries; ++i) {
    if (!fits(central, at, kCentralSize) || load32(central, at) != kCentralSignature) {
      return corrupt(fmt::format("{}: directory entry {} is damaged", reader.where_, i));
    }
    const std::size_t name_length = load16(central, at + 28), extra_length = load16(central, at + 30);
    const std::size_t total = kCentralSize + name_length + extra_length + load16(central, at + 32);
    if (!fits(central, at, total)) return corrupt(fmt::format("{}: directory entry {} is cut off", reader.where_, i));
    ZipEntry entry;
    entry.name.assign(reinterpret_cast<const char*>(central.data() + at + kCentralSize), name_length);
    const std::string what = fmt::format("{}: entry '{}'", reader.where_, base::escape_controls(entry.name));
    const std::uint16_t flags = load16(central, at + 8), method = load16(central, at + 10);
    if ((flags & 1) != 0) return unsupported(fmt::format("{} is encrypted", what));
    if (method != 0 && method != 8) {
      return unsupported(fmt::format("{} uses compression method {}, expected stored (0) or deflate (8)", what, method))
          .hint("Write the archive again with numpy.savez or numpy.savez_compressed.");
    }
    entry.deflated = method == 8;
    entry.crc = load32(central, at + 16);
    entry.packed_size = load32(central, at + 20);
    entry.size = load32(central, at + 24);
    std::uint64_t local_offset = load32(central, at + 42);
    if (!apply_zip64(central.subspan(at + kCentralSize + name_length, extra_length), entry, local_offset)) {
      return corrupt(fmt::format("{} has a damaged zip64 field", what));
    }
    if (!entry.deflated && entry.size != entry.packed_size) {
      return corrupt(fmt::format("{} is stored but its sizes differ ({} and {})", what, entry.packed_size, entry.size));
    }
    NARROW_RETURN_IF_ERROR(locate(bytes, local_offset, what, entry));
    if (!names.insert(entry.name).second) return corrupt(fmt::format("{} occurs twice", what));
    extents.emplace_back(local_offset, entry.data_offset + entry.packed_size);
    reader.entries_.push_back(std::move(entry));
    at += total;
  }
  // Overlapping entries are how small archives claim to hold petabytes.
  std::sort(extents.begin(), extents.end());
  for (std::size_t i = 1; i < extents.size(); ++i) {
    if (extents[i].first < extents[i - 1].second) {
      return corrupt(fmt::format("{}: two entries share bytes at byte {}", reader.where_, extents[i].first));
    }
  }
  return reader;
}

const ZipEntry* ZipReader::find(std::string_view name) const {
  const auto it = std::find_if(entries_.begin(), entries_.end(), [&](const ZipEntry& e) { return e.name == name; });
  return it == entries_.end() ? nullptr : &*it;
}

Result<ZipContent> ZipReader::read(const ZipEntry& entry, std::uint64_t limit) const {
  const std::string what = fmt::format("{}: entry '{}'", where_, base::escape_controls(entry.name));
  if (entry.deflated && entry.size > limit) {
    return resource_exhausted(fmt::format("{} holds {} bytes when unpacked, at most {} are", what, entry.size, limit))
        .hint("Store it uncompressed (numpy.savez): it is then read in place, whatever its size.");
  }
  const ByteSpan packed = bytes_.subspan(entry.data_offset, entry.packed_size);
  ZipContent content(packed);
  if (entry.deflated) {
    NARROW_TRY(std::vector<std::uint8_t> data, inflate_raw(packed, entry.size, what));
    content = ZipContent(std::move(data));
  }
  if (const std::uint32_t crc = crc32_of(content.bytes); crc != entry.crc) {
    return corrupt(fmt::format("{}: checksum {:08x}, expected {:08x}", what, crc, entry.crc));
  }
  return content;
}

Status ZipWriter::add(const std::string& name, ByteSpan bytes) {
  if (name.empty() || name.size() > 0xFFFF) return invalid_argument("a ZIP entry needs a name of 1 to 65535 bytes");
  for (const Written& w : written_) {
    if (w.name == name) return invalid_argument(fmt::format("the ZIP archive already has an entry '{}'", name));
  }
  const Written entry{name, crc32_of(bytes), bytes.size(), file_.position()};
  const bool zip64 = entry.size >= kMax32;
  std::string header;
  store(header, kLocalSignature, 4);
  store(header, zip64 ? 45 : 20, 2);
  store(header, 0x0800, 2);  // names are UTF-8
  store(header, 0, 2);       // stored
  store(header, 0, 2);       // time and date: fixed, so that equal content gives equal files
  store(header, 0x21, 2);    // 1980-01-01
  store(header, entry.crc, 4);
  store(header, zip64 ? kMax32 : entry.size, 4);
  store(header, zip64 ? kMax32 : entry.size, 4);
  store(header, name.size(), 2);
  store(header, zip64 ? 20 : 0, 2);
  header += name;
  if (zip64) {
    store(header, kZip64Extra, 2);
    store(header, 16, 2);
    store(header, entry.size, 8);
    store(header, entry.size, 8);
  }
  NARROW_RETURN_IF_ERROR(file_.write(header));
  NARROW_RETURN_IF_ERROR(file_.write(bytes));
  written_.push_back(entry);
  return {};
}

Status ZipWriter::finish() {
  const std::uint64_t start = file_.position();
  for (const Written& entry : written_) {
    std::string extra;
    if (entry.size >= kMax32) {
      store(extra, entry.size, 8);
      store(extra, entry.size, 8);
    }
    if (entry.offset >= kMax32) store(extra, entry.offset, 8);
    const std::uint64_t extra_length = extra.empty() ? 0 : extra.size() + 4;
    std::string record;
    store(record, kCentralSignature, 4);
    store(record, extra.empty() ? 20 : 45, 2);
    store(record, extra.empty() ? 20 : 45, 2);
    store(record, 0x0800, 2);
    store(record, 0, 2);
    store(record, 0, 2);
    store(record, 0x21, 2);
    store(record, entry.crc, 4);
    store(record, std::min<std::uint64_t>(entry.size, kMax32), 4);
    store(record, std::min<std::uint64_t>(entry.size, kMax32), 4);
    store(record, entry.name.size(), 2);
    store(record, extra_length, 2);
    store(record, 0, 2);  // comment
    store(record, 0, 2);  // disk
    store(record, 0, 2);  // internal attributes
    store(record, 0, 4);  // external attributes
    store(record, std::min<std::uint64_t>(entry.offset, kMax32), 4);
    record += entry.name;
    if (!extra.empty()) {
      store(record, kZip64Extra, 2);
      store(record, extra.size(), 2);
      record += extra;
    }
    NARROW_RETURN_IF_ERROR(file_.write(record));
  }
  const std::uint64_t end = file_.position(), size = end - start, count = written_.size();
  std::string tail;
  if (count >= 0xFFFF || size >= kMax32 || start >= kMax32) {
    store(tail, kEnd64Signature, 4);
    store(tail, kEnd64Size - 12, 8);
    store(tail, 45, 2);
    store(tail, 45, 2);
    store(tail, 0, 4);
    store(tail, 0, 4);
    store(tail, count, 8);
    store(tail, count, 8);
    store(tail, size, 8);
    store(tail, start, 8);
    store(tail, kLocator64Signature, 4);
    store(tail, 0, 4);
    store(tail, end, 8);
    store(tail, 1, 4);
  }
  store(tail, kEndSignature, 4);
  store(tail, 0, 4);
  store(tail, std::min<std::uint64_t>(count, 0xFFFF), 2);
  store(tail, std::min<std::uint64_t>(count, 0xFFFF), 2);
  store(tail, std::min<std::uint64_t>(size, kMax32), 4);
  store(tail, std::min<std::uint64_t>(start, kMax32), 4);
  store(tail, 0, 2);
  return file_.write(tail);
}

}  // namespace narrow::wire
