// The protocol buffers wire format, read in place and written by reference: payloads are views into the reader's bytes
// and, when writing, into the caller's. Nothing here knows a schema.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "narrow/result.h"

namespace narrow::wire {

using ByteSpan = std::span<const std::uint8_t>;

enum class WireType : std::uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

// The largest message that other protocol buffers implementations accept.
inline constexpr std::uint64_t kMaxMessageBytes = 0x7FFFFFFF;

struct ProtoField {
  std::uint32_t number = 0;
  WireType type = WireType::kVarint;
  std::uint64_t value = 0;   // kVarint, kFixed32, kFixed64
  ByteSpan bytes;            // kBytes
  std::uint64_t offset = 0;  // of the field's tag, from the start of the outermost message

  std::string_view text() const { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
  std::int64_t as_int() const { return static_cast<std::int64_t>(value); }
};

// Walks the fields of one message. Every length is checked against what remains; groups are refused.
class ProtoReader {
 public:
  explicit ProtoReader(ByteSpan bytes, std::uint64_t offset = 0) : bytes_(bytes), offset_(offset) {}
  // The message inside a kBytes field.
  explicit ProtoReader(const ProtoField& field);

  // False at the end. Errors: corrupt, saying at which byte.
  Result<bool> next(ProtoField& field);

 private:
  ByteSpan bytes_;
  std::size_t position_ = 0;
  std::uint64_t offset_;
};

// Errors unless the field has that wire type. `what` names the field ("NodeProto.name").
Status expect(const ProtoField& field, WireType type, std::string_view what);

// One repeated field's elements, packed or not, appended to `out`. Errors: corrupt.
Status append_varints(const ProtoField& field, std::vector<std::int64_t>& out, std::string_view what);
Status append_floats(const ProtoField& field, std::vector<float>& out, std::string_view what);

// How many elements the field holds (1 when not packed). `element` is kVarint, kFixed32 or kFixed64.
Result<std::uint64_t> count_elements(const ProtoField& field, WireType element, std::string_view what);

// Calls visit(std::uint64_t bits) for each element; precondition: count_elements succeeded.
template <typename Visit>
void for_each_element(const ProtoField& field, WireType element, const Visit& visit);

// Reads a varint at `position`, moving past it. False when it is cut off or longer than 64 bits.
bool read_varint(ByteSpan bytes, std::size_t& position, std::uint64_t& value);

// A message being built. Small fields are copied; add_view keeps a reference that must outlive the message.
class ProtoMessage {
 public:
  void add_int(std::uint32_t number, std::int64_t value);
  void add_float(std::uint32_t number, float value);
  void add_string(std::uint32_t number, std::string_view text);
  void add_message(std::uint32_t number, const ProtoMessage& message);
  void add_view(std::uint32_t number, ByteSpan bytes);
  void add_packed(std::uint32_t number, std::span<const std::int64_t> values);
  void add_packed(std::uint32_t number, std::span<const float> values);
  // A field that was read, as it was.
  void add_field(const ProtoField& field);
  // Whole fields, already encoded.
  void add_encoded(std::string_view fields);

  std::uint64_t size() const { return size_; }
  // Calls sink(ByteSpan) -> Status for each piece, in order.
  template <typename Sink>
  Status write(const Sink& sink) const;
  std::string to_string() const;  // for small messages

 private:
  struct View { std::size_t before; ByteSpan bytes; };  // bytes come after `before` bytes of text_
  void tag(std::uint32_t number, WireType type);
  void varint(std::uint64_t value);
  void append(std::string_view text);

  std::string text_;
  std::vector<View> views_;
  std::uint64_t size_ = 0;
};

// ---- implementation of the templates --------------------------------------------------------------------------------

template <typename Visit>
void for_each_element(const ProtoField& field, WireType element, const Visit& visit) {
  if (field.type != WireType::kBytes) {
    visit(field.value);
    return;
  }
  if (element == WireType::kVarint) {
    std::size_t position = 0;
    std::uint64_t value = 0;
    while (position < field.bytes.size() && read_varint(field.bytes, position, value)) visit(value);
    return;
  }
  const std::size_t width = element == WireType::kFixed32 ? 4 : 8;
  for (std::size_t at = 0; at + width <= field.bytes.size(); at += width) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < width; ++i) value |= std::uint64_t{field.bytes[at + i]} << (8 * i);
    visit(value);
  }
}

template <typename Sink>
Status ProtoMessage::write(const Sink& sink) const {
  const auto* text = reinterpret_cast<const std::uint8_t*>(text_.data());
  std::size_t written = 0;
  for (const View& view : views_) {
    if (view.before != written) NARROW_RETURN_IF_ERROR(sink(ByteSpan(text + written, view.before - written)));
    written = view.before;
    if (!view.bytes.empty()) NARROW_RETURN_IF_ERROR(sink(view.bytes));
  }
  if (written != text_.size()) NARROW_RETURN_IF_ERROR(sink(ByteSpan(text + written, text_.size() - written)));
  return {};
}

}  // namespace narrow::wire
