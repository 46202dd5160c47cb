#include "quantizers/matrix/smooth_quant.h"

#include <algorithm>
#include <cmath>

#include "kernels/gemm/gemm.h"
#include "quantizers/matrix/checks.h"
#include "quantizers/matrix/problem.h"

namespace narrow::quantizers {
namespace {

using encodings::InputRounding;

constexpr std::int64_t kMeasuredRows = 512;  // of all the Linears together
constexpr int kStrengths = 19;
constexpr double kStep = 0.05;

Status multiply(const std::vector<float>& x, std::int64_t tokens, const std::vector<float>& weight, std::int64_t rows, std::int64_t columns, std::vector<float>& y,
                base::ThreadPool& pool) {
  y.resize(static_cast<std::size_t>(tokens * rows));
  return kernels::gemm_f32(false, true, tokens, rows, columns, 1, x.data(), columns, weight.data(), columns, 0, y.data(), rows, pool.threads());
}

double square(const std::vector<float>& values) {
  double sum = 0;
  for (const float v : values) sum += static_cast<double>(v) * v;
  return sum;
}

// Each row to the nearest of 8-bit codes between its extremes, as quantize_matrix does.
Status round_weight(std::vector<float>& weight, std::int64_t rows, std::int64_t columns, base::ThreadPool& pool) {
  const MatrixProblem problem{weight.data(), rows, columns, nullptr, {.bits = 8, .group_size = columns, .symmetric = true, .scale_type = encodings::ScaleType::kF32, .search = false}, pool};
  CodedMatrix coded;
  std::string note;
  NARROW_RETURN_IF_ERROR(round_to_nearest(problem, coded, note));
  for (std::int64_t i = 0; i < rows * columns; ++i) {
    const Grid& grid = coded.grids[static_cast<std::size_t>(i / columns)];
    weight[static_cast<std::size_t>(i)] = static_cast<float>(coded.codes[static_cast<std::size_t>(i)] - grid.zero) * grid.scale;
  }
  return {};
}

}  // namespace

Result<std::vector<float>> search_smoothing_scales(std::span<const WeightView> linears, const InputStatistics& statistics, const InputSample& sample,
                                                   InputRounding::Kind kind, base::ThreadPool& pool, double* strength) {
  const std::int64_t columns = sample.columns;
  const std::vector<float> x(sample.x, sample.x + sample.tokens * columns), weight = sample_rows(linears, columns, kMeasuredRows);
  const std::int64_t rows = static_cast<std::int64_t>(weight.size()) / columns;
  std::vector<float> exact, rounded, scaled_x, scaled_weight;
  NARROW_RETURN_IF_ERROR(multiply(x, sample.tokens, weight, rows, columns, exact, pool));

  std::vector<float> best(static_cast<std::size_t>(columns), 1.0f);
  double least = -1;
  const auto consider = [&](const std::vector<float>& scales, double alpha) -> Status {
    scaled_x = x;
    scaled_weight = weight;
    for (std::size_t i = 0; i < scaled_x.size(); ++i) scaled_x[i] /= scales[i % scales.size()];
    multiply_columns(scaled_weight, scales);
    InputRounding rounding{.kind = kind};
    if (kind == InputRounding::Kind::kTensor) {
      float most = 0;
      for (std::size_t k = 0; k < scales.size(); ++k) most = std::max(most, statistics.max_abs[k] / scales[k]);
      if (!(most > 0)) return {};
      rounding.scale = most / 127.5f;
    }
    encodings::round_inputs(rounding, scaled_x.data(), sample.tokens, columns, scaled_x.data());
    NARROW_RETURN_IF_ERROR(round_weight(scaled_weight, rows, columns, pool));
    NARROW_RETURN_IF_ERROR(multiply(scaled_x, sample.tokens, scaled_weight, rows, columns, rounded, pool));
    for (std::size_t i = 0; i < rounded.size(); ++i) rounded[i] -= exact[i];
    const double error = square(rounded);
    if (least < 0 || error < least) {
      least = error;
      best = scales;
      if (strength != nullptr) *strength = alpha;
    }
    return {};
  };
  NARROW_RETURN_IF_ERROR(consider(best, -1));
  for (int i = 1; i <= kStrengths; ++i) {
    NARROW_TRY(const std::vector<float> scales, smoothing_scales(linears, statistics, i * kStep));
    NARROW_RETURN_IF_ERROR(consider(scales, i * kStep));
  }
  return best;
}

Result<InputRounding> choose_tensor_rounding(std::span<const WeightView> linears, const InputSample& sample, float largest, encodings::ScaleType type) {
  NARROW_RETURN_IF_ERROR(check_finite({sample.x, static_cast<std::size_t>(sample.tokens * sample.columns)}, sample.columns, "the layer's input"));
  std::vector<double> energy(static_cast<std::size_t>(sample.columns));
  for (const WeightView& linear : linears) {
    for (std::int64_t i = 0; i < linear.rows * sample.columns; ++i) energy[static_cast<std::size_t>(i % sample.columns)] += static_cast<double>(linear.data[i]) * linear.data[i];
  }
  InputRounding best;
  double least = -1;
  std::vector<float> row(static_cast<std::size_t>(sample.columns));
  constexpr float kSmallest = 0.2f, kFiner = 0.04f;
  for (float part = 1; part >= kSmallest; part -= kFiner) {
    const InputRounding rounding{.kind = InputRounding::Kind::kTensor, .scale = round_scale(part * largest / 127.5f, type)};
    double error = 0;
    for (std::int64_t t = 0; t < sample.tokens; ++t) {
      const float* x = sample.x + t * sample.columns;
      encodings::round_inputs(rounding, x, 1, sample.columns, row.data());
      for (std::size_t k = 0; k < row.size(); ++k) error += energy[k] * (static_cast<double>(x[k]) - row[k]) * (x[k] - row[k]);
    }
    if (least < 0 || error < least) {
      least = error;
      best = rounding;
    }
  }
  return best;
}

Result<double> input_rounding_error(const WeightView& linear, const InputSample& sample, const InputRounding& rounding, base::ThreadPool& pool) {
  const std::vector<float> weight = sample_rows({&linear, 1}, sample.columns, kMeasuredRows);
  const std::int64_t rows = static_cast<std::int64_t>(weight.size()) / sample.columns;
  std::vector<float> x(sample.x, sample.x + sample.tokens * sample.columns), y;
  NARROW_RETURN_IF_ERROR(multiply(x, sample.tokens, weight, rows, sample.columns, y, pool));
  const double whole = square(y);
  encodings::round_inputs(rounding, x.data(), sample.tokens, sample.columns, x.data());
  for (std::size_t i = 0; i < x.size(); ++i) x[i] -= sample.x[i];
  NARROW_RETURN_IF_ERROR(multiply(x, sample.tokens, weight, rows, sample.columns, y, pool));
  return whole > 0 ? square(y) / whole : 0.0;
}

}  // namespace narrow::quantizers
