// The lattice points that codes of the IQ1, IQ2 and IQ3 types stand for: facts of the format. A point's coordinates are numbers of
// a few bits, the first the lowest; what they stand for is said in dequantize_lattice.cc.
#pragma once

#include <cstdint>

namespace narrow::encodings::ggml {

extern const std::uint16_t kLattice1[2048];
extern const std::uint16_t kLattice2Xxs[256];
extern const std::uint16_t kLattice2Xs[512];
extern const std::uint16_t kLattice2S[1024];
extern const std::uint16_t kLattice3Xxs[256];
extern const std::uint16_t kLattice3S[512];

}  // namespace narrow::encodings::ggml
