// Runs one case in every way in which a user's model is run, and checks that it survives a conversion.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "conformance/cases.h"

namespace narrow::conformance {

enum Mode {
  kAsWritten,  // the imported graph
  kRewritten,  // the same after export to ONNX and import
  kOptimized,  // the form that `narrow run` executes
  kKept,       // not run: export to ONNX and import give the same model, whether narrow can run it or not
  kModes,
};
inline constexpr std::array<std::string_view, kModes> kModeNames = {"as written", "after export and import", "optimized", "kept"};

// Per mode what went wrong, empty when every output of every data set is right.
using Outcome = std::array<std::string, kModes>;
Outcome check(const Case& one);

}  // namespace narrow::conformance
