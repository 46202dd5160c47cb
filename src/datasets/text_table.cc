#include "datasets/text_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <optional>

#include "base/text.h"

namespace narrow::datasets {
namespace {

struct Columns {
  std::size_t first = 0, second = 1, score = 2;
  std::size_t needed() const { return std::max({first, second, score}) + 1; }
};

std::optional<double> parse_score(std::string_view text) {
  text = base::trim(text);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

// One record of comma-separated values (RFC 4180), which may span lines; nothing when a quote is left open.
std::optional<std::vector<std::string>> read_record(std::string_view& rest, std::size_t& lines) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  std::size_t i = 0;
  lines = 1;
  for (; i < rest.size(); ++i) {
    const char c = rest[i];
    if (quoted) {
      if (c != '"') {
        fields.back().push_back(c);
        lines += c == '\n' ? 1 : 0;
      } else if (i + 1 < rest.size() && rest[i + 1] == '"') {
        fields.back().push_back(rest[++i]);
      } else {
        quoted = false;
      }
    } else if (c == '"' && fields.back().empty()) {
      quoted = true;
    } else if (c == ',') {
      fields.emplace_back();
    } else if (c == '\n') {
      break;
    } else {
      fields.back().push_back(c);
    }
  }
  rest.remove_prefix(std::min(i + 1, rest.size()));
  if (quoted) return std::nullopt;
  if (fields.back().ends_with('\r')) fields.back().pop_back();
  return fields;
}

// Where a line of names says that the columns are.
std::optional<Columns> named_columns(const std::vector<std::string>& names) {
  const auto position = [&](std::initializer_list<std::string_view> wanted) -> std::optional<std::size_t> {
    for (const std::string_view name : wanted) {
      for (std::size_t i = 0; i < names.size(); ++i) {
        std::string lower(base::trim(names[i]));
        std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
        if (lower == name) return i;
      }
    }
    return std::nullopt;
  };
  const auto first = position({"sentence1", "sentence_1", "sentence_a", "text1", "text_a"});
  const auto second = position({"sentence2", "sentence_2", "sentence_b", "text2", "text_b"});
  const auto score = position({"score", "similarity_score", "similarity", "relatedness_score", "label"});
  if (!first || !second || !score) return std::nullopt;
  return Columns{*first, *second, *score};
}

// Where they are in a line of values.
std::optional<Columns> known_columns(const std::vector<std::string>& values) {
  constexpr std::size_t kStsBenchmark = 7;
  if (values.size() >= kStsBenchmark && parse_score(values[4])) return Columns{5, 6, 4};
  if (values.size() == 3 && parse_score(values[2])) return Columns{0, 1, 2};
  if (values.size() == 3 && parse_score(values[0])) return Columns{1, 2, 0};
  return std::nullopt;
}

Error wrong_line(const std::string& where, std::size_t line, const std::string& what) {
  return corrupt(fmt::format("{}: line {}: {}", where, line, what))
      .hint("Give lines of two sentences and a score, separated by tabs or commas, or name the columns sentence1, sentence2 and score in the first line.");
}

}  // namespace

std::vector<TextLine> split_lines(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  std::vector<TextLine> lines;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!base::trim(line).empty()) lines.push_back({line, number});
  }
  return lines;
}

Result<std::vector<ScoredPair>> parse_scored_pairs(std::string_view text, const std::string& where) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  const bool tabs = text.substr(0, text.find('\n')).find('\t') != std::string_view::npos;
  std::vector<ScoredPair> pairs;
  std::optional<Columns> columns;
  for (std::size_t line = 1, lines = 1; !text.empty(); line += lines) {
    std::optional<std::vector<std::string>> fields;
    if (tabs) {
      const std::size_t end = text.find('\n');
      std::string_view row = text.substr(0, end);
      text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
      if (row.ends_with('\r')) row.remove_suffix(1);
      fields.emplace();
      for (const std::string_view part : base::split(row, '\t')) fields->emplace_back(part);
    } else {
      fields = read_record(text, lines);
      if (!fields) return wrong_line(where, line, "a double quote is never closed");
    }
    if (fields->size() == 1 && base::trim(fields->front()).empty()) continue;
    if (!columns) {
      if ((columns = named_columns(*fields))) continue;
      columns = known_columns(*fields);
      if (!columns) return wrong_line(where, line, fmt::format("cannot tell sentences from scores in its {} columns", fields->size()));
    }
    if (fields->size() < columns->needed()) {
      return wrong_line(where, line, fmt::format("{} columns, expected at least {}", fields->size(), columns->needed()));
    }
    const auto score = parse_score((*fields)[columns->score]);
    if (!score) {
      return wrong_line(where, line, fmt::format("the score '{}' is not a number", base::escape_controls((*fields)[columns->score].substr(0, 60))));
    }
    pairs.push_back({std::move((*fields)[columns->first]), std::move((*fields)[columns->second]), *score, line});
  }
  return pairs;
}

}  // namespace narrow::datasets
