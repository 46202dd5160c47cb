#include <fmt/format.h>

#include <algorithm>

#include "../parser.h"
#include "../progress.h"
#include "../table.h"
#include "narrow/diagnose.h"
#include "narrow/json.h"
#include "narrow/report.h"
#include "narrow/text.h"

namespace narrow::cli {
namespace {

constexpr std::size_t kLayersShown = 8;
constexpr std::size_t kNamesShown = 4;

std::string metrics_text(const Metrics& metrics) {
  std::string text;
  const auto add = [&](const char* what, const std::optional<double>& value, const char* unit) {
    if (value) text += fmt::format("{}{} {:.2f}{}", text.empty() ? "" : ", ", what, *value, unit);
  };
  add("top-1", metrics.top1, " %");
  add("Spearman", metrics.spearman, "");
  add("agreement", metrics.agreement, " %");
  add("SQNR", metrics.sqnr_db, " dB");
  return text.empty() ? "no figure" : text;
}

std::string names_text(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), kNamesShown); ++i) text += fmt::format("{}{}", i == 0 ? "" : ", ", names[i]);
  if (names.size() > kNamesShown) text += fmt::format(" and {} more", names.size() - kNamesShown);
  return text;
}

void print_diagnosis(const Diagnosis& diagnosis) {
  if (diagnosis.reference) print(fmt::format("float      {}\n", metrics_text(*diagnosis.reference)));
  if (diagnosis.quantized) print(fmt::format("quantized  {}\n", metrics_text(*diagnosis.quantized)));
  if (diagnosis.findings.empty()) print("\nNo cause was found: what is lost is the rounding of every layer together.\n");
  std::size_t number = 0;
  for (const Finding& f : diagnosis.findings) {
    print(fmt::format("\n{}. {}{}\n", ++number, f.cause, f.gain_db ? fmt::format(": {:+.1f} dB when mended", *f.gain_db) : ""));
    print(fmt::format("   {}\n", escape_controls(f.evidence)));
    if (!f.layers.empty()) print(fmt::format("   layers: {}\n", escape_controls(names_text(f.layers))));
    print(fmt::format("   do: {}\n", escape_controls(f.remedy)));
    if (!f.flag.empty()) print(fmt::format("   narrow quantize … {}\n", escape_controls(f.flag)));
  }
  if (!diagnosis.layers.empty()) {
    Table table({"worst layers", "operator", ">alone", ">accumulated", "cause"});
    for (std::size_t i = 0; i < std::min(diagnosis.layers.size(), kLayersShown); ++i) {
      const LayerError& e = diagnosis.layers[i];
      table.add({e.layer, e.op_type, fmt::format("{:.1f} dB", e.alone_db), fmt::format("{:.1f} dB", e.accumulated_db), e.cause.empty() ? "–" : e.cause});
    }
    print("\n" + table.render());
  }
  for (const std::string& note : diagnosis.notes) print(fmt::format("\nnote      {}\n", escape_controls(note)));
}

// Quantizes again as the findings say, and shows the figures before and after.
int fix(const Model& reference, const Model& quantized, const Diagnosis& before, const Data& data, const std::string& output,
        const DiagnoseOptions& options, const Common& common, Diagnosis& after) {
  QuantizeOptions mending = mending_options(before, quantized);
  if (!options.target.empty()) mending.target = options.target;
  mending.threads = common.threads;
  mending.progress = options.progress;
  const auto made = quantize(reference, &data, mending);
  if (!made.ok()) return fail(made.error());
  if (Status saved = made->model.save(output); !saved.ok()) return fail(saved.error());
  auto again = diagnose(reference, made->model, data, options);
  if (!again.ok()) return fail(again.error());
  after = *std::move(again);
  return kOk;
}

}  // namespace

int diagnose_command(const Arguments& arguments) {
  Parser parser("diagnose", "Says why a quantized model is worse than its float model: causes by what the outputs win when each is mended.");
  std::string reference_path, quantized_path, output, report_path;
  DataFlags data_flags;
  Common common;
  DiagnoseOptions options;
  parser.require(parser.app().add_option("FLOAT", reference_path, "The float model"), "FLOAT");
  parser.require(parser.app().add_option("QUANTIZED", quantized_path, "Its static INT8 form, by narrow or another quantizer"), "QUANTIZED");
  parser.require(add_data(parser, data_flags, "Typical inputs, prepared as the model wants them"), "--data");
  parser.app().add_option("--samples", data_flags.samples, "Use so many samples, spread evenly (default: all)")->check(whole_number(1));
  parser.app().add_option("--target", options.target, "The runtime it is for (default: what its recipe says)");
  parser.app().add_option("--fix", output, "Quantize again as the findings say, on this data, and write the model here");
  parser.app().add_option("--report", report_path, "Write the findings and the layers' errors as HTML here");
  add_common(parser, common);
  parser.examples("  narrow diagnose float.onnx int8.onnx --data images --preprocess imagenet-224\n"
                  "  narrow diagnose float.onnx int8.onnx --data test.npz --target tensorrt --fix better.onnx --report why.html");
  if (const auto code = parser.parse(arguments)) return *code;

  const auto reference = Model::load(reference_path);
  if (!reference.ok()) return fail(reference.error());
  const auto quantized = Model::load(quantized_path);
  if (!quantized.ok()) return fail(quantized.error());
  for (const Model* model : {&*reference, &*quantized}) {
    if (Status free = check_places(*model, output, report_path); !free.ok()) return fail(free.error());
  }
  const auto data = Data::open(data_flags.path, *reference, {data_flags.preprocess, data_flags.labels, data_flags.samples, data_flags.tokenizer});
  if (!data.ok()) return fail(data.error());
  ProgressLine progress(common.quiet);
  options.threads = common.threads;
  options.progress = progress.callback();
  const auto diagnosis = diagnose(*reference, *quantized, *data, options);
  if (!diagnosis.ok()) return fail(diagnosis.error());
  Diagnosis after;
  if (!output.empty()) {
    if (const int code = fix(*reference, *quantized, *diagnosis, *data, output, options, common, after); code != kOk) return code;
  }
  progress.finish();
  if (!report_path.empty()) {
    Report report;
    report.title = "Diagnosis of " + quantized_path;
    report.diagnoses.push_back({quantized_path, *diagnosis});
    if (!output.empty()) report.diagnoses.push_back({output, after});
    report.facts = {{"Float model", reference_path}, {"Data", data->describe()}};
    if (Status written = write_report(report, report_path); !written.ok()) return fail(written.error());
  }
  if (common.json) {
    print(to_json(*diagnosis));
    return kOk;
  }
  if (!common.quiet) print(fmt::format("{}\n\n", escape_controls(data->describe())));
  print_diagnosis(*diagnosis);
  if (!output.empty()) {
    print(fmt::format("\nmended, {}\n", escape_controls(output)));
    print_diagnosis(after);
  }
  return kOk;
}

}  // namespace narrow::cli
