#include <fmt/format.h>

#include <filesystem>
#include <iterator>

#include "../parser.h"
#include "../progress.h"
#include "../table.h"
#include "narrow/bench.h"
#include "narrow/kernel_text.h"
#include "narrow/model.h"
#include "narrow/json.h"
#include "narrow/report.h"
#include "narrow/text.h"
#include "narrow/version.h"

namespace narrow::cli {
namespace {

// "1,3,224,224" or "1x3x224x224".
Result<std::vector<std::int64_t>> parse_shape(const std::string& text) {
  std::vector<std::int64_t> shape;
  std::string digits;
  for (const char c : text + ",") {
    if (c >= '0' && c <= '9' && digits.size() < 18) {
      digits += c;
    } else if ((c == ',' || c == 'x') && !digits.empty()) {
      shape.push_back(std::stoll(digits));
      digits.clear();
    } else {
      return invalid_argument(fmt::format("'{}' is not a shape, expected numbers such as 1,3,224,224", text));
    }
  }
  return shape;
}

std::string name_of(const BenchResult& r, bool grid) {
  std::string name = r.path;
  if (grid && r.batch != 0) name += fmt::format(", batch {}", r.batch);
  if (grid) name += ", " + plural(static_cast<std::uint64_t>(r.threads), "thread");
  return name;
}

void print_results(const std::vector<BenchResult>& results, std::size_t models, bool explain) {
  const bool grid = results.size() > models;
  Table table({"model", ">median", ">p95", ">p99", ">min", ">load", ">first run", ">per second", ">peak memory", ">activations", ">energy/run", ">speed"});
  for (std::size_t i = 0; i < results.size(); ++i) {
    const BenchResult &r = results[i], &first = results[i / models * models];
    table.add({name_of(r, grid), fmt::format("{:.3f} ms", r.latency_ms_p50), fmt::format("{:.3f} ms", r.latency_ms_p95), fmt::format("{:.3f} ms", r.latency_ms_p99),
               fmt::format("{:.3f} ms", r.latency_ms_min), fmt::format("{:.1f} ms", r.load_ms), fmt::format("{:.2f} ms", r.first_run_ms),
               fmt::format("{:.1f}", r.throughput_per_s), human_bytes(r.peak_memory_bytes), human_bytes(r.arena_bytes), energy_text(r),
               fmt::format("{:.2f}×", first.latency_ms_p50 / r.latency_ms_p50)});
  }
  print(table.render());
  if (!explain) return;
  for (const BenchResult& r : results) {
    Table kernels({"node", "operator", "kernel", ">ms", ">share", "because"});
    double total = 0;
    for (const KernelTime& k : r.kernels) total += k.ms_per_run;
    for (const KernelTime& k : r.kernels) {
      const auto [kernel, reason] = kernel_and_reason(k);
      kernels.add({k.node, k.op_type, kernel, fmt::format("{:.4f}", k.ms_per_run),
                   fmt::format("{:.1f} %", total > 0 ? 100 * k.ms_per_run / total : 0), reason});
    }
    print(fmt::format("\n{}\n{}", escape_controls(name_of(r, grid)), kernels.render()));
  }
}

Status write_bench_report(const std::vector<BenchResult>& results, const std::vector<ModelInfo>& infos, const std::string& path) {
  Report report;
  report.title = "Speed and memory of models";
  for (std::size_t i = 0; i < results.size(); ++i) {
    const BenchResult& r = results[i];
    report.models.push_back({std::filesystem::path(name_of(r, results.size() > infos.size())).filename().string(), infos[i % infos.size()], {}, r});
    if (i >= infos.size()) report.models.back().info.sizes.clear();  // as in the first round
  }
  report.facts = {{"Speed", "each model in a process of its own, in turns; the profile in runs of its own after that"}, {"Machine", environment()}, {"narrow", version()}};
  return write_report(report, path);
}

}  // namespace

int bench_command(const Arguments& arguments) {
  Parser parser("bench", "Measures latency, throughput and peak memory, each model in a process of its own, in turns.");
  std::vector<std::string> models, shapes;
  std::vector<std::uint64_t> batches;
  std::vector<int> thread_counts;
  std::string report_path;
  BenchOptions options;
  Common common;
  parser.require(parser.app().add_option("MODEL", models, "The models; the first is what the others are compared with"), "MODEL");
  parser.app().add_option("--seconds", options.seconds, "Measured time per model (default: 2)")->check(number_between(0.01, 3600));
  parser.app().add_option("--shape", shapes, "NAME=1,3,224,224, repeated: an input whose shape is not fixed")
      ->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  parser.app().add_flag("--explain", options.explain, "Which kernel each node ran and how long it took");
  parser.app().add_option("--batches", batches, "Measure with batches of so many random samples, such as 1,4,16")->delimiter(',')->check(whole_number(1));
  parser.app().add_option("--thread-counts", thread_counts, "Measure with so many threads in turn, such as 1,2,4")->delimiter(',')->check(CLI::Range(1, 1024));
  parser.app().add_option("--report", report_path, "Write figures and flame charts of the time as HTML here");
  DataFlags data;
  add_data(parser, data, "Take the input from here instead of random numbers");
  add_common(parser, common);
  parser.app().get_option("--threads")->description("Threads of the runtime (default: 1)");
  parser.examples("  narrow bench float.onnx int8.onnx --threads 1\n  narrow bench int8.onnx --batches 1,8 --thread-counts 1,2 --report speed.html\n  narrow bench bert.onnx --shape input_ids=1,128 --explain");
  if (const auto code = parser.parse(arguments)) return *code;

  if (thread_counts.empty()) thread_counts = {common.threads == 0 ? 1 : common.threads};
  if (batches.empty()) batches = {0};
  options.seed = common.seed;
  options.data = data.path;
  options.preprocess = data.preprocess;
  options.tokenizer = data.tokenizer;
  for (const std::string& text : shapes) {
    auto assignment = parse_assignment(text, "--shape");
    if (!assignment.ok()) return fail(assignment.error());
    auto shape = parse_shape(assignment->second);
    if (!shape.ok()) return fail(shape.error());
    options.shapes.emplace_back(assignment->first, *std::move(shape));
  }
  auto bench = Bench::start();
  if (!bench.ok()) return fail(bench.error());
  std::vector<ModelInfo> infos;  // for the report
  for (const std::string& path : models) {
    if (report_path.empty()) break;
    auto model = Model::load(path);
    if (!model.ok()) return fail(model.error());
    if (Status free = check_places(*model, "", report_path); !free.ok()) return fail(free.error());
    infos.push_back(model->info());
  }
  ProgressLine progress(common.quiet);
  options.progress = progress.callback();
  const bool explain = options.explain;
  options.explain = explain || !report_path.empty();
  std::vector<BenchResult> results;
  for (const int threads : thread_counts) {
    for (const std::uint64_t batch : batches) {
      options.threads = threads;
      options.batch = batch;
      auto round = bench->run(models, options);
      if (!round.ok()) return fail(round.error());
      results.insert(results.end(), std::make_move_iterator(round->begin()), std::make_move_iterator(round->end()));
    }
  }
  progress.finish();
  if (!report_path.empty()) {
    if (Status written = write_bench_report(results, infos, report_path); !written.ok()) return fail(written.error());
  }
  if (common.json) {
    print(to_json(results));
    return kOk;
  }
  if (!common.quiet) print(fmt::format("{}{}\n", environment(), thread_counts.size() > 1 ? "" : ", " + plural(static_cast<std::uint64_t>(thread_counts.front()), "thread")));
  print_results(results, models.size(), explain);
  return kOk;
}

}  // namespace narrow::cli
