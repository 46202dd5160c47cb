#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "tokenizers/sentencepiece.h"
#include "wire/protobuf.h"

namespace narrow::tokenizers {
namespace {

using Type = SentencePieces::Type;
using wire::ProtoField;
using wire::ProtoReader;
using wire::WireType;

// What the reader of any of the messages does: visit(field) for each.
template <typename Visit>
Status each_field(ProtoReader reader, const Visit& visit) {
  for (;;) {
    ProtoField field;
    NARROW_TRY(const bool more, reader.next(field));
    if (!more) return {};
    NARROW_RETURN_IF_ERROR(visit(field));
  }
}

Status number(const ProtoField& field, std::string_view what, std::int64_t& value) {
  NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kVarint, what));
  value = field.as_int();
  return {};
}

Status flag(const ProtoField& field, std::string_view what, bool& value) {
  NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kVarint, what));
  value = field.value != 0;
  return {};
}

Status text(const ProtoField& field, std::string_view what, std::string& value) {
  NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kBytes, what));
  value = field.text();
  return {};
}

Status parse_piece(const ProtoField& message, SentencePieces& model) {
  NARROW_RETURN_IF_ERROR(wire::expect(message, WireType::kBytes, "ModelProto.pieces"));
  SentencePieces::Piece piece;
  std::int64_t type = 1;
  NARROW_RETURN_IF_ERROR(each_field(ProtoReader(message), [&](const ProtoField& field) -> Status {
    switch (field.number) {
      case 1: return text(field, "SentencePiece.piece", piece.text);
      case 2:
        NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kFixed32, "SentencePiece.score"));
        piece.score = std::bit_cast<float>(static_cast<std::uint32_t>(field.value));
        return {};
      case 3: return number(field, "SentencePiece.type", type);
      default: return {};
    }
  }));
  if (type < 1 || type > 6) return corrupt(fmt::format("piece {} '{}' is of type {}, expected 1 to 6", model.pieces.size(), piece.text, type));
  piece.type = static_cast<Type>(type);
  model.pieces.push_back(std::move(piece));
  return {};
}

// Ids that the trainer was told; -1 where there is no such piece.
struct TrainedIds {
  std::int64_t bos = 1, eos = 2, pad = -1;
};

Status parse_trainer(const ProtoField& message, SentencePieces& model, TrainedIds& ids) {
  NARROW_RETURN_IF_ERROR(wire::expect(message, WireType::kBytes, "ModelProto.trainer_spec"));
  std::int64_t algorithm = 1;
  NARROW_RETURN_IF_ERROR(each_field(ProtoReader(message), [&](const ProtoField& field) -> Status {
    switch (field.number) {
      case 3: return number(field, "TrainerSpec.model_type", algorithm);
      case 24: return flag(field, "TrainerSpec.treat_whitespace_as_suffix", model.whitespace_as_suffix);
      case 35: return flag(field, "TrainerSpec.byte_fallback", model.byte_fallback);
      case 41: return number(field, "TrainerSpec.bos_id", ids.bos);
      case 42: return number(field, "TrainerSpec.eos_id", ids.eos);
      case 43: return number(field, "TrainerSpec.pad_id", ids.pad);
      case 44: return text(field, "TrainerSpec.unk_surface", model.unknown_surface);
      default: return {};
    }
  }));
  if (algorithm < 1 || algorithm > 4) return corrupt(fmt::format("TrainerSpec.model_type is {}, expected 1 to 4", algorithm));
  model.algorithm = static_cast<SentencePieces::Algorithm>(algorithm);
  return {};
}

Status parse_normalizer(const ProtoField& message, SentencePieces& model, const std::string& where) {
  NARROW_RETURN_IF_ERROR(wire::expect(message, WireType::kBytes, "ModelProto.normalizer_spec"));
  return each_field(ProtoReader(message), [&](const ProtoField& field) -> Status {
    switch (field.number) {
      case 2: {
        NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kBytes, "NormalizerSpec.precompiled_charsmap"));
        NARROW_TRY(model.charsmap, Charsmap::parse(field.text(), where));
        return {};
      }
      case 3: return flag(field, "NormalizerSpec.add_dummy_prefix", model.add_dummy_prefix);
      case 4: return flag(field, "NormalizerSpec.remove_extra_whitespaces", model.remove_extra_whitespaces);
      case 5: return flag(field, "NormalizerSpec.escape_whitespaces", model.escape_whitespaces);
      default: return {};
    }
  });
}

bool names_byte(std::string_view token) { return token.size() == 6 && token.starts_with("<0x") && token.ends_with('>'); }

}  // namespace

Result<SentencePieces> parse_sentencepiece_model(std::span<const std::uint8_t> bytes, const std::string& where) {
  SentencePieces model;
  model.algorithm = SentencePieces::Algorithm::kUnigram;
  TrainedIds ids;
  const Status read = each_field(ProtoReader(bytes), [&](const ProtoField& field) -> Status {
    switch (field.number) {
      case 1: return parse_piece(field, model);
      case 2: return parse_trainer(field, model, ids);
      case 3: return parse_normalizer(field, model, where);
      default: return {};
    }
  });
  if (!read.ok()) return Error(read.error()).context(fmt::format("while reading the SentencePiece model {}", where));
  const auto known = [&](std::int64_t id) -> std::optional<std::int64_t> {
    const bool is = id >= 0 && static_cast<std::uint64_t>(id) < model.pieces.size() &&
                    model.pieces[static_cast<std::size_t>(id)].type == Type::kControl;
    return is ? std::optional(id) : std::nullopt;
  };
  model.special.bos = known(ids.bos);
  model.special.eos = known(ids.eos);
  model.special.pad = known(ids.pad);
  return model;
}

Result<SentencePieces> parse_llama2c_vocabulary(std::span<const std::uint8_t> bytes, const std::string& where) {
  std::size_t at = 0;
  const auto word = [&] {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i) value |= std::uint32_t{bytes[at + i]} << (8 * i);
    at += 4;
    return value;
  };
  if (bytes.size() < 4) return corrupt(fmt::format("{}: {} bytes are no vocabulary of llama2.c", where, bytes.size()));
  const std::uint32_t longest = word();
  SentencePieces model;
  model.remove_extra_whitespaces = false;
  std::size_t byte_tokens = 0;
  while (at < bytes.size()) {
    const std::size_t id = model.pieces.size();
    if (bytes.size() - at < 8) return corrupt(fmt::format("{}: token {} is cut off at byte {}", where, id, at));
    SentencePieces::Piece piece;
    piece.score = std::bit_cast<float>(word());
    const std::uint32_t size = word();
    if (size > longest || size > bytes.size() - at) {
      return corrupt(fmt::format("{}: token {} at byte {} has {} bytes, the longest has {} and {} are left", where, id, at, size, longest,
                                 bytes.size() - at));
    }
    for (const char c : std::string_view(reinterpret_cast<const char*>(bytes.data() + at), size)) {
      if (c == ' ') piece.text += kMetaspace;
      else piece.text.push_back(c);
    }
    at += size;
    if (id == 0) piece.type = Type::kUnknown;
    else if (id <= 2) piece.type = Type::kControl;
    else if (names_byte(piece.text)) piece.type = Type::kByte;
    else if (piece.text.empty()) piece.type = Type::kUnused;
    byte_tokens += piece.type == Type::kByte ? 1 : 0;
    model.pieces.push_back(std::move(piece));
  }
  if (model.pieces.size() < 3) return corrupt(fmt::format("{}: {} tokens, expected three special ones first", where, model.pieces.size()));
  model.byte_fallback = byte_tokens == 256;
  model.special.bos = 1;
  model.special.eos = 2;
  model.special.add_bos = true;
  return model;
}

}  // namespace narrow::tokenizers
