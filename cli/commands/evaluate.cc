#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "../language.h"
#include "../parser.h"
#include "../progress.h"
#include "../table.h"
#include "narrow/evaluate.h"
#include "narrow/json.h"
#include "narrow/text.h"

namespace narrow::cli {
namespace {

struct Metric {
  std::string_view name, unit;
  std::optional<double> Metrics::*value;
  bool needs_reference;
};

constexpr std::array kMetrics = {
    Metric{"top1", " %", &Metrics::top1, false},
    Metric{"top5", " %", &Metrics::top5, false},
    Metric{"spearman", "", &Metrics::spearman, false},
    Metric{"agreement", " %", &Metrics::agreement, true},
    Metric{"sqnr", " dB", &Metrics::sqnr_db, true},
};

Result<const Metric*> find_metric(const std::string& name) {
  std::vector<std::string_view> names;
  for (const Metric& metric : kMetrics) {
    names.push_back(metric.name);
    if (metric.name == name) return &metric;
  }
  return invalid_argument(fmt::format("there is no metric '{}', expected top1, top5, spearman, agreement or sqnr (perplexity for language models){}", name, did_you_mean(name, names)));
}

Status check_available(const Metric& metric, const Metrics& metrics, bool has_reference) {
  if (metrics.*metric.value) return {};
  if (metric.needs_reference && !has_reference) {
    return invalid_argument(fmt::format("metric '{}' needs a model to compare with", metric.name)).hint("Give it with --reference.");
  }
  if (metric.value == &Metrics::top1 || metric.value == &Metrics::top5) {
    return invalid_argument(fmt::format("metric '{}' needs labelled data and class scores as the first output", metric.name))
        .hint("Give labels with --labels, or compare with the float model: --reference FLOAT --metric sqnr.");
  }
  if (metric.value == &Metrics::spearman) {
    return invalid_argument("metric 'spearman' needs pairs of sentences with scores, and a model whose output is a sentence "
                            "embedding ([1, hidden] or [1, sequence, hidden])")
        .hint("Give a .tsv or .csv of two sentences and a score in each line with --data.");
  }
  return invalid_argument(fmt::format("metric '{}' does not apply: the model's outputs are not class scores", metric.name))
      .hint("Use --metric sqnr.");
}

}  // namespace

int evaluate_command(const Arguments& arguments) {
  Parser parser("evaluate", "Measures a model on data: accuracy where there are labels, distance from a reference model.");
  std::string path, reference_path, metric_name;
  DataFlags data_flags;
  std::uint64_t context = 0, stride = 0;
  Common common;
  parser.require(parser.app().add_option("MODEL", path, "The model to measure"), "MODEL");
  parser.require(add_data(parser, data_flags, "Image folder, .npy, .npz, sentence pairs, CIFAR or MNIST binaries; see `narrow list datasets`"), "--data");
  parser.app().add_option("--samples", data_flags.samples, "Use so many samples, spread evenly (default: all)")->check(whole_number(1));
  parser.app().add_option("--metric", metric_name, "top1, top5, spearman, agreement, sqnr or perplexity (default: all that apply)");
  parser.app().add_option("--context", context, "Language models: tokens of a window (default: 2048, or the model's maximum)")->check(whole_number(2));
  parser.app().add_option("--stride", stride, "Language models: tokens from one window to the next (default: the context)")->check(whole_number(1));
  parser.app().add_option("--reference", reference_path, "The float model, for agreement and sqnr");
  add_common(parser, common);
  parser.examples("  narrow evaluate model.onnx --data images --preprocess imagenet-224\n"
                  "  narrow evaluate int8.onnx --data test.npz --reference float.onnx --metric agreement\n"
                  "  narrow evaluate minilm.onnx --data sts-dev.tsv --tokenizer tokenizer.json --metric spearman\n"
                  "  narrow evaluate llama-folder --data wiki.test.txt --metric perplexity --context 2048");
  if (const auto code = parser.parse(arguments)) return *code;

  const bool encoder = LanguageModel::is_encoder(path);
  if (LanguageModel::recognises(path) && !(encoder && metric_name != "perplexity")) {
    if (!metric_name.empty() && metric_name != "perplexity") return fail(invalid_argument(fmt::format("metric '{}' does not apply to a language model", metric_name)).hint("Use --metric perplexity."));
    return evaluate_language_command(path, data_flags, context, stride, common);
  }
  const Metric* metric = nullptr;
  if (!metric_name.empty()) {
    const auto found = find_metric(metric_name);
    if (!found.ok()) return fail(found.error());
    metric = *found;
  }
  std::vector<Model> models;
  for (const std::string& each : {reference_path, path}) {
    if (each.empty()) continue;
    auto model = Model::load(each);
    if (!model.ok()) return fail(model.error());
    models.push_back(*std::move(model));
  }
  const auto data = Data::open(data_flags.path, models.back(), {data_flags.preprocess, data_flags.labels, data_flags.samples, data_flags.tokenizer});
  if (!data.ok()) return fail(data.error());
  ProgressLine progress(common.quiet);
  const auto all = evaluate(models, *data, {common.threads, progress.callback()});
  progress.finish();
  if (!all.ok()) return fail(all.error());
  const Metrics& metrics = all->back();
  if (metric != nullptr) {
    if (Status available = check_available(*metric, metrics, models.size() == 2); !available.ok()) return fail(available.error());
  }
  if (common.json) {
    print(to_json(metrics));
    return kOk;
  }
  if (!common.quiet) print(fmt::format("{} on {}\n", escape_controls(path), escape_controls(data->describe())));
  Table table({"", ">"});
  for (const Metric& row : kMetrics) {
    const std::optional<double>& value = metrics.*row.value;
    if (value && (metric == nullptr || metric == &row)) table.add({std::string(row.name), fmt::format("{:.2f}{}", *value, row.unit)});
  }
  if (table.empty() && models.size() == 1) {
    print("nothing to measure: the data have no labels; give the float model with --reference\n");
  }
  print(table.render());
  if (metrics.non_finite != 0) print(fmt::format("warning: {} in the outputs\n", plural(metrics.non_finite, "NaN or infinite value")));
  return kOk;
}

}  // namespace narrow::cli
