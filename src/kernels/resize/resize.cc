#include "kernels/resize/resize.h"

#include <algorithm>
#include <cstring>

namespace narrow::kernels {
namespace {

// The last axis: gathers within a row.
void resample_row(const float* x, const AxisTable& axis, float* y) {
  const std::int32_t* index = axis.index.data();
  const float* weight = axis.weight.data();
  if (axis.taps == 2) {
    for (std::int64_t o = 0; o < axis.out; ++o) y[o] = x[index[2 * o]] * weight[2 * o] + x[index[2 * o + 1]] * weight[2 * o + 1];
    return;
  }
  for (std::int64_t o = 0; o < axis.out; ++o) {
    float sum = 0;
    for (int t = 0; t < axis.taps; ++t) sum += x[index[o * axis.taps + t]] * weight[o * axis.taps + t];
    y[o] = sum;
  }
}

template <typename T>
void gather_row(const T* x, const AxisTable& axis, T* y) {
  const std::int32_t* index = axis.index.data();
  for (std::int64_t o = 0; o < axis.out; ++o) y[o] = x[index[o]];
}

void gather_row(const std::uint8_t* x, const AxisTable& axis, std::size_t element_size, std::uint8_t* y) {
  switch (element_size) {
    case 1: gather_row(x, axis, y); return;
    case 2: gather_row(reinterpret_cast<const std::uint16_t*>(x), axis, reinterpret_cast<std::uint16_t*>(y)); return;
    case 4: gather_row(reinterpret_cast<const std::uint32_t*>(x), axis, reinterpret_cast<std::uint32_t*>(y)); return;
    case 8: gather_row(reinterpret_cast<const std::uint64_t*>(x), axis, reinterpret_cast<std::uint64_t*>(y)); return;
    default:
      for (std::int64_t o = 0; o < axis.out; ++o) std::memcpy(y + o * element_size, x + axis.index[o] * element_size, element_size);
  }
}

}  // namespace

void resample_axis_f32(const float* x, std::int64_t outer, const AxisTable& axis, std::int64_t inner, float* y,
                       base::ThreadPool& pool) {
  pool.parallel_for(static_cast<std::size_t>(outer), [&](std::size_t job, int) {
    const float* from = x + static_cast<std::int64_t>(job) * axis.in * inner;
    float* to = y + static_cast<std::int64_t>(job) * axis.out * inner;
    if (inner == 1) {
      resample_row(from, axis, to);
      return;
    }
    for (std::int64_t o = 0; o < axis.out; ++o) {
      const std::int32_t* index = axis.index.data() + o * axis.taps;
      const float* weight = axis.weight.data() + o * axis.taps;
      float* row = to + o * inner;
      const float* first = from + index[0] * inner;
      if (axis.taps == 2) {
        const float* second = from + index[1] * inner;
        for (std::int64_t i = 0; i < inner; ++i) row[i] = first[i] * weight[0] + second[i] * weight[1];
        continue;
      }
      for (std::int64_t i = 0; i < inner; ++i) row[i] = first[i] * weight[0];
      for (int t = 1; t < axis.taps; ++t) {
        const float* next = from + index[t] * inner;
        for (std::int64_t i = 0; i < inner; ++i) row[i] += next[i] * weight[t];
      }
    }
  });
}

void gather_axes(const void* x, std::span<const AxisTable> axes, std::size_t element_size, void* y,
                 base::ThreadPool& pool) {
  const AxisTable& last = axes.back();
  const std::span<const AxisTable> outer = axes.first(axes.size() - 1);
  std::int64_t rows = 1;
  for (const AxisTable& axis : outer) rows *= axis.out;
  // Rows that one job makes: those of the second last axis, so that a repeated row can be copied.
  const std::int64_t group = outer.empty() ? 1 : outer.back().out;
  if (group == 0) return;
  const std::size_t in_bytes = static_cast<std::size_t>(last.in) * element_size, out_bytes = static_cast<std::size_t>(last.out) * element_size;
  pool.parallel_for(static_cast<std::size_t>(rows / group), [&](std::size_t job, int) {
    std::int64_t before = -1;
    for (std::int64_t g = 0; g < group; ++g) {
      const std::int64_t row = static_cast<std::int64_t>(job) * group + g;
      std::int64_t rest = row, source = 0, scale = 1;
      for (std::size_t d = outer.size(); d-- > 0;) {
        source += outer[d].index[static_cast<std::size_t>(rest % outer[d].out)] * scale;
        scale *= outer[d].in;
        rest /= outer[d].out;
      }
      auto* to = static_cast<std::uint8_t*>(y) + static_cast<std::size_t>(row) * out_bytes;
      if (source == before) {
        std::memcpy(to, to - out_bytes, out_bytes);
      } else {
        gather_row(static_cast<const std::uint8_t*>(x) + static_cast<std::size_t>(source) * in_bytes, last, element_size, to);
      }
      before = source;
    }
  });
}

}  // namespace narrow::kernels
