#include "kernels/pooling/pooling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace narrow::kernels {
namespace {

// The first and one past the last output o in [0, out) for which tap `k` reads inside the input.
struct Span {
  std::int64_t begin, end;
};
Span outputs_inside(const Window& axis, std::int64_t k) {
  const std::int64_t shift = k * axis.dilation - axis.pad_begin;  // reads o * stride + shift
  const std::int64_t begin = shift >= 0 ? 0 : (-shift + axis.stride - 1) / axis.stride;
  const std::int64_t last = axis.in - 1 - shift;
  const std::int64_t end = last < 0 ? 0 : std::min(axis.out, last / axis.stride + 1);
  return {std::min(begin, end), end};
}

std::int64_t product(std::span<const Window> axes, std::int64_t Window::*field) {
  std::int64_t total = 1;
  for (const Window& axis : axes) total *= axis.*field;
  return total;
}

// Calls body(output row, input row) for every pair of rows (runs along the last axis) of one plane that a window joins;
// for one output row in row-major order of the taps. begin(output row) comes before its pairs.
template <typename Begin, typename Body>
void for_each_row_pair(std::span<const Window> axes, Begin&& begin, Body&& body) {
  const std::span<const Window> outer = axes.first(axes.size() - 1);
  const std::int64_t rows = product(outer, &Window::out), taps = product(outer, &Window::kernel);
  for (std::int64_t row = 0; row < rows; ++row) {
    begin(row);
    for (std::int64_t tap = 0; tap < taps; ++tap) {
      std::int64_t row_rest = row, tap_rest = tap, input_row = 0, scale = 1;
      bool inside = true;
      for (std::size_t i = outer.size(); i-- > 0 && inside;) {
        const Window& axis = outer[i];
        const std::int64_t at = row_rest % axis.out * axis.stride - axis.pad_begin + tap_rest % axis.kernel * axis.dilation;
        inside = at >= 0 && at < axis.in;
        input_row += at * scale;
        scale *= axis.in;
        row_rest /= axis.out;
        tap_rest /= axis.kernel;
      }
      if (inside) body(row, input_row);
    }
  }
}

// One plane reduced with `combine(accumulator, element)`, starting from `start`.
template <typename T, typename Combine>
void reduce_plane(const T* x, std::span<const Window> axes, T start, T* y, Combine combine) {
  const Window& last = axes.back();
  for_each_row_pair(
      axes, [&](std::int64_t row) { std::fill_n(y + row * last.out, last.out, start); },
      [&](std::int64_t row, std::int64_t input_row) {
        T* out = y + row * last.out;
        const T* in = x + input_row * last.in;
        for (std::int64_t k = 0; k < last.kernel; ++k) {
          const Span span = outputs_inside(last, k);
          const T* from = in + k * last.dilation - last.pad_begin;
          if (last.stride == 1) {
            for (std::int64_t o = span.begin; o < span.end; ++o) out[o] = combine(out[o], from[o]);
          } else if (last.stride == 2) {
            for (std::int64_t o = span.begin; o < span.end; ++o) out[o] = combine(out[o], from[2 * o]);
          } else {
            for (std::int64_t o = span.begin; o < span.end; ++o) out[o] = combine(out[o], from[o * last.stride]);
          }
        }
      });
}

template <typename T, typename Combine>
void reduce(const T* x, std::int64_t planes, std::span<const Window> axes, T start, T* y, base::ThreadPool& pool, Combine combine) {
  const std::int64_t in = product(axes, &Window::in), out = product(axes, &Window::out);
  pool.parallel_for(static_cast<std::size_t>(planes), [&](std::size_t plane, int) {
    const auto p = static_cast<std::int64_t>(plane);
    reduce_plane(x + p * in, axes, start, y + p * out, combine);
  });
}

// How many taps of each output along one axis count.
std::vector<std::int64_t> tap_counts(const Window& axis, bool count_padding) {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(axis.out));
  const std::int64_t low = count_padding ? -axis.pad_begin : 0, high = count_padding ? axis.in + axis.pad_end : axis.in;
  for (std::int64_t o = 0; o < axis.out; ++o) {
    const std::int64_t first = o * axis.stride - axis.pad_begin;
    const std::int64_t skip = first >= low ? 0 : (low - first + axis.dilation - 1) / axis.dilation;
    const std::int64_t until = high - 1 - first < 0 ? 0 : std::min(axis.kernel, (high - 1 - first) / axis.dilation + 1);
    counts[static_cast<std::size_t>(o)] = std::max<std::int64_t>(0, until - skip);
  }
  return counts;
}

template <typename T>
T lowest() {
  return std::numeric_limits<T>::has_infinity ? -std::numeric_limits<T>::infinity() : std::numeric_limits<T>::lowest();
}

// The position inside a plane, counted with the first axis fastest.
std::int64_t to_column_major(std::int64_t index, std::span<const Window> axes) {
  std::int64_t scale = product(axes, &Window::in), out = 0;
  for (std::size_t i = axes.size(); i-- > 0;) {
    scale /= axes[i].in;
    out += index % axes[i].in * scale;
    index /= axes[i].in;
  }
  return out;
}

}  // namespace

template <typename T>
void max_pool(const T* x, std::int64_t planes, std::span<const Window> axes, T* y, base::ThreadPool& pool) {
  reduce(x, planes, axes, lowest<T>(), y, pool, [](T a, T b) { return a < b ? b : a; });
}

template <typename T>
void max_pool_with_indices(const T* x, std::int64_t planes, std::span<const Window> axes, T* y, std::int64_t* indices,
                           bool column_major, base::ThreadPool& pool) {
  const std::int64_t in = product(axes, &Window::in), out = product(axes, &Window::out);
  const Window& last = axes.back();
  pool.parallel_for(static_cast<std::size_t>(planes), [&](std::size_t plane, int) {
    const auto p = static_cast<std::int64_t>(plane);
    const T* source = x + p * in;
    T* best = y + p * out;
    std::int64_t* at = indices + p * out;
    std::fill_n(best, out, lowest<T>());
    std::fill_n(at, out, -1);
    for_each_row_pair(axes, [](std::int64_t) {}, [&](std::int64_t row, std::int64_t input_row) {
      for (std::int64_t k = 0; k < last.kernel; ++k) {
        const Span span = outputs_inside(last, k);
        for (std::int64_t o = span.begin; o < span.end; ++o) {
          const std::int64_t from = input_row * last.in + o * last.stride + k * last.dilation - last.pad_begin;
          const std::int64_t to = row * last.out + o;
          if (at[to] < 0 || best[to] < source[from]) {
            best[to] = source[from];
            at[to] = from;
          }
        }
      }
    });
    for (std::int64_t o = 0; o < out; ++o) {
      if (at[o] >= 0) at[o] = p * in + (column_major ? to_column_major(at[o], axes) : at[o]);
    }
  });
}

void average_pool_f32(const float* x, std::int64_t planes, std::span<const Window> axes, bool count_padding, float* y,
                      base::ThreadPool& pool) {
  reduce(x, planes, axes, 0.0f, y, pool, [](float a, float b) { return a + b; });
  const std::int64_t out = product(axes, &Window::out);
  std::vector<float> scale(static_cast<std::size_t>(out));
  std::vector<std::vector<std::int64_t>> counts;
  for (const Window& axis : axes) counts.push_back(tap_counts(axis, count_padding));
  for (std::int64_t o = 0; o < out; ++o) {
    std::int64_t rest = o, count = 1;
    for (std::size_t i = axes.size(); i-- > 0;) {
      count *= counts[i][static_cast<std::size_t>(rest % axes[i].out)];
      rest /= axes[i].out;
    }
    scale[static_cast<std::size_t>(o)] = static_cast<float>(std::max<std::int64_t>(1, count));
  }
  for (std::int64_t p = 0; p < planes; ++p) {
    for (std::int64_t o = 0; o < out; ++o) y[p * out + o] /= scale[static_cast<std::size_t>(o)];
  }
}

void lp_pool_f32(const float* x, std::int64_t planes, std::span<const Window> axes, int p, float* y,
                 base::ThreadPool& pool) {
  const auto power = [p](float v) { return p == 1 ? std::fabs(v) : p == 2 ? v * v : std::pow(std::fabs(v), static_cast<float>(p)); };
  reduce(x, planes, axes, 0.0f, y, pool, [&](float sum, float v) { return sum + power(v); });
  const std::int64_t total = planes * product(axes, &Window::out);
  for (std::int64_t i = 0; i < total; ++i) y[i] = p == 1 ? y[i] : p == 2 ? std::sqrt(y[i]) : std::pow(y[i], 1.0f / static_cast<float>(p));
}

template <typename T>
void global_max_pool(const T* x, std::int64_t planes, std::int64_t size, T* y) {
  for (std::int64_t p = 0; p < planes; ++p) {
    y[p] = size == 0 ? lowest<T>() : *std::max_element(x + p * size, x + (p + 1) * size);
  }
}

void global_average_pool_f32(const float* x, std::int64_t planes, std::int64_t size, float* y) {
  for (std::int64_t p = 0; p < planes; ++p) {
    // Several partial sums: faster, and nearer the exact mean than one long chain.
    float sums[16] = {};
    const float* plane = x + p * size;
    std::int64_t i = 0;
    for (; i + 16 <= size; i += 16) {
      for (int lane = 0; lane < 16; ++lane) sums[lane] += plane[i + lane];
    }
    for (int lane = 0; i < size; ++i, ++lane) sums[lane] += plane[i];
    double total = 0;
    for (float sum : sums) total += sum;
    y[p] = static_cast<float>(total / static_cast<double>(std::max<std::int64_t>(1, size)));
  }
}

void global_lp_pool_f32(const float* x, std::int64_t planes, std::int64_t size, int p, float* y) {
  for (std::int64_t plane = 0; plane < planes; ++plane) {
    double sum = 0;
    for (std::int64_t i = 0; i < size; ++i) sum += std::pow(std::fabs(static_cast<double>(x[plane * size + i])), p);
    y[plane] = static_cast<float>(std::pow(sum, 1.0 / p));
  }
}

#define NARROW_MAX_POOL(T)                                                                                      \
  template void max_pool(const T*, std::int64_t, std::span<const Window>, T*, base::ThreadPool&);               \
  template void max_pool_with_indices(const T*, std::int64_t, std::span<const Window>, T*, std::int64_t*, bool, \
                                      base::ThreadPool&);                                                       \
  template void global_max_pool(const T*, std::int64_t, std::int64_t, T*);
NARROW_MAX_POOL(float)
NARROW_MAX_POOL(std::int8_t)
NARROW_MAX_POOL(std::uint8_t)
#undef NARROW_MAX_POOL

}  // namespace narrow::kernels
