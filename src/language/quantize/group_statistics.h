// What calibration says of one group of Linears, chunk by chunk.
#pragma once

#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "language/decoder.h"
#include "language/weights.h"
#include "quantizers/matrix/matrix.h"

namespace narrow::language {

class GroupStatistics {
 public:
  // For Linears of `columns` inputs that will see `tokens` tokens. `compared`: with what the float model has there; `residual`: so
  // is the residual stream that the one Linear's output is added to.
  static Result<GroupStatistics> create(const LinearGroup& group, const WeightSource& weights, std::int64_t columns, std::int64_t tokens, bool compared, bool residual,
                                        base::ThreadPool& pool);

  // What the group reads of a chunk, [tokens, columns]; what the float model has there and the two residual streams, null where
  // they were not announced.
  Status add(const Tensor& inputs, const Tensor* originals, const Tensor* residuals, const Tensor* float_residuals);

  const quantizers::InputStatistics& statistics() const { return statistics_; }
  // quantize_matrix's `residual` for the group's i-th Linear; empty: none.
  std::span<const float> residual(std::size_t i) const { return i < residuals_.size() ? std::span<const float>(residuals_[i]) : std::span<const float>(); }

 private:
  GroupStatistics(std::int64_t columns, base::ThreadPool& pool) : statistics_(columns), pool_(pool) {}
  Status add_outputs(const StoredWeight& weight, std::span<const float> moved, std::vector<float>& off) const;

  quantizers::InputStatistics statistics_;
  base::ThreadPool& pool_;
  bool by_outputs_ = false;
  std::vector<StoredWeight> weights_;
  std::vector<std::vector<float>> residuals_;  // by Linear
};

}  // namespace narrow::language
