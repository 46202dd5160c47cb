#include "parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>

#include "narrow/text.h"

namespace narrow::cli {

Parser::Parser(std::string_view verb, std::string_view summary)
    : verb_(verb), app_(std::string(summary), fmt::format("narrow {}", verb)) {
  app_.allow_extras();
  app_.get_formatter()->column_width(32);
  app_.set_help_flag("-h,--help", "Show this text");
}

int Parser::usage_error(const std::string& message) const {
  std::fprintf(stderr, "narrow %s: %s\nTry `narrow %s --help`.\n", verb_.c_str(), message.c_str(), verb_.c_str());
  return kUsage;
}

std::optional<int> Parser::parse(const Arguments& arguments) {
  Arguments reversed(arguments.rbegin(), arguments.rend());  // as CLI11 wants them
  try {
    app_.parse(reversed);
  } catch (const CLI::CallForHelp&) {
    std::fputs(app_.help().c_str(), stdout);
    return kOk;
  } catch (const CLI::ParseError& error) {
    return usage_error(escape_controls(error.what()));
  }

  const std::vector<std::string> extras = app_.remaining();
  if (!extras.empty()) {
    const auto option = std::find_if(extras.begin(), extras.end(), [](const std::string& e) { return e.size() > 1 && e[0] == '-'; });
    if (option == extras.end()) return usage_error(fmt::format("unexpected argument '{}'", escape_controls(extras.front())));
    const std::string name = option->substr(0, option->find('='));
    std::vector<std::string> names;
    for (const CLI::Option* known : app_.get_options()) {
      for (const std::string& long_name : known->get_lnames()) names.push_back("--" + long_name);
    }
    const std::vector<std::string_view> candidates(names.begin(), names.end());
    return usage_error(fmt::format("there is no option '{}'{}", escape_controls(name), did_you_mean(name, candidates)));
  }
  for (const auto& [option, what] : required_) {
    if (option->count() == 0) return usage_error(fmt::format("{} is missing", what));
  }
  return std::nullopt;
}

CLI::Validator whole_number(std::uint64_t least) {
  // CLI11 itself lets "-1" wrap around.
  return CLI::Validator(
      [least](std::string& text) {
        std::uint64_t value = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        const bool good = error == std::errc() && end == text.data() + text.size() && value >= least;
        return good ? std::string() : fmt::format("'{}' is not a whole number from {} on", escape_controls(text), least);
      },
      "");
}

CLI::Validator number_between(double least, double most) {
  // CLI::Range lets NaN through.
  return CLI::Validator(
      [least, most](std::string& text) {
        double value = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        const bool good = error == std::errc() && end == text.data() + text.size() && value >= least && value <= most;
        return good ? std::string() : fmt::format("'{}' is not a number from {} to {}", escape_controls(text), least, most);
      },
      fmt::format("in [{} - {}]", least, most));
}

void add_common(Parser& parser, Common& common) {
  parser.app().add_flag("--json", common.json, "Print the result as JSON");
  parser.app().add_flag("-q,--quiet", common.quiet, "No progress and no notes");
  parser.app().add_option("--threads", common.threads, "Processors to use (default: all)")->check(CLI::Range(1, 1024));
  parser.app().add_option("--seed", common.seed, "Seed of everything random (default: 0)")->check(whole_number(0));
}

CLI::Option* add_data(Parser& parser, DataFlags& flags, const std::string& what) {
  CLI::Option* data = parser.app().add_option("--data", flags.path, what);
  parser.app().add_option("--preprocess", flags.preprocess,
                          "Preset-size (imagenet-224, caffe-bgr-227, rgb-255-224, tf-224, none) or a list "
                          "(resize=256,crop=227,order=bgr,mean=104/117/123,std=1/1/1,scale=1,layout=nchw)");
  parser.app().add_option("--labels", flags.labels, "Another labels.tsv than the folder's");
  parser.app().add_option("--tokenizer", flags.tokenizer, "tokenizer.json, for text (default: the one beside the model)");
  return data;
}

Result<double> parse_percent(const std::string& text) {
  std::size_t used = 0;
  double value = 0;
  try {
    value = std::stod(text, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  const std::string_view rest = std::string_view(text).substr(used);
  if (used == 0 || !(rest.empty() || rest == "%") || !std::isfinite(value) || value < 0 || value > 100) {
    return invalid_argument(fmt::format("'{}' is not a percentage, expected a number from 0 to 100 such as 2%", text));
  }
  return value;
}

Result<std::pair<std::string, std::string>> parse_assignment(const std::string& text, const std::string& option) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size()) {
    return invalid_argument(fmt::format("{} '{}' is not of the form name=value", option, text));
  }
  return std::pair(text.substr(0, equals), text.substr(equals + 1));
}

Status check_places(const Model& model, const std::string& output, const std::string& report) {
  if (!output.empty()) NARROW_RETURN_IF_ERROR(model.check_output(output));
  if (!report.empty()) NARROW_RETURN_IF_ERROR(model.check_output(report, false));
  if (output.empty() || report.empty()) return {};
  std::error_code error;
  const auto whole = [&](const std::string& path) { return std::filesystem::weakly_canonical(std::filesystem::absolute(path, error), error); };
  if (whole(output) != whole(report)) return {};
  return invalid_argument(fmt::format("the report and the model cannot both be written to '{}'", output));
}

}  // namespace narrow::cli
