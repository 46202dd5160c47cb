#include "language/quantize/pipeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <optional>
#include <string_view>

#include "base/atomic_file.h"
#include "base/text_file.h"
#include "language/exports/exports.h"
#include "language/quantize/journal.h"
#include "language/quantize/quantized_weights.h"

namespace narrow::language {
namespace {

namespace fs = std::filesystem;

std::uint64_t size_of(const std::string& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return fs::exists(path, error) ? fs::file_size(path, error) : 0;
  std::uint64_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(path, error)) {
    if (entry.is_regular_file(error) && entry.path().extension() == ".safetensors") bytes += entry.file_size(error);
  }
  return bytes;
}

constexpr const char* kBlocks = "blocks";

bool needs_data(const quantizers::Recipe& recipe) {
  const auto wants = [](const std::string& name) {
    const auto method = find_language_method(name);
    return method.ok() && (*method)->needs_data;
  };
  return recipe.weights.smooth || recipe.weights.activations == "static" || wants(recipe.method) || std::any_of(recipe.rules.begin(), recipe.rules.end(), [&](const quantizers::Rule& rule) { return rule.method && wants(*rule.method); });
}

// FNV-1a: tells calibration data apart, no more.
class Fingerprint {
 public:
  void add(std::uint64_t value) { hash_ = (hash_ ^ value) * 0x100000001b3u; }
  std::uint64_t value() const { return hash_; }

 private:
  std::uint64_t hash_ = 0xcbf29ce484222325u;
};

std::uint64_t fingerprint(const std::vector<std::vector<std::int64_t>>& sequences) {
  Fingerprint found;
  for (const auto& sequence : sequences) {
    for (const std::int64_t token : sequence) found.add(static_cast<std::uint64_t>(token));
  }
  return found.value();
}

std::uint64_t fingerprint(std::string_view text) {
  Fingerprint found;
  for (const char c : text) found.add(static_cast<unsigned char>(c));
  return found.value();
}

// Everything that a block's result depends on.
std::string describe_job(const LanguageJob& job, const quantizers::Recipe& recipe) {
  std::string text = fmt::format("# narrow: the run that these blocks belong to\n# model {}\n", job.model->path);
  std::error_code error;
  for (const std::string& file : job.model->files) {
    text += fmt::format("# file {} {} {}\n", file, fs::file_size(file, error), fs::last_write_time(file, error).time_since_epoch().count());
  }
  text += fmt::format("# calibration {} sequences {:016x}\n", job.sequences.size(), fingerprint(job.sequences));
  return text + quantizers::to_toml(recipe);
}

// What was measured for a budget is kept beside the blocks, so that a resumed run need not measure again.
class SavedBudget {
 public:
  SavedBudget(const std::string& folder, const std::string& job) : path_((fs::path(folder) / "budget.toml").string()), head_(fmt::format("# job {:016x}", fingerprint(job))) {}

  // Nothing when there is none of this job.
  std::optional<quantizers::Recipe> read(Budget& budget) const {
    const auto text = base::read_text_file(path_);
    if (!text.ok() || !text->starts_with(head_ + "\n")) return std::nullopt;
    if (std::sscanf(text->c_str() + head_.size(), "\n# wanted %lf used %lf loss %lf\n", &budget.wanted, &budget.used, &budget.expected_loss) != 3) return std::nullopt;
    auto recipe = quantizers::parse_recipe(*text, path_);
    return recipe.ok() ? std::optional(*std::move(recipe)) : std::nullopt;
  }
  Status write(const quantizers::Recipe& recipe, const Budget& budget) const {
    return base::write_file(path_, fmt::format("{}\n# wanted {:.17g} used {:.17g} loss {:.17g}\n{}", head_, budget.wanted, budget.used, budget.expected_loss, quantizers::to_toml(recipe)));
  }

 private:
  std::string path_, head_;
};

std::string default_format(const quantizers::Recipe& recipe) {
  if (recipe.method == "nf4" || recipe.method == "fp4") return "bitsandbytes";
  if (recipe.method == "llm-int8") return "bitsandbytes-int8";
  return "compressed-tensors";
}

Status check_job(const LanguageJob& job, const quantizers::Recipe& recipe, const ExportFormat& format) {
  std::vector<std::pair<std::string, MatrixForm>> forms;
  for (const std::string& name : all_linears(job.model->spec)) {
    NARROW_TRY(const MatrixForm stored, job.model->weights->form(name));
    if (stored.quantized()) {
      return invalid_argument(fmt::format("the model is quantized already: '{}'", name)).hint("Quantize the float model it was made from, or turn it into floats first: narrow convert --format float.");
    }
    NARROW_TRY(MatrixForm form, planned_form(name, stored, recipe));
    forms.emplace_back(name, form);
  }
  return check_forms(format, forms);
}

// All blocks into the journal. Those that are there already are only run, which gives the next one the same inputs.
Status fill_journal(const LanguageJob& job, const quantizers::Recipe& recipe, const Journal& journal, base::ThreadPool& pool, const std::string& spill_folder, LanguageResult& result) {
  const Spec& spec = job.model->spec;
  BlockQuantizer quantizer(spec, recipe, pool);
  NARROW_TRY(HiddenStates states, embed_sequences(spec, *job.model->weights, job.sequences, pool.threads(), spill_folder));
  NARROW_TRY(HiddenStates float_states, states.copy());
  for (std::int64_t layer = 0; layer < spec.layers; ++layer) {
    if (job.progress) job.progress("quantizing blocks", static_cast<std::size_t>(layer), static_cast<std::size_t>(spec.layers));
    BlockResult block;
    if (journal.has(layer)) {
      NARROW_TRY(block, journal.read(layer));
      ++result.resumed_blocks;
      OverlayWeights made(job.model->weights);
      for (auto& [name, weight] : block.matrices) made.set_matrix(name, weight);
      for (auto& [name, tensor] : block.tensors) made.set_tensor(name, tensor);
      NARROW_RETURN_IF_ERROR(advance(spec, layer, *job.model->weights, float_states, pool.threads()));
      NARROW_RETURN_IF_ERROR(advance(spec, layer, made, states, pool.threads()));
    } else {
      NARROW_TRY(block, quantizer.quantize(layer, job.model->weights, float_states, states));
      NARROW_RETURN_IF_ERROR(journal.write(layer, block));
    }
    for (LinearOutcome& outcome : block.linears) result.linears.push_back(std::move(outcome));
    job.model->weights->release(layer_name(spec.names.o.substr(0, spec.names.o.find("{}") + 3), layer));
  }
  if (job.progress) job.progress("quantizing blocks", static_cast<std::size_t>(spec.layers), static_cast<std::size_t>(spec.layers));
  return {};
}

// The mean square of what each Linear reads in the float model.
Result<std::map<std::string, std::vector<float>>> measure_importance(const LanguageJob& job, base::ThreadPool& pool, const std::string& spill_folder) {
  const Spec& spec = job.model->spec;
  std::map<std::string, std::vector<float>> importance;
  NARROW_TRY(HiddenStates states, embed_sequences(spec, *job.model->weights, job.sequences, pool.threads(), spill_folder));
  for (std::int64_t layer = 0; layer < spec.layers; ++layer) {
    if (job.progress) job.progress("measuring inputs", static_cast<std::size_t>(layer), static_cast<std::size_t>(spec.layers));
    BlockPass pass(spec, layer, states, pool.threads());
    for (const LinearLevel& level : linears_of(spec, layer)) {
      for (const LinearGroup& group : level) {
        NARROW_RETURN_IF_ERROR(pass.reach(*job.model->weights, {group.front()}));
        std::vector<double> sums;
        std::int64_t tokens = 0;
        const std::vector<Tensor>& chunks = pass.inputs(group.front());
        for (std::size_t chunk = 0; chunk < chunks.size(); ++chunk) {
          const Tensor& inputs = chunks[chunk];
          const auto width = static_cast<std::size_t>(inputs.shape().back());
          sums.resize(width);
          tokens += inputs.size() / static_cast<std::int64_t>(width);
          const std::span<const float> x = inputs.data<float>();
          for (std::size_t i = 0; i < x.size(); ++i) sums[i % width] += static_cast<double>(x[i]) * x[i];
          pass.rest(static_cast<std::int64_t>(chunk));
        }
        if (tokens == 0) continue;
        std::vector<float> means;
        for (const double sum : sums) means.push_back(static_cast<float>(sum / static_cast<double>(tokens)));
        for (const std::string& name : group) importance[name] = means;
      }
    }
    NARROW_RETURN_IF_ERROR(pass.finish(*job.model->weights, states));
  }
  return importance;
}

// What the format writes goes to a path beside, which takes the final name when it is whole.
Status write_out(const ExportFormat& format, const std::string& out, ExportRequest request) {
  request.path = out;
  if (!format.extension.empty()) return format.write(request);  // a file: written all or nothing
  request.path = out + ".writing";
  std::error_code error;
  fs::remove_all(request.path, error);
  fs::create_directories(request.path, error);
  if (error) return io_error(fmt::format("cannot create the folder '{}': {}", request.path, error.message()));
  Status written = format.write(request);
  if (!written.ok()) {
    fs::remove_all(request.path, error);
    return written;
  }
  fs::remove(out, error);  // an empty folder
  fs::rename(request.path, out, error);
  if (error) return io_error(fmt::format("cannot rename '{}' to '{}': {}", request.path, out, error.message()));
  return {};
}

Status check_output(const std::string& out, const ExportFormat& format) {
  std::error_code error;
  if (out.empty()) return invalid_argument("no output is named").hint("Give one with -o.");
  if (format.extension.empty() && fs::exists(out, error) && !(fs::is_directory(out, error) && fs::is_empty(out, error))) {
    return invalid_argument(fmt::format("'{}' exists already", out)).hint("Name a folder that does not exist, or an empty one.");
  }
  if (!format.extension.empty() && !out.ends_with(format.extension)) {
    return invalid_argument(fmt::format("'{}' should end in {} for the format {}", out, format.extension, format.name));
  }
  const fs::path parent = fs::absolute(out, error).parent_path();
  if (!fs::is_directory(parent, error)) return not_found(fmt::format("the folder '{}' does not exist", parent.string())).hint("Create it first.");
  return {};
}

}  // namespace

constexpr double kTokensAtWork = 1024;  // of spilled ones, in memory at a time

LanguageEstimate estimate(const LanguageJob& job) {
  const Spec& spec = job.model->spec;
  LanguageEstimate found;
  std::uint64_t weights = 0, largest = 0, hessians = 0;
  double per_token = 0, solving = 0, kept = static_cast<double>(spec.hidden);  // numbers a token that stay while a block is worked on
  for (const LinearLevel& level : spec.known ? linears_of(spec, 0) : std::vector<LinearLevel>{{spec.by_name}}) {
    for (const LinearGroup& group : level) {
      for (const std::string& name : group) {
        const auto form = job.model->weights->form(name);
        if (!form.ok()) continue;
        const auto n = static_cast<double>(form->rows), k = static_cast<double>(form->columns);
        weights += static_cast<std::uint64_t>(n * k);
        largest = std::max(largest, static_cast<std::uint64_t>(n * k));
        hessians = std::max(hessians, static_cast<std::uint64_t>(k * k));
        per_token += 2 * n * k;
        solving += 2 * n * k * k;
        if (name == group.front()) {
          per_token += k * k;
          kept += k;
        }
      }
    }
  }
  const double tokens = job.sequences.empty() ? 0 : static_cast<double>(job.sequences.size() * job.sequences.front().size());
  const auto layers = static_cast<double>(spec.layers);
  if (tokens == 0 || !spec.known) {
    found.memory = (std::uint64_t{64} << 20) + largest * 6 * static_cast<std::uint64_t>(job.threads);
    found.operations = layers * static_cast<double>(weights) * 20;
    return found;
  }
  // In the float model and in the quantized one; and the hidden numbers of both, and of the next block.
  found.memory = (std::uint64_t{96} << 20) + weights * 4 + hessians * 12 + largest * 16;
  if (job.recipe.weights.bits_per_weight > 0) found.memory += static_cast<std::uint64_t>(kTokensAtWork * 12 + 4 * static_cast<double>(spec.hidden)) * static_cast<std::uint64_t>(spec.vocabulary);  // predictions, and what makes them
  const auto of_tokens = [&](double count) { return static_cast<std::uint64_t>(count * (8 * kept + 12 * static_cast<double>(spec.hidden))); };
  if (job.max_memory != 0 && found.memory + of_tokens(tokens) > job.max_memory) {
    found.spilled = of_tokens(tokens);
    found.memory += 2 * of_tokens(std::min(tokens, std::max(kTokensAtWork, static_cast<double>(job.sequences.front().size()))));
  } else {
    found.memory += of_tokens(tokens);
  }
  found.operations = layers * (4 * tokens * per_token + solving);
  return found;
}

Result<LanguageResult> quantize_checkpoint(const LanguageJob& job) {
  LanguageResult result;
  quantizers::Recipe recipe = job.recipe;
  NARROW_RETURN_IF_ERROR(check_recipe(recipe));
  result.format = job.format.empty() ? default_format(recipe) : job.format;
  NARROW_TRY(const ExportFormat* format, find_export_format(result.format));
  const bool blocks = recipe.method == kBlocks;
  if (blocks && !format->chooses_codes) return invalid_argument(fmt::format("method '{}' is for formats that choose codes themselves, and {} does not", kBlocks, format->name)).hint("Use --format gguf-q4_k_m, or another method.");
  NARROW_RETURN_IF_ERROR(check_output(job.out, *format));
  if (recipe.weights.scale_type == "auto") {
    const encodings::ScaleType type = format->scale_type(*job.model);
    recipe.weights.scale_type = type == encodings::ScaleType::kF32 ? "f32" : type == encodings::ScaleType::kBF16 ? "bf16" : "f16";
  }
  if (blocks) recipe.rules.push_back({.quantize = false});  // the weights reach the format as floats
  base::ThreadPool pool(std::max(1, job.threads));
  const std::string folder = job.out + ".partial";
  std::string spill_folder;
  if (job.max_memory != 0) {
    const LanguageEstimate needed = estimate(job);
    if (needed.memory > job.max_memory) {
      return resource_exhausted(fmt::format("this needs up to {} bytes of memory{}, more than the {} that are allowed", needed.memory, needed.spilled != 0 ? " with all calibration tokens spilled" : "", job.max_memory))
          .hint("Raise --max-memory; with method rounding, or fewer --threads, less is needed.");
    }
    if (needed.spilled != 0) {
      std::error_code error;
      spill_folder = fs::absolute(job.out, error).parent_path().string();
    }
  }
  const SavedBudget saved(folder, describe_job(job, recipe));
  const bool budgeted = recipe.weights.bits_per_weight > 0;
  if (budgeted) {
    std::optional<quantizers::Recipe> settled;
    if (job.resume) settled = saved.read(result.budget);
    if (settled) {
      recipe = *std::move(settled);
    } else {
      NARROW_TRY(recipe, within_budget(*job.model, recipe, *format, job.sequences, pool, job.progress, result.budget, spill_folder));
    }
  }
  NARROW_RETURN_IF_ERROR(check_job(job, recipe, *format));
  result.recipe = quantizers::to_toml(recipe);
  result.bytes_before = 0;
  for (const std::string& file : job.model->files) result.bytes_before += size_of(file);

  ExportRequest request;
  request.model = job.model;
  request.recipe = result.recipe;
  request.pool = &pool;
  request.progress = job.progress;
  if (!needs_data(recipe)) {
    std::map<std::string, std::vector<float>> importance;
    if (blocks && !job.sequences.empty()) {
      NARROW_TRY(importance, measure_importance(job, pool, spill_folder));
      request.importance = [&](const std::string& module) {
        const auto found = importance.find(module);
        return found == importance.end() ? std::vector<float>() : found->second;
      };
    }
    const LazyWeights weights(job.model->weights, job.model->spec, recipe);
    request.weights = &weights;
    NARROW_RETURN_IF_ERROR(write_out(*format, job.out, request));
    if (!blocks) result.linears = weights.outcomes();
  } else {
    if (job.sequences.empty()) return invalid_argument(fmt::format("method '{}' needs calibration text", recipe.method)).hint("Give some with --data, or use a method that needs none: rounding, hqq, nf4.");
    NARROW_TRY(const Journal journal, Journal::open(folder, describe_job(job, recipe), job.resume));
    if (budgeted) NARROW_RETURN_IF_ERROR(saved.write(recipe, result.budget));
    NARROW_RETURN_IF_ERROR(fill_journal(job, recipe, journal, pool, spill_folder, result));
    const JournalWeights weights(job.model->weights, job.model->spec, journal);
    request.weights = &weights;
    NARROW_RETURN_IF_ERROR(write_out(*format, job.out, request));
    journal.remove();
  }
  result.bytes_after = size_of(job.out);
  return result;
}

Status convert_checkpoint(const ConvertJob& job) {
  NARROW_TRY(const ExportFormat* format, find_export_format(job.format));
  NARROW_RETURN_IF_ERROR(check_output(job.out, *format));
  std::vector<std::pair<std::string, MatrixForm>> forms;
  for (const std::string& name : all_linears(job.model->spec)) {
    NARROW_TRY(MatrixForm form, job.model->weights->form(name));
    forms.emplace_back(name, form);
  }
  NARROW_RETURN_IF_ERROR(check_forms(*format, forms));
  base::ThreadPool pool(std::max(1, job.threads));
  ExportRequest request;
  request.model = job.model;
  request.weights = job.model->weights.get();
  request.pool = &pool;
  request.progress = job.progress;
  return write_out(*format, job.out, request);
}

}  // namespace narrow::language
