#include "wire/protobuf.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

namespace narrow::wire {
namespace {

ByteSpan bytes_of(const std::string& text) { return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}; }

std::string raw(std::initializer_list<int> values) {
  std::string out;
  for (int v : values) out.push_back(static_cast<char>(v));
  return out;
}

Result<std::vector<ProtoField>> fields_of(const std::string& message) {
  ProtoReader reader(bytes_of(message));
  std::vector<ProtoField> fields;
  ProtoField field;
  while (true) {
    NARROW_TRY(const bool more, reader.next(field));
    if (!more) return fields;
    fields.push_back(field);
  }
}

TEST(ProtoReader, ReadsEveryWireType) {
  // Field 1 varint 150, field 2 fixed64, field 3 bytes "ab", field 4 fixed32: bytes as the encoding document gives them.
  const std::string message = raw({0x08, 0x96, 0x01, 0x11, 1, 2, 3, 4, 5, 6, 7, 8, 0x1A, 2, 'a', 'b', 0x25, 0, 0, 0x80, 0x3F});
  const auto fields = fields_of(message);
  ASSERT_TRUE(fields.ok()) << fields.error().to_string();
  ASSERT_EQ(fields->size(), 4u);
  EXPECT_EQ((*fields)[0].value, 150u);
  EXPECT_EQ((*fields)[1].value, 0x0807060504030201u);
  EXPECT_EQ((*fields)[2].text(), "ab");
  EXPECT_EQ((*fields)[2].bytes.data(), bytes_of(message).data() + 14);  // in place
  EXPECT_EQ((*fields)[3].value, 0x3F800000u);
}

TEST(ProtoReader, RefusesEveryTruncation) {
  ProtoMessage message;
  message.add_int(1, 1234567);
  message.add_string(2, "text");
  message.add_float(3, 1.5f);
  message.add_int(200000, -1);
  const std::string whole = message.to_string();
  int complete = 0;
  for (std::size_t n = 0; n < whole.size(); ++n) {
    const auto fields = fields_of(whole.substr(0, n));
    if (fields.ok()) ++complete;  // cut between two fields
    else EXPECT_EQ(fields.error().code(), ErrorCode::kCorrupt);
  }
  EXPECT_EQ(complete, 4);  // before each of the four fields
}

TEST(ProtoReader, RefusesBadVarintsLengthsTagsAndGroups) {
  const std::string endless(11, '\xFF');
  for (const std::string& message : {
           endless,                                                                          // a tag without end
           raw({0x08}) + endless,                                                            // a value without end
           raw({0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x02}),           // a 65th bit
           raw({0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01}),           // length 2^64 - 1
           raw({0x0A, 5, 'a'}),                                                               // longer than what remains
           raw({0x00, 0x00}),                                                                 // field number 0
           raw({0x80, 0x80, 0x80, 0x80, 0x20, 0x00}),                                         // field number 2^30
           raw({0x0B, 0x0C}), raw({0x0E}), raw({0x0F}),                                       // groups, unused types
           raw({0x0D, 1, 2, 3}), raw({0x09, 1, 2, 3, 4, 5, 6, 7}),                            // fixed widths cut off
       }) {
    const auto fields = fields_of(message);
    ASSERT_FALSE(fields.ok());
    EXPECT_EQ(fields.error().code(), ErrorCode::kCorrupt);
  }
  EXPECT_TRUE(fields_of(raw({0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01})).ok());  // 2^64 - 1 itself
}

TEST(ProtoReader, SaysWhereInTheOutermostMessage) {
  const std::string message = raw({0x08, 1, 0x12, 3, 0x0A, 9, 'x'});
  const auto fields = fields_of(message);
  ASSERT_TRUE(fields.ok());
  ProtoReader inner((*fields)[1]);
  ProtoField field;
  const auto result = inner.next(field);
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().message().find("byte 4:"), std::string::npos) << result.error().message();
}

TEST(ProtoReader, RepeatedFieldsReadPackedAndUnpacked) {
  const std::vector<std::int64_t> numbers = {0, 1, -1, 127, 128, std::numeric_limits<std::int64_t>::min()};
  ProtoMessage packed, single;
  packed.add_packed(1, numbers);
  for (std::int64_t v : numbers) single.add_int(1, v);
  for (const ProtoMessage* message : {&packed, &single}) {
    std::vector<std::int64_t> read;
    const std::string text = message->to_string();
    const auto fields = fields_of(text);
    ASSERT_TRUE(fields.ok());
    for (const ProtoField& field : *fields) ASSERT_TRUE(append_varints(field, read, "numbers").ok());
    EXPECT_EQ(read, numbers);
  }
  ProtoMessage floats;
  floats.add_packed(1, std::vector<float>{1.0f, -2.5f});
  std::string text = floats.to_string();
  std::vector<float> read;
  ASSERT_TRUE(append_floats((*fields_of(text))[0], read, "floats").ok());
  EXPECT_EQ(read, (std::vector<float>{1.0f, -2.5f}));
}

TEST(ProtoReader, RefusesTornPackedElements) {
  std::vector<float> floats;
  std::vector<std::int64_t> numbers;
  const std::string seven = raw({0x0A, 7, 0, 0, 0, 0, 0, 0, 0});
  EXPECT_FALSE(append_floats((*fields_of(seven))[0], floats, "floats").ok());
  const std::string open = raw({0x0A, 2, 0x01, 0x80});
  EXPECT_FALSE(append_varints((*fields_of(open))[0], numbers, "numbers").ok());
  EXPECT_TRUE(numbers.empty());
  const std::string fixed = raw({0x0D, 0, 0, 0, 0});
  EXPECT_FALSE(append_varints((*fields_of(fixed))[0], numbers, "numbers").ok());
}

TEST(ProtoMessage, SizeIsExactAndViewsAreNotCopied) {
  std::vector<std::uint8_t> weights(100000, 7);
  ProtoMessage inner, outer;
  inner.add_string(1, "before");
  inner.add_view(2, weights);
  inner.add_string(3, "after");
  outer.add_int(1, 300);
  outer.add_message(2, inner);
  outer.add_encoded(raw({0x18, 0x01}));
  std::vector<const std::uint8_t*> pieces;
  std::uint64_t written = 0;
  ASSERT_TRUE(outer.write([&](ByteSpan piece) -> Status {
    pieces.push_back(piece.data());
    written += piece.size();
    return {};
  }).ok());
  EXPECT_EQ(written, outer.size());
  EXPECT_NE(std::find(pieces.begin(), pieces.end(), weights.data()), pieces.end());
  const std::string text = outer.to_string();
  EXPECT_EQ(text.size(), outer.size());
  const auto fields = fields_of(text);
  ASSERT_TRUE(fields.ok()) << fields.error().to_string();
  ASSERT_EQ(fields->size(), 3u);
  const std::string body((*fields)[1].text());
  const auto nested = fields_of(body);
  ASSERT_TRUE(nested.ok());
  EXPECT_EQ((*nested)[0].text(), "before");
  EXPECT_EQ((*nested)[1].bytes.size(), weights.size());
  EXPECT_EQ((*nested)[2].text(), "after");
}

TEST(ProtoMessage, IntegersRoundTrip) {
  for (int shift = 0; shift < 64; ++shift) {
    for (std::int64_t delta : {-1, 0, 1}) {
      const auto value = static_cast<std::int64_t>((std::uint64_t{1} << shift) + static_cast<std::uint64_t>(delta));
      ProtoMessage message;
      message.add_int(7, value);
      const std::string text = message.to_string();
      EXPECT_EQ((*fields_of(text))[0].as_int(), value);
    }
  }
}

TEST(ProtoMessage, FieldsThatWereReadAreWrittenAsTheyWere) {
  const std::string message = raw({0x08, 0x96, 0x01, 0x11, 1, 2, 3, 4, 5, 6, 7, 8, 0x1A, 2, 'a', 'b', 0x25, 0, 0, 0x80, 0x3F});
  ProtoMessage copy;
  const auto fields = fields_of(message);
  for (const ProtoField& field : *fields) copy.add_field(field);
  EXPECT_EQ(copy.to_string(), message);
}

TEST(ProtoMessage, SinkErrorsStopTheWriting) {
  ProtoMessage message;
  const std::uint8_t byte = 1;
  message.add_view(1, ByteSpan(&byte, 1));
  message.add_view(2, ByteSpan(&byte, 1));
  int calls = 0;
  const Status status = message.write([&](ByteSpan) -> Status {
    ++calls;
    return io_error("disk full");
  });
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace narrow::wire
