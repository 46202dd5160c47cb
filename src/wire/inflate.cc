#include "wire/inflate.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <limits>
#include <new>

namespace narrow::wire {
namespace {

constexpr std::size_t kStep = std::size_t{1} << 30;  // zlib counts in 32 bits

// An inflater that is always ended.
struct Inflater {
  z_stream stream{};
  bool ready = false;
  explicit Inflater(int window_bits) { ready = inflateInit2(&stream, window_bits) == Z_OK; }
  ~Inflater() {
    if (ready) inflateEnd(&stream);
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
};

Error out_of_memory(const std::string& where, std::uint64_t bytes) {
  return resource_exhausted(fmt::format("{}: out of memory while unpacking ({} bytes)", where, bytes));
}

const char* reason(const z_stream& stream) { return stream.msg != nullptr ? stream.msg : "the data ends too early"; }

}  // namespace

Result<std::vector<std::uint8_t>> inflate_raw(ByteSpan packed, std::uint64_t size, const std::string& where) {
  // A division, so that no size can overflow it; 64 covers the end-of-block codes of tiny inputs.
  if (size > 64 && (size - 64) / kMaxDeflateRatio > packed.size()) {
    return corrupt(fmt::format("{}: claims to unpack {} bytes into {}, more than DEFLATE can", where, packed.size(), size));
  }
  Inflater inflater(-MAX_WBITS);
  if (!inflater.ready) return out_of_memory(where, 0);
  std::vector<std::uint8_t> out;
  try {
    out.resize(size);
  } catch (const std::exception&) {
    return out_of_memory(where, size);
  }
  z_stream& stream = inflater.stream;
  std::size_t taken = 0, made = 0;
  std::uint8_t spare = 0;  // one byte beyond the end, to see whether more would come
  int code = Z_OK;
  while (code == Z_OK) {
    const std::size_t in = std::min(packed.size() - taken, kStep);
    const std::size_t room = std::min<std::size_t>(size - made, kStep);
    stream.next_in = const_cast<std::uint8_t*>(packed.data() + taken);
    stream.avail_in = static_cast<uInt>(in);
    stream.next_out = room != 0 ? out.data() + made : &spare;
    stream.avail_out = static_cast<uInt>(room != 0 ? room : 1);
    code = inflate(&stream, Z_NO_FLUSH);
    taken += in - stream.avail_in;
    const std::size_t wrote = (room != 0 ? room : 1) - stream.avail_out;
    if (room == 0 && wrote != 0) {
      return corrupt(fmt::format("{}: unpacks to more than the {} bytes it claims", where, size));
    }
    made += wrote;
  }
  if (code != Z_STREAM_END) return corrupt(fmt::format("{}: damaged compressed data: {}", where, reason(stream)));
  if (made != size) return corrupt(fmt::format("{}: unpacks to {} bytes, expected {}", where, made, size));
  return out;
}

Result<std::vector<std::uint8_t>> gunzip(ByteSpan packed, std::uint64_t limit, const std::string& where) {
  Inflater inflater(MAX_WBITS + 16);
  if (!inflater.ready) return out_of_memory(where, 0);
  z_stream& stream = inflater.stream;
  std::vector<std::uint8_t> out;
  std::vector<std::uint8_t> buffer(std::size_t{1} << 16);
  std::size_t taken = 0;
  while (true) {
    const std::size_t in = std::min(packed.size() - taken, kStep);
    stream.next_in = const_cast<std::uint8_t*>(packed.data() + taken);
    stream.avail_in = static_cast<uInt>(in);
    stream.next_out = buffer.data();
    stream.avail_out = static_cast<uInt>(buffer.size());
    const int code = inflate(&stream, Z_NO_FLUSH);
    taken += in - stream.avail_in;
    const std::size_t wrote = buffer.size() - stream.avail_out;
    if (wrote > limit - out.size()) {
      return resource_exhausted(fmt::format("{}: unpacks to more than {} bytes", where, limit))
          .hint("If the file is sound, unpack it first and pass the plain file.");
    }
    try {
      out.insert(out.end(), buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(wrote));
    } catch (const std::exception&) {
      return out_of_memory(where, out.size() + wrote);
    }
    if (code == Z_STREAM_END) {
      if (taken == packed.size()) return out;
      if (!is_gzip(packed.subspan(taken)) || inflateReset(&stream) != Z_OK) {
        return corrupt(fmt::format("{}: {} bytes follow the end of the gzip data", where, packed.size() - taken));
      }
      continue;
    }
    if (code != Z_OK) return corrupt(fmt::format("{}: damaged gzip data: {}", where, reason(stream)));
  }
}

bool is_gzip(ByteSpan bytes) { return bytes.size() >= 3 && bytes[0] == 0x1F && bytes[1] == 0x8B && bytes[2] == 8; }

std::uint32_t crc32_of(ByteSpan bytes) {
  uLong crc = ::crc32(0, nullptr, 0);
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t n = std::min(bytes.size() - at, kStep);
    crc = ::crc32(crc, bytes.data() + at, static_cast<uInt>(n));
    at += n;
  }
  return static_cast<std::uint32_t>(crc);
}

}  // namespace narrow::wire
