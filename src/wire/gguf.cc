#include "wire/gguf.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>
#include <limits>
#include <unordered_set>

#include "base/checked.h"
#include "base/text.h"

namespace narrow::wire {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::string_view kTypeNames[] = {"u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"};
constexpr int kTypeBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};  // 0: not of one size
constexpr std::size_t kMaxKeyBytes = 65535;
constexpr std::size_t kMaxNameBytes = 63;  // ggml keeps a name and its zero in 64 bytes
constexpr int kMaxDimensions = 4;
constexpr std::uint64_t kMaxAlignment = 1 << 20;
constexpr std::string_view kAlignmentKey = "general.alignment";

bool is_signed_type(GgufType t) { return t == GgufType::kS8 || t == GgufType::kS16 || t == GgufType::kS32 || t == GgufType::kS64; }
bool is_real_type(GgufType t) { return t == GgufType::kF32 || t == GgufType::kF64; }
bool is_whole_type(GgufType t) { return kTypeBytes[static_cast<int>(t)] != 0 && t != GgufType::kBool && !is_real_type(t); }

template <typename T>
T load(const std::uint8_t* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

// A number of the file; reals through `real`.
std::int64_t load_signed(GgufType type, const std::uint8_t* at) {
  switch (type) {
    case GgufType::kS8: return load<std::int8_t>(at);
    case GgufType::kS16: return load<std::int16_t>(at);
    case GgufType::kS32: return load<std::int32_t>(at);
    default: return load<std::int64_t>(at);
  }
}
std::uint64_t load_unsigned(GgufType type, const std::uint8_t* at) {
  switch (type) {
    case GgufType::kU8: return load<std::uint8_t>(at);
    case GgufType::kU16: return load<std::uint16_t>(at);
    case GgufType::kU32: return load<std::uint32_t>(at);
    default: return load<std::uint64_t>(at);
  }
}

std::string shown(std::string_view name) { return base::escape_controls(name.substr(0, 200)); }

class HeadReader {
 public:
  HeadReader(std::span<const std::uint8_t> file, const std::string& where) : file_(file), where_(where) {}

  Result<GgufHead> read() {
    NARROW_RETURN_IF_ERROR(read_version());
    NARROW_TRY(const std::uint64_t tensor_count, number<std::uint64_t>("the count of tensors"));
    NARROW_TRY(const std::uint64_t pair_count, number<std::uint64_t>("the count of key-value pairs"));
    // The least that each takes: a length, a type and a byte; a length, a count, a type and an offset.
    if (pair_count > left() / 13) return corrupt(fmt::format("{}: {} key-value pairs do not fit into {} bytes", where_, pair_count, left()));
    if (tensor_count > left() / 24) return corrupt(fmt::format("{}: {} tensors do not fit into {} bytes", where_, tensor_count, left()));
    head_.metadata.where = where_;
    for (std::uint64_t i = 0; i < pair_count; ++i) NARROW_RETURN_IF_ERROR(read_pair());
    Result<std::uint64_t> alignment = gguf_alignment(head_.metadata);
    if (!alignment.ok()) return corrupt(fmt::format("{}: {}", where_, alignment.error().message()));
    head_.alignment = *alignment;
    std::unordered_set<std::string> names;
    for (std::uint64_t i = 0; i < tensor_count; ++i) {
      NARROW_RETURN_IF_ERROR(read_tensor());
      if (!names.insert(head_.tensors.back().name).second) return corrupt(fmt::format("{}: two tensors are named '{}'", where_, shown(head_.tensors.back().name)));
    }
    head_.data = base::round_up<std::uint64_t>(at_, head_.alignment);
    return std::move(head_);
  }

 private:
  std::uint64_t left() const { return file_.size() - at_; }

  Error cut_off(std::string_view what) const {
    return corrupt(fmt::format("{}: the file ends within {}", where_, what)).hint("The file was cut off, or it is damaged: download it again.");
  }

  template <typename T>
  Result<T> number(std::string_view what) {
    if (left() < sizeof(T)) return cut_off(what);
    at_ += sizeof(T);
    return load<T>(file_.data() + at_ - sizeof(T));
  }

  Result<std::string> string(std::string_view what) {
    NARROW_TRY(const std::uint64_t length, number<std::uint64_t>(what));
    if (length > left()) return cut_off(what);
    at_ += length;
    return std::string(reinterpret_cast<const char*>(file_.data() + at_ - length), static_cast<std::size_t>(length));
  }

  Status read_version() {
    if (left() < 4 || std::memcmp(file_.data(), "GGUF", 4) != 0) {
      return corrupt(fmt::format("{}: not a GGUF file", where_)).hint("A file that starts with 'version https://git-lfs' is a pointer: fetch the model itself with 'git lfs pull'.");
    }
    at_ = 4;
    NARROW_TRY(const std::uint32_t version, number<std::uint32_t>("the version"));
    if (version == 2 || version == 3) {
      head_.version = static_cast<int>(version);
      return {};
    }
    if ((version & 0xFFFF) == 0 && version != 0) return unsupported(fmt::format("{}: a big-endian GGUF file", where_)).hint("Convert it with gguf_convert_endian.py of the gguf package.");
    return unsupported(fmt::format("{}: GGUF version {}; 2 and 3 are read", where_, version)).hint("Write the file again with a current llama.cpp.");
  }

  Status read_pair() {
    NARROW_TRY(std::string key, string("a key"));
    if (key.empty() || key.size() > kMaxKeyBytes || key.find('\0') != std::string::npos) return corrupt(fmt::format("{}: '{}' is no key", where_, shown(key)));
    if (head_.metadata.has(key)) return corrupt(fmt::format("{}: the key '{}' is there twice", where_, shown(key)));
    key_ = shown(key);
    NARROW_TRY(const GgufType type, read_type());
    GgufValue value{type, {}};
    if (type == GgufType::kString) {
      NARROW_TRY(value.value, string(key_));
    } else if (type == GgufType::kArray) {
      NARROW_TRY(value.value, read_array());
    } else {
      const auto size = static_cast<std::uint64_t>(kTypeBytes[static_cast<int>(type)]);
      if (left() < size) return cut_off(key_);
      const std::uint8_t* at = file_.data() + at_;
      at_ += size;
      if (type == GgufType::kBool) {
        if (*at > 1) return corrupt(fmt::format("{}: the bool '{}' is {}", where_, key_, *at));
        value.value = *at == 1;
      } else if (is_real_type(type)) {
        value.value = type == GgufType::kF32 ? static_cast<double>(load<float>(at)) : load<double>(at);
      } else if (is_signed_type(type)) {
        value.value = load_signed(type, at);
      } else {
        value.value = load_unsigned(type, at);
      }
    }
    head_.metadata.set(std::move(key), std::move(value));
    return {};
  }

  Result<GgufType> read_type() {
    NARROW_TRY(const std::uint32_t type, number<std::uint32_t>(key_));
    if (type > static_cast<std::uint32_t>(GgufType::kF64)) return corrupt(fmt::format("{}: '{}' has the type {}, which there is not", where_, key_, type));
    return static_cast<GgufType>(type);
  }

  Result<GgufArray> read_array() {
    GgufArray array;
    NARROW_TRY(array.type, read_type());
    NARROW_TRY(array.count, number<std::uint64_t>(key_));
    if (array.type == GgufType::kArray) return unsupported(fmt::format("{}: '{}' is a list of lists", where_, key_));
    if (array.type == GgufType::kString) {
      if (array.count > left() / 8) return cut_off(key_);
      array.strings.reserve(static_cast<std::size_t>(array.count));
      for (std::uint64_t i = 0; i < array.count; ++i) {
        NARROW_TRY(std::string text, string(key_));
        array.strings.push_back(std::move(text));
      }
      return array;
    }
    const auto size = static_cast<std::uint64_t>(kTypeBytes[static_cast<int>(array.type)]);
    if (array.count > left() / size) return cut_off(key_);
    array.bytes.assign(file_.begin() + static_cast<std::ptrdiff_t>(at_), file_.begin() + static_cast<std::ptrdiff_t>(at_ + array.count * size));
    at_ += array.count * size;
    if (array.type == GgufType::kBool) {
      for (const std::uint8_t byte : array.bytes) {
        if (byte > 1) return corrupt(fmt::format("{}: a bool of '{}' is {}", where_, key_, byte));
      }
    }
    return array;
  }

  Status read_tensor() {
    GgufTensor tensor;
    NARROW_TRY(tensor.name, string("a tensor's name"));
    if (tensor.name.empty() || tensor.name.size() > kMaxNameBytes || tensor.name.find('\0') != std::string::npos) {
      return corrupt(fmt::format("{}: '{}' is no tensor's name", where_, shown(tensor.name)));
    }
    const std::string what = fmt::format("the description of tensor '{}'", shown(tensor.name));
    NARROW_TRY(const std::uint32_t rank, number<std::uint32_t>(what));
    if (rank > kMaxDimensions) return corrupt(fmt::format("{}: tensor '{}' has {} dimensions, GGUF has up to {}", where_, shown(tensor.name), rank, kMaxDimensions));
    for (std::uint32_t d = 0; d < rank; ++d) {
      NARROW_TRY(const std::int64_t size, number<std::int64_t>(what));
      if (size <= 0) return corrupt(fmt::format("{}: tensor '{}' has a dimension of {}", where_, shown(tensor.name), size));
      tensor.dimensions.push_back(size);
    }
    if (!base::checked_product(tensor.dimensions)) return corrupt(fmt::format("{}: the dimensions of tensor '{}' overflow", where_, shown(tensor.name)));
    NARROW_TRY(tensor.type, number<std::uint32_t>(what));
    NARROW_TRY(tensor.offset, number<std::uint64_t>(what));
    head_.tensors.push_back(std::move(tensor));
    return {};
  }

  std::span<const std::uint8_t> file_;
  const std::string& where_;
  std::uint64_t at_ = 0;
  std::string key_;
  GgufHead head_;
};

template <typename T>
void put(std::string& out, T value) { out.append(reinterpret_cast<const char*>(&value), sizeof(T)); }

void put_string(std::string& out, std::string_view text) {
  put<std::uint64_t>(out, text.size());
  out += text;
}

void put_value(std::string& out, const GgufValue& value) {
  put(out, static_cast<std::uint32_t>(value.type));
  if (const auto* text = std::get_if<std::string>(&value.value)) return put_string(out, *text);
  if (const auto* flag = std::get_if<bool>(&value.value)) return put(out, static_cast<std::uint8_t>(*flag));
  if (const auto* real = std::get_if<double>(&value.value)) return value.type == GgufType::kF32 ? put(out, static_cast<float>(*real)) : put(out, *real);
  if (const auto* array = std::get_if<GgufArray>(&value.value)) {
    put(out, static_cast<std::uint32_t>(array->type));
    put(out, array->count);
    for (const std::string& text : array->strings) put_string(out, text);
    out.append(reinterpret_cast<const char*>(array->bytes.data()), array->bytes.size());
    return;
  }
  // Little-endian: a narrow number is the low bytes of a wide one.
  const std::uint64_t bits = std::holds_alternative<std::int64_t>(value.value) ? static_cast<std::uint64_t>(std::get<std::int64_t>(value.value)) : std::get<std::uint64_t>(value.value);
  out.append(reinterpret_cast<const char*>(&bits), static_cast<std::size_t>(kTypeBytes[static_cast<int>(value.type)]));
}

template <typename T>
GgufValue number_array(GgufType type, std::span<const T> values) {
  GgufArray array{type, values.size(), {}, {}};
  array.bytes.resize(values.size_bytes());
  if (!values.empty()) std::memcpy(array.bytes.data(), values.data(), values.size_bytes());
  return {GgufType::kArray, std::move(array)};
}

}  // namespace

std::string_view to_string(GgufType type) { return kTypeNames[static_cast<int>(type)]; }

GgufValue GgufValue::texts(std::vector<std::string> v) {
  const std::uint64_t count = v.size();
  return {GgufType::kArray, GgufArray{GgufType::kString, count, {}, std::move(v)}};
}
GgufValue GgufValue::f32s(std::span<const float> v) { return number_array(GgufType::kF32, v); }
GgufValue GgufValue::s32s(std::span<const std::int32_t> v) { return number_array(GgufType::kS32, v); }
GgufValue GgufValue::u32s(std::span<const std::uint32_t> v) { return number_array(GgufType::kU32, v); }

void GgufMetadata::set(std::string key, GgufValue value) {
  const auto [at, inserted] = index_.emplace(key, pairs_.size());
  if (inserted) pairs_.emplace_back(std::move(key), std::move(value));
  else pairs_[at->second].second = std::move(value);
}

const GgufValue* GgufMetadata::find(std::string_view key) const {
  const auto at = index_.find(std::string(key));
  return at == index_.end() ? nullptr : &pairs_[at->second].second;
}

static Error wrong(const GgufMetadata& m, std::string_view key, std::string_view expected) {
  const GgufValue* found = m.find(key);
  if (found == nullptr) return corrupt(fmt::format("{}: no key '{}'", m.where, shown(key)));
  const auto* array = std::get_if<GgufArray>(&found->value);
  return corrupt(fmt::format("{}: '{}' is {}{}, expected {}", m.where, shown(key), array != nullptr ? "a list of " : "", to_string(array != nullptr ? array->type : found->type), expected));
}

Result<std::int64_t> GgufMetadata::whole(std::string_view key) const {
  const GgufValue* found = find(key);
  if (found != nullptr && std::holds_alternative<std::uint64_t>(found->value) && std::get<std::uint64_t>(found->value) <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    return static_cast<std::int64_t>(std::get<std::uint64_t>(found->value));
  }
  if (found != nullptr && std::holds_alternative<std::int64_t>(found->value) && std::get<std::int64_t>(found->value) >= 0) return std::get<std::int64_t>(found->value);
  return wrong(*this, key, "a whole number that is not negative");
}

Result<double> GgufMetadata::real(std::string_view key) const {
  const GgufValue* found = find(key);
  if (found != nullptr && std::holds_alternative<double>(found->value)) return std::get<double>(found->value);
  if (found != nullptr && std::holds_alternative<std::uint64_t>(found->value)) return static_cast<double>(std::get<std::uint64_t>(found->value));
  if (found != nullptr && std::holds_alternative<std::int64_t>(found->value)) return static_cast<double>(std::get<std::int64_t>(found->value));
  return wrong(*this, key, "a number");
}

Result<bool> GgufMetadata::flag(std::string_view key) const {
  const GgufValue* found = find(key);
  if (found == nullptr || !std::holds_alternative<bool>(found->value)) return wrong(*this, key, "a bool");
  return std::get<bool>(found->value);
}

Result<std::string> GgufMetadata::text(std::string_view key) const {
  const GgufValue* found = find(key);
  if (found == nullptr || !std::holds_alternative<std::string>(found->value)) return wrong(*this, key, "a string");
  return std::get<std::string>(found->value);
}

static const GgufArray* array_of(const GgufMetadata& m, std::string_view key) {
  const GgufValue* found = m.find(key);
  return found == nullptr ? nullptr : std::get_if<GgufArray>(&found->value);
}

Result<std::vector<std::string>> GgufMetadata::texts(std::string_view key) const {
  const GgufArray* array = array_of(*this, key);
  if (array == nullptr || array->type != GgufType::kString) return wrong(*this, key, "a list of strings");
  return array->strings;
}

Result<std::vector<std::int64_t>> GgufMetadata::wholes(std::string_view key) const {
  const GgufArray* array = array_of(*this, key);
  if (array == nullptr || !is_whole_type(array->type)) return wrong(*this, key, "a list of whole numbers");
  std::vector<std::int64_t> values;
  values.reserve(static_cast<std::size_t>(array->count));
  const int size = kTypeBytes[static_cast<int>(array->type)];
  for (std::uint64_t i = 0; i < array->count; ++i) {
    const std::uint8_t* at = array->bytes.data() + i * static_cast<std::uint64_t>(size);
    values.push_back(is_signed_type(array->type) ? load_signed(array->type, at) : static_cast<std::int64_t>(load_unsigned(array->type, at)));
  }
  return values;
}

Result<std::vector<float>> GgufMetadata::reals(std::string_view key) const {
  const GgufArray* array = array_of(*this, key);
  if (array == nullptr || !is_real_type(array->type)) return wrong(*this, key, "a list of reals");
  std::vector<float> values(static_cast<std::size_t>(array->count));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = array->type == GgufType::kF32 ? load<float>(array->bytes.data() + 4 * i) : static_cast<float>(load<double>(array->bytes.data() + 8 * i));
  }
  return values;
}

Result<std::uint64_t> gguf_alignment(const GgufMetadata& metadata) {
  const GgufValue* found = metadata.find(kAlignmentKey);
  if (found == nullptr) return kGgufAlignment;
  const auto* value = std::get_if<std::uint64_t>(&found->value);
  if (found->type != GgufType::kU32 || value == nullptr || !std::has_single_bit(*value) || *value > kMaxAlignment) {
    return invalid_argument(fmt::format("'{}' is {}{}, expected a u32 that is a power of two up to 1 MiB", kAlignmentKey, to_string(found->type), value != nullptr ? fmt::format(" {}", *value) : ""));
  }
  return *value;
}

Result<GgufHead> parse_gguf_head(std::span<const std::uint8_t> file, const std::string& where) { return HeadReader(file, where).read(); }

Result<std::string> gguf_head_bytes(const GgufMetadata& metadata, std::span<const GgufTensor> tensors) {
  NARROW_TRY(const std::uint64_t alignment, gguf_alignment(metadata));
  std::string out = "GGUF";
  put<std::uint32_t>(out, 3);
  put<std::uint64_t>(out, tensors.size());
  put<std::uint64_t>(out, metadata.pairs().size());
  for (const auto& [key, value] : metadata.pairs()) {
    if (key.empty() || key.size() > kMaxKeyBytes) return invalid_argument(fmt::format("'{}' cannot be a GGUF key", shown(key)));
    put_string(out, key);
    put_value(out, value);
  }
  std::unordered_set<std::string_view> names;
  for (const GgufTensor& tensor : tensors) {
    if (tensor.name.empty() || tensor.name.size() > kMaxNameBytes || !names.insert(tensor.name).second) {
      return invalid_argument(fmt::format("'{}' cannot be the name of a GGUF tensor: it is longer than {} bytes, empty, or there twice", shown(tensor.name), kMaxNameBytes));
    }
    if (tensor.dimensions.size() > kMaxDimensions) return invalid_argument(fmt::format("tensor '{}' has {} dimensions, GGUF has up to {}", shown(tensor.name), tensor.dimensions.size(), kMaxDimensions));
    put_string(out, tensor.name);
    put(out, static_cast<std::uint32_t>(tensor.dimensions.size()));
    for (const std::int64_t d : tensor.dimensions) put(out, d);
    put(out, tensor.type);
    put(out, tensor.offset);
  }
  out.resize(base::round_up<std::size_t>(out.size(), alignment), '\0');
  return out;
}

}  // namespace narrow::wire
