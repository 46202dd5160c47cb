#include "tokenizers/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>

#include "base/mapped_file.h"
#include "base/text.h"
#include "tokenizers/gguf_vocabulary.h"
#include "tokenizers/sentencepiece.h"
#include "wire/json.h"

namespace narrow::tokenizers {
namespace {

using Path = std::filesystem::path;
using Bytes = std::span<const std::uint8_t>;
using Made = Result<std::shared_ptr<const Tokenizer>>;

constexpr std::array kNames = {"tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "tokenizer.bin", "vocab.json"};

std::string_view text_of(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

// A JSON file beside the tokenizer; null when there is none.
Result<nlohmann::json> read_beside(const std::string& path, const char* name) {
  const std::string other = (Path(path).parent_path() / name).string();
  const auto file = base::MappedFile::open(other);
  if (!file.ok()) return nlohmann::json();
  return wire::parse_json(text_of((*file)->bytes()), other);
}

// "</s>", or an object with that as its content.
Result<std::optional<std::string>> token_name(const Fields& config, std::string_view name) {
  const auto field = config.find(name);
  if (!field) return std::optional<std::string>();
  if (field->value().is_object()) {
    NARROW_TRY(std::string text, field->text("content"));
    return std::optional(std::move(text));
  }
  NARROW_TRY(std::string text, field->as_text());
  return std::optional(std::move(text));
}

// Whether a template begins (ends) a text with this token.
bool puts(const std::vector<Template::Piece>& pieces, bool before, std::optional<std::int64_t> id) {
  if (!id || pieces.size() < 2) return false;
  const std::vector<std::int64_t>& ids = (before ? pieces.front() : pieces.back()).ids;
  return !ids.empty() && (before ? ids.front() : ids.back()) == *id;
}

// The roles that tokenizer_config.json gives to tokens.
Status apply_config(const std::string& path, TokenizerParts& parts) {
  NARROW_TRY(const nlohmann::json document, read_beside(path, "tokenizer_config.json"));
  NARROW_TRY(const nlohmann::json map, read_beside(path, "special_tokens_map.json"));
  const Fields config(document, (Path(path).parent_path() / "tokenizer_config.json").string());
  const Fields more(map, (Path(path).parent_path() / "special_tokens_map.json").string());
  const auto id_of = [&](const std::string& content) -> std::optional<std::int64_t> {
    for (const AddedToken& token : parts.added) {
      if (token.content == content) return token.id;
    }
    return parts.model->vocabulary().id_of(content);
  };
  SpecialIds& special = parts.special;
  const std::pair<const char*, std::optional<std::int64_t>*> roles[] = {
      {"bos_token", &special.bos}, {"eos_token", &special.eos}, {"unk_token", &special.unknown}, {"pad_token", &special.pad}};
  for (const auto& [role, id] : roles) {
    NARROW_TRY(std::optional<std::string> name, token_name(config, role));
    if (!name) {
      NARROW_TRY(name, token_name(more, role));
    }
    if (name && id_of(*name)) *id = id_of(*name);
  }
  return {};
}

// SentencePiece models say nothing of what begins a text, and hold no tokens that were added later: the config does.
Status apply_config_of_model(const std::string& path, SentencePieces& model, std::vector<AddedToken>& added) {
  NARROW_TRY(const nlohmann::json document, read_beside(path, "tokenizer_config.json"));
  const Fields config(document, (Path(path).parent_path() / "tokenizer_config.json").string());
  NARROW_TRY(const std::string kind, config.text_or("tokenizer_class", ""));
  const bool t5 = kind.starts_with("T5") || kind.starts_with("MT5");
  NARROW_TRY(model.special.add_bos, config.flag_or("add_bos_token", !t5));
  NARROW_TRY(model.special.add_eos, config.flag_or("add_eos_token", t5));
  model.special.add_bos = model.special.add_bos && model.special.bos;
  model.special.add_eos = model.special.add_eos && model.special.eos;
  const auto tokens = config.find("added_tokens_decoder");
  if (!tokens) return {};
  if (!tokens->value().is_object()) return tokens->wrong("an object");
  for (const auto& [number, value] : tokens->value().items()) {
    const Fields item(value, fmt::format("{}.{}", tokens->where(), number));
    if (number.empty() || number.size() > 9 || !std::all_of(number.begin(), number.end(), [](char c) { return c >= '0' && c <= '9'; })) {
      return corrupt(fmt::format("{}: not the id of a token", item.where()));
    }
    AddedToken token;
    token.id = std::stoll(number);
    NARROW_TRY(token.content, item.text("content"));
    NARROW_TRY(token.special, item.flag_or("special", false));
    NARROW_TRY(token.single_word, item.flag_or("single_word", false));
    NARROW_TRY(token.lstrip, item.flag_or("lstrip", false));
    NARROW_TRY(token.rstrip, item.flag_or("rstrip", false));
    token.normalized = false;
    if (!token.content.empty()) added.push_back(std::move(token));
  }
  return {};
}

Made read_sentencepiece(Bytes bytes, const std::string& path) {
  NARROW_TRY(SentencePieces model, parse_sentencepiece_model(bytes, path));
  std::vector<AddedToken> added;
  NARROW_RETURN_IF_ERROR(apply_config_of_model(path, model, added));
  NARROW_TRY(TokenizerParts parts, sentencepiece_parts(std::move(model), path));
  for (const AddedToken& token : added) {
    std::erase_if(parts.added, [&](const AddedToken& known) { return known.id == token.id; });
    parts.added.push_back(token);
  }
  parts.in_text = AddedTokens(std::move(added));
  NARROW_RETURN_IF_ERROR(apply_config(path, parts));
  return std::make_shared<const Tokenizer>(std::move(parts));
}

Made read_json(std::string_view text, const std::string& path) {
  NARROW_TRY(TokenizerParts parts, parse_tokenizer_parts(text, path));
  NARROW_RETURN_IF_ERROR(apply_config(path, parts));
  parts.special.add_bos = puts(parts.frame.single, true, parts.special.bos);
  parts.special.add_eos = puts(parts.frame.single, false, parts.special.eos);
  return std::make_shared<const Tokenizer>(std::move(parts));
}

// vocab.json and merges.txt: GPT-2's own files, from before tokenizer.json.
Made read_gpt2(std::string_view text, const std::string& path) {
  const std::string other = (Path(path).parent_path() / "merges.txt").string();
  NARROW_TRY(const auto file, base::MappedFile::open(other));
  NARROW_TRY(nlohmann::json vocabulary, wire::parse_json(text, path));
  NARROW_TRY(const nlohmann::json config, read_beside(path, "tokenizer_config.json"));
  nlohmann::json merges = nlohmann::json::array();
  for (const std::string_view line : base::split(text_of(file->bytes()), '\n')) {
    const std::string_view merge = line.ends_with('\r') ? line.substr(0, line.size() - 1) : line;
    if (!merge.empty() && !merge.starts_with("#version")) merges.push_back(std::string(merge));
  }
  nlohmann::json added = nlohmann::json::array();
  if (config.is_object() && config.contains("added_tokens_decoder") && config["added_tokens_decoder"].is_object()) {
    for (const auto& [id, token] : config["added_tokens_decoder"].items()) {
      if (token.is_object()) added.push_back(token);
    }
  } else if (vocabulary.is_object() && vocabulary.contains("<|endoftext|>")) {
    added.push_back({{"content", "<|endoftext|>"}, {"special", true}, {"normalized", false}});
  }
  const nlohmann::json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
  const nlohmann::json whole = {{"added_tokens", added}, {"pre_tokenizer", byte_level}, {"decoder", byte_level},
                                {"model", {{"type", "BPE"}, {"vocab", std::move(vocabulary)}, {"merges", std::move(merges)}}}};
  NARROW_TRY(TokenizerParts parts, parse_tokenizer_parts(Fields(whole, path)));
  NARROW_RETURN_IF_ERROR(apply_config(path, parts));
  return std::make_shared<const Tokenizer>(std::move(parts));
}

// A small first number, as 4 bytes: the longest token of tokenizer.bin. A SentencePiece model begins with a tag and a size.
bool is_llama2c(Bytes bytes) { return bytes.size() >= 4 && bytes[2] == 0 && bytes[3] == 0; }

}  // namespace

std::optional<std::string> find_tokenizer(const std::string& folder) {
  std::error_code ignored;
  for (const char* name : kNames) {
    const Path path = Path(folder) / name;
    if (name == std::string_view("vocab.json") && !std::filesystem::exists(Path(folder) / "merges.txt", ignored)) continue;
    if (std::filesystem::is_regular_file(path, ignored)) return path.string();
  }
  return std::nullopt;
}

Made read_tokenizer(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    const auto found = find_tokenizer(path);
    if (!found) {
      const std::vector<std::string> names(kNames.begin(), kNames.end());
      return not_found(fmt::format("{}: the folder has no tokenizer: none of {}", path, base::join(names, ", ")));
    }
    return read_tokenizer(*found);
  }
  NARROW_TRY(const auto file, base::MappedFile::open(path));
  const Bytes bytes = file->bytes();
  const std::string_view text = text_of(bytes);
  if (text.starts_with("GGUF")) {
    NARROW_TRY(const wire::GgufHead head, wire::parse_gguf_head(bytes, path));
    return make_gguf_tokenizer(head.metadata);
  }
  const std::size_t first = text.find_first_not_of(" \t\r\n\xEF\xBB\xBF");
  if (first != text.npos && (text[first] == '{' || text[first] == '[')) {
    if (Path(path).filename() == "vocab.json") return read_gpt2(text, path);
    return read_json(text, path);
  }
  if (is_llama2c(bytes)) {
    NARROW_TRY(SentencePieces model, parse_llama2c_vocabulary(bytes, path));
    return make_sentencepiece(std::move(model), path);
  }
  return read_sentencepiece(bytes, path);
}

Result<std::size_t> read_max_length(const std::string& tokenizer_path) {
  NARROW_TRY(const nlohmann::json document, read_beside(tokenizer_path, "tokenizer_config.json"));
  // Written as 1e30 where there is no limit.
  const auto length = Fields(document, tokenizer_path).whole_or("model_max_length", 0);
  return length.ok() && *length != 0 ? static_cast<std::size_t>(*length) : kUsualMaxLength;
}

}  // namespace narrow::tokenizers
