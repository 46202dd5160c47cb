#include <fmt/format.h>

#include "../parser.h"
#include "../table.h"
#include "narrow/json.h"
#include "narrow/language.h"
#include "narrow/plan.h"
#include "narrow/report.h"
#include "narrow/text.h"

namespace narrow::cli {
namespace {

struct Flags {
  std::string model, target, recipe, max_drop, prefer = "latency", report;
  bool retrain = false;
  DataFlags data;
  Common common;
};

void declare(Parser& parser, Flags& flags) {
  CLI::App& app = parser.app();
  parser.require(app.add_option("MODEL", flags.model, "The float model, or the folder of a language model"), "MODEL");
  add_data(parser, flags.data, "The data there are: for calibration, and with labels for the verdict");
  app.add_option("--target", flags.target, "The runtime that will run it (default: onnxruntime); see `narrow list targets`");
  app.add_option("--max-drop", flags.max_drop, "How much accuracy may be lost (default: 2%)");
  app.add_option("--prefer", flags.prefer, "What comes first: latency (default), size or accuracy");
  app.add_flag("--retrain", flags.retrain, "The model could be trained again");
  app.add_option("--recipe", flags.recipe, "A recipe in TOML to start from");
  app.add_option("--report", flags.report, "Write the path as an HTML diagram here");
  add_common(parser, flags.common);
  parser.examples(
      "  narrow plan model.onnx --data images --preprocess imagenet-224\n"
      "  narrow plan model.onnx --target tensorrt --json\n"
      "  narrow plan llama-folder --prefer size");
}

Result<QuantizationPlan> make_plan(const Flags& flags) {
  PlanOptions plan_options;
  plan_options.prefer = flags.prefer;
  plan_options.retraining = flags.retrain;
  if (!flags.max_drop.empty()) {
    auto percent = parse_percent(flags.max_drop);
    if (!percent.ok()) return std::move(percent).error();
    plan_options.max_drop = *percent;
  }
  if (LanguageModel::recognises(flags.model)) return plan_language(!flags.data.path.empty(), plan_options);
  auto model = Model::load(flags.model);
  if (!model.ok()) return std::move(model).error();
  std::optional<Data> data;
  if (!flags.data.path.empty()) {
    auto opened = Data::open(flags.data.path, *model, {flags.data.preprocess, flags.data.labels, flags.data.samples, flags.data.tokenizer});
    if (!opened.ok()) return std::move(opened).error();
    data = *std::move(opened);
  }
  QuantizeOptions options;
  options.recipe_file = flags.recipe;
  if (!flags.target.empty()) options.target = flags.target;
  return plan(*model, data ? &*data : nullptr, plan_options, options);
}

void print_plan(const QuantizationPlan& plan, bool quiet) {
  for (const PlanStep& step : plan.path) {
    print(fmt::format("{}\n  {}{}\n", escape_controls(step.question), escape_controls(step.answer),
                      step.consequence.empty() ? "" : fmt::format(" → {}", escape_controls(step.consequence))));
  }
  Table table({"on a miss", "what it does"});
  for (const auto& [name, summary] : plan.remedies) table.add({name, summary});
  if (!table.empty()) print("\n" + table.render());
  print(fmt::format("\nrecipe\n{}", plan.recipe));
  for (const std::string& note : plan.notes) {
    if (!quiet) print(fmt::format("note: {}\n", escape_controls(note)));
  }
}

}  // namespace

int plan_command(const Arguments& arguments) {
  Parser parser("plan", "Says how a model should be quantized: the questions asked, the answers found, the method and what is tried when it misses.");
  Flags flags;
  declare(parser, flags);
  if (const auto code = parser.parse(arguments)) return *code;
  const auto plan = make_plan(flags);
  if (!plan.ok()) return fail(plan.error());
  if (!flags.report.empty()) {
    Report report;
    report.title = "Plan for " + flags.model;
    report.trail.path = plan->path;
    report.recipe = plan->recipe;
    report.warnings = plan->notes;
    if (Status written = write_report(report, flags.report); !written.ok()) return fail(written.error());
  }
  if (flags.common.json) print(to_json(*plan));
  else print_plan(*plan, flags.common.quiet);
  return kOk;
}

}  // namespace narrow::cli
