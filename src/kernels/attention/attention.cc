#include "kernels/attention/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <new>
#include <vector>

#include "kernels/elementwise/elementwise.h"
#include "kernels/gemm/gemm.h"
#include "kernels/softmax/rows.h"

namespace narrow::kernels {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();
constexpr std::int64_t kBlockElements = 1 << 17;  // of scores: half a megabyte, within the second-level cache
constexpr std::int64_t kFewestRows = 8, kMostRows = 64;

// Keys [first, last).
struct Span {
  std::int64_t first = 0, last = 0;
  std::int64_t size() const { return last - first; }
};

class Attention {
 public:
  Attention(const AttentionProblem& problem, base::ThreadPool& pool) : p_(problem), pool_(pool) {
    rows_ = std::clamp(kBlockElements / std::max<std::int64_t>(1, p_.keys), kFewestRows, kMostRows);
    rows_ = std::min(rows_, p_.queries);
  }

  Status run() {
    if (p_.batch == 0 || p_.query_heads == 0 || p_.queries == 0 || (p_.value_size == 0 && p_.scores == nullptr)) return {};
    const std::int64_t blocks = (p_.queries + rows_ - 1) / rows_;
    try {
      scratch_.resize(static_cast<std::size_t>(pool_.threads()));
      for (auto& block : scratch_) block.resize(static_cast<std::size_t>(rows_ * p_.keys));
    } catch (const std::bad_alloc&) {
      return resource_exhausted("out of memory for attention scores");
    }
    std::mutex guard;
    Status status;
    pool_.parallel_for(static_cast<std::size_t>(p_.batch * p_.query_heads * blocks), [&](std::size_t job, int worker) {
      const auto index = static_cast<std::int64_t>(job);
      const std::int64_t head = index / blocks % p_.query_heads, batch = index / blocks / p_.query_heads;
      Status done = run_block(batch, head, index % blocks * rows_, scratch_[static_cast<std::size_t>(worker)].data());
      if (!done.ok()) {
        const std::lock_guard lock(guard);
        status = std::move(done);
      }
    });
    return status;
  }

 private:
  Span seen_by(std::int64_t batch, std::int64_t query) const {
    const std::int64_t position = (p_.offsets != nullptr ? p_.offsets[batch] : 0) + query;
    Span span{0, p_.key_counts != nullptr ? p_.key_counts[batch] : p_.keys};
    if (p_.left >= 0) span.first = std::max<std::int64_t>(0, position - p_.left);
    if (p_.right >= 0) span.last = std::min(span.last, position + p_.right + 1);
    span.first = std::min(span.first, p_.keys);
    span.last = std::max(span.first, span.last);
    return span;
  }

  Status run_block(std::int64_t batch, std::int64_t head, std::int64_t begin, float* scores) {
    const std::int64_t rows = std::min(rows_, p_.queries - begin);
    const std::int64_t key_head = head / (p_.query_heads / p_.key_heads);
    // Both ends of what a row sees grow with the row.
    Span keys{seen_by(batch, begin).first, seen_by(batch, begin + rows - 1).last};
    if (p_.scores != nullptr) keys = {0, p_.keys};
    const std::int64_t width = std::max<std::int64_t>(0, keys.size());
    NARROW_RETURN_IF_ERROR(gemm_f32(false, true, rows, width, p_.head_size, p_.scale, p_.query.row(batch, head, begin), p_.query.row_stride,
                                    p_.key.row(batch, key_head, keys.first), p_.key.row_stride, 0, scores, width, 1));
    for (std::int64_t i = 0; i < rows; ++i) {
      finish_row(batch, head, begin + i, keys, scores + i * width);
    }
    return gemm_f32(false, false, rows, p_.value_size, width, 1, scores, width, p_.value.row(batch, key_head, keys.first), p_.value.row_stride, 0,
                    p_.output.row(batch, head, begin), p_.output.row_stride, 1);
  }

  // From products to probabilities, in place.
  void finish_row(std::int64_t batch, std::int64_t head, std::int64_t query, Span keys, float* row) const {
    float* kept = p_.scores == nullptr ? nullptr : p_.scores + ((batch * p_.query_heads + head) * p_.queries + query) * p_.keys;
    const auto keep = [&](ScoreStage stage) {
      if (kept != nullptr && p_.stage == stage) std::copy_n(row, keys.size(), kept);
    };
    keep(ScoreStage::kRaw);
    if (p_.softcap != 0) cap(row, keys.size());
    keep(ScoreStage::kCapped);
    const Span seen = seen_by(batch, query);  // lies within `keys`
    if (keys.size() > 0) {
      std::fill(row, row + seen.first - keys.first, kNever);
      std::fill(row + seen.last - keys.first, row + keys.size(), kNever);
    }
    float* first = row + seen.first - keys.first;
    for (const AttentionBias& bias : p_.biases) {
      if (bias.data != nullptr) add(bias, batch, head, query, seen, first);
    }
    keep(ScoreStage::kBiased);
    softmax(seen.size(), head, first);
    if (keys.size() > 0) {
      std::fill(row, first, 0.0f);
      std::fill(first + seen.size(), row + keys.size(), 0.0f);
    }
    keep(ScoreStage::kProbabilities);
  }

  void cap(float* row, std::int64_t n) const {
    static const UnaryF32Function tanh = unary_f32(UnaryF32::kTanh);
    const float inverse = 1 / p_.softcap;
    for (std::int64_t i = 0; i < n; ++i) row[i] *= inverse;
    tanh(row, row, static_cast<std::size_t>(n), nullptr);
    for (std::int64_t i = 0; i < n; ++i) row[i] *= p_.softcap;
  }

  // A bias of -infinity hides a key whatever its score, NaN included.
  static void add(const AttentionBias& bias, std::int64_t batch, std::int64_t head, std::int64_t query, Span seen, float* first) {
    const float* from = bias.data + batch * bias.batch_stride + head * bias.head_stride + query * bias.row_stride;
    const std::int64_t covered = std::clamp<std::int64_t>(bias.columns - seen.first, 0, seen.size());
    for (std::int64_t j = 0; j < covered; ++j) {
      const float value = from[(seen.first + j) * bias.column_stride];
      first[j] = value == kNever ? kNever : first[j] + value;
    }
    std::fill(first + covered, first + seen.size(), kNever);
  }

  void softmax(std::int64_t n, std::int64_t head, float* row) const {
    if (n <= 0) return;
    static const SoftmaxRows& functions = softmax_rows();
    float largest = functions.maximum(row, n);
    if (largest == kNever) {
      std::fill(row, row + n, 0.0f);
      return;
    }
    if (p_.sinks != nullptr) largest = std::max(largest, p_.sinks[head]);
    float sum = functions.exponentials(row, n, largest, row);
    if (p_.sinks != nullptr) sum += std::exp(p_.sinks[head] - largest);
    functions.scale(row, n, 1 / sum);
  }

  const AttentionProblem& p_;
  base::ThreadPool& pool_;
  std::int64_t rows_ = 1;
  std::vector<std::vector<float>> scratch_;
};

}  // namespace

Status attention_f32(const AttentionProblem& problem, base::ThreadPool& pool) { return Attention(problem, pool).run(); }

void rotary_f32(const RotaryProblem& p, base::ThreadPool& pool) {
  // A task is one position of one batch: its angles serve all heads.
  pool.parallel_for(static_cast<std::size_t>(p.batch * p.length), [&](std::size_t task, int) {
    const std::int64_t batch = static_cast<std::int64_t>(task) / p.length, position = static_cast<std::int64_t>(task) % p.length;
    const float* cosines = p.cosines + p.angle_rows[task] * p.half;
    const float* sines = p.sines + p.angle_rows[task] * p.half;
    const std::int64_t step = p.interleaved ? 2 : 1, apart = p.interleaved ? 1 : p.half;
    for (std::int64_t head = 0; head < p.heads; ++head) {
      const float* x = p.input.row(batch, head, position);
      float* y = p.output.row(batch, head, position);
      for (std::int64_t i = 0; i < p.half; ++i) {
        const float a = x[i * step], b = x[i * step + apart];
        y[i * step] = a * cosines[i] - b * sines[i];
        y[i * step + apart] = b * cosines[i] + a * sines[i];
      }
      if (x != y) std::copy(x + 2 * p.half, x + p.head_size, y + 2 * p.half);
    }
  });
}

}  // namespace narrow::kernels
