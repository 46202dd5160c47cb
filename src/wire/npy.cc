#include "wire/npy.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/checked.h"
#include "base/text.h"

namespace narrow::wire {
namespace {

constexpr std::string_view kMagic("\x93NUMPY", 6);
constexpr std::size_t kMaxHeader = std::size_t{1} << 20;
constexpr std::size_t kMaxRank = 64;

// The header's grammar: { 'key' : value , … } with a string, True/False or a tuple of integers as value.
class HeaderParser {
 public:
  explicit HeaderParser(std::string_view text) : text_(text) {}

  // Nullopt with problem() set on any deviation.
  bool parse(NpyArray& array) {
    bool descr = false, order = false, shape = false;
    if (!expect('{')) return false;
    while (!accept('}')) {
      std::string_view key;
      if (!quoted(key) || !expect(':')) return false;
      bool* seen = key == "descr" ? &descr : key == "fortran_order" ? &order : key == "shape" ? &shape : nullptr;
      if (seen == nullptr) return fail(fmt::format("unknown key '{}'", base::escape_controls(key)));
      if (std::exchange(*seen, true)) return fail(fmt::format("key '{}' occurs twice", key));
      if (seen == &descr && !parse_descr(array)) return false;
      if (seen == &order && !parse_bool(array.fortran_order)) return false;
      if (seen == &shape && !parse_shape(array.shape)) return false;
      if (!accept(',')) {
        if (!expect('}')) return false;
        break;
      }
    }
    skip();
    if (at_ != text_.size()) return fail("text follows the dictionary");
    if (!descr || !order || !shape) return fail("expected the keys 'descr', 'fortran_order' and 'shape'");
    return true;
  }

  const std::string& problem() const { return problem_; }
  bool unsupported_type() const { return unsupported_type_; }

 private:
  bool fail(std::string problem) {
    if (problem_.empty()) problem_ = std::move(problem);
    return false;
  }
  void skip() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t')) ++at_;
  }
  bool accept(char c) {
    skip();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool expect(char c) { return accept(c) || fail(fmt::format("expected '{}' at byte {} of the header", c, at_)); }
  bool quoted(std::string_view& out) {
    skip();
    if (at_ >= text_.size() || (text_[at_] != '\'' && text_[at_] != '"')) {
      return fail(fmt::format("expected a quoted name at byte {} of the header", at_));
    }
    const std::size_t close = text_.find(text_[at_], at_ + 1);
    if (close == std::string_view::npos) return fail("a quote is not closed");
    out = text_.substr(at_ + 1, close - at_ - 1);
    at_ = close + 1;
    return true;
  }
  bool parse_bool(bool& out) {
    skip();
    for (const auto& [word, value] : {std::pair<std::string_view, bool>{"True", true}, {"False", false}}) {
      if (text_.substr(at_, word.size()) != word) continue;
      at_ += word.size();
      out = value;
      return true;
    }
    return fail("'fortran_order' is neither True nor False");
  }
  bool parse_shape(std::vector<std::int64_t>& shape) {
    if (!expect('(')) return false;
    while (!accept(')')) {
      skip();
      std::int64_t dim = 0;
      const std::size_t start = at_;
      for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
        const auto ten = base::checked_mul<std::int64_t>(dim, 10);
        const auto next = ten ? base::checked_add<std::int64_t>(*ten, text_[at_] - '0') : std::nullopt;
        if (!next) return fail("a dimension is too large");
        dim = *next;
      }
      if (at_ == start) return fail("a dimension is not a whole number of at least 0");
      accept('L');  // written by NumPy under Python 2
      shape.push_back(dim);
      if (shape.size() > kMaxRank) return fail(fmt::format("more than {} dimensions", kMaxRank));
      if (!accept(',')) return expect(')');
    }
    return true;
  }
  bool parse_descr(NpyArray& array) {
    skip();
    if (at_ < text_.size() && text_[at_] == '[') {
      unsupported_type_ = true;
      return fail("holds records (a structured dtype), expected numbers");
    }
    std::string_view descr;
    if (!quoted(descr)) return false;
    const std::string_view number = descr.substr(descr.empty() || !std::strchr("<>|=", descr[0]) ? 0 : 1);
    const bool swapped = !descr.empty() && descr[0] == '>';
    const char kind = number.size() == 2 ? number[0] : '?';
    const int size = number.size() == 2 ? number[1] - '0' : 0;
    const bool known = (kind == 'f' && (size == 2 || size == 4 || size == 8)) ||
                       ((kind == 'i' || kind == 'u') && (size == 1 || size == 2 || size == 4 || size == 8)) ||
                       (kind == 'b' && size == 1);
    if (!known) {
      unsupported_type_ = true;
      return fail(fmt::format("element type '{}', expected one of f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 b1",
                              base::escape_controls(descr)));
    }
    array.kind = kind;
    array.item_size = size;
    array.big_endian = swapped && size > 1;
    return true;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::string problem_;
  bool unsupported_type_ = false;
};

template <int kSize>
void copy_items(const NpyArray& array, std::uint8_t* out) {
  const auto put = [&](std::int64_t to, std::int64_t from) {
    std::uint8_t item[kSize];
    std::memcpy(item, array.data.data() + from * kSize, kSize);
    if (array.big_endian) std::reverse(item, item + kSize);
    std::memcpy(out + to * kSize, item, kSize);
  };
  if (!array.fortran_order) {
    for (std::int64_t i = 0; i < array.count; ++i) put(i, i);
    return;
  }
  // Walk the output in C order; `from` follows with the Fortran strides.
  const std::size_t rank = array.shape.size();
  std::array<std::int64_t, kMaxRank> index{}, stride{1};
  for (std::size_t d = 1; d < rank; ++d) stride[d] = stride[d - 1] * array.shape[d - 1];
  std::int64_t from = 0;
  for (std::int64_t i = 0; i < array.count; ++i) {
    put(i, from);
    for (std::size_t d = rank; d-- > 0;) {
      from += stride[d];
      if (++index[d] < array.shape[d]) break;
      from -= stride[d] * array.shape[d];
      index[d] = 0;
    }
  }
}

}  // namespace

bool is_npy(ByteSpan bytes) {
  return bytes.size() >= kMagic.size() && std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) == 0;
}

Result<NpyArray> parse_npy(ByteSpan bytes, const std::string& where) {
  if (!is_npy(bytes) || bytes.size() < 10) return corrupt(fmt::format("{}: not a .npy array", where));
  const int major = bytes[6];
  if (major < 1 || major > 3) {
    return unsupported(fmt::format("{}: .npy format version {}.{}, expected 1 to 3", where, major, bytes[7]));
  }
  const std::size_t prefix = major == 1 ? 10 : 12;
  if (bytes.size() < prefix) return corrupt(fmt::format("{}: the .npy header is cut off", where));
  std::size_t length = bytes[8] | static_cast<std::size_t>(bytes[9]) << 8;
  if (major > 1) length |= static_cast<std::size_t>(bytes[10]) << 16 | static_cast<std::size_t>(bytes[11]) << 24;
  if (length > kMaxHeader || length > bytes.size() - prefix) {
    return corrupt(fmt::format("{}: the .npy header claims {} bytes, the file has {} left", where, length,
                               bytes.size() - prefix));
  }
  NpyArray array;
  HeaderParser parser({reinterpret_cast<const char*>(bytes.data()) + prefix, length});
  if (!parser.parse(array)) {
    const std::string message = fmt::format("{}: {}", where, parser.problem());
    if (parser.unsupported_type()) return unsupported(message).hint("Convert the array with astype(numpy.float32).");
    return corrupt(message + " in the .npy header");
  }
  const auto count = base::checked_product(array.shape);
  const auto size = count ? base::checked_mul<std::int64_t>(*count, array.item_size) : std::nullopt;
  const ByteSpan rest = bytes.subspan(prefix + length);
  if (!size || static_cast<std::uint64_t>(*size) != rest.size()) {
    return corrupt(fmt::format("{}: shape ({}) of {}{} does not fit the {} bytes of data", where,
                               fmt::join(array.shape, ", "), array.kind, array.item_size, rest.size()));
  }
  array.count = *count;
  array.data = rest;
  return array;
}

std::string npy_header(char kind, int item_size, const std::vector<std::int64_t>& shape) {
  const std::string dims = shape.size() == 1 ? fmt::format("({},)", shape[0]) : fmt::format("({})", fmt::join(shape, ", "));
  std::string text = fmt::format("{{'descr': '{}{}{}', 'fortran_order': False, 'shape': {}, }}", item_size > 1 ? '<' : '|',
                                 kind, item_size, dims);
  const bool large = text.size() + 64 > 0xFFFF;
  const std::size_t prefix = large ? 12 : 10;
  text.append(base::round_up<std::size_t>(prefix + text.size() + 1, 64) - prefix - text.size() - 1, ' ');
  text += '\n';
  std::string header(kMagic);
  header += static_cast<char>(large ? 2 : 1);
  header += '\0';
  for (std::size_t i = 0; i < prefix - 8; ++i) header += static_cast<char>(text.size() >> (8 * i));
  return header + text;
}

void copy_npy_elements(const NpyArray& array, std::uint8_t* out) {
  if (array.count == 0) return;
  const bool linear = !array.fortran_order || array.shape.size() < 2;
  if (linear && !array.big_endian) {
    std::memcpy(out, array.data.data(), array.data.size());
    return;
  }
  switch (array.item_size) {
    case 1: copy_items<1>(array, out); break;
    case 2: copy_items<2>(array, out); break;
    case 4: copy_items<4>(array, out); break;
    default: copy_items<8>(array, out); break;
  }
}

}  // namespace narrow::wire
