#include "kernels/gemm/gemm.h"

#include <algorithm>
#include <type_traits>

#include "base/cpu.h"
#include "kernels/onednn/onednn.h"

namespace narrow::kernels {
namespace {

// The oracle: what oneDNN computes, in the order of the definition.
void gemm_f32_reference(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, float alpha,
                        const float* a, std::int64_t lda, const float* b, std::int64_t ldb, float beta, float* c,
                        std::int64_t ldc) {
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      float sum = 0;
      for (std::int64_t p = 0; p < k; ++p) sum += (transpose_a ? a[p * lda + i] : a[i * lda + p]) * (transpose_b ? b[j * ldb + p] : b[p * ldb + j]);
      float& to = c[i * ldc + j];
      to = alpha * sum + (beta == 0 ? 0 : beta * to);
    }
  }
}

}  // namespace

Status gemm_f32(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, float alpha,
                const float* a, std::int64_t lda, const float* b, std::int64_t ldb, float beta, float* c,
                std::int64_t ldc, int threads) {
  if (m == 0 || n == 0) return {};
  if (k == 0) {
    for (std::int64_t i = 0; i < m; ++i) {
      for (std::int64_t j = 0; j < n; ++j) c[i * ldc + j] = beta == 0 ? 0 : beta * c[i * ldc + j];
    }
    return {};
  }
  if (base::effective_isa() == base::Isa::kScalar) {
    gemm_f32_reference(transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    return {};
  }
  onednn::engine();  // limits the instruction set
  // Starting the others takes longer than a small product.
  constexpr std::int64_t kWorthThreads = 1 << 20;
  const onednn::ThreadScope scope(m * n < kWorthThreads && m * n * k < kWorthThreads ? 1 : threads);
  const dnnl_status_t status = dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k, alpha, a, lda, b,
                                          ldb, beta, c, ldc);
  if (status == dnnl_success) return {};
  if (status == dnnl_out_of_memory) return resource_exhausted("out of memory in a matrix product");
  return internal_error("oneDNN refused a matrix product");
}

template <typename T>
void gemm_reference(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const T* a,
                    const T* b, T* c) {
  using Wide = std::conditional_t<std::is_floating_point_v<T>, T, std::uint64_t>;  // unsigned: overflow is defined
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      Wide sum = 0;
      for (std::int64_t p = 0; p < k; ++p) {
        sum += static_cast<Wide>(transpose_a ? a[p * m + i] : a[i * k + p]) *
               static_cast<Wide>(transpose_b ? b[j * k + p] : b[p * n + j]);
      }
      c[i * n + j] = static_cast<T>(sum);
    }
  }
}

template void gemm_reference(bool, bool, std::int64_t, std::int64_t, std::int64_t, const double*, const double*, double*);
template void gemm_reference(bool, bool, std::int64_t, std::int64_t, std::int64_t, const std::int32_t*, const std::int32_t*, std::int32_t*);
template void gemm_reference(bool, bool, std::int64_t, std::int64_t, std::int64_t, const std::int64_t*, const std::int64_t*, std::int64_t*);
template void gemm_reference(bool, bool, std::int64_t, std::int64_t, std::int64_t, const std::uint32_t*, const std::uint32_t*, std::uint32_t*);
template void gemm_reference(bool, bool, std::int64_t, std::int64_t, std::int64_t, const std::uint64_t*, const std::uint64_t*, std::uint64_t*);

}  // namespace narrow::kernels
