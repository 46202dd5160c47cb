#include "datasets/labels.h"

#include <fmt/format.h>

#include <charconv>

#include "base/mapped_file.h"
#include "base/text.h"
#include "datasets/npy_tensor.h"
#include "wire/npy.h"

namespace narrow::datasets {
namespace {

constexpr std::size_t kMaxLines = 50'000'000;

std::optional<std::int64_t> parse_index(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

std::string_view as_text(base::ByteSpan bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

}  // namespace

Result<std::vector<LabelLine>> parse_labels(std::string_view text, const std::string& where) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  std::vector<LabelLine> lines;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (base::trim(line).empty() || line[0] == '#') continue;
    if (lines.size() == kMaxLines) return resource_exhausted(fmt::format("{}: more than {} lines", where, kMaxLines));
    const std::size_t tab = line.find('\t');
    LabelLine parsed;
    if (tab == std::string_view::npos) {
      parsed.label = parse_index(base::trim(line));
      if (!parsed.label) parsed.path = line;
    } else {
      parsed.path = line.substr(0, tab);
      std::string_view second = line.substr(tab + 1);
      second = base::trim(second.substr(0, second.find('\t')));
      parsed.label = parse_index(second);
      if (parsed.path.empty() || !parsed.label) {
        return corrupt(fmt::format("{}: line {}: expected path<TAB>class index, found '{}'", where, number,
                                   base::escape_controls(line.substr(0, 120))))
            .hint("The class index is a whole number from 0 on; a header line starts with '#'.");
      }
    }
    if (!lines.empty() && (lines[0].label.has_value() != parsed.label.has_value() || lines[0].path.empty() != parsed.path.empty())) {
      return corrupt(fmt::format("{}: line {}: '{}' has other columns than the first line", where, number,
                                 base::escape_controls(line.substr(0, 120))));
    }
    lines.push_back(std::move(parsed));
  }
  if (lines.empty()) return corrupt(fmt::format("{}: no labels in it", where));
  return lines;
}

Result<std::vector<LabelLine>> read_labels(const std::string& path) {
  NARROW_TRY(const auto file, base::MappedFile::open(path));
  return parse_labels(as_text(file->bytes()), path);
}

Result<std::vector<std::int64_t>> read_label_column(const std::string& path, std::size_t count) {
  NARROW_TRY(const auto file, base::MappedFile::open(path));
  std::vector<std::int64_t> labels;
  if (wire::is_npy(file->bytes())) {
    NARROW_TRY(const Tensor tensor, tensor_from_npy(file->bytes(), path, file));
    NARROW_TRY(labels, label_values(tensor, path));
  } else {
    NARROW_TRY(const std::vector<LabelLine> lines, parse_labels(as_text(file->bytes()), path));
    if (!lines[0].label) return corrupt(fmt::format("{}: no class indices in it", path));
    for (const LabelLine& line : lines) labels.push_back(*line.label);
  }
  if (labels.size() != count) {
    return invalid_argument(fmt::format("{}: {} labels, expected one for each of {} samples", path, labels.size(), count));
  }
  return labels;
}

}  // namespace narrow::datasets
