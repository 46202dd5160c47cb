// Processes that check the cases, one instruction set a process, so that a crash costs one case and is told from a wrong
// answer.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "conformance/check.h"
#include "narrow/result.h"

namespace narrow::conformance {

struct WorkerOptions {
  std::vector<base::Isa> isas;
  int jobs = 1;           // processes at a time
  int seconds_a_case = 60;  // of processor time; a case that takes longer has failed
};

// Calls report(case index, instruction set, outcome) once for each case and instruction set, in any order, from this
// thread. Precondition: nothing in this process asked for base::effective_isa() yet. Errors: resource_exhausted.
Status check_all(const std::vector<Case>& cases, const WorkerOptions& options,
                 const std::function<void(std::size_t, base::Isa, const Outcome&)>& report);

}  // namespace narrow::conformance
