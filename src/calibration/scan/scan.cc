#include "calibration/scan/scan.h"

namespace narrow::calibration {

std::span<const ScanKernel> scan_kernels() {
  static const ScanKernel kKernels[] = {kScanReference, kScanAvx2};
  return kKernels;
}

const ScanKernel& scan_kernel() {
  static const ScanKernel& best = base::effective_isa() >= base::Isa::kAvx2 ? kScanAvx2 : kScanReference;
  return best;
}

}  // namespace narrow::calibration
