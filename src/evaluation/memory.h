// Memory of this process.
#pragma once

#include <cstdint>

namespace narrow::evaluation {

// The largest resident set so far, in bytes; 0 when the system does not say.
std::uint64_t peak_resident_bytes();

int thread_count();  // of this process, at least 1

}  // namespace narrow::evaluation
