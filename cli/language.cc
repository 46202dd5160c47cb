#include "language.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cctype>
#include <cstdio>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include "narrow/json.h"
#include "narrow/text.h"
#include "progress.h"
#include "table.h"

namespace narrow::cli {
namespace {

constexpr std::size_t kWorstShown = 5;

// "4G", "1.5G", "800M", "65536": K, M, G and T are powers of 1,024.
std::optional<std::uint64_t> bytes_of(const std::string& text) {
  double number = 0;
  char unit = 0, rest = 0;
  const int read = std::sscanf(text.c_str(), "%lf%c%c", &number, &unit, &rest);
  constexpr std::string_view kUnits = "KMGT";
  const std::size_t power = read == 2 ? kUnits.find(static_cast<char>(std::toupper(static_cast<unsigned char>(unit)))) : 0;
  if (read < 1 || read > 2 || power == std::string_view::npos || !(number > 0)) return std::nullopt;
  const double bytes = std::ldexp(number, read == 2 ? 10 * (static_cast<int>(power) + 1) : 0);
  return bytes < 1e18 ? std::optional(static_cast<std::uint64_t>(bytes)) : std::nullopt;
}

std::string percent(double fraction) { return fmt::format("{:.3f} %", 100 * fraction); }

// Bits and groups of every Linear: a row a layer, a column for each Linear of one.
void print_budget(const LanguageQuantization& q) {
  if (!q.budget) return;
  print(fmt::format("budget    {:.3f} bits a weight, {:.3f} used; expected to raise perplexity {:.3f}-fold\n", q.budget->wanted, q.budget->used, std::exp(q.budget->expected_loss)));
  std::vector<std::string> columns, layers;
  std::map<std::pair<std::string, std::string>, std::string> cells;
  for (const LinearReport& linear : q.linears) {
    // "model.layers.3.mlp.up_proj": up to its number, the layer.
    std::size_t end = linear.name.find_first_of("0123456789");
    end = end == std::string::npos ? 0 : linear.name.find('.', end);
    const std::string layer = linear.name.substr(0, end), place = end == std::string::npos ? linear.name : linear.name.substr(end + (end != 0 ? 1 : 0));
    if (std::find(layers.begin(), layers.end(), layer) == layers.end()) layers.push_back(layer);
    if (std::find(columns.begin(), columns.end(), place) == columns.end()) columns.push_back(place);
    cells[{layer, place}] = linear.method.empty() ? "-" : fmt::format("{}/{}", linear.bits, linear.group_size);
  }
  std::vector<std::string> head = {"bits/group"};
  for (const std::string& place : columns) head.push_back(">" + place.substr(place.find_last_of('.') + 1));
  Table table(head);
  for (const std::string& layer : layers) {
    std::vector<std::string> row = {layer};
    for (const std::string& place : columns) row.push_back(cells[{layer, place}]);
    table.add(row);
  }
  print(table.render());
}

void print_linears(const LanguageQuantization& q) {
  std::size_t quantized = 0, kept = 0, fell_back = 0;
  for (const LinearReport& linear : q.linears) {
    if (linear.method.empty()) ++kept;
    else ++quantized;
    if (linear.fell_back) ++fell_back;
  }
  print(fmt::format("linears   {} quantized{}{}\n", quantized, kept == 0 ? "" : fmt::format(", {} kept", kept),
                    fell_back == 0 ? "" : fmt::format(", {} fell back to plain rounding, which did better there", fell_back)));
  std::vector<const LinearReport*> worst;
  for (const LinearReport& linear : q.linears) {
    if (!linear.method.empty()) worst.push_back(&linear);
  }
  std::stable_sort(worst.begin(), worst.end(), [](const auto* a, const auto* b) { return a->error > b->error; });
  worst.resize(std::min(worst.size(), kWorstShown));
  Table table({"worst linears", ">bits", ">error", ">of rounding", ""});
  for (const LinearReport* linear : worst) table.add({linear->name, std::to_string(linear->bits), percent(linear->error), percent(linear->rounding_error), linear->note});
  if (!table.empty()) print(table.render());
}

}  // namespace

void add_language_flags(Parser& parser, LanguageFlags& flags) {
  CLI::App& app = parser.app();
  flags.bits_given = app.add_option("--bits", flags.bits, "Language models, weight-only: bits of a weight, 2, 3, 4 (default) or 8");
  flags.group_given = app.add_option("--group-size", flags.group_size, "Language models, weight-only: weights that share a scale (default: 128; 0: all of a row)");
  app.add_option("--bits-per-weight", flags.bits_per_weight, "Language models: so many bits a weight in all, chosen layer by layer; scales and zero points count");
  app.add_option("--activations", flags.activations, "Language models: round what Linears read to 8 bits: none, dynamic (by token) or static (one scale)");
  app.add_option("--context", flags.context, "Language models: tokens of a calibration sequence (default: 2048, or the model's maximum)")->check(whole_number(1));
  app.add_option("--format", flags.format, "Language models: what is written; see `narrow list language-formats`");
  app.add_option("--max-memory", flags.max_memory, "Language models: memory that may be resident, such as 800M or 4G; calibration tokens beyond are spilled to the disk");
  app.add_flag("--resume", flags.resume, "Language models: go on where an interrupted run stopped");
}

int quantize_language_command(const std::string& path, const std::string& output, LanguageQuantizeOptions options, const LanguageFlags& flags, const Common& common) {
  const auto start = std::chrono::steady_clock::now();
  if (flags.bits_given->count() != 0) options.bits = flags.bits;
  if (flags.group_given->count() != 0) options.group_size = flags.group_size;
  if (flags.context != 0) options.context = flags.context;
  if (flags.bits_per_weight != 0) options.bits_per_weight = flags.bits_per_weight;
  if (!flags.activations.empty()) options.activations = flags.activations;
  options.format = flags.format;
  options.resume = flags.resume;
  if (!flags.max_memory.empty()) {
    const std::optional<std::uint64_t> bytes = bytes_of(flags.max_memory);
    if (!bytes) return fail(invalid_argument(fmt::format("--max-memory is '{}', expected a number of bytes such as 500M, 4G or 1.5G", escape_controls(flags.max_memory))));
    options.max_memory = *bytes;
  }
  ProgressLine progress(common.quiet);
  options.progress = progress.callback();
  const auto model = LanguageModel::load(path);
  if (!model.ok()) return fail(model.error());
  if (!common.quiet && !common.json) {
    options.on_estimate = [](const LanguageEstimate& estimate) {
      print(fmt::format("estimate  at most {} of memory, {:.2g} operations\n", human_bytes(estimate.memory_bytes), estimate.operations));
      if (estimate.spilled_bytes != 0) print(fmt::format("spilled   calibration tokens, up to {} in temporary files beside the output\n", human_bytes(estimate.spilled_bytes)));
      std::fflush(stdout);
    };
  }
  const auto made = quantize_language(*model, output, options);
  progress.finish();
  if (!made.ok()) return fail(made.error());
  if (common.json) {
    print(to_json(*made));
    return kOk;
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  print(fmt::format("written   {} in {:.2f} s\n", escape_controls(output), seconds));
  print(fmt::format("method    {}, format {}\n", made->method, made->format));
  if (made->calibration_tokens != 0) print(fmt::format("data      {} calibrated on\n", plural(made->calibration_tokens, "token")));
  if (made->resumed_blocks != 0) print(fmt::format("resumed   {} from the run before\n", plural(made->resumed_blocks, "block")));
  print(fmt::format("size      {} → {}: {:.2f}× smaller\n", human_bytes(made->bytes_before), human_bytes(made->bytes_after),
                    static_cast<double>(made->bytes_before) / static_cast<double>(std::max<std::uint64_t>(1, made->bytes_after))));
  print_budget(*made);
  print_linears(*made);
  if (!common.quiet) print(fmt::format("next      measure what it cost: narrow evaluate {} --metric perplexity --data TEXT\n", escape_controls(output)));
  return kOk;
}

int evaluate_language_command(const std::string& path, const DataFlags& data, std::uint64_t context, std::uint64_t stride, const Common& common) {
  const auto model = LanguageModel::load(path);
  if (!model.ok()) return fail(model.error());
  ProgressLine progress(common.quiet);
  PerplexityOptions options;
  options.tokenizer = data.tokenizer;
  options.context = context;
  options.stride = stride;
  options.windows = data.samples;
  options.threads = common.threads;
  options.progress = progress.callback();
  const auto found = measure_perplexity(*model, data.path, options);
  progress.finish();
  if (!found.ok()) return fail(found.error());
  if (common.json) {
    print(to_json(*found));
    return kOk;
  }
  Table table({"", ">"});
  table.add({"perplexity", fmt::format("{:.4f}", found->perplexity)});
  table.add({"context", std::to_string(found->context)});
  table.add({"stride", std::to_string(found->stride)});
  table.add({"windows", std::to_string(found->windows)});
  table.add({"tokens predicted", std::to_string(found->predicted)});
  print(table.render());
  return kOk;
}

int inspect_language_command(const std::string& path, const Common& common) {
  const auto model = LanguageModel::load(path);
  if (!model.ok()) return fail(model.error());
  const LanguageInfo info = model->info();
  if (common.json) {
    print(to_json(info));
    return kOk;
  }
  print(fmt::format("{}: {}, {} parameters, {}\n", escape_controls(path), escape_controls(info.architecture), count_text(static_cast<double>(info.parameters)), human_bytes(info.size_bytes)));
  print(fmt::format("{}, hidden {}, {} of {} keys, intermediate {}, vocabulary {}, {} positions\n\n", plural(static_cast<std::uint64_t>(info.layers), "layer"), info.hidden,
                    plural(static_cast<std::uint64_t>(info.heads), "head"), info.key_heads, info.intermediate, info.vocabulary, info.positions));
  Table table({"weights", ">tensors", ">size"});
  for (const LanguageInfo::Kind& kind : info.kinds) table.add({kind.name, std::to_string(kind.tensors), human_bytes(kind.bytes)});
  print(table.render());
  return kOk;
}

int convert_language_command(const std::string& path, const std::string& output, const std::string& format, const Common& common) {
  if (format.empty()) return fail(invalid_argument("--format is missing").hint("`narrow list language-formats` shows what can be written."));
  const auto model = LanguageModel::load(path);
  if (!model.ok()) return fail(model.error());
  ProgressLine progress(common.quiet);
  Status done = convert_language(*model, output, format, common.threads, progress.callback());
  progress.finish();
  if (!done.ok()) return fail(done.error());
  if (!common.quiet && !common.json) print(fmt::format("{}: {}\n", escape_controls(output), format));
  return kOk;
}

}  // namespace narrow::cli
