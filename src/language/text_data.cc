#include "language/text_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>
#include <string_view>

#include "base/mapped_file.h"
#include "wire/json.h"
#include "wire/npy.h"

namespace narrow::language {
namespace {

using Tokens = std::vector<std::int64_t>;

Result<Tokens> read_npy(base::ByteSpan bytes, const std::string& path) {
  NARROW_TRY(const wire::NpyArray array, wire::parse_npy(bytes, path));
  if (array.kind != 'i' && array.kind != 'u') return invalid_argument(fmt::format("{}: token ids should be whole numbers", path));
  std::vector<std::uint8_t> items(static_cast<std::size_t>(array.count) * static_cast<std::size_t>(array.item_size));
  wire::copy_npy_elements(array, items.data());
  Tokens tokens;
  tokens.reserve(static_cast<std::size_t>(array.count));
  for (std::int64_t i = 0; i < array.count; ++i) {
    std::uint64_t value = 0;
    for (int b = 0; b < array.item_size; ++b) value |= static_cast<std::uint64_t>(items[static_cast<std::size_t>(i * array.item_size + b)]) << (8 * b);
    tokens.push_back(static_cast<std::int64_t>(value));
  }
  return tokens;
}

Result<Tokens> read_words(base::ByteSpan bytes, const std::string& path) {
  if (bytes.size() % 2 != 0) return corrupt(fmt::format("{}: {} bytes are not whole 16-bit token ids", path, bytes.size()));
  Tokens tokens;
  tokens.reserve(bytes.size() / 2);
  for (std::size_t i = 0; i < bytes.size(); i += 2) tokens.push_back(bytes[i] | bytes[i + 1] << 8);
  return tokens;
}

Status append(const tokenizers::Tokenizer& tokenizer, std::string_view text, Tokens& tokens) {
  tokenizers::EncodeOptions options;
  options.max_length = 0;
  options.padding = false;
  NARROW_TRY(const tokenizers::Encoding encoded, tokenizer.encode(text, options));
  tokens.insert(tokens.end(), encoded.ids.begin(), encoded.ids.end());
  return {};
}

Status append_lines(const tokenizers::Tokenizer& tokenizer, std::string_view text, const std::string& path, Tokens& tokens) {
  std::size_t number = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string where = fmt::format("{}:{}", path, number);
    NARROW_TRY(const nlohmann::json row, wire::parse_json(line, where));
    NARROW_TRY(const std::string own, wire::Fields(row, where).text("text"));
    NARROW_RETURN_IF_ERROR(append(tokenizer, own, tokens));
  }
  return {};
}

}  // namespace

Result<Tokens> read_tokens(const std::string& path, const tokenizers::Tokenizer* tokenizer) {
  NARROW_TRY(const auto file, base::MappedFile::open(path));
  const std::string extension = std::filesystem::path(path).extension().string();
  if (extension == ".npy") return read_npy(file->bytes(), path);
  if (extension == ".bin") return read_words(file->bytes(), path);
  if (tokenizer == nullptr) {
    return invalid_argument(fmt::format("'{}' is text, and there is no tokenizer", path)).hint("Give one with --tokenizer; beside the model it is found by itself.");
  }
  const std::string_view text(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size());
  Tokens tokens;
  if (extension == ".jsonl") NARROW_RETURN_IF_ERROR(append_lines(*tokenizer, text, path, tokens));
  else NARROW_RETURN_IF_ERROR(append(*tokenizer, text, tokens));
  return tokens;
}

Result<std::vector<Tokens>> draw_sequences(const Tokens& tokens, std::uint64_t count, std::int64_t length, std::uint64_t seed) {
  const auto total = static_cast<std::int64_t>(tokens.size());
  if (length < 1 || total < length) {
    return invalid_argument(fmt::format("the calibration text has {} tokens, fewer than one sequence of {}", total, length)).hint("Give a longer text, or shorter sequences with --context.");
  }
  // One place in each of `count` equal parts of the text: spread over all of it, and no two the same.
  std::mt19937_64 random(seed);
  std::vector<Tokens> sequences;
  const double part = static_cast<double>(total - length + 1) / static_cast<double>(count);
  for (std::uint64_t i = 0; i < count; ++i) {
    const double offset = static_cast<double>(random() >> 11) * 0x1p-53;
    const auto at = std::min<std::int64_t>(total - length, static_cast<std::int64_t>((static_cast<double>(i) + offset) * part));
    sequences.emplace_back(tokens.begin() + at, tokens.begin() + at + length);
  }
  return sequences;
}

Status frame_sequences(const tokenizers::Tokenizer& tokenizer, std::vector<Tokens>& sequences) {
  Tokens frame;
  NARROW_RETURN_IF_ERROR(append(tokenizer, "", frame));
  for (Tokens& sequence : sequences) {
    if (frame.size() != 2 || sequence.size() < 3) continue;
    sequence.front() = frame.front();
    sequence.back() = frame.back();
  }
  return {};
}

}  // namespace narrow::language
