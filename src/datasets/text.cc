// Text for transformers: sentence pairs with scores, and plain lines.
#include <fmt/format.h>

#include "base/mapped_file.h"
#include "datasets/dataset_kinds.h"
#include "datasets/text_input.h"
#include "datasets/text_table.h"

namespace narrow::datasets {
namespace {

std::string_view as_text(const base::MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

Result<Sample> text_sample(const TextInput& input, std::string_view text, std::string name) {
  Sample sample;
  sample.name = std::move(name);
  NARROW_TRY(sample.inputs, input.convert(text).context("while tokenizing " + sample.name));
  return sample;
}

// Two samples a pair, one after the other.
class Pairs : public Dataset {
 public:
  Pairs(std::string path, std::vector<ScoredPair> pairs, TextInput input)
      : path_(std::move(path)), pairs_(std::move(pairs)), input_(std::move(input)) {}

  std::size_t size() const override { return 2 * pairs_.size(); }
  std::size_t samples_together() const override { return 2; }
  bool labelled() const override { return true; }
  std::string describe() const override { return fmt::format("{} sentence pairs with scores, {}", pairs_.size(), base_name(path_)); }

  Result<Sample> read(std::size_t index) const override {
    const ScoredPair& pair = pairs_[index / 2];
    const bool first = index % 2 == 0;
    NARROW_TRY(Sample sample, text_sample(input_, first ? pair.first : pair.second,
                                          fmt::format("{} line {}, {} sentence", path_, pair.line, first ? "first" : "second")));
    sample.score = pair.score;
    return sample;
  }

 private:
  std::string path_;
  std::vector<ScoredPair> pairs_;
  TextInput input_;
};

class Lines : public Dataset {
 public:
  Lines(std::shared_ptr<const base::MappedFile> file, std::vector<TextLine> lines, TextInput input)
      : file_(std::move(file)), lines_(std::move(lines)), input_(std::move(input)) {}

  std::size_t size() const override { return lines_.size(); }
  bool labelled() const override { return false; }
  std::string describe() const override { return fmt::format("{} lines of text, {}", lines_.size(), base_name(file_->path())); }

  Result<Sample> read(std::size_t index) const override {
    const TextLine& line = lines_[index];
    return text_sample(input_, line.text, fmt::format("{} line {}", file_->path(), line.number));
  }

 private:
  std::shared_ptr<const base::MappedFile> file_;
  std::vector<TextLine> lines_;  // views of file_
  TextInput input_;
};

Result<TextInput> open_input(const OpenRequest& request) {
  if (request.preprocess != Preprocess{} || !request.labels.empty()) {
    return invalid_argument(fmt::format("{}: --preprocess and --labels are for pictures and arrays; text is prepared by the tokenizer", request.path))
        .hint("Leave them out.");
  }
  if (request.tokenizer.empty()) {
    return invalid_argument(fmt::format("{}: text needs the tokenizer that the model was trained with", request.path))
        .hint("Give it with --tokenizer tokenizer.json, or put tokenizer.json beside the model.");
  }
  NARROW_TRY(auto tokenizer, tokenizers::read_tokenizer(request.tokenizer));
  std::size_t max_length = 0;
  if (!tokenizer->parts().truncation) {
    NARROW_TRY(max_length, tokenizers::read_max_length(request.tokenizer));
  }
  return TextInput::create(request.inputs, std::move(tokenizer), max_length);
}

}  // namespace

bool is_text_pairs(const Probe& probe, const OpenRequest& request) {
  return !probe.directory && ends_with_any(probe.path, {".csv", ".tsv"}) && reads_tokens(request.inputs);
}

bool is_text_lines(const Probe& probe, const OpenRequest& request) {
  return !probe.directory && ends_with_any(probe.path, {".txt"}) && reads_tokens(request.inputs);
}

Result<std::unique_ptr<Dataset>> open_text_pairs(const OpenRequest& request, const Probe&) {
  NARROW_TRY(TextInput input, open_input(request));
  NARROW_TRY(const auto file, base::MappedFile::open(request.path));
  NARROW_TRY(std::vector<ScoredPair> pairs, parse_scored_pairs(as_text(*file), request.path));
  return std::unique_ptr<Dataset>(std::make_unique<Pairs>(request.path, std::move(pairs), std::move(input)));
}

Result<std::unique_ptr<Dataset>> open_text_lines(const OpenRequest& request, const Probe&) {
  NARROW_TRY(TextInput input, open_input(request));
  NARROW_TRY(auto file, base::MappedFile::open(request.path));
  std::vector<TextLine> lines = split_lines(as_text(*file));
  return std::unique_ptr<Dataset>(std::make_unique<Lines>(std::move(file), std::move(lines), std::move(input)));
}

}  // namespace narrow::datasets
