#include <fmt/format.h>

#include "../language.h"
#include "../table.h"
#include "narrow/json.h"

namespace narrow::cli {

int generate_command(const Arguments& arguments) {
  Parser parser("generate", "Goes on writing a text with a language model, token by token.");
  std::string path, prompt;
  GenerateOptions options;
  Common common;
  CLI::App& app = parser.app();
  parser.require(app.add_option("MODEL", path, "The language model"), "MODEL");
  parser.require(app.add_option("--prompt", prompt, "The text to go on from"), "--prompt");
  app.add_option("--tokens", options.tokens, "At most so many (default: 100)")->check(whole_number(1));
  app.add_option("--temperature", options.temperature, "0 (default) takes the likeliest token; more is more varied")->check(number_between(0, 100));
  app.add_option("--top-k", options.top_k, "Only of so many likeliest tokens (default: all)")->check(whole_number(1));
  app.add_option("--top-p", options.top_p, "Only of the likeliest that reach this probability together (default: 1)")->check(number_between(0, 1));
  app.add_option("--min-p", options.min_p, "Not those less likely than this times the likeliest (default: 0)")->check(number_between(0, 1));
  app.add_option("--repetition-penalty", options.repetition_penalty, "Above 1: tokens that occurred become less likely (default: 1)")->check(number_between(0.01, 100));
  app.add_option("--tokenizer", options.tokenizer, "tokenizer.json (default: the one beside the model)");
  add_common(parser, common);
  parser.examples("  narrow generate llama --prompt 'Once upon a time' --tokens 200\n"
                  "  narrow generate llama-gptq --prompt 'Once' --temperature 0.8 --top-p 0.95 --seed 7");
  if (const auto code = parser.parse(arguments)) return *code;
  options.seed = common.seed;
  options.threads = common.threads;

  const auto model = LanguageModel::load(path);
  if (!model.ok()) return fail(model.error());
  const bool live = !common.json;
  if (live) print(prompt);
  const auto made = generate(*model, prompt, options, [&](const std::string& piece) {
    if (!live) return;
    print(piece);
    std::fflush(stdout);
  });
  if (!made.ok()) return fail(made.error());
  if (common.json) {
    print(to_json(*made));
    return kOk;
  }
  print("\n");
  if (!common.quiet) {
    std::fprintf(stderr, "%s in %.2f s, then %s at %.1f a second\n", plural(made->prompt_tokens, "prompt token").c_str(), made->prompt_seconds, plural(made->tokens, "token").c_str(),
                 made->seconds > 0 ? static_cast<double>(made->tokens) / made->seconds : 0.0);
  }
  return kOk;
}

}  // namespace narrow::cli
