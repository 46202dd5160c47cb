// For tests of attention operators: attention by definition, in f64, on [batch, heads, length, size].
#pragma once

#include <cmath>
#include <functional>
#include <limits>

#include "operators/test_support.h"

namespace narrow::operators::testing {

struct Oracle {
  Tensor query, key, value;  // key heads divide query heads
  double scale = 0;          // 0: 1 / sqrt(size)
  // What is added to score (batch, head, query, key); -infinity hides it.
  std::function<double(std::int64_t, std::int64_t, std::int64_t, std::int64_t)> bias = [](auto...) { return 0.0; };

  // [batch, heads, queries, value size]; rows that see nothing are 0.
  std::vector<double> run() const {
    const Shape &q = query.shape(), &k = key.shape();
    const std::int64_t size = value.shape()[3];
    const double factor = scale != 0 ? scale : 1 / std::sqrt(static_cast<double>(q[3]));
    std::vector<double> y;
    for (std::int64_t b = 0; b < q[0]; ++b)
      for (std::int64_t h = 0; h < q[1]; ++h)
        for (std::int64_t i = 0; i < q[2]; ++i) {
          const std::int64_t g = h / (q[1] / k[1]);
          std::vector<double> weights(static_cast<std::size_t>(k[2])), row(static_cast<std::size_t>(size), 0.0);
          double sum = 0;
          for (std::int64_t j = 0; j < k[2]; ++j) {
            double dot = 0;
            for (std::int64_t d = 0; d < q[3]; ++d) dot += query.at_as_double(ravel({b, h, i, d}, q)) * key.at_as_double(ravel({b, g, j, d}, k));
            sum += weights[j] = std::exp(dot * factor + bias(b, h, i, j));
          }
          for (std::int64_t j = 0; j < k[2] && sum > 0; ++j)
            for (std::int64_t d = 0; d < size; ++d) row[d] += weights[j] / sum * value.at_as_double(ravel({b, g, j, d}, value.shape()));
          y.insert(y.end(), row.begin(), row.end());
        }
    return y;
  }
};

inline constexpr double kHidden = -std::numeric_limits<double>::infinity();

inline Tensor random_normal(DType dtype, const Shape& shape, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> draw;
  return fill(dtype, shape, [&](std::int64_t) { return draw(random); });
}

// [batch, heads, length, size] as [batch, length, heads · size].
inline Tensor merged_heads(const Tensor& x) {
  const Shape& s = x.shape();
  return fill(x.dtype(), {s[0], s[2], s[1] * s[3]}, [&](std::int64_t i) {
    const auto at = unravel(i, {s[0], s[2], s[1], s[3]});
    return x.at_as_double(ravel({at[0], at[2], at[1], at[3]}, s));
  });
}

// Two tensors of rank 4 one after the other along dimension 2.
inline Tensor joined(const Tensor& a, const Tensor& b) {
  Shape s = a.shape();
  s[2] += b.shape()[2];
  return fill(a.dtype(), s, [&](std::int64_t i) {
    auto at = unravel(i, s);
    if (at[2] < a.shape()[2]) return a.at_as_double(ravel(at, a.shape()));
    at[2] -= a.shape()[2];
    return b.at_as_double(ravel(at, b.shape()));
  });
}

inline void expect_near(const std::vector<double>& expected, const Tensor& found, double tolerance) {
  ASSERT_EQ(static_cast<std::int64_t>(expected.size()), found.size());
  for (std::size_t i = 0; i < expected.size(); ++i) ASSERT_NEAR(expected[i], found.at_as_double(static_cast<std::int64_t>(i)), tolerance) << "element " << i;
}

inline std::vector<double> numbers(const Tensor& x) {
  std::vector<double> values;
  for (std::int64_t i = 0; i < x.size(); ++i) values.push_back(x.at_as_double(i));
  return values;
}

// [batch, heads, length, size] numbers as [batch, length, heads · size].
inline std::vector<double> merged_heads(const std::vector<double>& x, const Shape& s) {
  std::vector<double> out(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const auto at = unravel(static_cast<std::int64_t>(i), s);
    out[static_cast<std::size_t>(ravel({at[0], at[2], at[1], at[3]}, {s[0], s[2], s[1], s[3]}))] = x[i];
  }
  return out;
}

inline Tensor s32(Shape shape, std::vector<std::int32_t> values) { return Tensor::from<std::int32_t>(std::move(shape), std::span<const std::int32_t>(values)); }

// The node's error mentions its name and this.
inline void expect_refused(const Result<std::vector<Tensor>>& result, std::string_view part) {
  ASSERT_FALSE(result.ok()) << "expected an error with '" << part << "'";
  const std::string text = result.error().to_string();
  EXPECT_NE(text.find("'n'"), std::string::npos) << text;
  EXPECT_NE(text.find(part), std::string::npos) << text;
}

}  // namespace narrow::operators::testing
