// HQQ (Badri and Shaji 2023, "Half-Quadratic Quantization"): without data, grids of least sum of |w - ŵ|^p with p < 1, which
// lets the few large weights be wrong for the sake of the many. Alternates between the errors to be tolerated (a generalized
// soft threshold) and the grid that fits the weights less those; zeros are integers here, so the scale is fitted as well.
#include <algorithm>
#include <cmath>

#include "quantizers/matrix/problem.h"

namespace narrow::quantizers {
namespace {

constexpr float kNorm = 0.7f;      // p
constexpr float kBeta = 10, kBetaGrowth = 1.01f;
constexpr int kIterations = 20;

class HalfQuadratic {
 public:
  HalfQuadratic(const float* weight, std::int64_t count, const GridOptions& options) : weight_(weight), count_(count), options_(options) {
    for (std::int64_t i = 0; i < count; ++i) largest_ = std::max(largest_, std::abs(weight[i]));
  }

  Grid run(const Grid& start) {
    best_ = start;
    least_ = -1;
    if (largest_ == 0) return best_;
    descend(start);
    return best_;
  }

 private:
  void descend(Grid grid) {
    // The threshold's unit is that of weights of order 0.05 in the published method; here it is the scale, so that the
    // outcome does not depend on the size of the weights.
    float beta = kBeta;
    for (int iteration = 0; iteration < kIterations; ++iteration, beta *= kBetaGrowth) {
      double loss = 0, n = 0, steps_sum = 0, target_sum = 0, steps_square = 0, steps_target = 0;
      for (std::int64_t i = 0; i < count_; ++i) {
        const int code = nearest_code(weight_[i], grid, options_.max_code());
        const float off = weight_[i] - static_cast<float>(code - grid.zero) * grid.scale, size = std::abs(off) / grid.scale;
        const float power = size > 0 ? std::pow(size, kNorm - 1) : 0;
        loss += static_cast<double>(power) * size;
        const float tolerated = std::copysign(std::max(size - power / beta, 0.0f) * grid.scale, off);
        const double target = weight_[i] - tolerated;
        n += 1;
        steps_sum += code;
        target_sum += target;
        steps_square += static_cast<double>(code) * code;
        steps_target += code * target;
      }
      loss *= std::pow(static_cast<double>(grid.scale), kNorm);
      if (least_ >= 0 && loss >= least_) return;
      least_ = loss;
      best_ = grid;
      // target = scale * (code - zero), by least squares: first both, then the scale for the zero once rounded.
      Grid next = grid;
      if (!options_.symmetric) {
        const double spread = n * steps_square - steps_sum * steps_sum;
        if (spread <= 0) return;
        const double slope = (n * steps_target - steps_sum * target_sum) / spread;
        if (slope <= 0) return;
        next.zero = static_cast<int>(std::clamp(std::nearbyint((steps_sum - target_sum / slope) / n), 0.0, static_cast<double>(options_.max_code())));
      }
      const double square = steps_square - 2 * next.zero * steps_sum + n * next.zero * next.zero, along = steps_target - next.zero * target_sum;
      if (square <= 0 || along <= 0) return;
      next.scale = round_scale(static_cast<float>(along / square), options_.scale_type);
      if (next.scale == grid.scale && next.zero == grid.zero) return;
      grid = next;
    }
  }

  const float* weight_;
  std::int64_t count_;
  const GridOptions& options_;
  float largest_ = 0;
  Grid best_;
  double least_ = -1;
};

}  // namespace

Status hqq(const MatrixProblem& problem, CodedMatrix& coded, std::string& note) {
  const std::int64_t groups = problem.groups();
  const GridOptions options = problem.grid_options();
  coded.grids.resize(static_cast<std::size_t>(problem.rows * groups));
  for_row_tiles(problem, [&](std::int64_t first, std::int64_t count) {
    for (std::int64_t row = first; row < first + count; ++row) {
      for (std::int64_t g = 0; g < groups; ++g) {
        const std::int64_t at = g * problem.options.group_size, size = problem.group_end(g) - at;
        const float* weight = problem.weight + row * problem.columns + at;
        coded.grids[static_cast<std::size_t>(row * groups + g)] = HalfQuadratic(weight, size, options).run(min_max_grid(weight, size, options));
      }
    }
  });
  return round_to_nearest(problem, coded, note);
}

}  // namespace narrow::quantizers
