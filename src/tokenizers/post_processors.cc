#include <nlohmann/json.hpp>

#include "tokenizers/part_kinds.h"

namespace narrow::tokenizers {
namespace {

using Kind = Template::Kind;

// {"Sequence": {"id": "A", "type_id": 0}} or {"SpecialToken": {"id": "[CLS]", "type_id": 0}}
Result<Template::Piece> parse_piece(const Fields& item, const Fields& special_tokens) {
  Template::Piece piece;
  if (const auto sequence = item.find("Sequence")) {
    NARROW_TRY(const std::string id, sequence->text("id"));
    NARROW_TRY(piece.type_id, sequence->whole("type_id"));
    if (id != "A" && id != "B") return corrupt(fmt::format("{}: there is no sequence '{}', expected A or B", sequence->where(), id));
    piece.kind = id == "A" ? Kind::kFirst : Kind::kSecond;
    return piece;
  }
  NARROW_TRY(const Fields special, item.object("SpecialToken"));
  NARROW_TRY(const std::string id, special.text("id"));
  NARROW_TRY(piece.type_id, special.whole("type_id"));
  NARROW_TRY(const Fields token, special_tokens.object(id));
  NARROW_TRY(const std::vector<Fields> ids, token.list("ids"));
  for (const Fields& each : ids) {
    NARROW_TRY(const std::int64_t value, each.as_whole());
    piece.ids.push_back(value);
  }
  piece.kind = Kind::kSpecial;
  return piece;
}

Result<Template> make_template(const Fields& fields) {
  NARROW_TRY(const Fields special_tokens, fields.object("special_tokens"));
  Template result;
  for (const auto& [name, pieces] : {std::pair{"single", &result.single}, std::pair{"pair", &result.pair}}) {
    NARROW_TRY(const std::vector<Fields> items, fields.list(name));
    std::size_t first = 0, second = 0;
    for (const Fields& item : items) {
      NARROW_TRY(Template::Piece piece, parse_piece(item, special_tokens));
      first += piece.kind == Kind::kFirst ? 1 : 0;
      second += piece.kind == Kind::kSecond ? 1 : 0;
      pieces->push_back(std::move(piece));
    }
    if (first != 1 || second != (pieces == &result.pair ? 1 : 0)) {
      return corrupt(fmt::format("{}.{}: holds the first text {} times and the second {} times, expected each text once",
                                 fields.where(), name, first, second));
    }
  }
  return result;
}

// "cls": ["[CLS]", 101]
Result<std::int64_t> token_id(const Fields& fields, std::string_view name) {
  NARROW_TRY(const std::vector<Fields> pair, fields.list(name));
  if (pair.size() != 2) return corrupt(fmt::format("{}.{}: {} items, expected a token and its id", fields.where(), name, pair.size()));
  return pair[1].as_whole();
}

Result<Template> make_bert(const Fields& fields) {
  NARROW_TRY(const std::int64_t cls, token_id(fields, "cls"));
  NARROW_TRY(const std::int64_t sep, token_id(fields, "sep"));
  Template result;
  result.single = {{Kind::kSpecial, 0, {cls}}, {Kind::kFirst, 0, {}}, {Kind::kSpecial, 0, {sep}}};
  result.pair = result.single;
  result.pair.push_back({Kind::kSecond, 1, {}});
  result.pair.push_back({Kind::kSpecial, 1, {sep}});
  return result;
}

Result<Template> make_roberta(const Fields& fields) {
  NARROW_TRY(const std::int64_t cls, token_id(fields, "cls"));
  NARROW_TRY(const std::int64_t sep, token_id(fields, "sep"));
  Template result;
  result.single = {{Kind::kSpecial, 0, {cls}}, {Kind::kFirst, 0, {}}, {Kind::kSpecial, 0, {sep}}};
  result.pair = result.single;
  result.pair.push_back({Kind::kSpecial, 0, {sep}});
  result.pair.push_back({Kind::kSecond, 0, {}});
  result.pair.push_back({Kind::kSpecial, 0, {sep}});
  return result;
}

// Takes blanks off the offsets of tokens, which nobody asks for here.
Result<Template> make_byte_level(const Fields&) { return Template::around({}, {}); }

Result<Template> make(const Fields& fields) {
  NARROW_TRY(const PostProcessorKind* kind, find_kind(post_processors(), fields, "post-processor"));
  return kind->make(fields);
}

Result<Template> make_sequence(const Fields& fields) {
  NARROW_TRY(const std::vector<Fields> items, fields.list("processors"));
  Template result = Template::around({}, {});
  bool found = false;
  for (const Fields& item : items) {
    NARROW_TRY(const std::string type, item.text("type"));
    NARROW_TRY(Template part, make(item));
    if (type == "ByteLevel") continue;
    if (found) return unsupported(fmt::format("{}: a second post-processor that puts tokens around a text", item.where()));
    found = true;
    result = std::move(part);
  }
  return result;
}

}  // namespace

std::size_t Template::special_tokens(const std::vector<Piece>& pieces) {
  std::size_t count = 0;
  for (const Piece& piece : pieces) count += piece.ids.size();
  return count;
}

Template Template::around(std::optional<std::int64_t> before, std::optional<std::int64_t> after) {
  Template result;
  for (auto* pieces : {&result.single, &result.pair}) {
    for (const Kind kind : {Kind::kFirst, Kind::kSecond}) {
      if (kind == Kind::kSecond && pieces == &result.single) continue;
      const std::int64_t type_id = kind == Kind::kSecond ? 1 : 0;
      if (before) pieces->push_back({Kind::kSpecial, type_id, {*before}});
      pieces->push_back({kind, type_id, {}});
      if (after) pieces->push_back({Kind::kSpecial, type_id, {*after}});
    }
  }
  return result;
}

std::span<const PostProcessorKind> post_processors() {
  static constexpr PostProcessorKind kKinds[] = {
      {"TemplateProcessing", make_template},
      {"BertProcessing", make_bert},
      {"RobertaProcessing", make_roberta},
      {"ByteLevel", make_byte_level},
      {"Sequence", make_sequence},
  };
  return kKinds;
}

Result<Template> make_post_processor(const Fields& file) {
  const auto fields = file.find("post_processor");
  if (!fields) return Template::around({}, {});
  return make(*fields);
}

}  // namespace narrow::tokenizers
