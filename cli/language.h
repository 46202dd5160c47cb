// What the verbs do with language models.
#pragma once

#include <string>

#include "narrow/language.h"
#include "parser.h"

namespace narrow::cli {

// Flags of `quantize` that only language models have.
struct LanguageFlags {
  std::uint64_t bits = 0, group_size = 0, context = 0;
  std::string format, activations, max_memory;
  double bits_per_weight = 0;
  bool resume = false;
  CLI::Option *bits_given = nullptr, *group_given = nullptr;
};
void add_language_flags(Parser& parser, LanguageFlags& flags);

int quantize_language_command(const std::string& model, const std::string& output, LanguageQuantizeOptions options, const LanguageFlags& flags, const Common& common);
int evaluate_language_command(const std::string& model, const DataFlags& data, std::uint64_t context, std::uint64_t stride, const Common& common);
int inspect_language_command(const std::string& model, const Common& common);
int convert_language_command(const std::string& model, const std::string& output, const std::string& format, const Common& common);

}  // namespace narrow::cli
