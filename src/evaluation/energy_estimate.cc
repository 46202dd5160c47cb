#include "evaluation/energy_estimate.h"

#include <unistd.h>

#include <algorithm>

namespace narrow::evaluation {
namespace {

// Picojoules.
constexpr double kMultiplyAddF32 = 3.7 + 0.9;
constexpr double kMultiplyAddF16 = 1.1 + 0.4;
constexpr double kMultiplyAddInt8 = 0.2 + 0.1;   // the sum has 32 bits
constexpr double kInstruction = 70;              // fetched, decoded and scheduled
constexpr double kCacheByte = 100.0 / 8;         // a cache of 1 MB
constexpr double kMemoryByte = 2000.0 / 8;       // between 1.3 and 2.6 nJ for 8 bytes

// Multiply-adds of one instruction.
struct Lanes {
  double f32 = 1, int8 = 1;
};

Lanes lanes_of(base::Isa isa) {
  switch (isa) {
    case base::Isa::kAvx512Vnni: return {16, 64};
    case base::Isa::kAvx512: return {16, 64.0 / 3};  // multiplied in pairs, widened, added
    case base::Isa::kAvx2: return {8, 32.0 / 3};
    case base::Isa::kScalar: break;
  }
  return {};
}

}  // namespace

EnergyMachine this_machine() {
  EnergyMachine machine{base::effective_isa(), 0};
#ifdef _SC_LEVEL3_CACHE_SIZE
  for (const int level : {_SC_LEVEL3_CACHE_SIZE, _SC_LEVEL2_CACHE_SIZE}) {
    if (const long bytes = ::sysconf(level); bytes > 0 && machine.cache_bytes == 0) machine.cache_bytes = static_cast<std::uint64_t>(bytes);
  }
#endif
  return machine;
}

double estimate_millijoules(const Work& work, const EnergyMachine& machine) {
  const Lanes lanes = lanes_of(machine.isa);
  const double bytes = work.weight_bytes + work.activation_bytes;
  const double cached = std::min(bytes, static_cast<double>(machine.cache_bytes));
  const double picojoules = work.f32 * (kMultiplyAddF32 + kInstruction / lanes.f32) + work.f16 * (kMultiplyAddF16 + kInstruction / lanes.f32) +
                            work.int8 * (kMultiplyAddInt8 + kInstruction / lanes.int8) + cached * kCacheByte + (bytes - cached) * kMemoryByte;
  return picojoules * 1e-9;
}

}  // namespace narrow::evaluation
