// Weights and inputs like those of a language model, for the tests of this folder.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "encodings/grouped_matrix.h"
#include "quantizers/matrix/matrix.h"

namespace narrow::quantizers {

inline std::vector<float> random_weight(std::int64_t rows, std::int64_t columns, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> weight(static_cast<std::size_t>(rows * columns));
  for (float& w : weight) w = 0.05f * normal(random);
  return weight;
}

// Tokens [count, columns] that correlate across columns, with a few channels much larger than the rest.
inline std::vector<float> random_inputs(std::int64_t count, std::int64_t columns, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  const std::int64_t factors = std::max<std::int64_t>(1, columns / 4);
  std::vector<float> loading(static_cast<std::size_t>(factors * columns)), x(static_cast<std::size_t>(count * columns));
  for (float& l : loading) l = normal(random) / std::sqrt(static_cast<float>(factors));
  std::vector<float> hidden(static_cast<std::size_t>(factors));
  for (std::int64_t t = 0; t < count; ++t) {
    for (float& h : hidden) h = normal(random);
    for (std::int64_t k = 0; k < columns; ++k) {
      float sum = 0.3f * normal(random);
      for (std::int64_t f = 0; f < factors; ++f) sum += hidden[static_cast<std::size_t>(f)] * loading[static_cast<std::size_t>(f * columns + k)];
      x[static_cast<std::size_t>(t * columns + k)] = sum * (k % 17 == 3 ? 8.0f : 1.0f);
    }
  }
  return x;
}

inline InputStatistics statistics_of(const std::vector<float>& x, std::int64_t columns) {
  InputStatistics statistics(columns);
  base::ThreadPool pool(1);
  EXPECT_TRUE(statistics.add(x.data(), static_cast<std::int64_t>(x.size()) / columns, pool));
  return statistics;
}

// trace((W - Ŵ) H (W - Ŵ)ᵀ) by definition, in double.
inline double output_error(const std::vector<float>& weight, const std::vector<float>& other, const std::vector<float>& hessian, std::int64_t columns) {
  double sum = 0;
  const auto n = static_cast<std::size_t>(columns);
  for (std::size_t row = 0; row < weight.size() / n; ++row) {
    for (std::size_t i = 0; i < n; ++i) {
      const double ei = static_cast<double>(weight[row * n + i]) - other[row * n + i];
      for (std::size_t j = 0; j < n; ++j) sum += ei * hessian[i * n + j] * (static_cast<double>(weight[row * n + j]) - other[row * n + j]);
    }
  }
  return sum;
}

inline std::vector<float> dequantized(const encodings::GroupedMatrix& matrix) {
  std::vector<float> out(static_cast<std::size_t>(matrix.rows * matrix.columns));
  encodings::dequantize_rows(matrix, 0, matrix.rows, out.data());
  return out;
}

}  // namespace narrow::quantizers
