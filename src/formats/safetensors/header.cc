#include "formats/safetensors/header.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>
#include <unordered_set>

#include "base/checked.h"
#include "base/text.h"

namespace narrow::formats::safetensors {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;
constexpr std::size_t kMaxRank = 64;
constexpr std::string_view kMetadata = "__metadata__";

struct DTypeName {
  std::string_view name;
  DType dtype;
};
constexpr DTypeName kDTypes[] = {
    {"BOOL", DType::kBool},     {"U8", DType::kU8},   {"I8", DType::kS8},   {"F8_E4M3", DType::kF8E4M3FN}, {"F8_E5M2", DType::kF8E5M2},
    {"F8_E8M0", DType::kF8E8M0}, {"F8_E4M3FNUZ", DType::kF8E4M3FNUZ}, {"F8_E5M2FNUZ", DType::kF8E5M2FNUZ}, {"F4", DType::kF4E2M1},
    {"I16", DType::kS16},       {"U16", DType::kU16}, {"F16", DType::kF16}, {"BF16", DType::kBF16},
    {"I32", DType::kS32},       {"U32", DType::kU32}, {"F32", DType::kF32},
    {"I64", DType::kS64},       {"U64", DType::kU64}, {"F64", DType::kF64}, {"C64", DType::kC64},
};

std::string shown(std::string_view name) { return base::escape_controls(name.substr(0, 200)); }

// The header's grammar is so small that its events are checked as they come: nothing is built that a hostile header could
// make large, and no nesting below the three levels that there are.
class HeaderReader : public json::json_sax_t {
 public:
  explicit HeaderReader(const std::string& where) : where_(where) {}

  std::optional<Error> error;
  Header header;

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("true or false"); }
  bool number_integer(number_integer_t) override { return unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { return unexpected("a fraction or a number beyond 64 bits"); }
  bool binary(binary_t&) override { return unexpected("binary"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (state_ == State::kShape) {
      if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return fail("a dimension beyond 63 bits");
      if (entry_.tensor.shape.size() == kMaxRank) return fail(fmt::format("more than {} dimensions", kMaxRank));
      entry_.tensor.shape.push_back(static_cast<std::int64_t>(value));
      return true;
    }
    if (state_ == State::kOffsets) {
      if (offset_count_ == 2) return fail("data_offsets with more than two numbers");
      offsets_[offset_count_++] = value;
      return true;
    }
    return unexpected("a number");
  }

  bool string(string_t& value) override {
    if (state_ == State::kMetadata) {
      header.metadata[key_] = value;
      return true;
    }
    if (state_ != State::kTensor || field_ != Field::kDType) return unexpected("a string");
    const auto* found = std::find_if(std::begin(kDTypes), std::end(kDTypes), [&](const DTypeName& d) { return d.name == value; });
    if (found == std::end(kDTypes)) {
      error = unsupported(fmt::format("{}: tensor '{}' has type '{}', which is not known", where_, shown(entry_.tensor.name), shown(value)));
      return false;
    }
    entry_.tensor.dtype = found->dtype;
    return true;
  }

  bool start_object(std::size_t) override {
    switch (state_) {
      case State::kStart: state_ = State::kTop; return true;
      case State::kTop: state_ = key_ == kMetadata ? State::kMetadata : State::kTensor; return true;
      default: return unexpected("an object");
    }
  }

  bool key(string_t& key) override {
    if (state_ == State::kTop) {
      if (!names_.insert(key).second) return fail(fmt::format("'{}' is there twice", shown(key)));
      key_ = key;
      entry_ = Entry{.tensor = {.name = key}};
      seen_[0] = seen_[1] = seen_[2] = false;
      offset_count_ = 0;
      return true;
    }
    if (state_ == State::kMetadata) {
      if (header.metadata.contains(key)) return fail(fmt::format("metadata '{}' is there twice", shown(key)));
      key_ = key;
      return true;
    }
    constexpr std::string_view kFields[] = {"dtype", "shape", "data_offsets"};
    const auto* found = std::find(std::begin(kFields), std::end(kFields), key);
    if (found == std::end(kFields)) return fail(fmt::format("tensor '{}' has a field '{}'", shown(entry_.tensor.name), shown(key)));
    field_ = static_cast<Field>(found - kFields);
    bool& seen = seen_[found - kFields];
    if (seen) return fail(fmt::format("tensor '{}' has '{}' twice", shown(entry_.tensor.name), key));
    seen = true;
    return true;
  }

  bool end_object() override {
    if (state_ == State::kTensor) {
      if (!seen_[0] || !seen_[1] || !seen_[2] || offset_count_ != 2 || entry_.tensor.dtype == DType::kUndefined) {
        return fail(fmt::format("tensor '{}' lacks dtype, shape or two data_offsets", shown(entry_.tensor.name)));
      }
      entry_.offset = offsets_[0];
      if (offsets_[1] < offsets_[0]) return fail(fmt::format("tensor '{}' ends at {} before it starts at {}", shown(entry_.tensor.name), offsets_[1], offsets_[0]));
      entry_.bytes = offsets_[1] - offsets_[0];
      header.entries.push_back(std::move(entry_));
      state_ = State::kTop;
    } else if (state_ == State::kMetadata) {
      state_ = State::kTop;
    } else {
      state_ = State::kEnd;
    }
    return true;
  }

  bool start_array(std::size_t) override {
    if (state_ != State::kTensor || field_ == Field::kDType) return unexpected("a list");
    state_ = field_ == Field::kShape ? State::kShape : State::kOffsets;
    return true;
  }
  bool end_array() override {
    state_ = State::kTensor;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const json::exception& e) override {
    return fail(fmt::format("not valid JSON at byte {}: {}", position, e.what()));
  }

 private:
  enum class State { kStart, kTop, kMetadata, kTensor, kShape, kOffsets, kEnd };
  enum class Field { kDType, kShape, kOffsets };

  bool fail(const std::string& why) {
    error = corrupt(fmt::format("{}: the safetensors header is wrong: {}", where_, base::escape_controls(why)));
    return false;
  }
  bool unexpected(std::string_view what) {
    return fail(state_ == State::kStart ? fmt::format("it is {}, expected an object", what) : fmt::format("{} within '{}'", what, shown(key_)));
  }

  const std::string& where_;
  State state_ = State::kStart;
  Field field_ = Field::kDType;
  std::string key_;
  std::unordered_set<std::string> names_;
  Entry entry_;
  bool seen_[3] = {};
  std::uint64_t offsets_[2] = {};
  int offset_count_ = 0;
};

// `entries` hold offsets within the tensors' bytes, `size` of them.
Status check_tiling(std::vector<Entry>& entries, std::uint64_t size, const std::string& where) {
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return a.offset != b.offset ? a.offset < b.offset : a.bytes < b.bytes;
  });
  std::uint64_t at = 0;
  for (const Entry& entry : entries) {
    const TensorSpec& tensor = entry.tensor;
    const auto count = base::checked_product(tensor.shape);
    const auto bytes = count ? storage_bytes(tensor.dtype, *count) : std::nullopt;
    if (!bytes || *bytes != entry.bytes) {
      return corrupt(fmt::format("{}: tensor '{}' of shape {} and type {} takes {} bytes, its data_offsets give it {}", where, shown(tensor.name), to_string(tensor.shape),
                                 dtype_name(tensor.dtype), bytes ? fmt::format("{}", *bytes) : "more than 2^63", entry.bytes));
    }
    if (entry.offset != at) {
      return corrupt(fmt::format("{}: tensor '{}' starts at {}, expected {}: tensors {}", where, shown(tensor.name), entry.offset, at,
                                 entry.offset < at ? "overlap" : "leave a gap"));
    }
    const auto end = base::checked_add(at, entry.bytes);
    if (!end || *end > size) {
      return corrupt(fmt::format("{}: tensor '{}' ends beyond the file, which has {} bytes of tensors", where, shown(tensor.name), size))
          .hint("The file was cut off: download it again.");
    }
    at = *end;
  }
  if (at != size) return corrupt(fmt::format("{}: the last tensor ends at {}, the file has {} bytes of tensors", where, at, size));
  return {};
}

}  // namespace

std::string_view dtype_name(DType dtype) {
  for (const DTypeName& row : kDTypes) {
    if (row.dtype == dtype) return row.name;
  }
  return {};
}

Result<Header> parse_header(std::span<const std::uint8_t> file, const std::string& where) {
  if (file.size() < 8) return corrupt(fmt::format("{}: {} bytes, too short for a safetensors file", where, file.size()));
  std::uint64_t length;
  std::memcpy(&length, file.data(), 8);
  if (length > kMaxHeaderBytes || length > file.size() - 8 || length < 2 || file[8] != '{') {
    return corrupt(fmt::format("{}: not a safetensors file: a header of {} bytes in a file of {}", where, length, file.size()))
        .hint("A file that starts with 'version https://git-lfs' is a pointer: fetch the model itself with 'git lfs pull'.");
  }
  HeaderReader reader(where);
  try {
    json::sax_parse(file.begin() + 8, file.begin() + 8 + static_cast<std::ptrdiff_t>(length), &reader);
  } catch (const std::exception& e) {
    return corrupt(fmt::format("{}: the safetensors header cannot be read: {}", where, e.what()));
  }
  if (reader.error) return *std::move(reader.error);
  Header header = std::move(reader.header);
  header.bytes = 8 + length;
  NARROW_RETURN_IF_ERROR(check_tiling(header.entries, file.size() - header.bytes, where));
  for (Entry& entry : header.entries) entry.offset += header.bytes;
  return header;
}

Result<Layout> make_layout(std::span<const TensorSpec> tensors, const std::map<std::string, std::string>& metadata) {
  std::vector<std::size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    const int left = bits_of(tensors[a].dtype), right = bits_of(tensors[b].dtype);
    return left != right ? left > right : tensors[a].name < tensors[b].name;
  });
  Layout layout;
  layout.entries.resize(tensors.size());
  std::uint64_t at = 0;
  std::unordered_set<std::string_view> names;
  std::string text = "{";
  try {
    if (!metadata.empty()) text += fmt::format("\"{}\":{}", kMetadata, json(metadata).dump());
    for (const std::size_t i : order) {
      const TensorSpec& tensor = tensors[i];
      if (tensor.name == kMetadata || !names.insert(tensor.name).second) {
        return invalid_argument(fmt::format("cannot write two tensors named '{}' to one file", shown(tensor.name)));
      }
      if (dtype_name(tensor.dtype).empty()) {
        return invalid_argument(fmt::format("tensor '{}': safetensors has no type for {}", shown(tensor.name), to_string(tensor.dtype)));
      }
      const auto count = base::checked_product(tensor.shape);
      const auto bytes = count ? storage_bytes(tensor.dtype, *count) : std::nullopt;
      const auto end = bytes ? base::checked_add(at, *bytes) : std::nullopt;
      if (!end) return invalid_argument(fmt::format("tensor '{}': shape {} overflows", shown(tensor.name), to_string(tensor.shape)));
      text += fmt::format("{}{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}", text.size() == 1 ? "" : ",", json(tensor.name).dump(), dtype_name(tensor.dtype),
                          fmt::join(tensor.shape, ","), at, *end);
      layout.entries[i] = {tensor, at, *bytes};
      at = *end;
    }
  } catch (const json::exception& e) {
    return invalid_argument(fmt::format("a tensor's name or the metadata cannot be written as JSON: {}", base::escape_controls(e.what())));
  }
  text += '}';
  text.resize(base::round_up<std::size_t>(text.size(), 8), ' ');
  if (text.size() > kMaxHeaderBytes) return invalid_argument(fmt::format("{} tensors need a header of {} bytes; safetensors allows {}", tensors.size(), text.size(), kMaxHeaderBytes));
  const std::uint64_t length = text.size();
  layout.header.resize(8);
  std::memcpy(layout.header.data(), &length, 8);
  layout.header += text;
  for (Entry& entry : layout.entries) entry.offset += layout.header.size();
  layout.file_bytes = layout.header.size() + at;
  return layout;
}

}  // namespace narrow::formats::safetensors
