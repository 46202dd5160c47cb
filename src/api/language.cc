#include "narrow/language.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <utility>
#include <nlohmann/json.hpp>

#include "api/threads.h"
#include "base/text_file.h"
#include "language/architectures/architectures.h"
#include "language/checkpoint.h"
#include "language/generation.h"
#include "language/perplexity.h"
#include "language/quantize/pipeline.h"
#include "language/text_data.h"
#include "tokenizers/stream_decoder.h"
#include "wire/json.h"

namespace narrow {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kUsualSamples = 128, kUsualContext = 2048;

}  // namespace

struct LanguageModel::Impl {
  language::Checkpoint checkpoint;

  fs::path folder() const {
    std::error_code error;
    return fs::is_directory(checkpoint.path, error) ? fs::path(checkpoint.path) : fs::path(checkpoint.path).parent_path();
  }
  // The named one, else the one in the model's own file or beside it; null when there is none.
  Result<std::shared_ptr<const tokenizers::Tokenizer>> tokenizer(const std::string& named) const {
    if (!named.empty()) return tokenizers::read_tokenizer(named);
    if (checkpoint.path.ends_with(".gguf")) return tokenizers::read_tokenizer(checkpoint.path);
    const std::optional<std::string> beside = tokenizers::find_tokenizer(folder().string());
    if (!beside) return std::shared_ptr<const tokenizers::Tokenizer>();
    return tokenizers::read_tokenizer(*beside);
  }
};

namespace {

Result<quantizers::Recipe> make_recipe(const LanguageQuantizeOptions& options) {
  quantizers::Recipe recipe;
  recipe.method = "";
  if (!options.recipe_file.empty()) {
    NARROW_TRY(const std::string text, base::read_text_file(options.recipe_file));
    NARROW_TRY(recipe, quantizers::parse_recipe(text, options.recipe_file));
  }
  if (options.method) recipe.method = *options.method;
  if (recipe.method.empty() || recipe.method == "auto") recipe.method = options.format.starts_with("gguf") ? "blocks" : options.data.empty() ? "rounding-mse" : "gptq";
  if (options.bits) recipe.weights.bits = *options.bits;
  if (options.group_size) recipe.weights.group_size = *options.group_size;
  if (options.bits_per_weight) {
    if (!(*options.bits_per_weight > 0 && *options.bits_per_weight <= 16)) return invalid_argument(fmt::format("{} bits a weight: expected more than 0, at most 16", *options.bits_per_weight));
    recipe.weights.bits_per_weight = *options.bits_per_weight;
  }
  if (options.symmetric) recipe.weights.symmetric = *options.symmetric;
  if (options.activations) {
    constexpr std::string_view kKinds[] = {"none", "dynamic", "static"};
    if (std::find(std::begin(kKinds), std::end(kKinds), *options.activations) == std::end(kKinds)) {
      return invalid_argument(fmt::format("activations are '{}', expected none, dynamic or static", *options.activations));
    }
    recipe.weights.activations = *options.activations;
  }
  if (options.samples) recipe.samples = *options.samples;
  if (options.context) recipe.context = *options.context;
  if (options.seed) recipe.seed = *options.seed;
  for (const std::string& pattern : options.exclude) {
    quantizers::Rule rule;
    rule.name_pattern = pattern;
    rule.quantize = false;
    recipe.rules.push_back(std::move(rule));
  }
  return recipe;
}

Result<language::LanguageJob> make_job(const LanguageModel& model, const LanguageQuantizeOptions& options) {
  language::LanguageJob job;
  job.model = &model.impl().checkpoint;
  NARROW_TRY(job.recipe, make_recipe(options));
  NARROW_RETURN_IF_ERROR(language::check_recipe(job.recipe));
  job.format = options.format;
  job.resume = options.resume;
  job.max_memory = options.max_memory;
  job.threads = resolve_threads(options.threads);
  job.progress = options.progress;
  if (options.data.empty()) return job;
  if (!job.model->spec.known) return language::unknown_architecture(model.impl().checkpoint.path, job.model->spec.family);
  NARROW_TRY(const auto tokenizer, model.impl().tokenizer(options.tokenizer));
  NARROW_TRY(const std::vector<std::int64_t> tokens, language::read_tokens(options.data, tokenizer.get()));
  const std::int64_t most = job.model->spec.max_positions;
  if (job.recipe.context == 0) job.recipe.context = std::min<std::uint64_t>(kUsualContext, static_cast<std::uint64_t>(most));
  if (job.recipe.samples == 0) job.recipe.samples = kUsualSamples;
  if (static_cast<std::int64_t>(job.recipe.context) > most) {
    return invalid_argument(fmt::format("sequences of {} tokens are longer than the model's {} positions", job.recipe.context, most)).hint(fmt::format("Use --context {} or less.", most));
  }
  for (const std::int64_t token : tokens) {
    if (token < 0 || token >= job.model->spec.vocabulary) {
      return invalid_argument(fmt::format("the calibration text has token {}, but the model knows {}", token, job.model->spec.vocabulary)).hint("The tokenizer is not this model's: give its own with --tokenizer.");
    }
  }
  NARROW_TRY(job.sequences, language::draw_sequences(tokens, job.recipe.samples, static_cast<std::int64_t>(job.recipe.context), job.recipe.seed));
  if (job.model->spec.encoder && tokenizer != nullptr) NARROW_RETURN_IF_ERROR(language::frame_sequences(*tokenizer, job.sequences));
  return job;
}

// Token ids that end a text, from generation_config.json or config.json.
std::vector<std::int64_t> end_tokens(const LanguageModel::Impl& model) {
  std::vector<std::int64_t> ids;
  for (const char* name : {"generation_config.json", "config.json"}) {
    const auto text = base::read_text_file((model.folder() / name).string());
    if (!text.ok()) continue;
    const auto document = wire::parse_json(*text, name);
    if (!document.ok() || !document->is_object() || !document->contains("eos_token_id")) continue;
    const nlohmann::json& found = (*document)["eos_token_id"];
    if (found.is_number_integer()) ids.push_back(found.get<std::int64_t>());
    if (found.is_array()) {
      for (const auto& item : found) {
        if (item.is_number_integer()) ids.push_back(item.get<std::int64_t>());
      }
    }
    if (!ids.empty()) break;
  }
  return ids;
}

}  // namespace

bool LanguageModel::recognises(const std::string& path) { return language::is_checkpoint(path); }

bool LanguageModel::is_encoder(const std::string& path) {
  if (!recognises(path)) return false;
  const auto checkpoint = language::open_checkpoint(path);
  return checkpoint.ok() && checkpoint->spec.encoder;
}

Result<LanguageModel> LanguageModel::load(const std::string& path) {
  NARROW_TRY(language::Checkpoint checkpoint, language::open_checkpoint(path));
  return LanguageModel(std::make_shared<const Impl>(Impl{std::move(checkpoint)}));
}

LanguageInfo LanguageModel::info() const {
  const language::Checkpoint& model = impl_->checkpoint;
  const language::Spec& spec = model.spec;
  LanguageInfo info;
  info.architecture = spec.family;
  info.layers = spec.layers;
  info.hidden = spec.hidden;
  info.heads = spec.heads;
  info.key_heads = spec.key_heads;
  info.intermediate = spec.intermediate;
  info.vocabulary = spec.vocabulary;
  info.positions = spec.max_positions;
  std::error_code error;
  for (const std::string& file : model.files) info.size_bytes += fs::file_size(file, error);
  std::map<std::string, LanguageInfo::Kind> kinds;
  const auto add = [&](const std::string& kind, std::uint64_t elements, std::uint64_t bytes) {
    LanguageInfo::Kind& entry = kinds[kind];
    entry.name = kind;
    ++entry.tensors;
    entry.bytes += bytes;
    info.parameters += elements;
  };
  std::map<std::string, bool> counted;
  for (const std::string& name : model.tensor_names) {
    // A quantized weight is several tensors: the module they share is counted once.
    bool part = false;
    for (std::size_t dot = name.rfind('.'); dot != std::string::npos && dot > 0; dot = name.rfind('.', dot - 1)) {
      const std::string module = name.substr(0, dot);
      if (name.ends_with(".bias") || !model.weights->has_matrix(module)) continue;
      const auto form = model.weights->form(module);
      if (!form.ok() || !form->quantized()) continue;
      part = true;
      if (std::exchange(counted[module], true)) break;
      const auto weight = model.weights->matrix(module);
      const std::string kind = form->kind == language::MatrixForm::Kind::kCodebook
                                   ? fmt::format("{}, blocks of {}", form->type == encodings::CodebookMatrix::Type::kNf4 ? "NF4" : "FP4", form->block)
                                   : fmt::format("{}-bit, {}{}", form->bits, form->group_size >= form->columns ? "one group a row" : fmt::format("groups of {}", form->group_size),
                                                 !form->inputs.rounds() ? "" : form->inputs.kind == encodings::InputRounding::Kind::kToken ? ", inputs 8-bit by token" : ", inputs 8-bit");
      add(kind, static_cast<std::uint64_t>(form->rows * form->columns), weight.ok() ? weight->bytes() : 0);
      break;
    }
    if (part) continue;
    if (const auto tensor = model.weights->tensor(name); tensor.ok()) add(std::string(to_string(tensor->dtype())), static_cast<std::uint64_t>(tensor->size()), tensor->bytes());
  }
  for (auto& [name, kind] : kinds) info.kinds.push_back(std::move(kind));
  return info;
}

Result<LanguageQuantization> quantize_language(const LanguageModel& model, const std::string& out, const LanguageQuantizeOptions& options) {
  NARROW_TRY(language::LanguageJob job, make_job(model, options));
  if (options.on_estimate) {
    const language::LanguageEstimate found = language::estimate(job);
    options.on_estimate({found.memory, found.spilled, found.operations});
  }
  job.out = out;
  NARROW_TRY(language::LanguageResult made, language::quantize_checkpoint(job));
  LanguageQuantization result;
  result.method = job.recipe.method;
  result.format = made.format;
  result.recipe = made.recipe;
  for (language::LinearOutcome& o : made.linears) {
    result.linears.push_back({std::move(o.name), std::move(o.method), static_cast<std::uint64_t>(o.bits), o.group_size, o.error, o.rounding_error, o.fell_back, std::move(o.note)});
  }
  result.bytes_before = made.bytes_before;
  result.bytes_after = made.bytes_after;
  result.resumed_blocks = static_cast<std::uint64_t>(made.resumed_blocks);
  if (job.recipe.weights.bits_per_weight > 0) result.budget = LanguageQuantization::Budget{made.budget.wanted, made.budget.used, made.budget.expected_loss};
  for (const auto& sequence : job.sequences) result.calibration_tokens += sequence.size();
  return result;
}

Status convert_language(const LanguageModel& model, const std::string& out, const std::string& format, int threads, const Progress& progress) {
  language::ConvertJob job;
  job.model = &model.impl().checkpoint;
  job.out = out;
  job.format = format;
  job.threads = resolve_threads(threads);
  job.progress = progress;
  return language::convert_checkpoint(job);
}

Result<PerplexityFigures> measure_perplexity(const LanguageModel& model, const std::string& data, const PerplexityOptions& options) {
  NARROW_TRY(const auto tokenizer, model.impl().tokenizer(options.tokenizer));
  NARROW_TRY(const std::vector<std::int64_t> tokens, language::read_tokens(data, tokenizer.get()));
  language::PerplexityOptions own;
  own.context = static_cast<std::int64_t>(options.context);
  own.stride = static_cast<std::int64_t>(options.stride);
  own.windows = static_cast<std::int64_t>(options.windows);
  own.threads = resolve_threads(options.threads);
  own.progress = options.progress;
  const language::Checkpoint& checkpoint = model.impl().checkpoint;
  NARROW_TRY(const language::Perplexity found, language::measure_perplexity(checkpoint.spec, *checkpoint.weights, tokens, own));
  PerplexityFigures figures;
  figures.perplexity = found.perplexity;
  figures.mean_nll = found.mean_nll;
  figures.predicted = static_cast<std::uint64_t>(found.predicted);
  figures.windows = static_cast<std::uint64_t>(found.windows);
  figures.tokens = static_cast<std::uint64_t>(found.tokens);
  figures.context = static_cast<std::uint64_t>(found.context);
  figures.stride = static_cast<std::uint64_t>(found.stride);
  return figures;
}

Result<Generated> generate(const LanguageModel& model, const std::string& prompt, const GenerateOptions& options, const std::function<void(const std::string&)>& on_text) {
  NARROW_TRY(const auto tokenizer, model.impl().tokenizer(options.tokenizer));
  if (tokenizer == nullptr) return invalid_argument("there is no tokenizer beside the model").hint("Give one with --tokenizer.");
  tokenizers::EncodeOptions encode;
  encode.padding = false;
  encode.max_length = 0;
  NARROW_TRY(const tokenizers::Encoding encoded, tokenizer->encode(prompt, encode));
  const language::Checkpoint& checkpoint = model.impl().checkpoint;
  NARROW_TRY(language::Generator generator, language::Generator::create(checkpoint.spec, *checkpoint.weights, resolve_threads(options.threads)));
  language::SamplingOptions sampling;
  sampling.temperature = options.temperature;
  sampling.top_k = static_cast<std::int64_t>(options.top_k);
  sampling.top_p = options.top_p;
  sampling.min_p = options.min_p;
  sampling.repetition_penalty = options.repetition_penalty;
  sampling.seed = options.seed;

  Generated result;
  result.prompt_tokens = encoded.ids.size();
  const std::vector<std::int64_t> ends = end_tokens(model.impl());
  tokenizers::StreamDecoder decoder(*tokenizer);
  Status decoding;
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  auto first = start;
  const auto give = [&](Result<std::string> piece) {
    if (!piece.ok()) {
      decoding = std::move(piece).error();
      return false;
    }
    result.text += *piece;
    if (on_text && !piece->empty()) on_text(*piece);
    return true;
  };
  NARROW_RETURN_IF_ERROR(generator.generate(encoded.ids, static_cast<std::int64_t>(options.tokens), sampling, [&](std::int64_t token) {
    if (result.tokens == 0) first = Clock::now();
    if (std::find(ends.begin(), ends.end(), token) != ends.end()) return false;
    ++result.tokens;
    return give(decoder.push(token));
  }));
  NARROW_RETURN_IF_ERROR(std::move(decoding));
  give(decoder.finish());
  result.prompt_seconds = std::chrono::duration<double>(first - start).count();
  result.seconds = std::chrono::duration<double>(Clock::now() - first).count();
  return result;
}

}  // namespace narrow
