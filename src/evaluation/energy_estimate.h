// Energy of one run where no meter says it: an estimate from operations and bytes.
//
// Each multiply-add costs its arithmetic and its share of a vector instruction; each byte costs a read of the last-level
// cache, and of memory beyond what that cache holds. The figures are those of M. Horowitz, "Computing's
// energy problem (and what we can do about it)", ISSCC 2014, for 45 nm: good for ratios between forms of one model on one
// machine, not for the battery. docs/guide/report.md has the table.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "evaluation/work.h"

namespace narrow::evaluation {

struct EnergyMachine {
  base::Isa isa = base::Isa::kScalar;
  std::uint64_t cache_bytes = 0;       // of the last level; 0: everything comes from memory
};

EnergyMachine this_machine();

double estimate_millijoules(const Work& work, const EnergyMachine& machine);

}  // namespace narrow::evaluation
