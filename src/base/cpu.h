// The instruction sets of this processor. NARROW_ISA=scalar|avx2|avx512|avx512vnni in the environment lowers the level;
// scalar means the reference implementation of every kernel.
#pragma once

#include <string_view>

namespace narrow::base {

enum class Isa { kScalar, kAvx2, kAvx512, kAvx512Vnni };

std::string_view to_string(Isa isa);
Isa detected_isa();   // what the processor has
Isa effective_isa();  // detected_isa(), lowered by NARROW_ISA; read once

// What processors have beside that ladder; all false where NARROW_ISA is scalar.
struct Extensions {
  bool avx_vnni = false;             // vpdpbusd on 256 bits, without AVX-512
  bool neon = false, neon_dot = false, neon_i8mm = false;
};
const Extensions& extensions();

}  // namespace narrow::base
