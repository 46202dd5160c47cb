#include "kernels/softmax/softmax.h"

#include <algorithm>
#include <cmath>

#include "kernels/elementwise/elementwise.h"
#include "kernels/softmax/rows.h"

namespace narrow::kernels {
namespace {

// One row whose elements lie `step` apart.
void softmax_row(SoftmaxKind kind, const float* x, std::int64_t n, std::int64_t step, float* y) {
  std::int64_t at = 0;
  for (std::int64_t i = 1; i < n; ++i) {
    if (x[i * step] > x[at * step]) at = i;
  }
  if (kind == SoftmaxKind::kHardmax) {
    for (std::int64_t i = 0; i < n; ++i) y[i * step] = i == at ? 1.0f : 0.0f;
    return;
  }
  const float largest = x[at * step];
  float sum = 0;
  if (kind == SoftmaxKind::kLogSoftmax) {
    for (std::int64_t i = 0; i < n; ++i) sum += std::exp(x[i * step] - largest);
    const float shift = largest + std::log(sum);
    for (std::int64_t i = 0; i < n; ++i) y[i * step] = x[i * step] - shift;
    return;
  }
  for (std::int64_t i = 0; i < n; ++i) sum += y[i * step] = std::exp(x[i * step] - largest);
  const float scale = 1.0f / sum;
  for (std::int64_t i = 0; i < n; ++i) y[i * step] *= scale;
}

void softmax_contiguous(SoftmaxKind kind, const float* x, std::int64_t n, float* y) {
  const SoftmaxRows& rows = softmax_rows();
  const float largest = rows.maximum(x, n);
  if (kind == SoftmaxKind::kLogSoftmax) {
    const float shift = largest + std::log(rows.exponentials(x, n, largest, nullptr));
    for (std::int64_t i = 0; i < n; ++i) y[i] = x[i] - shift;
    return;
  }
  rows.scale(y, n, 1.0f / rows.exponentials(x, n, largest, y));
}

// Rows too short for vectors of their own: the exponentials of all of them in one pass.
void softmax_short_rows(const float* x, std::int64_t rows, std::int64_t n, float* y) {
  for (std::int64_t r = 0; r < rows; ++r) {
    const float* from = x + r * n;
    float largest = from[0];
    for (std::int64_t i = 1; i < n; ++i) largest = from[i] > largest ? from[i] : largest;
    for (std::int64_t i = 0; i < n; ++i) y[r * n + i] = from[i] - largest;
  }
  unary_f32(UnaryF32::kExp)(y, y, static_cast<std::size_t>(rows * n), nullptr);
  for (std::int64_t r = 0; r < rows; ++r) {
    float* to = y + r * n;
    float sum = to[0];
    for (std::int64_t i = 1; i < n; ++i) sum += to[i];
    const float scale = 1.0f / sum;
    for (std::int64_t i = 0; i < n; ++i) to[i] *= scale;
  }
}

}  // namespace

void softmax_f32(SoftmaxKind kind, const float* x, std::int64_t outer, std::int64_t n, std::int64_t inner, float* y,
                 base::ThreadPool& pool) {
  if (n == 0) return;
  // Some rows at a time: handing out each would cost more than a short one.
  constexpr std::int64_t kPart = 1 << 13, kShortRow = 8;
  const std::int64_t together = std::clamp<std::int64_t>(kPart / (n * inner), 1, std::max<std::int64_t>(outer, 1));
  pool.parallel_for(static_cast<std::size_t>((outer + together - 1) / together), [&](std::size_t part, int) {
    const std::int64_t first = static_cast<std::int64_t>(part) * together, last = std::min(outer, first + together);
    if (inner == 1 && n <= kShortRow && kind == SoftmaxKind::kSoftmax) {
      softmax_short_rows(x + first * n, last - first, n, y + first * n);
      return;
    }
    for (std::int64_t o = first; o < last; ++o) {
      const std::int64_t start = o * n * inner;
      if (inner == 1 && kind != SoftmaxKind::kHardmax) {
        softmax_contiguous(kind, x + start, n, y + start);
        continue;
      }
      for (std::int64_t i = 0; i < inner; ++i) softmax_row(kind, x + start + i, n, inner, y + start + i);
    }
  });
}

}  // namespace narrow::kernels
