// Every word is a token, or unknown.
#include <fmt/format.h>

#include <optional>

#include "tokenizers/parts.h"
#include "wire/json.h"

namespace narrow::tokenizers {
namespace {

class WordLevel final : public Model {
 public:
  WordLevel(Vocabulary vocabulary, std::string unknown) : Model(std::move(vocabulary)), unknown_(std::move(unknown)) {
    unknown_id_ = this->vocabulary().id_of(unknown_);
  }

  Status tokenize(std::string_view word, std::vector<std::int64_t>& ids) const override {
    const auto id = vocabulary().id_of(word);
    if (!id && !unknown_id_) {
      return corrupt(fmt::format("the text has '{}', which the tokenizer does not know, and its unknown token '{}' is not in its vocabulary",
                                 word, unknown_));
    }
    ids.push_back(id ? *id : *unknown_id_);
    return {};
  }

 private:
  std::string unknown_;
  std::optional<std::int64_t> unknown_id_;
};

}  // namespace

Result<std::unique_ptr<const Model>> make_word_level(const Fields& model) {
  NARROW_TRY(const Fields vocab, model.object("vocab"));
  NARROW_TRY(Vocabulary vocabulary, Vocabulary::parse(vocab));
  NARROW_TRY(std::string unknown, model.text_or("unk_token", "<unk>"));
  return std::unique_ptr<const Model>(std::make_unique<WordLevel>(std::move(vocabulary), std::move(unknown)));
}

}  // namespace narrow::tokenizers
