#include "conformance/expectations.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <sstream>
#include <string_view>

#include "base/atomic_file.h"

namespace narrow::conformance {

bool Expectation::fails_on(std::string_view isa) const {
  return isas == "all" || ("," + isas + ",").find("," + std::string(isa) + ",") != std::string::npos;
}

Result<Expectations> read_expectations(const std::filesystem::path& path) {
  static constexpr std::array<std::string_view, 5> kScopes = {"in", "training", "ml", "images", "strings"};
  std::ifstream file(path);
  if (!file) return io_error(fmt::format("cannot read '{}'", path.string()));
  Expectations expectations;
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    if (line.empty() || line[0] == '#') continue;
    const auto fail = [&](const std::string& what) { return corrupt(fmt::format("{}:{}: {}", path.filename().string(), number, what)); };
    std::array<std::string, 4> columns;
    std::istringstream parts(line);
    for (std::string& column : columns) std::getline(parts, column, '\t');
    if (columns[3].empty()) return fail("expected case, scope, instruction sets and reason, separated by tabs");
    Expectation expectation{columns[1], columns[2], columns[3]};
    if (std::find(kScopes.begin(), kScopes.end(), expectation.scope) == kScopes.end()) {
      return fail(fmt::format("the scope is '{}', expected in, training, ml, images or strings", expectation.scope));
    }
    if (!expectations.emplace(columns[0], std::move(expectation)).second) return fail(fmt::format("'{}' is listed twice", columns[0]));
  }
  return expectations;
}

Status drop_expectations(const std::filesystem::path& path, const std::set<std::string>& cases) {
  std::ifstream file(path);
  std::string kept, line;
  while (std::getline(file, line)) {
    if (!cases.contains(line.substr(0, line.find('\t')))) kept += line + "\n";
  }
  file.close();
  return base::write_file(path.string(), kept);
}

}  // namespace narrow::conformance
