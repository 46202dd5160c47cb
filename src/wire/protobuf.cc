#include "wire/protobuf.h"

#include <fmt/format.h>

#include <bit>
#include <limits>

namespace narrow::wire {
namespace {

Error at(std::uint64_t offset, std::string_view what) { return corrupt(fmt::format("byte {}: {}", offset, what)); }

std::uint64_t load_little(ByteSpan bytes, std::size_t position, std::size_t width) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < width; ++i) value |= std::uint64_t{bytes[position + i]} << (8 * i);
  return value;
}

std::string_view name_of(WireType type) {
  switch (type) {
    case WireType::kVarint: return "varint";
    case WireType::kFixed64: return "fixed64";
    case WireType::kBytes: return "length-delimited";
    case WireType::kFixed32: return "fixed32";
  }
  return "?";
}

}  // namespace

bool read_varint(ByteSpan bytes, std::size_t& position, std::uint64_t& value) {
  value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (position >= bytes.size()) return false;
    const std::uint8_t byte = bytes[position++];
    if (shift == 63 && byte > 1) return false;  // bits beyond the 64th
    value |= std::uint64_t{byte & 0x7Fu} << shift;
    if ((byte & 0x80) == 0) return true;
  }
  return false;
}

ProtoReader::ProtoReader(const ProtoField& field) : bytes_(field.bytes), offset_(field.offset) {}

Result<bool> ProtoReader::next(ProtoField& field) {
  if (position_ == bytes_.size()) return false;
  const std::size_t start = position_;
  std::uint64_t tag = 0;
  if (!read_varint(bytes_, position_, tag)) return at(offset_ + start, "a field tag is cut off or too long");
  if ((tag >> 3) == 0 || (tag >> 3) > 0x1FFFFFFF) return at(offset_ + start, fmt::format("field number {} is out of range", tag >> 3));
  field.number = static_cast<std::uint32_t>(tag >> 3);
  field.offset = offset_ + start;
  field.value = 0;
  field.bytes = {};
  const std::size_t remaining = bytes_.size() - position_;
  switch (tag & 7) {
    case 0:
      field.type = WireType::kVarint;
      if (!read_varint(bytes_, position_, field.value)) {
        return at(field.offset, fmt::format("field {}: a varint is cut off or longer than 64 bits", field.number));
      }
      return true;
    case 1:
    case 5: {
      field.type = static_cast<WireType>(tag & 7);
      const std::size_t width = (tag & 7) == 1 ? 8 : 4;
      if (remaining < width) return at(field.offset, fmt::format("field {} needs {} bytes, {} remain", field.number, width, remaining));
      field.value = load_little(bytes_, position_, width);
      position_ += width;
      return true;
    }
    case 2: {
      field.type = WireType::kBytes;
      std::uint64_t length = 0;
      if (!read_varint(bytes_, position_, length)) return at(field.offset, fmt::format("field {}: its length is cut off or too long", field.number));
      const std::size_t left = bytes_.size() - position_;
      if (length > left) return at(field.offset, fmt::format("field {} says it is {} bytes long, but {} remain", field.number, length, left));
      field.bytes = bytes_.subspan(position_, static_cast<std::size_t>(length));
      field.offset = offset_ + position_;
      position_ += static_cast<std::size_t>(length);
      return true;
    }
    default:
      return at(field.offset, fmt::format("field {} has wire type {}, which is not used", field.number, tag & 7));
  }
}

Status expect(const ProtoField& field, WireType type, std::string_view what) {
  if (field.type == type) return {};
  return at(field.offset, fmt::format("{} is encoded as {}, expected {}", what, name_of(field.type), name_of(type)));
}

Result<std::uint64_t> count_elements(const ProtoField& field, WireType element, std::string_view what) {
  if (field.type == element) return std::uint64_t{1};
  NARROW_RETURN_IF_ERROR(expect(field, WireType::kBytes, what));
  if (element == WireType::kVarint) {
    std::uint64_t count = 0, value = 0;
    for (std::size_t position = 0; position < field.bytes.size(); ++count) {
      if (!read_varint(field.bytes, position, value)) return at(field.offset, fmt::format("{}: element {} is cut off or too long", what, count));
    }
    return count;
  }
  const std::size_t width = element == WireType::kFixed32 ? 4 : 8;
  if (field.bytes.size() % width != 0) {
    return at(field.offset, fmt::format("{} is {} bytes long, expected a multiple of {}", what, field.bytes.size(), width));
  }
  return std::uint64_t{field.bytes.size() / width};
}

Status append_varints(const ProtoField& field, std::vector<std::int64_t>& out, std::string_view what) {
  NARROW_RETURN_IF_ERROR(count_elements(field, WireType::kVarint, what));
  for_each_element(field, WireType::kVarint, [&](std::uint64_t v) { out.push_back(static_cast<std::int64_t>(v)); });
  return {};
}

Status append_floats(const ProtoField& field, std::vector<float>& out, std::string_view what) {
  NARROW_RETURN_IF_ERROR(count_elements(field, WireType::kFixed32, what));
  for_each_element(field, WireType::kFixed32, [&](std::uint64_t v) { out.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(v))); });
  return {};
}

void ProtoMessage::append(std::string_view text) {
  text_.append(text);
  size_ += text.size();
}

void ProtoMessage::varint(std::uint64_t value) {
  char buffer[10];
  std::size_t n = 0;
  do {
    buffer[n++] = static_cast<char>((value & 0x7F) | (value > 0x7F ? 0x80 : 0));
    value >>= 7;
  } while (value != 0);
  append({buffer, n});
}

void ProtoMessage::tag(std::uint32_t number, WireType type) {
  varint((std::uint64_t{number} << 3) | static_cast<std::uint64_t>(type));
}

void ProtoMessage::add_int(std::uint32_t number, std::int64_t value) {
  tag(number, WireType::kVarint);
  varint(static_cast<std::uint64_t>(value));
}

void ProtoMessage::add_float(std::uint32_t number, float value) {
  tag(number, WireType::kFixed32);
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const char bytes[4] = {static_cast<char>(bits), static_cast<char>(bits >> 8), static_cast<char>(bits >> 16), static_cast<char>(bits >> 24)};
  append({bytes, 4});
}

void ProtoMessage::add_string(std::uint32_t number, std::string_view text) {
  tag(number, WireType::kBytes);
  varint(text.size());
  append(text);
}

void ProtoMessage::add_view(std::uint32_t number, ByteSpan bytes) {
  tag(number, WireType::kBytes);
  varint(bytes.size());
  views_.push_back({text_.size(), bytes});
  size_ += bytes.size();
}

void ProtoMessage::add_message(std::uint32_t number, const ProtoMessage& message) {
  tag(number, WireType::kBytes);
  varint(message.size_);
  const std::size_t base = text_.size();
  text_.append(message.text_);
  for (const View& view : message.views_) views_.push_back({base + view.before, view.bytes});
  size_ += message.size_;
}

void ProtoMessage::add_packed(std::uint32_t number, std::span<const std::int64_t> values) {
  if (values.empty()) return;
  ProtoMessage elements;
  for (std::int64_t v : values) elements.varint(static_cast<std::uint64_t>(v));
  add_string(number, elements.text_);
}

void ProtoMessage::add_packed(std::uint32_t number, std::span<const float> values) {
  if (values.empty()) return;
  std::string bytes;
  for (float v : values) {
    const auto bits = std::bit_cast<std::uint32_t>(v);
    for (int i = 0; i < 4; ++i) bytes.push_back(static_cast<char>(bits >> (8 * i)));
  }
  add_string(number, bytes);
}

void ProtoMessage::add_field(const ProtoField& field) {
  if (field.type == WireType::kBytes) return add_string(field.number, field.text());
  tag(field.number, field.type);
  if (field.type == WireType::kVarint) return varint(field.value);
  const int width = field.type == WireType::kFixed32 ? 4 : 8;
  for (int i = 0; i < width; ++i) append(std::string(1, static_cast<char>(field.value >> (8 * i))));
}

void ProtoMessage::add_encoded(std::string_view fields) { append(fields); }

std::string ProtoMessage::to_string() const {
  std::string out;
  out.reserve(size_);
  const Status status = write([&](ByteSpan piece) -> Status {
    out.append(reinterpret_cast<const char*>(piece.data()), piece.size());
    return {};
  });
  (void)status;  // the sink cannot fail
  return out;
}

}  // namespace narrow::wire
