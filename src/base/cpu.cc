#include "base/cpu.h"

#include <algorithm>
#include <cstdlib>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

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

const Extensions& extensions() {
  static const Extensions found = [] {
    Extensions e;
    const char* wanted = std::getenv("NARROW_ISA");
    if (wanted != nullptr && to_string(Isa::kScalar) == wanted) return e;
#if defined(__x86_64__)
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    e.avx_vnni = effective_isa() >= Isa::kAvx2 && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax & (1u << 4)) != 0;
#elif defined(__aarch64__) && defined(__linux__)
    constexpr unsigned long kDot = 1ul << 20, kI8mm = 1ul << 13;  // HWCAP_ASIMDDP, HWCAP2_I8MM
    e.neon = true;
    e.neon_dot = (::getauxval(AT_HWCAP) & kDot) != 0;
    e.neon_i8mm = e.neon_dot && (::getauxval(AT_HWCAP2) & kI8mm) != 0;
#endif
    return e;
  }();
  return found;
}

}  // namespace narrow::base
