// What a profile calls a kernel, in its two parts.
#pragma once

#include <string>
#include <utility>

#include "narrow/figures.h"

namespace narrow {

// "pointwise gemm_s8 avx512vnni" and why it was taken.
inline std::pair<std::string, std::string> kernel_and_reason(const KernelTime& kernel) {
  const std::size_t end = kernel.implementation.find("; ");
  if (end == std::string::npos) return {kernel.implementation, "the one kernel of this operator"};
  return {kernel.implementation.substr(0, end), kernel.implementation.substr(end + 2)};
}

}  // namespace narrow
