#include <fmt/format.h>

#include "../parser.h"
#include "../progress.h"
#include "../table.h"
#include "narrow/bench.h"
#include "narrow/json.h"
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

std::string energy_text(const BenchResult& r) {
  return r.energy_mj_per_run ? fmt::format("{:.2f} mJ", *r.energy_mj_per_run) : r.energy_note;
}

void print_results(const std::vector<BenchResult>& results, bool explain) {
  Table table({"model", ">median", ">p95", ">min", ">runs/s", ">peak memory", ">activations", ">energy/run", ">speed"});
  for (const BenchResult& r : results) {
    table.add({r.path, fmt::format("{:.3f} ms", r.latency_ms_p50), fmt::format("{:.3f} ms", r.latency_ms_p95),
               fmt::format("{:.3f} ms", r.latency_ms_min), fmt::format("{:.1f}", r.throughput_per_s),
               human_bytes(r.peak_memory_bytes), human_bytes(r.arena_bytes), energy_text(r),
               fmt::format("{:.2f}×", results.front().latency_ms_p50 / r.latency_ms_p50)});
  }
  print(table.render());
  if (!explain) return;
  for (const BenchResult& r : results) {
    Table kernels({"node", "operator", "kernel", ">ms", ">share"});
    double total = 0;
    for (const KernelTime& k : r.kernels) total += k.ms_per_run;
    for (const KernelTime& k : r.kernels) {
      kernels.add({k.node, k.op_type, k.implementation, fmt::format("{:.4f}", k.ms_per_run),
                   fmt::format("{:.1f} %", total > 0 ? 100 * k.ms_per_run / total : 0)});
    }
    print(fmt::format("\n{}\n{}", escape_controls(r.path), kernels.render()));
  }
}

}  // namespace

int bench_command(const Arguments& arguments) {
  Parser parser("bench", "Measures latency, throughput and peak memory, each model in a process of its own, in turns.");
  std::vector<std::string> models, shapes;
  BenchOptions options;
  Common common;
  parser.require(parser.app().add_option("MODEL", models, "The models; the first is what the others are compared with"), "MODEL");
  parser.app().add_option("--seconds", options.seconds, "Measured time per model (default: 2)")->check(number_between(0.01, 3600));
  parser.app().add_option("--shape", shapes, "NAME=1,3,224,224, repeated: an input whose shape is not fixed")
      ->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  parser.app().add_flag("--explain", options.explain, "Which kernel each node ran and how long it took");
  DataFlags data;
  add_data(parser, data, "Take the input from here instead of random numbers");
  add_common(parser, common);
  parser.examples("  narrow bench float.onnx int8.onnx --threads 1\n  narrow bench bert.onnx --shape input_ids=1,128 --explain");
  if (const auto code = parser.parse(arguments)) return *code;

  options.threads = common.threads == 0 ? 1 : common.threads;
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
  ProgressLine progress(common.quiet);
  options.progress = progress.callback();
  const auto results = bench->run(models, options);
  progress.finish();
  if (!results.ok()) return fail(results.error());
  if (common.json) {
    print(to_json(*results));
    return kOk;
  }
  if (!common.quiet) print(fmt::format("{}, {}\n", environment(), plural(static_cast<std::uint64_t>(options.threads), "thread")));
  print_results(*results, options.explain);
  return kOk;
}

}  // namespace narrow::cli
