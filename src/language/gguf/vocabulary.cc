#include "language/gguf/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_map>

#include "base/mapped_file.h"
#include "tokenizers/gguf_vocabulary.h"
#include "tokenizers/sentencepiece.h"
#include "wire/json.h"

namespace narrow::language {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using wire::GgufValue;

// GGUF's token types, which are SentencePiece's.
enum TokenType : std::int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

struct Vocabulary {
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<std::int32_t> types;

  explicit Vocabulary(std::int64_t size) {
    // Ids that no token has stand in the embedding all the same.
    for (std::int64_t id = 0; id < size; ++id) tokens.push_back(fmt::format("[PAD{}]", id));
    scores.assign(tokens.size(), -10000.0f);
    types.assign(tokens.size(), kUnused);
  }
  Status set(std::int64_t id, std::string token, float score, std::int32_t type, const std::string& where) {
    if (id < 0 || id >= static_cast<std::int64_t>(tokens.size())) {
      return corrupt(fmt::format("{}: token {} is beyond the model's vocabulary of {}", where, id, tokens.size()));
    }
    const auto i = static_cast<std::size_t>(id);
    tokens[i] = std::move(token);
    scores[i] = score;
    types[i] = type;
    return {};
  }
};

Result<std::optional<json>> read_json(const fs::path& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return std::optional<json>();
  NARROW_TRY(const auto file, base::MappedFile::open(path.string()));
  NARROW_TRY(json document, wire::parse_json({reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()}, path.string()));
  return std::optional<json>(std::move(document));
}

Status read_pieces(const fs::path& path, Vocabulary& vocabulary) {
  NARROW_TRY(const auto file, base::MappedFile::open(path.string()));
  NARROW_TRY(const tokenizers::SentencePieces model, tokenizers::parse_sentencepiece_model(file->bytes(), path.string()));
  if (model.algorithm != tokenizers::SentencePieces::Algorithm::kBpe) {
    return unsupported(fmt::format("{}: only BPE models of SentencePiece are written as GGUF", path.string()));
  }
  for (std::size_t id = 0; id < model.pieces.size(); ++id) {
    const auto& piece = model.pieces[id];
    NARROW_RETURN_IF_ERROR(vocabulary.set(static_cast<std::int64_t>(id), piece.text, piece.score, static_cast<std::int32_t>(piece.type), path.string()));
  }
  return {};
}

Status read_added_tokens(const wire::Fields& tokenizer, Vocabulary& vocabulary) {
  if (!tokenizer.has("added_tokens")) return {};
  NARROW_TRY(const std::vector<wire::Fields> added, tokenizer.list("added_tokens"));
  for (const wire::Fields& token : added) {
    NARROW_TRY(const std::int64_t id, token.whole("id"));
    NARROW_TRY(std::string content, token.text("content"));
    NARROW_TRY(const bool special, token.flag_or("special", false));
    if (id >= static_cast<std::int64_t>(vocabulary.tokens.size())) continue;  // a token that the model has no row for
    const std::int32_t before = vocabulary.types[static_cast<std::size_t>(id)];
    if (before == kUnknown || before == kByte) continue;
    NARROW_RETURN_IF_ERROR(vocabulary.set(id, std::move(content), -1000.0f, special ? kControl : kUserDefined, tokenizer.where()));
  }
  return {};
}

Result<std::vector<std::string>> read_merges(const wire::Fields& model) {
  NARROW_TRY(const std::vector<wire::Fields> merges, model.list("merges"));
  std::vector<std::string> lines;
  lines.reserve(merges.size());
  for (const wire::Fields& merge : merges) {
    const json& value = merge.value();
    if (value.is_string()) {
      lines.push_back(value.get<std::string>());
    } else if (value.is_array() && value.size() == 2 && value[0].is_string() && value[1].is_string()) {
      lines.push_back(value[0].get<std::string>() + " " + value[1].get<std::string>());
    } else {
      return merge.wrong("a pair of tokens");
    }
  }
  return lines;
}

// The patterns that a text is cut by, in order; nothing when some part is none of a pattern's.
std::optional<std::vector<std::string>> patterns_of(const json& pre_tokenizer) {
  std::vector<std::string> patterns;
  if (!pre_tokenizer.is_object()) return std::nullopt;
  const json single = json::array({pre_tokenizer});
  const json& parts = pre_tokenizer.contains("pretokenizers") && pre_tokenizer["pretokenizers"].is_array() ? pre_tokenizer["pretokenizers"] : single;
  for (const json& part : parts) {
    const auto flag = [&](const char* name, bool otherwise) { return part.contains(name) && part[name].is_boolean() ? part[name].get<bool>() : otherwise; };
    const std::string type = part.is_object() && part.contains("type") && part["type"].is_string() ? part["type"].get<std::string>() : "";
    if (type == "Split" && part.contains("pattern") && part["pattern"].is_object() && part["pattern"].contains("Regex") && part["pattern"]["Regex"].is_string()) {
      patterns.push_back(part["pattern"]["Regex"].get<std::string>());
    } else if (type == "Digits" && flag("individual_digits", false)) {
      patterns.push_back("\\p{N}");
    } else if (type == "ByteLevel" && !flag("add_prefix_space", false)) {
      if (flag("use_regex", true)) patterns.emplace_back(tokenizers::gguf_pre_tokenizers().front().patterns.front());  // GPT-2's
    } else {
      return std::nullopt;
    }
  }
  return patterns;
}

// What llama.cpp calls this way to cut a text into words. Errors: unsupported.
Result<std::string> pre_tokenizer_name(const json& tokenizer, bool ignore_merges, const std::string& where) {
  const auto patterns = tokenizer.contains("pre_tokenizer") ? patterns_of(tokenizer["pre_tokenizer"]) : std::nullopt;
  const tokenizers::GgufPreTokenizer* found = nullptr;
  for (const tokenizers::GgufPreTokenizer& row : tokenizers::gguf_pre_tokenizers()) {
    if (!patterns || !std::equal(row.patterns.begin(), row.patterns.end(), patterns->begin(), patterns->end())) continue;
    if (found == nullptr || (found->ignore_merges != ignore_merges && row.ignore_merges == ignore_merges)) found = &row;
  }
  if (found != nullptr) return std::string(found->name);
  return unsupported(fmt::format("{}: llama.cpp has no name for the way that the pre_tokenizer cuts a text", where)).hint("Convert with llama.cpp's convert_hf_to_gguf.py, which knows models by name.");
}

Status read_tokenizer_json(const json& document, const std::string& where, Vocabulary& vocabulary, wire::GgufMetadata& m) {
  const wire::Fields tokenizer(document, where);
  NARROW_TRY(const wire::Fields model, tokenizer.object("model"));
  NARROW_TRY(const std::string type, model.text_or("type", "BPE"));
  if (type != "BPE") return unsupported(fmt::format("{}: a {} tokenizer cannot be written as GGUF; BPE and tokenizer.model can", where, type));
  NARROW_TRY(const bool byte_fallback, model.flag_or("byte_fallback", false));
  NARROW_TRY(const wire::Fields ids, model.object("vocab"));
  NARROW_TRY(std::vector<std::string> merges, read_merges(model));
  std::unordered_map<std::string, float> rank;  // of the token that a merge makes: the earlier, the higher its score
  if (byte_fallback) {
    for (std::size_t i = 0; i < merges.size(); ++i) {
      std::string made = merges[i];
      made.erase(made.find(' ', 1), 1);
      rank.emplace(std::move(made), -static_cast<float>(i));
    }
  }
  NARROW_TRY(const std::string unknown, model.text_or("unk_token", ""));
  for (const auto& [token, id] : ids.value().items()) {
    NARROW_TRY(const std::int64_t number, wire::Fields(id, fmt::format("{}: model.vocab", where)).as_whole());
    const bool is_byte = byte_fallback && token.size() == 6 && token.starts_with("<0x") && token.ends_with('>');
    const auto at = rank.find(token);
    NARROW_RETURN_IF_ERROR(vocabulary.set(number, token, at != rank.end() ? at->second : byte_fallback ? -static_cast<float>(merges.size()) : 0,
                                          is_byte ? kByte : byte_fallback && token == unknown ? kUnknown : kNormal, where));
  }
  NARROW_RETURN_IF_ERROR(read_added_tokens(tokenizer, vocabulary));
  m.set("tokenizer.ggml.model", GgufValue::text(byte_fallback ? "llama" : "gpt2"));
  std::string pre = "default";
  if (!byte_fallback) {
    NARROW_TRY(const bool ignore_merges, model.flag_or("ignore_merges", false));
    NARROW_TRY(pre, pre_tokenizer_name(document, ignore_merges, where));
  }
  m.set("tokenizer.ggml.pre", GgufValue::text(std::move(pre)));
  if (!byte_fallback) m.set("tokenizer.ggml.merges", GgufValue::texts(std::move(merges)));
  return {};
}

// Whether the template of one text starts with a special token.
bool template_starts_special(const json& tokenizer) {
  const auto is_special_first = [](const json& p) {
    return p.is_object() && p.value("type", "") == "TemplateProcessing" && p.contains("single") && p["single"].is_array() && !p["single"].empty() && p["single"][0].is_object() &&
           p["single"][0].contains("SpecialToken");
  };
  if (!tokenizer.contains("post_processor") || !tokenizer["post_processor"].is_object()) return false;
  const json& processor = tokenizer["post_processor"];
  if (processor.contains("processors") && processor["processors"].is_array()) return std::any_of(processor["processors"].begin(), processor["processors"].end(), is_special_first);
  return is_special_first(processor);
}

// "bos_token" of tokenizer_config.json: a string, or an object with its content.
std::string token_text(const json& config, std::string_view key) {
  const auto at = config.find(std::string(key));
  if (at == config.end()) return "";
  if (at->is_string()) return at->get<std::string>();
  return at->is_object() && at->contains("content") && (*at)["content"].is_string() ? (*at)["content"].get<std::string>() : "";
}

void set_special_ids(const json& config, const json& tokenizer_config, const Vocabulary& vocabulary, wire::GgufMetadata& m) {
  for (const char* name : {"bos", "eos", "unknown", "padding"}) {
    const std::string short_name = std::strcmp(name, "unknown") == 0 ? "unk" : std::strcmp(name, "padding") == 0 ? "pad" : name;
    std::int64_t id = -1;
    const json* found = config.contains(short_name + "_token_id") ? &config[short_name + "_token_id"] : nullptr;
    if (found != nullptr && found->is_array() && !found->empty()) found = &(*found)[0];
    if (found != nullptr && found->is_number_unsigned()) id = static_cast<std::int64_t>(std::min<std::uint64_t>(found->get<std::uint64_t>(), std::uint64_t{1} << 31));
    if (id < 0) {
      const std::string text = token_text(tokenizer_config, short_name + "_token");
      const auto at = text.empty() ? vocabulary.tokens.end() : std::find(vocabulary.tokens.begin(), vocabulary.tokens.end(), text);
      if (at != vocabulary.tokens.end()) id = at - vocabulary.tokens.begin();
    }
    if (id >= 0 && id < static_cast<std::int64_t>(vocabulary.tokens.size())) m.set(fmt::format("tokenizer.ggml.{}_token_id", name), GgufValue::u32(static_cast<std::uint32_t>(id)));
  }
}

}  // namespace

Status set_gguf_vocabulary(const std::string& path, const std::string& config_text, std::int64_t size, wire::GgufMetadata& m) {
  std::error_code ignored;
  const fs::path folder = fs::is_directory(path, ignored) ? fs::path(path) : fs::path(path).parent_path();
  const bool pieces = fs::exists(folder / "tokenizer.model", ignored);
  NARROW_TRY(const std::optional<json> tokenizer, read_json(folder / "tokenizer.json"));
  if (!pieces && !tokenizer) {
    m.set("tokenizer.ggml.model", GgufValue::text("no_vocab"));
    return {};
  }
  Vocabulary vocabulary(size);
  if (pieces) {
    NARROW_RETURN_IF_ERROR(read_pieces(folder / "tokenizer.model", vocabulary));
    if (tokenizer) NARROW_RETURN_IF_ERROR(read_added_tokens(wire::Fields(*tokenizer, (folder / "tokenizer.json").string()), vocabulary));
    m.set("tokenizer.ggml.model", GgufValue::text("llama"));
    m.set("tokenizer.ggml.pre", GgufValue::text("default"));
  } else {
    NARROW_RETURN_IF_ERROR(read_tokenizer_json(*tokenizer, (folder / "tokenizer.json").string(), vocabulary, m));
  }
  NARROW_TRY(const json config, wire::parse_json(config_text, "config.json"));
  NARROW_TRY(const std::optional<json> tokenizer_config, read_json(folder / "tokenizer_config.json"));
  const json none = json::object();
  const json& settings = tokenizer_config && tokenizer_config->is_object() ? *tokenizer_config : none;
  const bool like_llama = *m.text("tokenizer.ggml.model") == "llama";
  set_special_ids(config, settings, vocabulary, m);
  const auto flag = [&](const char* key, bool otherwise) { return settings.contains(key) && settings[key].is_boolean() ? settings[key].get<bool>() : otherwise; };
  m.set("tokenizer.ggml.add_bos_token", GgufValue::flag(flag("add_bos_token", like_llama || (tokenizer && template_starts_special(*tokenizer)))));
  m.set("tokenizer.ggml.add_eos_token", GgufValue::flag(flag("add_eos_token", false)));
  if (like_llama && (m.text("general.architecture").ok() && m.text("general.architecture")->starts_with("gemma"))) m.set("tokenizer.ggml.add_space_prefix", GgufValue::flag(false));
  if (like_llama) m.set("tokenizer.ggml.scores", GgufValue::f32s(vocabulary.scores));
  m.set("tokenizer.ggml.token_type", GgufValue::s32s(vocabulary.types));
  m.set("tokenizer.ggml.tokens", GgufValue::texts(std::move(vocabulary.tokens)));
  return {};
}

}  // namespace narrow::language
