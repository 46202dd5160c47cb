#include "wire/npy.h"

#include <gtest/gtest.h>

#include <cstring>

namespace narrow::wire {
namespace {

std::vector<std::uint8_t> bytes_of(const std::string& s) { return {s.begin(), s.end()}; }

// A file with this dictionary text, any version.
std::vector<std::uint8_t> file(std::string dictionary, std::size_t data, int version = 1) {
  std::string out("\x93NUMPY", 6);
  out += static_cast<char>(version);
  out += '\0';
  for (int i = 0; i < (version == 1 ? 2 : 4); ++i) out += static_cast<char>(dictionary.size() >> (8 * i));
  return bytes_of(out + dictionary + std::string(data, '\1'));
}

std::string message(const std::vector<std::uint8_t>& bytes) {
  const auto r = parse_npy(bytes, "x.npy");
  return r.ok() ? "accepted" : r.error().to_string();
}

TEST(Npy, ReadsWhatTheFormatAllows) {
  for (int version : {1, 2, 3}) {
    const auto b = file("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }     \n", 24, version);
    const auto a = parse_npy(b, "x");
    ASSERT_TRUE(a.ok()) << a.error().to_string();
    EXPECT_EQ(a->kind, 'f');
    EXPECT_EQ(a->item_size, 4);
    EXPECT_EQ(a->shape, (std::vector<std::int64_t>{2, 3}));
    EXPECT_EQ(a->count, 6);
    EXPECT_EQ(a->data.size(), 24u);
  }
  // Any order of keys, double quotes, Python 2's long integers, a scalar, an empty array.
  EXPECT_EQ(message(file("{\"shape\":(2L,3L),'fortran_order':True,'descr':'|u1'}", 6)), "accepted");
  EXPECT_EQ(message(file("{'descr': '<i8', 'fortran_order': False, 'shape': ()}", 8)), "accepted");
  EXPECT_EQ(message(file("{'descr': '<i8', 'fortran_order': False, 'shape': (0, 99999999999)}", 0)), "accepted");
}

TEST(Npy, RefusesEverythingElse) {
  const struct {
    std::string dictionary;
    std::size_t data;
    std::string says;
  } kCases[] = {
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}", 23, "does not fit the 23 bytes"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}", 25, "does not fit"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}", 0, "does not fit"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", 0, "too large"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", 0, "dimension"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2 3)}", 24, "expected ')'"},
      {"{'descr': '<f4', 'fortran_order': False}", 4, "expected the keys"},
      {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': ()}", 4, "twice"},
      {"{'descr': '<f4', 'fortran_order': 0, 'shape': ()}", 4, "True nor False"},
      {"{'descr': '|O', 'fortran_order': False, 'shape': ()}", 8, "'|O'"},
      {"{'descr': '<U3', 'fortran_order': False, 'shape': ()}", 12, "'<U3'"},
      {"{'descr': '<f3', 'fortran_order': False, 'shape': ()}", 3, "'<f3'"},
      {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': ()}", 4, "records"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (), 'x': __import__('os')}", 4, "unknown key 'x'"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': ()} or 1", 4, "follows"},
      {"__import__('os').system('true')", 4, "expected '{'"},
      {"{'descr': '<f4", 4, "not closed"},
      {"", 4, "expected '{'"},
  };
  for (const auto& c : kCases) EXPECT_NE(message(file(c.dictionary, c.data)).find(c.says), std::string::npos) << c.dictionary << "\n" << message(file(c.dictionary, c.data));
  EXPECT_NE(message(file("{'descr': '<f4', 'fortran_order': False, 'shape': ()}", 4, 4)).find("version 4"), std::string::npos);
}

TEST(Npy, EveryTruncationIsAnError) {
  auto whole = file("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}", 24);
  for (std::size_t n = 0; n < whole.size(); ++n) {
    EXPECT_FALSE(parse_npy(std::span(whole).first(n), "x").ok()) << n;
  }
}

TEST(Npy, HeaderReadsBackAndIsAligned) {
  for (const auto& shape : {std::vector<std::int64_t>{}, {7}, {1, 3, 224, 224}, std::vector<std::int64_t>(60, 1)}) {
    std::string text = npy_header('f', 4, shape);
    EXPECT_EQ(text.size() % 64, 0u);
    std::size_t count = 1;
    for (auto d : shape) count *= d;
    text.append(count * 4, 'x');
    const auto b = bytes_of(text);
    const auto a = parse_npy(b, "x");
    ASSERT_TRUE(a.ok()) << a.error().to_string();
    EXPECT_EQ(a->shape, shape);
  }
}

// numpy.lib.format.write_array(file, numpy.asfortranarray(numpy.arange(6).reshape(2, 3).astype('>i2'))): the data bytes.
TEST(Npy, FortranOrderAndBigEndianBecomePlain) {
  NpyArray a;
  a.kind = 'i';
  a.item_size = 2;
  a.big_endian = a.fortran_order = true;
  a.shape = {2, 3};
  a.count = 6;
  const std::uint8_t data[] = {0, 0, 0, 3, 0, 1, 0, 4, 0, 2, 0, 5};
  a.data = data;
  std::int16_t out[6];
  copy_npy_elements(a, reinterpret_cast<std::uint8_t*>(out));
  for (int i = 0; i < 6; ++i) EXPECT_EQ(out[i], i);
}

TEST(Npy, FortranOrderOfManyShapes) {
  for (const auto& shape : {std::vector<std::int64_t>{4}, {2, 3, 4}, {1, 5, 1, 2}, {3, 1}, {2, 2, 2, 2, 2}}) {
    NpyArray a;
    a.item_size = 4;
    a.kind = 'u';
    a.fortran_order = true;
    a.shape = shape;
    a.count = 1;
    for (auto d : shape) a.count *= d;
    // Element with C index i is stored at its Fortran position.
    std::vector<std::uint32_t> stored(a.count), out(a.count);
    for (std::int64_t i = 0; i < a.count; ++i) {
      std::int64_t rest = i, position = 0, stride = 1;
      std::vector<std::int64_t> index(shape.size());
      for (std::size_t d = shape.size(); d-- > 0;) { index[d] = rest % shape[d]; rest /= shape[d]; }
      for (std::size_t d = 0; d < shape.size(); ++d) { position += index[d] * stride; stride *= shape[d]; }
      stored[position] = static_cast<std::uint32_t>(i);
    }
    a.data = {reinterpret_cast<const std::uint8_t*>(stored.data()), stored.size() * 4};
    copy_npy_elements(a, reinterpret_cast<std::uint8_t*>(out.data()));
    for (std::int64_t i = 0; i < a.count; ++i) EXPECT_EQ(out[i], i);
  }
}

}  // namespace
}  // namespace narrow::wire
