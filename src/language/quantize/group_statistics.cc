#include "language/quantize/group_statistics.h"

#include <algorithm>
#include <mutex>

#include "kernels/gemm/gemm.h"

namespace narrow::language {
namespace {

constexpr std::int64_t kTile = 256;  // rows of a weight made float at a time

std::vector<float> difference(std::span<const float> a, std::span<const float> b) {
  std::vector<float> out(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) out[i] = a[i] - b[i];
  return out;
}

}  // namespace

// What the layers before have changed is needed as (W D + R): by way of the drift D, or, where that is less work, summed up as
// what W makes of the change of each token, times the token.
Result<GroupStatistics> GroupStatistics::create(const LinearGroup& group, const WeightSource& weights, std::int64_t columns, std::int64_t tokens, bool compared, bool residual,
                                                base::ThreadPool& pool) {
  GroupStatistics made(columns, pool);
  if (!compared) return made;
  std::int64_t rows = 0;
  for (const std::string& name : group) {
    NARROW_TRY(StoredWeight stored, weights.matrix(name));
    rows += stored.rows();
    made.weights_.push_back(std::move(stored));
  }
  const double n = static_cast<double>(columns), r = static_cast<double>(rows), t = static_cast<double>(tokens);
  made.by_outputs_ = 2 * t * r * n < t * n * n + r * n * n + (residual ? t * r * n : 0);
  if (made.by_outputs_ || residual) {
    for (const StoredWeight& weight : made.weights_) made.residuals_.emplace_back(static_cast<std::size_t>(weight.rows() * columns));
  }
  if (!made.by_outputs_) made.weights_.clear();
  return made;
}

Status GroupStatistics::add(const Tensor& inputs, const Tensor* originals, const Tensor* residuals, const Tensor* float_residuals) {
  const std::int64_t n = statistics_.columns, tokens = inputs.size() / n;
  const std::span<const float> x = inputs.data<float>();
  NARROW_RETURN_IF_ERROR(statistics_.add(x.data(), tokens, pool_));
  if (originals == nullptr || tokens == 0) return {};
  const std::span<const float> x_float = originals->data<float>();
  if (!by_outputs_) NARROW_RETURN_IF_ERROR(statistics_.add_drift(x_float.data(), x.data(), tokens, pool_));
  const std::vector<float> moved = by_outputs_ ? difference(x_float, x) : std::vector<float>();
  for (std::size_t i = 0; i < residuals_.size(); ++i) {
    const std::int64_t rows = static_cast<std::int64_t>(residuals_[i].size()) / n;
    std::vector<float> off = residuals != nullptr ? difference(float_residuals->data<float>(), residuals->data<float>()) : std::vector<float>(static_cast<std::size_t>(tokens * rows));
    if (by_outputs_) NARROW_RETURN_IF_ERROR(add_outputs(weights_[i], moved, off));
    NARROW_RETURN_IF_ERROR(quantizers::add_products(off.data(), rows, x.data(), n, tokens, residuals_[i].data(), pool_));
  }
  return {};
}

// off [tokens, rows] += moved Wᵀ.
Status GroupStatistics::add_outputs(const StoredWeight& weight, std::span<const float> moved, std::vector<float>& off) const {
  const std::int64_t rows = weight.rows(), n = weight.columns(), tokens = static_cast<std::int64_t>(moved.size()) / n;
  std::mutex mutex;
  Status failed;
  pool_.parallel_for(static_cast<std::size_t>((rows + kTile - 1) / kTile), [&](std::size_t tile, int) {
    const std::int64_t first = static_cast<std::int64_t>(tile) * kTile, count = std::min(kTile, rows - first);
    std::vector<float> part(static_cast<std::size_t>(count * n));
    to_float_rows(weight, first, count, part.data());
    Status done = kernels::gemm_f32(false, true, tokens, count, n, 1, moved.data(), n, part.data(), n, 1, off.data() + first, rows, 1);
    if (done) return;
    std::lock_guard lock(mutex);
    failed = std::move(done);
  });
  return failed;
}

}  // namespace narrow::language
