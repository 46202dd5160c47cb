// The version of the library.
#pragma once

#include <string>

namespace narrow {

std::string version();      // "0.1.0"

// What a measurement was made on: "Linux x86-64, Intel(R) Xeon(R) …, 2 processors, avx512vnni".
std::string environment();

}  // namespace narrow
