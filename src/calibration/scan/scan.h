// The two loops that see every activation: a scan for range and moments, and the counting into histogram cells.
// Every row gives the same bits as the reference.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/cpu.h"

namespace narrow::calibration {

struct ScanResult {
  float min = 0, max = 0;           // meaningless when !finite
  std::uint64_t zeros = 0;
  double sum = 0, sum_squares = 0;  // eight interleaved partial sums, added up in order
  bool finite = true;               // false: a NaN or an infinity is among them and nothing else holds
};

struct ScanKernel {
  std::string_view name;
  base::Isa isa;
  // Precondition: n >= 1.
  ScanResult (*scan)(const float* x, std::size_t n);
  // counts[(i % 4) * stride + floor(x[i] / width) - first] += 1, where inverse_width = 1 / width is a power of two.
  // Precondition: every x is finite and its cell lies in [first, first + stride), |cell| < 2^24.
  void (*count)(const float* x, std::size_t n, float inverse_width, std::int32_t first, std::uint32_t* counts, std::size_t stride);
};

std::span<const ScanKernel> scan_kernels();  // the table, reference first
const ScanKernel& scan_kernel();             // the best for this processor (NARROW_ISA respected)

// floor(x / width), exact also where x * inverse_width underflows.
std::int32_t cell_of(float x, float inverse_width);

extern const ScanKernel kScanReference;
extern const ScanKernel kScanAvx2;

}  // namespace narrow::calibration
