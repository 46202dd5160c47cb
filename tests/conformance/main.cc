// conformance_runner: runs ONNX's backend test data on every instruction set, as written, after export and import, and
// optimized, and holds the outcome against the list of expected failures.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <map>
#include <set>

#include "conformance/expectations.h"
#include "conformance/workers.h"

namespace narrow::conformance {
namespace {

// What one case did in one mode on one instruction set.
struct Trial {
  base::Isa isa;
  std::string how;      // "avx2, optimized"
  std::string failure;  // empty: it passed
  bool runs = true;     // false: the conversion alone, which no list excuses
};

struct Options {
  std::string folder, expected;
  std::vector<std::string> filters, isas;
  int jobs = 2;
  bool verbose = false, prune = false;
};

Result<std::vector<base::Isa>> chosen_isas(const std::vector<std::string>& names) {
  std::vector<base::Isa> isas;
  for (const base::Isa isa : {base::Isa::kScalar, base::Isa::kAvx2, base::Isa::kAvx512, base::Isa::kAvx512Vnni}) {
    const bool named = std::find(names.begin(), names.end(), base::to_string(isa)) != names.end();
    if (isa <= base::detected_isa() && (names.empty() || named)) isas.push_back(isa);
  }
  if (isas.empty() || (!names.empty() && isas.size() != names.size())) {
    return invalid_argument(fmt::format("this processor runs the instruction sets up to {}; --isa takes scalar, avx2, avx512, avx512vnni", base::to_string(base::detected_isa())));
  }
  return isas;
}

struct Judgement {
  int wrong = 0;
  std::size_t passed = 0, in_scope = 0;
  std::map<std::string, int> out_of_scope;
};

// Prints what must not be: an unlisted failure, a listed case that passes.
void judge(const std::string& name, const std::vector<Trial>& trials, const Expectation* listed, bool verbose, Judgement& out) {
  const bool failed = std::any_of(trials.begin(), trials.end(), [](const Trial& t) { return !t.failure.empty(); });
  if (listed == nullptr || listed->scope == "in") {
    ++out.in_scope;
    if (!failed) ++out.passed;
  } else {
    ++out.out_of_scope[listed->scope];
  }
  std::vector<std::string> lines;
  for (const Trial& trial : trials) {
    const bool expected = trial.runs && listed != nullptr && listed->fails_on(base::to_string(trial.isa));
    if (expected && trial.failure.empty()) lines.push_back(fmt::format("{}: it passes, but is listed as failing ({})", trial.how, listed->reason));
    else if (!expected && !trial.failure.empty()) lines.push_back(trial.how + ": " + trial.failure);
  }
  if (!lines.empty()) {
    ++out.wrong;
    fmt::print("WRONG {}\n", name);
    for (std::size_t i = 0; i < (verbose ? lines.size() : 1); ++i) fmt::print("  {}\n", lines[i]);
  } else if (verbose && failed) {
    const auto first = std::find_if(trials.begin(), trials.end(), [](const Trial& t) { return !t.failure.empty(); });
    fmt::print("expected {} ({})\n  {}: {}\n", name, listed->reason, first->how, first->failure);
  } else if (verbose) {
    fmt::print("ok {}\n", name);
  }
}

int summarize(const Judgement& judgement) {
  std::string others;
  for (const auto& [scope, count] : judgement.out_of_scope) others += fmt::format("{}{} {}", others.empty() ? "" : ", ", count, scope);
  const double share = judgement.in_scope == 0 ? 1.0 : static_cast<double>(judgement.passed) / static_cast<double>(judgement.in_scope);
  fmt::print("{} of {} cases in scope pass ({:.1f} %), out of scope: {}\n", judgement.passed, judgement.in_scope, 100.0 * share,
             others.empty() ? "none" : others);
  if (judgement.wrong != 0) fmt::print("{} are not as expected\n", judgement.wrong);
  return judgement.wrong == 0 ? 0 : 1;
}

Result<int> run(const Options& options) {
  WorkerOptions workers;
  workers.jobs = options.jobs;
  NARROW_TRY(workers.isas, chosen_isas(options.isas));
  NARROW_TRY(const std::vector<Case> cases, find_cases(options.folder, options.filters));
  Expectations expected;
  if (!options.expected.empty()) { NARROW_TRY(expected, read_expectations(options.expected)); }
  std::vector<std::vector<Trial>> trials(cases.size());
  std::fflush(stdout);
  NARROW_RETURN_IF_ERROR(check_all(cases, workers, [&](std::size_t i, base::Isa isa, const Outcome& outcome) {
    for (int mode = 0; mode < kModes; ++mode) {
      trials[i].push_back({isa, fmt::format("{}, {}", base::to_string(isa), kModeNames[mode]), outcome[mode], mode != kKept});
    }
  }));
  std::string isas;
  for (const base::Isa isa : workers.isas) isas += fmt::format("{}{}", isas.empty() ? "" : ", ", base::to_string(isa));
  fmt::print("{} cases on {}, each as written, after export and import, and optimized\n", cases.size(), isas);
  if (options.prune) {
    std::set<std::string> passing;
    for (std::size_t i = 0; i < cases.size(); ++i) {
      const bool passes = std::all_of(trials[i].begin(), trials[i].end(), [](const Trial& t) { return t.failure.empty(); });
      if (passes) passing.insert(cases[i].name);
    }
    NARROW_RETURN_IF_ERROR(drop_expectations(options.expected, passing));
    std::erase_if(expected, [&](const auto& entry) { return passing.contains(entry.first); });
  }
  Judgement judgement;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const auto listed = expected.find(cases[i].name);
    judge(cases[i].name, trials[i], listed == expected.end() ? nullptr : &listed->second, options.verbose, judgement);
    if (listed != expected.end()) expected.erase(listed);
  }
  for (const auto& [name, expectation] : expected) {
    if (!options.filters.empty()) break;
    ++judgement.wrong;
    fmt::print("WRONG {}\n  it is listed as failing, but there is no such case\n", name);
  }
  return summarize(judgement);
}

}  // namespace
}  // namespace narrow::conformance

int main(int argc, char** argv) {
  using namespace narrow;
  conformance::Options options;
  CLI::App app("Runs ONNX's backend test data.");
  app.add_option("FOLDER", options.folder, "Holds <group>/<case>/model.onnx")->required();
  app.add_option("--filter", options.filters, "Only cases whose name contains this; repeated: any of them");
  app.add_option("--isa", options.isas, "scalar, avx2, avx512, avx512vnni; default: all that the processor has")->delimiter(',');
  app.add_option("--expected", options.expected, "The list of expected failures");
  app.add_flag("--prune", options.prune, "Take the cases that pass everywhere off that list")->needs("--expected");
  app.add_option("--jobs", options.jobs, "Processes at a time")->capture_default_str()->check(CLI::Range(1, 256));
  app.add_flag("-v,--verbose", options.verbose, "How every case went, each failure of it, and why listed cases fail");
  CLI11_PARSE(app, argc, argv);
  const Result<int> code = conformance::run(options);
  if (code.ok()) return *code;
  std::fprintf(stderr, "%s\n", code.error().to_string().c_str());
  return 2;
}
