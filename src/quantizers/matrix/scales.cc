#include "quantizers/matrix/scales.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "quantizers/matrix/checks.h"
#include "quantizers/matrix/problem.h"

namespace narrow::quantizers {
namespace {

constexpr std::int64_t kSampledRows = 512;  // of all the Linears together: what the error of a candidate is measured on
constexpr int kRatios = 20;

Status check_all(std::span<const WeightView> linears, const InputStatistics& statistics) {
  if (linears.empty()) return invalid_argument("no weights to choose scales for");
  for (const WeightView& linear : linears) {
    NARROW_RETURN_IF_ERROR(check_weight({linear.data, static_cast<std::size_t>(linear.rows * statistics.columns)}, linear.rows, statistics.columns));
  }
  return check_finite(statistics.hessian, statistics.columns, "the Hessian of the layers' inputs");
}

// Mean or largest magnitude of each column over all the Linears.
std::vector<float> column_magnitudes(std::span<const WeightView> linears, std::int64_t columns, bool largest) {
  std::vector<double> found(static_cast<std::size_t>(columns));
  std::int64_t rows = 0;
  for (const WeightView& linear : linears) {
    rows += linear.rows;
    for (std::int64_t i = 0; i < linear.rows * columns; ++i) {
      double& of = found[static_cast<std::size_t>(i % columns)];
      const double magnitude = std::abs(linear.data[i]);
      of = largest ? std::max(of, magnitude) : of + magnitude;
    }
  }
  std::vector<float> out;
  for (double f : found) out.push_back(static_cast<float>(largest ? f : f / static_cast<double>(rows)));
  return out;
}

// Limited, and divided by their geometric mean.
void normalize(std::vector<float>& scales) {
  double logs = 0;
  for (float s : scales) logs += std::log(s);
  const auto mean = static_cast<float>(std::exp(logs / static_cast<double>(scales.size())));
  for (float& s : scales) s = std::clamp(s / mean, 1e-4f, 1e4f);
}

}  // namespace

std::vector<float> sample_rows(std::span<const WeightView> linears, std::int64_t columns, std::int64_t count) {
  std::int64_t rows = 0;
  for (const WeightView& linear : linears) rows += linear.rows;
  const std::int64_t taken = std::min(rows, count);
  std::vector<float> sample;
  sample.reserve(static_cast<std::size_t>(taken * columns));
  for (std::int64_t i = 0; i < taken; ++i) {
    std::int64_t row = i * rows / taken;
    const WeightView* of = linears.data();
    for (; row >= of->rows; ++of) row -= of->rows;
    sample.insert(sample.end(), of->data + row * columns, of->data + (row + 1) * columns);
  }
  return sample;
}

void multiply_columns(std::span<float> weight, std::span<const float> scales) {
  for (std::size_t i = 0; i < weight.size(); ++i) weight[i] *= scales[i % scales.size()];
}

Result<std::vector<float>> search_awq_scales(std::span<const WeightView> linears, const InputStatistics& statistics, const MatrixOptions& options,
                                             base::ThreadPool& pool) {
  NARROW_RETURN_IF_ERROR(check_options(options));
  NARROW_RETURN_IF_ERROR(check_all(linears, statistics));
  const std::int64_t columns = statistics.columns;
  const std::vector<float> weights = column_magnitudes(linears, columns, false);
  const std::vector<float> sample = sample_rows(linears, columns, kSampledRows);
  const std::int64_t taken = static_cast<std::int64_t>(sample.size()) / columns;

  std::vector<float> best(static_cast<std::size_t>(columns), 1.0f), scales(best), scaled(sample.size());
  double least = -1;
  // The error with these scales: of the scaled weights under the Hessian of the divided inputs, which needs no Hessian of its own
  // when the rounded weights are divided instead.
  const auto consider = [&]() -> Status {
    for (std::size_t i = 0; i < sample.size(); ++i) scaled[i] = sample[i] * scales[i % scales.size()];
    MatrixProblem problem{scaled.data(), taken, columns, nullptr, options, pool};
    if (options.group_size == 0 || options.group_size > columns) problem.options.group_size = columns;
    problem.options.search = false;
    CodedMatrix coded;
    std::string note;
    NARROW_RETURN_IF_ERROR(round_to_nearest(problem, coded, note));
    problem.hessian = statistics.hessian.data();
    NARROW_TRY(const double error, error_of(problem, coded, scales));
    if (least < 0 || error < least) {
      least = error;
      best = scales;
    }
    return {};
  };
  NARROW_RETURN_IF_ERROR(consider());
  for (const bool by_weights : {false, true}) {
    for (int i = 1; i <= kRatios; ++i) {
      const float ratio = static_cast<float>(i) / kRatios;
      for (std::size_t k = 0; k < scales.size(); ++k) {
        const float input = std::max(statistics.mean_abs[k], 1e-8f), weight = std::max(weights[k], 1e-8f);
        scales[k] = std::pow(input, ratio) / (by_weights ? std::pow(weight, 1 - ratio) : 1.0f);
      }
      normalize(scales);
      NARROW_RETURN_IF_ERROR(consider());
    }
  }
  return best;
}

Result<std::vector<float>> smoothing_scales(std::span<const WeightView> linears, const InputStatistics& statistics, double alpha) {
  if (!(alpha >= 0 && alpha <= 1)) return invalid_argument(fmt::format("a smoothing strength of {}: expected 0 to 1", alpha));
  NARROW_RETURN_IF_ERROR(check_all(linears, statistics));
  const std::vector<float> weights = column_magnitudes(linears, statistics.columns, true);
  std::vector<float> scales;
  for (std::size_t k = 0; k < weights.size(); ++k) {
    const double input = statistics.max_abs[k], weight = weights[k];
    const double scale = input > 0 && weight > 0 ? std::pow(input, alpha) / std::pow(weight, 1 - alpha) : 1.0;
    scales.push_back(static_cast<float>(std::clamp(scale, 1e-5, 1e5)));
  }
  return scales;
}

}  // namespace narrow::quantizers
