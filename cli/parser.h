// One verb's arguments: CLI11 underneath, with required arguments checked last, suggestions for mistyped options, and help
// that ends in examples.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "command.h"
#include "narrow/model.h"

namespace narrow::cli {

class Parser {
 public:
  Parser(std::string_view verb, std::string_view summary);

  CLI::App& app() { return app_; }
  // Takes the place of CLI11's own required(): a mistyped option is reported before a missing argument.
  void require(CLI::Option* option, std::string what) { required_.emplace_back(option, std::move(what)); }
  void examples(std::string text) { app_.footer("Examples:\n" + std::move(text)); }

  // The exit code when the program is to end now (help was asked for, or the arguments are wrong).
  std::optional<int> parse(const Arguments& arguments);

 private:
  int usage_error(const std::string& message) const;
  std::string verb_;
  CLI::App app_;
  std::vector<std::pair<CLI::Option*, std::string>> required_;
};

// Checks of an option's value.
CLI::Validator whole_number(std::uint64_t least);
CLI::Validator number_between(double least, double most);

// What every verb has.
struct Common {
  bool json = false;
  bool quiet = false;
  int threads = 0;          // 0: all processors
  std::uint64_t seed = 0;
};
void add_common(Parser& parser, Common& common);

// How data are read.
struct DataFlags {
  std::string path, preprocess, labels, tokenizer;
  std::uint64_t samples = 0;
};
CLI::Option* add_data(Parser& parser, DataFlags& flags, const std::string& what);

// "2%" or "2" as 2. Errors: invalid_argument.
Result<double> parse_percent(const std::string& text);

// Whether a new model and a report (empty: none) may be written there: not over `model`, nor to one place. Errors: those of
// Model::check_output, invalid_argument.
Status check_places(const Model& model, const std::string& output, const std::string& report);

// "name=value". Errors: invalid_argument naming `option`.
Result<std::pair<std::string, std::string>> parse_assignment(const std::string& text, const std::string& option);

}  // namespace narrow::cli
