#include "targets.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <filesystem>

#include "narrow/text.h"
#include "table.h"

namespace narrow::cli {
namespace {

struct Unit {
  std::string_view name;
  double bytes;
};
constexpr Unit kUnits[] = {{"", 1}, {"B", 1}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"KiB", 1024}, {"MiB", 1048576}, {"GiB", 1073741824}};

// In a process of its own, in narrow's runtime.
Result<double> latency_of(const Model& model, Bench& bench, const BenchOptions& options) {
  std::error_code ignored;
  const std::filesystem::path file = std::filesystem::temp_directory_path(ignored) / fmt::format("narrow-latency-{}.onnx", ::getpid());
  Status saved = model.save(file.string());
  if (!saved.ok()) return std::move(saved).error();
  auto measured = bench.run({file.string()}, options);
  for (const std::string& written : {file.string(), file.string() + ".data"}) std::filesystem::remove(written, ignored);
  if (!measured.ok()) return std::move(measured).error();
  return measured->front().latency_ms_p50;
}

}  // namespace

void add_target_flags(Parser& parser, TargetFlags& flags) {
  CLI::App& app = parser.app();
  app.add_option("--max-drop", flags.max_drop,
                 "How much may be lost (default: 2%): points of top-1 or Spearman, else percent of best classes that differ or of noise; more ends with exit code 5");
  flags.latency_given = app.add_option("--max-latency", flags.max_latency, "Milliseconds that one run may take in narrow's runtime, one thread")->check(number_between(0, 1e9));
  app.add_option("--max-size", flags.max_size, "What the file may take: 2MB, 500KiB, or 30% of the float file");
  app.add_option("--prefer", flags.prefer, "With --method auto, what comes first among models that meet the targets: latency (default), size, accuracy");
  app.add_flag("--retrain", flags.retrain, "With --method auto: the model could be trained again");
}

bool has_limits(const TargetFlags& flags) { return flags.latency_given->count() != 0 || !flags.max_size.empty(); }

Result<std::uint64_t> parse_size(const std::string& text, std::uint64_t float_bytes) {
  std::size_t used = 0;
  double value = 0;
  try {
    value = std::stod(text, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  std::string_view unit = std::string_view(text).substr(used);
  while (unit.starts_with(' ')) unit.remove_prefix(1);
  double bytes = -1;
  if (unit == "%") bytes = value / 100 * static_cast<double>(float_bytes);
  for (const Unit& known : kUnits) {
    if (known.name == unit) bytes = value * known.bytes;
  }
  if (used == 0 || !std::isfinite(value) || value <= 0 || bytes < 1 || bytes > 1e15) {
    return invalid_argument(fmt::format("'{}' is not a size, expected one such as 2MB, 500KiB or 30%", text));
  }
  return static_cast<std::uint64_t>(bytes);
}

Result<TargetOptions> make_target_options(const TargetFlags& flags, std::uint64_t float_bytes, Bench* bench, const BenchOptions& bench_options) {
  TargetOptions options;
  options.plan.prefer = flags.prefer;
  options.plan.retraining = flags.retrain;
  if (!flags.max_drop.empty()) {
    auto percent = parse_percent(flags.max_drop);
    if (!percent.ok()) return std::move(percent).error();
    options.plan.max_drop = *percent;
  }
  if (!flags.max_size.empty()) {
    auto bytes = parse_size(flags.max_size, float_bytes);
    if (!bytes.ok()) return std::move(bytes).error();
    options.max_size = *bytes;
  }
  if (flags.latency_given->count() != 0 && bench != nullptr) {
    options.max_latency_ms = flags.max_latency;
    options.latency_ms = [bench, &bench_options](const Model& model) { return latency_of(model, *bench, bench_options); };
  }
  return options;
}

std::string attempts_text(const Trail& trail) {
  if (trail.attempts.empty()) return "";
  Table table({"", "attempt", ">SQNR", ">metric", ">lost", ">size", ">ms", "targets"});
  for (const Attempt& attempt : trail.attempts) {
    const Metrics& m = attempt.metrics;
    const std::optional<double> metric = m.top1 ? m.top1 : m.spearman ? m.spearman : m.agreement;
    table.add({attempt.chosen ? "→" : "", attempt.name, attempt.sqnr_db ? fmt::format("{:.1f} dB", *attempt.sqnr_db) : "",
               attempt.judged && metric ? fmt::format("{:.2f}", *metric) : "", attempt.drop ? fmt::format("{:.2f}", *attempt.drop) : "",
               attempt.size_bytes == 0 ? "" : human_bytes(attempt.size_bytes), attempt.latency_ms ? fmt::format("{:.2f}", *attempt.latency_ms) : "",
               !attempt.note.empty() ? "not made: " + attempt.note : !attempt.judged ? "" : attempt.met ? "met" : "missed"});
  }
  return table.render();
}

}  // namespace narrow::cli
