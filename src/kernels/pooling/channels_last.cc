#include <algorithm>
#include <limits>

#include "kernels/pooling/pooling.h"
#include "kernels/pooling/rows.h"

namespace narrow::kernels {
namespace {

// Taps [begin, end) of an output position that read inside the input, and how many count when padding does.
struct Taps {
  std::int64_t first, begin, end, counted;  // `first`: what tap 0 reads
};

Taps taps_of(const Window& axis, std::int64_t output) {
  Taps taps;
  taps.first = output * axis.stride - axis.pad_begin;
  const auto reach = [&](std::int64_t limit) {  // taps that read below `limit`
    return limit <= taps.first ? 0 : std::min(axis.kernel, (limit - 1 - taps.first) / axis.dilation + 1);
  };
  taps.begin = taps.first >= 0 ? 0 : std::min(axis.kernel, (-taps.first + axis.dilation - 1) / axis.dilation);
  taps.end = std::max(taps.begin, reach(axis.in));
  taps.counted = reach(axis.in + axis.pad_end);
  return taps;
}

// One output position: walks the taps of all axes, innermost fastest.
class Position {
 public:
  Position(std::span<const Window> axes, std::int64_t output) : axes_(axes) {
    for (std::size_t i = axes.size(); i-- > 0;) {
      taps_[i] = taps_of(axes[i], output % axes[i].out);
      output /= axes[i].out;
      inside *= taps_[i].end - taps_[i].begin;
      counted *= taps_[i].counted;
    }
  }

  // Calls body(position in the input) for each tap inside it.
  template <typename Body>
  void for_each(Body&& body) const {
    if (inside > 0) walk(0, 0, body);
  }

  std::int64_t inside = 1, counted = 1;

 private:
  template <typename Body>
  void walk(std::size_t axis, std::int64_t base, Body&& body) const {
    const Taps& taps = taps_[axis];
    for (std::int64_t t = taps.begin; t < taps.end; ++t) {
      const std::int64_t at = base * axes_[axis].in + taps.first + t * axes_[axis].dilation;
      if (axis + 1 == axes_.size()) body(at);
      else walk(axis + 1, at, body);
    }
  }

  std::span<const Window> axes_;
  Taps taps_[kMaxPoolRank];
};

}  // namespace

void pool_channels_last_f32(PoolKind kind, const float* x, std::int64_t batch, std::span<const Window> axes,
                            std::int64_t channels, float* y, base::ThreadPool& pool) {
  const PoolRows& rows = pool_rows();
  std::int64_t in = 1, out = 1;
  for (const Window& axis : axes) {
    in *= axis.in;
    out *= axis.out;
  }
  // One job a row of the outermost spatial axis.
  const std::int64_t per_job = out / axes.front().out;
  pool.parallel_for(static_cast<std::size_t>(batch * axes.front().out), [&](std::size_t job, int) {
    const std::int64_t n = static_cast<std::int64_t>(job) / axes.front().out, row = static_cast<std::int64_t>(job) % axes.front().out;
    const float* source = x + n * in * channels;
    for (std::int64_t o = row * per_job; o < (row + 1) * per_job; ++o) {
      float* to = y + (n * out + o) * channels;
      const Position position(axes, o);
      if (position.inside == 0) {
        std::fill_n(to, channels, kind == PoolKind::kMax ? -std::numeric_limits<float>::infinity() : 0.0f);
        continue;
      }
      bool first = true;
      position.for_each([&](std::int64_t at) {
        const float* from = source + at * channels;
        if (first) std::copy_n(from, channels, to);
        else if (kind == PoolKind::kMax) rows.maximum(to, from, channels);
        else rows.add(to, from, channels);
        first = false;
      });
      if (kind == PoolKind::kMax) continue;
      rows.divide(to, static_cast<float>(kind == PoolKind::kAverage ? position.inside : std::max<std::int64_t>(1, position.counted)), channels);
    }
  });
}

}  // namespace narrow::kernels
