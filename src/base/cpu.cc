#include "base/cpu.h"

#include <algorithm>
#include <cstdlib>

namespace narrow::base {

std::string_view to_string(Isa isa) {
  switch (isa) {
    case Isa::kScalar: return "scalar";
    case Isa::kAvx2: return "avx2";
    case Isa::kAvx512: return "avx512";
    case Isa::kAvx512Vnni: return "avx512vnni";
  }
  return "scalar";
}

Isa detected_isa() {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return Isa::kScalar;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq")) {
    return Isa::kAvx2;
  }
  return __builtin_cpu_supports("avx512vnni") ? Isa::kAvx512Vnni : Isa::kAvx512;
#else
  return Isa::kScalar;
#endif
}

Isa effective_isa() {
  static const Isa isa = [] {
    const Isa detected = detected_isa();
    const char* wanted = std::getenv("NARROW_ISA");
    if (wanted == nullptr) return detected;
    for (Isa candidate : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vnni}) {
      if (to_string(candidate) == wanted) return std::min(candidate, detected);
    }
    return detected;
  }();
  return isa;
}

}  // namespace narrow::base
