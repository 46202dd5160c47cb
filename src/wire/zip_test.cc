#include "wire/zip.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <cstring>
#include <filesystem>

#include "base/mapped_file.h"
#include "wire/npy.h"

namespace narrow::wire {
namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes from_hex(std::string_view hex) {
  Bytes out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) out.push_back(static_cast<std::uint8_t>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
  return out;
}

// numpy.savez_compressed(file, x=numpy.arange(6, dtype=numpy.float32).reshape(2, 3), labels=numpy.array([3, 1]))
// (NumPy 2; zip64 local headers, deflate).
Bytes numpy_archive() {
  return from_hex(
      "504b03042d0000000800000021004fe9002affffffffffffffff05001400782e6e70790100100098000000000000005500000000000000"
      "9bec17ea1b10c9c850c650ad9e925a9c5ca46ea5a06e9366a2aea3a09e965f54529498179f5f94920a12774bcc294e058a17672416a402"
      "f91a463a0ac69a3a0ab50a64032e063068b007120e4004c40d40bcc00100504b03042d0000000800000021008cde33e0ffffffffffffff"
      "ff0a0014006c6162656c732e6e7079010010009000000000000000" "4a000000000000009bec17ea1b10c9c850c650ad9e925a9c5ca46ea5a0"
      "6e9369a1aea3a09e965f54529498179f5f94920a12774bcc294e058a17672416a402f91a463a9a3a0ab50a14002e6606086084d200504b"
      "01022d032d0000000800000021004fe9002a5500000098000000050000000000000000000000800100000000782e6e7079504b01022d03"
      "2d0000000800000021008cde33e04a000000900000000a000000000000000000000080018c0000006c6162656c732e6e7079504b050600"
      "000000020002006b000000120100000000");
}

Bytes deflate_raw(const Bytes& data) {
  z_stream stream{};
  deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 9, Z_DEFAULT_STRATEGY);
  Bytes out(compressBound(data.size()) + 64);
  stream.next_in = const_cast<std::uint8_t*>(data.data());
  stream.avail_in = static_cast<uInt>(data.size());
  stream.next_out = out.data();
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

void put(Bytes& out, std::uint64_t value, int width) {
  for (int i = 0; i < width; ++i) out.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
}

// One entry "a"; the claims can be made to lie.
struct Archive {
  std::uint16_t method = 0, flags = 0;
  Bytes packed;
  std::uint32_t crc = 0, size = 0;
  int copies = 1;  // directory entries that point at the same data
  Bytes build() const {
    Bytes out;
    put(out, 0x04034B50, 4);
    for (int i = 0; i < 11; ++i) put(out, 0, 2);
    out[26] = 1;  // name length
    out.resize(30);
    out[26] = 1;
    out[27] = out[28] = out[29] = 0;
    out.push_back('a');
    out.insert(out.end(), packed.begin(), packed.end());
    const std::size_t directory = out.size();
    for (int i = 0; i < copies; ++i) {
      put(out, 0x02014B50, 4);
      put(out, 20, 2); put(out, 20, 2); put(out, flags, 2); put(out, method, 2); put(out, 0, 4);
      put(out, crc, 4); put(out, packed.size(), 4); put(out, size, 4);
      put(out, 1, 2); put(out, 0, 2); put(out, 0, 2); put(out, 0, 2); put(out, 0, 2); put(out, 0, 4); put(out, 0, 4);
      out.push_back('a');
    }
    const std::size_t end = out.size();
    put(out, 0x06054B50, 4);
    put(out, 0, 4); put(out, copies, 2); put(out, copies, 2); put(out, end - directory, 4); put(out, directory, 4); put(out, 0, 2);
    return out;
  }
};

Archive deflated(const Bytes& data) { return {8, 0, deflate_raw(data), crc32_of(data), static_cast<std::uint32_t>(data.size()), 1}; }

std::string read_first(const Bytes& archive, std::uint64_t limit = 1 << 20) {
  const auto zip = ZipReader::open(archive, "z.npz");
  if (!zip.ok()) return zip.error().to_string();
  if (zip->entries().empty()) return "empty";
  const auto content = zip->read(zip->entries()[0], limit);
  return content.ok() ? "read " + std::string(content->bytes.begin(), content->bytes.end()) : content.error().to_string();
}

TEST(Zip, ReadsNumPysArchive) {
  const Bytes archive = numpy_archive();
  const auto zip = ZipReader::open(archive, "z.npz");
  ASSERT_TRUE(zip.ok()) << zip.error().to_string();
  ASSERT_EQ(zip->entries().size(), 2u);
  ASSERT_NE(zip->find("x.npy"), nullptr);
  const auto content = zip->read(*zip->find("x.npy"), 1 << 20);
  ASSERT_TRUE(content.ok()) << content.error().to_string();
  const auto array = parse_npy(content->bytes, "x");
  ASSERT_TRUE(array.ok());
  float values[6];
  copy_npy_elements(*array, reinterpret_cast<std::uint8_t*>(values));
  for (int i = 0; i < 6; ++i) EXPECT_EQ(values[i], i);
  EXPECT_EQ(zip->find("y.npy"), nullptr);
}

TEST(Zip, StoredAndDeflated) {
  const Bytes hello = {'h', 'e', 'l', 'l', 'o'};
  EXPECT_EQ(read_first(Archive{0, 0, hello, crc32_of(hello), 5}.build()), "read hello");
  EXPECT_EQ(read_first(deflated(hello).build()), "read hello");
  EXPECT_EQ(read_first(deflated({}).build()), "read ");
}

TEST(Zip, RefusesLies) {
  const Bytes zeros(100000, 0);
  const auto says = [](const Archive& archive, const std::string& what, std::uint64_t limit = 1 << 20) {
    const std::string found = read_first(archive.build(), limit);
    EXPECT_NE(found.find(what), std::string::npos) << found;
  };
  Archive bad = deflated(zeros);
  bad.crc ^= 1;
  says(bad, "checksum");
  bad = deflated(zeros);
  bad.size -= 1;
  says(bad, "more than");
  bad = deflated(zeros);
  bad.size += 1;
  says(bad, "expected 100001");
  bad = deflated(zeros);
  bad.size = 0x7FFFFFFF;
  says(bad, "than DEFLATE can", std::uint64_t{1} << 40);
  says(deflated(zeros), "at most 99999", 99999);
  bad = deflated(zeros);
  bad.method = 12;
  says(bad, "method 12");
  bad = deflated(zeros);
  bad.flags = 1;
  says(bad, "encrypted");
  bad = deflated(zeros);
  bad.copies = 2;
  says(bad, "twice");
  Bytes mixed(3000);
  for (std::size_t i = 0; i < mixed.size(); ++i) mixed[i] = static_cast<std::uint8_t>(i * i >> 4);
  bad = deflated(mixed);
  bad.packed.resize(bad.packed.size() / 2);
  says(bad, "damaged");
  says(Archive{0, 0, {1, 2, 3}, 0, 4}, "sizes differ");
}

TEST(Zip, EveryTruncationAndEveryFlippedBitEndsCleanly) {
  const Bytes whole = numpy_archive();
  for (std::size_t n = 0; n < whole.size(); ++n) {
    EXPECT_FALSE(ZipReader::open(std::span(whole).first(n), "z").ok()) << n;
  }
  for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
    Bytes damaged = whole;
    damaged[bit / 8] ^= static_cast<std::uint8_t>(1 << (bit % 8));
    const auto zip = ZipReader::open(damaged, "z");
    if (!zip.ok()) continue;
    for (const ZipEntry& entry : zip->entries()) {
      if (const auto content = zip->read(entry, 1 << 20); content.ok()) {
        EXPECT_EQ(crc32_of(content->bytes), entry.crc);
      }
    }
  }
}

TEST(Zip, WritesWhatItReads) {
  const auto path = std::filesystem::temp_directory_path() / "narrow_zip_test.npz";
  {
    auto file = base::AtomicFile::create(path);
    ASSERT_TRUE(file.ok());
    ZipWriter writer(*file);
    const Bytes a = {1, 2, 3};
    ASSERT_TRUE(writer.add("a.npy", a).ok());
    ASSERT_TRUE(writer.add("empty", {}).ok());
    EXPECT_FALSE(writer.add("a.npy", a).ok());
    ASSERT_TRUE(writer.finish().ok());
    ASSERT_TRUE(file->commit().ok());
  }
  const auto mapped = base::MappedFile::open(path);
  ASSERT_TRUE(mapped.ok());
  const auto zip = ZipReader::open((*mapped)->bytes(), "z");
  ASSERT_TRUE(zip.ok()) << zip.error().to_string();
  ASSERT_EQ(zip->entries().size(), 2u);
  const auto content = zip->read(*zip->find("a.npy"), 10);
  ASSERT_TRUE(content.ok());
  EXPECT_EQ(Bytes(content->bytes.begin(), content->bytes.end()), (Bytes{1, 2, 3}));
  std::filesystem::remove(path);
}

Bytes gzip(const Bytes& data) {
  z_stream stream{};
  deflateInit2(&stream, 9, Z_DEFLATED, MAX_WBITS + 16, 9, Z_DEFAULT_STRATEGY);
  Bytes out(data.size() + 1024);
  stream.next_in = const_cast<std::uint8_t*>(data.data());
  stream.avail_in = static_cast<uInt>(data.size());
  stream.next_out = out.data();
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

TEST(Gzip, UnpacksMembersUpToTheLimit) {
  Bytes data(200000);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::uint8_t>(i * i >> 3);
  Bytes packed = gzip(data);
  auto out = gunzip(packed, data.size(), "g");
  ASSERT_TRUE(out.ok()) << out.error().to_string();
  EXPECT_EQ(*out, data);
  const auto small = gunzip(packed, data.size() - 1, "g");
  ASSERT_FALSE(small.ok());
  EXPECT_EQ(small.error().code(), ErrorCode::kResourceExhausted);
  const Bytes second = gzip({1, 2});
  packed.insert(packed.end(), second.begin(), second.end());
  out = gunzip(packed, 1 << 20, "g");
  ASSERT_TRUE(out.ok());
  EXPECT_EQ(out->size(), data.size() + 2);
  packed.push_back(7);
  EXPECT_FALSE(gunzip(packed, 1 << 20, "g").ok());
}

TEST(Gzip, EveryTruncationAndFlipIsAnErrorOrTheSameData) {
  const Bytes data = {'n', 'a', 'r', 'r', 'o', 'w', 'n', 'a', 'r', 'r', 'o', 'w'};
  const Bytes packed = gzip(data);
  for (std::size_t n = 0; n < packed.size(); ++n) EXPECT_FALSE(gunzip(std::span(packed).first(n), 100, "g").ok()) << n;
  for (std::size_t bit = 0; bit < packed.size() * 8; ++bit) {
    Bytes damaged = packed;
    damaged[bit / 8] ^= static_cast<std::uint8_t>(1 << (bit % 8));
    const auto out = gunzip(damaged, 100, "g");
    if (out.ok()) { EXPECT_EQ(*out, data); }
  }
}

}  // namespace
}  // namespace narrow::wire
