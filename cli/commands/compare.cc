#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "../parser.h"
#include "../progress.h"
#include "../table.h"
#include "narrow/bench.h"
#include "narrow/evaluate.h"
#include "narrow/json.h"
#include "narrow/report.h"
#include "narrow/text.h"
#include "narrow/version.h"

namespace narrow::cli {
namespace {

constexpr std::uint64_t kDistortionSamples = 8;
constexpr std::size_t kWorstShown = 5;
constexpr std::size_t kHistogramsInReport = 6;

std::string percent_text(const std::optional<double>& value) { return value ? fmt::format("{:.2f} %", *value) : "–"; }

void print_models(const Report& report) {
  const ReportModel& first = report.models.front();
  Table table({"model", ">size", ">of float", ">median", ">p95", ">speed", ">top-1", ">top-5", ">Spearman", ">agreement", ">SQNR",
               ">peak memory", ">energy/run"});
  for (const ReportModel& model : report.models) {
    const Metrics metrics = model.metrics.value_or(Metrics{});
    std::vector<std::string> row = {
        model.name, human_bytes(model.info.size_bytes),
        fmt::format("{:.1f} %", 100.0 * static_cast<double>(model.info.size_bytes) / static_cast<double>(std::max<std::uint64_t>(first.info.size_bytes, 1)))};
    if (model.bench && first.bench) {
      row.push_back(fmt::format("{:.3f} ms", model.bench->latency_ms_p50));
      row.push_back(fmt::format("{:.3f} ms", model.bench->latency_ms_p95));
      row.push_back(fmt::format("{:.2f}×", first.bench->latency_ms_p50 / model.bench->latency_ms_p50));
    } else {
      row.insert(row.end(), {"–", "–", "–"});
    }
    row.push_back(percent_text(metrics.top1));
    row.push_back(percent_text(metrics.top5));
    row.push_back(metrics.spearman ? fmt::format("{:.2f}", *metrics.spearman) : "–");
    row.push_back(percent_text(metrics.agreement));
    row.push_back(metrics.sqnr_db ? fmt::format("{:.1f} dB", *metrics.sqnr_db) : "–");
    row.push_back(model.bench ? human_bytes(model.bench->peak_memory_bytes) : "–");
    row.push_back(model.bench ? energy_text(*model.bench) : "–");
    table.add(std::move(row));
  }
  print(table.render());
}

void print_worst(const ReportLayers& layers) {
  std::vector<const LayerDistortion*> worst;
  for (const LayerDistortion& d : layers.distortion) worst.push_back(&d);
  std::stable_sort(worst.begin(), worst.end(), [](const auto* a, const auto* b) { return a->sqnr_db < b->sqnr_db; });
  worst.resize(std::min(worst.size(), kWorstShown));
  if (worst.empty()) return;
  Table table({"worst layers", "operator", ">SQNR", ">cosine", ">max error"});
  for (const LayerDistortion* d : worst) {
    table.add({d->layer, d->op_type, fmt::format("{:.1f} dB", d->sqnr_db), fmt::format("{:.5f}", d->cosine), fmt::format("{:.3g}", d->max_error)});
  }
  print(fmt::format("\n{}, {} compared\n{}", escape_controls(layers.name), plural(layers.distortion.size(), "value"), table.render()));
}

// What a reader should not miss.
std::vector<std::string> find_warnings(const Report& report) {
  std::vector<std::string> warnings;
  const ReportModel& first = report.models.front();
  for (const ReportModel& model : report.models) {
    if (model.metrics && model.metrics->non_finite != 0) {
      warnings.push_back(fmt::format("{}: {} in the outputs", model.name, plural(model.metrics->non_finite, "NaN or infinite value")));
    }
    if (&model == &first) continue;
    if (model.bench && first.bench && model.bench->latency_ms_p50 > first.bench->latency_ms_p50 * 0.97) {
      warnings.push_back(fmt::format("{}: no faster than {} in narrow's own runtime", model.name, first.name));
    }
    if (model.info.size_bytes >= first.info.size_bytes) warnings.push_back(fmt::format("{}: no smaller than {}", model.name, first.name));
  }
  return warnings;
}

// File names, made distinct by their folders where needed.
std::vector<std::string> display_names(const std::vector<std::string>& paths) {
  std::vector<std::string> names;
  for (const std::string& path : paths) names.push_back(std::filesystem::path(path).filename().string());
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (std::count(names.begin(), names.end(), names[i]) > 1) return paths;
  }
  return names;
}

}  // namespace

int compare_command(const Arguments& arguments) {
  Parser parser("compare", "Sets models side by side: size, latency, accuracy or agreement, memory, energy, and layer by layer.");
  std::vector<std::string> paths;
  std::string report_path;
  DataFlags data_flags;
  Common common;
  BenchOptions bench_options;
  bench_options.seconds = 1.0;
  parser.require(parser.app().add_option("FLOAT QUANTIZED", paths, "The float model, then the models to compare with it"), "FLOAT");
  add_data(parser, data_flags, "Data for accuracy and distortion (default: random inputs, no accuracy)");
  parser.app().add_option("--samples", data_flags.samples, "Use so many samples, spread evenly (default: all)")->check(whole_number(1));
  parser.app().add_option("--report", report_path, "Write an HTML report here");
  parser.app().add_option("--seconds", bench_options.seconds, "Time measured per model (default: 1)")->check(number_between(0.01, 3600));
  add_common(parser, common);
  parser.examples("  narrow compare float.onnx int8.onnx --data test.npz --report cost.html");
  if (const auto code = parser.parse(arguments)) return *code;
  if (paths.size() < 2) return fail(invalid_argument("QUANTIZED is missing: compare needs at least two models"));

  auto bench = Bench::start();
  if (!bench.ok()) return fail(bench.error());
  ProgressLine progress(common.quiet);
  std::vector<Model> models;
  for (const std::string& path : paths) {
    auto model = Model::load(path);
    if (!model.ok()) return fail(model.error());
    models.push_back(*std::move(model));
  }
  for (const Model& model : models) {
    if (Status free = check_places(model, "", report_path); !free.ok()) return fail(free.error());
  }
  auto data = data_flags.path.empty()
                  ? Data::synthetic(models.front(), kDistortionSamples, common.seed)
                  : Data::open(data_flags.path, models.front(), {data_flags.preprocess, data_flags.labels, data_flags.samples, data_flags.tokenizer});
  if (!data.ok()) return fail(data.error());

  Report report;
  report.title = "Comparison of models";
  bench_options.threads = common.threads == 0 ? 1 : common.threads;
  bench_options.seed = common.seed;
  bench_options.data = data_flags.path;
  bench_options.preprocess = data_flags.preprocess;
  bench_options.tokenizer = data_flags.tokenizer;
  bench_options.explain = !report_path.empty();
  bench_options.progress = progress.callback();
  const auto measured = bench->run(paths, bench_options);
  if (!measured.ok()) return fail(measured.error());
  const EvaluateOptions evaluate_options{common.threads, progress.callback()};
  const auto metrics = evaluate(models, *data, evaluate_options);
  if (!metrics.ok()) return fail(metrics.error());
  const std::vector<std::string> names = display_names(paths);
  for (std::size_t i = 0; i < models.size(); ++i) {
    report.models.push_back({names[i], models[i].info(), (*metrics)[i], (*measured)[i]});
    if (i == 0) continue;
    auto layers = layer_distortion(models.front(), models[i], data->take(kDistortionSamples), report_path.empty() ? 0 : kHistogramsInReport, evaluate_options);
    if (!layers.ok()) return fail(layers.error());
    report.layers.push_back({names[i], std::move(layers->layers)});
    if (i == 1) report.histograms = std::move(layers->histograms);
  }
  progress.finish();
  report.warnings = find_warnings(report);
  report.facts = {{"Data", data_flags.path.empty() ? fmt::format("{} random inputs", kDistortionSamples) : data->describe()},
                  {"Speed", fmt::format("{}, each model in a process of its own, in turns", plural(static_cast<std::uint64_t>(bench_options.threads), "thread"))},
                  {"Machine", environment()},
                  {"narrow", version()}};
  for (const ReportModel& model : report.models) {
    if (!model.info.recipe.empty() && report.recipe.empty()) report.recipe = model.info.recipe;
  }
  if (!report_path.empty()) {
    if (Status written = write_report(report, report_path); !written.ok()) return fail(written.error());
  }
  if (common.json) {
    print(to_json(report));
    return kOk;
  }
  if (!common.quiet) print(fmt::format("{}\n{}, {}\n", escape_controls(report.facts[0].second), environment(), plural(static_cast<std::uint64_t>(bench_options.threads), "thread")));
  print_models(report);
  for (const ReportLayers& layers : report.layers) print_worst(layers);
  for (const std::string& warning : report.warnings) print(fmt::format("\nwarning   {}\n", escape_controls(warning)));
  if (!report_path.empty()) print(fmt::format("\nreport    {}\n", escape_controls(report_path)));
  return kOk;
}

}  // namespace narrow::cli
