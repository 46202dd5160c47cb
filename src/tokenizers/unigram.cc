#include "tokenizers/unigram.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "tokenizers/parts.h"
#include "wire/json.h"

namespace narrow::tokenizers {
namespace {

constexpr double kUnknownPenalty = 10;

class Unigram final : public Model {
 public:
  Unigram(Vocabulary vocabulary, std::vector<double> scores, std::optional<std::int64_t> unknown, bool byte_fallback)
      : Model(std::move(vocabulary)), scores_(std::move(scores)), unknown_(unknown), byte_fallback_(byte_fallback) {
    pieces_ = Trie(this->vocabulary().tokens());
    for (const double score : scores_) lowest_ = std::min(lowest_, score);
    for (int byte = 0; byte < 256; ++byte) bytes_[static_cast<std::size_t>(byte)] = this->vocabulary().id_of(fmt::format("<0x{:02X}>", byte));
  }

  Status tokenize(std::string_view word, std::vector<std::int64_t>& ids) const override {
    const auto segments = best_segmentation<double>(pieces_, word, lowest_ - kUnknownPenalty,
                                                    [&](std::int64_t piece, std::size_t) { return scores_[static_cast<std::size_t>(piece)]; });
    for (std::size_t i = 0; i < segments.size(); ++i) {
      const auto is_unknown = [&](const Segment& segment) { return segment.piece == -1 || segment.piece == unknown_; };
      if (!is_unknown(segments[i])) {
        ids.push_back(segments[i].piece);
        continue;
      }
      // Unknown characters side by side are one token.
      const std::size_t begin = segments[i].begin;
      while (i + 1 < segments.size() && is_unknown(segments[i + 1])) ++i;
      const std::string_view text = word.substr(begin, segments[i].end - begin);
      if (const auto id = vocabulary().id_of(text)) {
        ids.push_back(*id);
      } else if (byte_fallback_ && std::all_of(text.begin(), text.end(), [&](char c) { return bytes_[static_cast<unsigned char>(c)].has_value(); })) {
        for (const char c : text) ids.push_back(*bytes_[static_cast<unsigned char>(c)]);
      } else if (unknown_) {
        ids.push_back(*unknown_);
      } else {
        return corrupt(fmt::format("the text has '{}', which the tokenizer does not know, and its file names no unknown token", text));
      }
    }
    return {};
  }

 private:
  Trie pieces_;
  std::vector<double> scores_;
  double lowest_ = std::numeric_limits<double>::infinity();
  std::optional<std::int64_t> unknown_;
  bool byte_fallback_;
  std::array<std::optional<std::int64_t>, 256> bytes_;
};

}  // namespace

Result<std::unique_ptr<const Model>> make_unigram(const Fields& model) {
  NARROW_TRY(const std::vector<Fields> rows, model.list("vocab"));
  Vocabulary::Tokens tokens;
  std::vector<double> scores;
  for (const Fields& row : rows) {
    const nlohmann::json& pair = row.value();
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_string() || !pair[1].is_number()) return row.wrong("a piece and its score");
    const auto score = pair[1].get<double>();
    if (!std::isfinite(score)) return corrupt(fmt::format("{}: the score {} is not finite", row.where(), score));
    tokens.emplace_back(pair[0].get<std::string>(), static_cast<std::int64_t>(tokens.size()));
    scores.push_back(score);
  }
  std::optional<std::int64_t> unknown;
  if (model.has("unk_id")) {
    NARROW_TRY(unknown, model.whole("unk_id"));
    if (static_cast<std::size_t>(*unknown) >= tokens.size()) {
      return corrupt(fmt::format("{}.unk_id: {}, and there are {} pieces", model.where(), *unknown, tokens.size()));
    }
  }
  NARROW_TRY(const bool byte_fallback, model.flag_or("byte_fallback", false));
  return std::unique_ptr<const Model>(std::make_unique<Unigram>(Vocabulary(std::move(tokens)), std::move(scores), unknown, byte_fallback));
}

}  // namespace narrow::tokenizers
