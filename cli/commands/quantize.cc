#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <set>

#include "../language.h"
#include "../parser.h"
#include "../progress.h"
#include "../table.h"
#include "../targets.h"
#include "narrow/bench.h"
#include "narrow/json.h"
#include "narrow/quantize.h"
#include "narrow/report.h"
#include "narrow/text.h"
#include "narrow/version.h"

namespace narrow::cli {
namespace {

// Accuracy is measured unasked when it costs no more than this, and says something.
constexpr double kFreeMultiplyAdds = 10e9;
constexpr std::uint64_t kEnoughSamples = 100;
constexpr std::size_t kWorstShown = 5;
constexpr std::size_t kHistogramsInReport = 6;
constexpr double kReportBenchSeconds = 1.0;

struct Flags {
  std::string model, output, recipe, method, target, form, observer, report, eval_data;
  TargetFlags targets;
  double percentile = 0;
  std::vector<std::string> exclude;
  std::uint64_t eval_samples = 0;
  bool per_tensor = false, symmetric = false;
  DataFlags data;
  LanguageFlags language;
  Common common;
  CLI::Option *samples_given = nullptr, *percentile_given = nullptr, *seed_given = nullptr;
};

void declare(Parser& parser, Flags& flags) {
  CLI::App& app = parser.app();
  parser.require(app.add_option("MODEL", flags.model, "The float model"), "MODEL");
  parser.require(app.add_option("-o,--output", flags.output, "The file to write"), "-o OUT");
  app.add_option("--method", flags.method, "auto: search for one that meets the targets; static, mixed, dynamic, fp16, …; see `narrow list methods` (default: what suits the model)");
  add_data(parser, flags.data, "Calibration data: image folder, .npy, .npz, text, CIFAR or MNIST binaries");
  flags.samples_given = app.add_option("--samples", flags.data.samples, "Calibrate on so many samples, spread evenly (default: all)")->check(whole_number(1));
  app.add_option("--target", flags.target, "The runtime that will run it (default: onnxruntime); see `narrow list targets`");
  app.add_option("--observer", flags.observer, "How ranges are chosen: min_max (default), moving_average, percentile, entropy, mse");
  flags.percentile_given = app.add_option("--percentile", flags.percentile, "Of values kept by observer percentile (default: 99.999)")->check(number_between(50, 100));
  app.add_flag("--per-tensor", flags.per_tensor, "One scale for each weight instead of one for each channel");
  app.add_flag("--symmetric", flags.symmetric, "Symmetric activations; language models: symmetric weights");
  app.add_option("--form", flags.form, "How it is written: qdq (default) or qoperator");
  app.add_option("--exclude", flags.exclude, "Node name pattern (*, ?) or type:Softmax to keep in float, repeated")
      ->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option("--recipe", flags.recipe, "A recipe in TOML; other options override it");
  add_target_flags(parser, flags.targets);
  app.add_option("--eval-data", flags.eval_data, "Labelled data for the verdict (default: the calibration data)");
  app.add_option("--eval-samples", flags.eval_samples, "Use so many of them, spread evenly")->check(whole_number(1));
  app.add_option("--report", flags.report, "Write an HTML report here");
  add_language_flags(parser, flags.language);
  add_common(parser, flags.common);
  flags.seed_given = app.get_option("--seed");
  parser.examples(
      "  narrow quantize model.onnx -o int8.onnx --data images --preprocess imagenet-224\n"
      "  narrow quantize model.onnx -o int8.onnx --data images --samples 200 --observer entropy --max-drop 1% --report cost.html\n"
      "  narrow quantize model.onnx -o int8.onnx --method auto --data images --max-drop 0.5% --max-size 30%\n"
      "  narrow quantize bert.onnx -o int8.onnx --method dynamic --exclude 'type:Gather'\n"
      "  narrow quantize model.onnx -o half.onnx --method fp16\n"
      "  narrow quantize model.onnx -o 4bit.onnx --method weight-only --bits 4 --group-size 32\n"
      "  narrow quantize llama-folder -o llama-4bit --method gptq --data text.txt --format gptq --symmetric");
}

QuantizeOptions make_options(const Flags& flags, const Progress& progress) {
  const auto given = [](const std::string& text) { return text.empty() ? std::nullopt : std::optional(text); };
  QuantizeOptions options;
  options.recipe_file = flags.recipe;
  options.method = given(flags.method);
  options.target = given(flags.target);
  options.form = given(flags.form);
  options.observer = given(flags.observer);
  if (flags.percentile_given->count() != 0) options.percentile = flags.percentile;
  if (flags.per_tensor) options.per_channel = false;
  if (flags.symmetric) options.symmetric = true;
  if (flags.language.bits_given->count() != 0) options.bits = flags.language.bits;
  if (flags.language.group_given->count() != 0) options.group_size = flags.language.group_size;
  options.exclude = flags.exclude;
  if (flags.samples_given->count() != 0) options.samples = flags.data.samples;
  if (flags.seed_given->count() != 0) options.seed = flags.common.seed;
  options.threads = flags.common.threads;
  if (!flags.report.empty()) options.histograms = kHistogramsInReport;
  options.progress = progress;
  return options;
}

int quantize_language(const Flags& flags) {
  LanguageQuantizeOptions options;
  options.recipe_file = flags.recipe;
  if (!flags.method.empty()) options.method = flags.method;
  if (flags.symmetric) options.symmetric = true;
  options.exclude = flags.exclude;
  options.data = flags.data.path;
  options.tokenizer = flags.data.tokenizer;
  if (flags.samples_given->count() != 0) options.samples = flags.data.samples;
  if (flags.seed_given->count() != 0) options.seed = flags.common.seed;
  options.threads = flags.common.threads;
  return quantize_language_command(flags.model, flags.output, std::move(options), flags.language, flags.common);
}

// The samples that the verdict's accuracy is measured on; nothing when that was not asked for and would take long.
Result<std::optional<Data>> evaluation_data(const Flags& flags, const Model& model, const std::optional<Data>& data,
                                            const ModelInfo& info) {
  const bool asked = !flags.eval_data.empty() || flags.eval_samples != 0 || !flags.targets.max_drop.empty();
  if (!flags.eval_data.empty()) {
    NARROW_TRY(Data chosen, Data::open(flags.eval_data, model, {flags.data.preprocess, flags.data.labels, flags.eval_samples, flags.data.tokenizer}));
    return std::optional(std::move(chosen));
  }
  if (!data || (!data->labelled() && !asked)) return std::optional<Data>();
  if (asked) return std::optional(flags.eval_samples != 0 ? data->take(flags.eval_samples) : *data);
  const double affordable = kFreeMultiplyAdds / std::max(1.0, static_cast<double>(info.multiply_adds));
  const auto count = static_cast<std::uint64_t>(std::min(affordable, static_cast<double>(data->size())));
  if (count < std::min(kEnoughSamples, data->size())) return std::optional<Data>();
  return std::optional(data->take(count));
}

void print_layers(const Quantization& q) {
  std::map<std::string, std::uint64_t> decisions;
  std::map<std::pair<std::string, std::string>, std::uint64_t> reasons;
  for (const LayerOutcome& layer : q.layers) {
    ++decisions[layer.decision];
    if (layer.decision == "float") ++reasons[{layer.op_type, layer.reason}];
  }
  std::string line;
  for (const auto& [decision, count] : decisions) line += fmt::format("{}{} {}", line.empty() ? "" : ", ", count, decision);
  print(fmt::format("layers    {}\n", line));
  if (!reasons.empty()) {
    Table table({"stays float", ">nodes", "why"});
    for (const auto& [key, count] : reasons) table.add({key.first, std::to_string(count), key.second});
    print(table.render());
  }
  if (q.distortion.empty()) return;
  std::vector<const LayerDistortion*> worst;
  for (const LayerDistortion& d : q.distortion) worst.push_back(&d);
  std::stable_sort(worst.begin(), worst.end(), [](const auto* a, const auto* b) { return a->sqnr_db < b->sqnr_db; });
  worst.resize(std::min(worst.size(), kWorstShown));
  Table table({"worst layers", "operator", ">SQNR", ">cosine", ">max error"});
  for (const LayerDistortion* d : worst) {
    table.add({d->layer, d->op_type, fmt::format("{:.1f} dB", d->sqnr_db), fmt::format("{:.5f}", d->cosine), fmt::format("{:.3g}", d->max_error)});
  }
  print(fmt::format("distortion over {}\n{}", escape_controls(q.distortion_note), table.render()));
}

std::string ratio_text(std::uint64_t before, std::uint64_t after) {
  if (before == 0 || after == 0) return "";
  const double percent = 100.0 * static_cast<double>(after) / static_cast<double>(before);
  if (after >= before) return fmt::format("not smaller, {:.1f} % of the float model", percent);
  return fmt::format("{:.2f}× smaller, {:.1f} % of the float model", 100.0 / percent, percent);
}

void print_summary(const Flags& flags, const Quantization& q, const Verdict& verdict, const ModelInfo& before,
                   const ModelInfo& after, double seconds) {
  print(fmt::format("written   {} in {:.2f} s\n", escape_controls(flags.output), seconds));
  print(fmt::format("method    {} for {}{}{}\n", q.method, q.target, q.form == "qdq" ? "" : ", form " + q.form,
                    q.method_reason.empty() ? "" : fmt::format(" (chosen: {})", q.method_reason)));
  if (q.calibration_samples != 0) {
    print(fmt::format("data      {} calibrated on, observer {}\n", plural(q.calibration_samples, "sample"), q.observer));
  }
  print(fmt::format("size      {} → {}: {}\n", human_bytes(before.size_bytes), human_bytes(after.size_bytes),
                    ratio_text(before.size_bytes, after.size_bytes)));
  print(attempts_text(q.trail));
  print_layers(q);
  print(fmt::format("verdict   {}{}\n", verdict.met ? "" : "Missed. ", escape_controls(verdict.summary)));
}

std::vector<std::string> next_steps(const Flags& flags, const Quantization& q, const Verdict& verdict, bool labelled) {
  std::vector<std::string> steps;
  if (!verdict.met) {
    if (!q.distortion.empty()) {
      const auto worst = std::min_element(q.distortion.begin(), q.distortion.end(),
                                          [](const auto& a, const auto& b) { return a.sqnr_db < b.sqnr_db; });
      steps.push_back(fmt::format("keep the worst layer in float: --exclude '{}'", worst->layer));
    }
    if (q.method == "static" && q.observer != "mse") steps.push_back("choose other ranges: --observer mse or --observer percentile");
    if (q.method == "static" && flags.per_tensor) steps.push_back("leave out --per-tensor");
  }
  if (!verdict.measured && labelled) steps.push_back("check the accuracy: add --max-drop 2%, or run narrow evaluate");
  if (flags.report.empty()) {
    steps.push_back(fmt::format("measure speed: narrow compare {} {}{}", flags.model, flags.output,
                                flags.data.path.empty() ? "" : " --data " + flags.data.path) +
                    (flags.data.preprocess.empty() ? "" : " --preprocess " + flags.data.preprocess) +
                    (flags.data.tokenizer.empty() ? "" : " --tokenizer " + flags.data.tokenizer));
  }
  return steps;
}

Status report_to(const Flags& flags, Bench& bench, const Quantization& q, const Verdict& verdict, const ModelInfo& before,
                 const ModelInfo& after, const std::optional<Data>& data, const Progress& progress) {
  Report report;
  const auto file_name = [](const std::string& path) { return std::filesystem::path(path).filename().string(); };
  report.title = fmt::format("{} → {}", file_name(flags.model), file_name(flags.output));
  report.verdict = verdict;
  report.models = {{"float", before, verdict.reference, {}}, {q.method, after, verdict.quantized, {}}};
  if (!verdict.quantized) report.models[1].metrics = q.outputs;
  BenchOptions options;
  options.seconds = kReportBenchSeconds;
  options.seed = flags.common.seed;
  options.data = flags.data.path;
  options.preprocess = flags.data.preprocess;
  options.tokenizer = flags.data.tokenizer;
  options.progress = progress;
  report.warnings = q.warnings;
  if (auto measured = bench.run({flags.model, flags.output}, options); measured.ok()) {
    report.models[0].bench = (*measured)[0];
    report.models[1].bench = (*measured)[1];
    if ((*measured)[1].latency_ms_p50 > (*measured)[0].latency_ms_p50) {
      report.warnings.push_back("the quantized model is slower than the float model in narrow's own runtime");
    }
  } else {
    report.warnings.push_back("speed was not measured: " + measured.error().message());
  }
  report.layers = {{q.method, q.distortion}};
  report.histograms = q.histograms;
  report.outcomes = q.layers;
  report.trail = q.trail;
  report.recipe = q.recipe;
  report.facts = {{"Method", q.method + (q.method_reason.empty() ? "" : ": " + q.method_reason)},
                  {"Target", q.target},
                  {"Data", data ? data->describe() : "none"},
                  {"Calibration", q.calibration_samples == 0 ? "none" : fmt::format("{}, observer {}", plural(q.calibration_samples, "sample"), q.observer)},
                  {"Distortion", q.distortion_note},
                  {"Speed", "one thread, each model in a process of its own, in turns"},
                  {"Machine", environment()},
                  {"narrow", version()}};
  return write_report(report, flags.report);
}

// By the recipe, or by a search for what meets the targets: then `verdict` is its.
Result<Quantization> make(const Flags& flags, bool searching, const Model& model, const std::optional<Data>& data, Bench* bench, const ModelInfo& before,
                          std::optional<Verdict>& verdict, const Progress& progress) {
  const QuantizeOptions options = make_options(flags, progress);
  if (!searching) return quantize(model, data ? &*data : nullptr, options);
  BenchOptions bench_options;
  bench_options.seconds = kReportBenchSeconds;
  bench_options.data = flags.data.path;
  bench_options.preprocess = flags.data.preprocess;
  bench_options.tokenizer = flags.data.tokenizer;
  auto target = make_target_options(flags.targets, before.size_bytes, bench, bench_options);
  if (!target.ok()) return std::move(target).error();
  std::optional<Data> evaluation;
  if (!flags.eval_data.empty()) {
    auto opened = Data::open(flags.eval_data, model, {flags.data.preprocess, flags.data.labels, flags.eval_samples, flags.data.tokenizer});
    if (!opened.ok()) return std::move(opened).error();
    evaluation = *std::move(opened);
  }
  auto found = quantize_to_target(model, data ? &*data : nullptr, evaluation ? &*evaluation : nullptr, options, *target);
  if (!found.ok()) return std::move(found).error();
  verdict = std::move(found->verdict);
  return std::move(found->quantization);
}

}  // namespace

int quantize_command(const Arguments& arguments) {
  Parser parser("quantize", "Makes a smaller, faster model, says what became of every layer, and proves what it cost.");
  Flags flags;
  declare(parser, flags);
  if (const auto code = parser.parse(arguments)) return *code;
  // An encoder is a model like others too: static or dynamic INT8 make an ONNX file of it.
  const bool as_graph = (flags.method == "static" || flags.method == "dynamic") && LanguageModel::is_encoder(flags.model);
  if (LanguageModel::recognises(flags.model) && !as_graph) return quantize_language(flags);
  const auto start = std::chrono::steady_clock::now();

  JudgeOptions judge_options;
  if (!flags.targets.max_drop.empty()) {
    const auto percent = parse_percent(flags.targets.max_drop);
    if (!percent.ok()) return fail(percent.error());
    judge_options.max_drop = *percent;
  }
  const bool searching = flags.method == "auto" || (flags.method.empty() && has_limits(flags.targets));
  std::optional<Bench> bench;
  if (!flags.report.empty() || flags.targets.latency_given->count() != 0) {
    auto started = Bench::start();
    if (!started.ok()) return fail(started.error());
    bench = *std::move(started);
  }
  ProgressLine progress(flags.common.quiet);

  const auto model = Model::load(flags.model);
  if (!model.ok()) return fail(model.error());
  if (Status free = check_places(*model, flags.output, flags.report); !free.ok()) return fail(free.error());
  std::optional<Data> data;
  if (!flags.data.path.empty()) {
    auto opened = Data::open(flags.data.path, *model, {flags.data.preprocess, flags.data.labels, 0, flags.data.tokenizer});
    if (!opened.ok()) return fail(opened.error());
    data = *std::move(opened);
  }
  const ModelInfo before = model->info();
  const auto eval_data = evaluation_data(flags, *model, data, before);
  if (!eval_data.ok()) return fail(eval_data.error());
  std::optional<Verdict> searched;
  auto quantization = make(flags, searching, *model, data, bench ? &*bench : nullptr, before, searched, progress.callback());
  if (!quantization.ok()) return fail(quantization.error());
  if (Status saved = quantization->model.save(flags.output); !saved.ok()) return fail(saved.error());
  if (Status same = verify_written(flags.output, quantization->model, data ? &*data : nullptr, 1); !same.ok()) return fail(same.error());

  auto written = Model::load(flags.output);
  if (!written.ok()) return fail(written.error());
  const ModelInfo after = written->info();
  judge_options.same_data_as_calibration = flags.eval_data.empty() && quantization->calibration_samples != 0;
  judge_options.evaluate = {flags.common.threads, progress.callback()};
  const auto verdict = searched ? Result<Verdict>(*searched) : judge(*model, *quantization, *eval_data ? &**eval_data : nullptr, judge_options);
  if (!verdict.ok()) return fail(verdict.error());
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();

  if (bench) {
    Status reported = report_to(flags, *bench, *quantization, *verdict, before, after, data, progress.callback());
    if (!reported.ok()) return fail(reported.error());
  }
  progress.finish();
  if (flags.common.json) {
    print(to_json(*quantization, *verdict, before, after));
  } else {
    print_summary(flags, *quantization, *verdict, before, after, seconds);
    if (!flags.report.empty()) print(fmt::format("report    {}\n", escape_controls(flags.report)));
  }
  if (!flags.common.json && !flags.common.quiet) {
    for (const std::string& warning : quantization->warnings) print(fmt::format("warning   {}\n", escape_controls(warning)));
    for (const std::string& step : next_steps(flags, *quantization, *verdict, data && data->labelled())) {
      print(fmt::format("next      {}\n", escape_controls(step)));
    }
  }
  if (!verdict->met) {
    std::fprintf(stderr, "narrow: a quality target was missed: %s (the output was written)\n", escape_controls(verdict->summary).c_str());
    return kTargetMissed;
  }
  return kOk;
}

}  // namespace narrow::cli
