// expected_failures.tsv: which cases are known to fail, and why.
#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "narrow/result.h"

namespace narrow::conformance {

struct Expectation {
  std::string scope;     // "in": narrow should run it; else why it need not: "training", "ml", "images", "strings"
  std::string isas;      // where it fails: "all", or instruction sets separated by commas
  std::string reason;

  bool fails_on(std::string_view isa) const;
};

using Expectations = std::map<std::string, Expectation>;  // by case

// Lines of case, scope, instruction sets and reason, separated by tabs; '#' starts a comment. Errors: corrupt, naming the line; io.
Result<Expectations> read_expectations(const std::filesystem::path& path);

// Rewrites the file without the lines of those cases. Errors: io.
Status drop_expectations(const std::filesystem::path& path, const std::set<std::string>& cases);

}  // namespace narrow::conformance
