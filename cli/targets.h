// The flags of `quantize` that say what must be reached, and what the search for it prints.
#pragma once

#include <optional>
#include <string>

#include "narrow/bench.h"
#include "narrow/plan.h"
#include "parser.h"

namespace narrow::cli {

struct TargetFlags {
  std::string max_drop, max_size, prefer = "latency";
  double max_latency = 0;
  bool retrain = false;
  CLI::Option *latency_given = nullptr;
};
void add_target_flags(Parser& parser, TargetFlags& flags);

// Whether anything but accuracy was asked for: then a search it is.
bool has_limits(const TargetFlags& flags);

// "2MB", "500 KiB", "1000000" or, of the float file, "30%". Errors: invalid_argument.
Result<std::uint64_t> parse_size(const std::string& text, std::uint64_t float_bytes);

// `bench` may be null: then no latency can be asked for. It and `bench_options` must outlive what is returned.
Result<TargetOptions> make_target_options(const TargetFlags& flags, std::uint64_t float_bytes, Bench* bench, const BenchOptions& bench_options);

// Every attempt as a table; empty without.
std::string attempts_text(const Trail& trail);

}  // namespace narrow::cli
