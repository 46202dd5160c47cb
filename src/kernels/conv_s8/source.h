// Where the inputs of a convolution's output pixels lie: for 8-bit codes as for f32, whose channels count fourfold.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/conv_s8/conv_s8.h"

namespace narrow::kernels {

// Output pixels [begin, begin + count) of one output plane, and where their inputs lie: in the image itself, or in the
// lines that they read, copied with padding around.
struct ConvBlock {
  std::int64_t image, depth, begin, count;
};

class ConvSource {
 public:
  // `copies`: taps reach into the padding, or runs end where nothing may be read behind them.
  ConvSource(const ConvS8Shape& s, bool copies, std::uint8_t fill) : s_(s), copies_(copies), fill_(fill) {
    width_ = copies ? (s.axes[2].out - 1) * s.axes[2].stride + s.axes[2].extent() : s.axes[2].in;
  }

  // Bytes that place() needs at most for blocks of `pixels`.
  std::size_t scratch_bytes(std::int64_t pixels) const {
    const std::int64_t pointers = pixels + s_.taps() * 2;
    return static_cast<std::size_t>(pointers * 8 + (copies_ ? s_.axes[0].kernel * lines(lines_across(pixels)) * width_ * s_.channels + kSlack + kAlignment : 0));
  }

  // Fills rows and the offset of each tap's channel 0; `copied` has room behind both.
  void place(const std::uint8_t* x, const ConvBlock& b, const std::uint8_t** rows, std::int64_t* offsets, std::uint8_t* copied) const {
    const ConvAxis &depth = s_.axes[0], &height = s_.axes[1], &across = s_.axes[2];
    const std::int64_t first = b.begin / across.out, last = (b.begin + b.count - 1) / across.out;
    const std::int64_t line = width_ * s_.channels, plane = copies_ ? lines(last - first + 1) * line : height.in * line;
    copied += (kAlignment - reinterpret_cast<std::uintptr_t>(copied) % kAlignment) % kAlignment;
    const std::uint8_t* image = x + b.image * s_.pixels_in() * s_.channels;
    const std::uint8_t* origin = copies_ ? copied : image + (b.depth * depth.stride) * plane + first * height.stride * line;
    if (copies_) copy_lines(image, b, first, last, copied);
    for (std::int64_t i = 0, oh = first, ow = b.begin % across.out; i < b.count; ++i) {
      rows[i] = origin + (oh - first) * height.stride * line + ow * across.stride * s_.channels;
      if (++ow == across.out) ow = 0, ++oh;
    }
    for (std::int64_t kd = 0, t = 0; kd < depth.kernel; ++kd) {
      for (std::int64_t kh = 0; kh < height.kernel; ++kh) {
        for (std::int64_t kw = 0; kw < across.kernel; ++kw, ++t) {
          offsets[t] = kd * (copies_ ? 1 : depth.dilation) * plane + kh * height.dilation * line + kw * across.dilation * s_.channels;
        }
      }
    }
  }

 private:
  static constexpr std::int64_t kSlack = 64, kAlignment = 64;  // readable bytes behind copied lines; where they begin

  std::int64_t lines(std::int64_t out_lines) const { return (out_lines - 1) * s_.axes[1].stride + s_.axes[1].extent(); }
  std::int64_t lines_across(std::int64_t pixels) const { return std::min(s_.axes[1].out, (pixels + s_.axes[2].out - 2) / s_.axes[2].out + 1); }

  void copy_lines(const std::uint8_t* image, const ConvBlock& b, std::int64_t first, std::int64_t last, std::uint8_t* to) const {
    const ConvAxis &depth = s_.axes[0], &height = s_.axes[1], &across = s_.axes[2];
    const std::int64_t line = width_ * s_.channels;
    const std::int64_t left = std::min(across.pad, width_), copied = std::clamp<std::int64_t>(width_ - left, 0, across.in), right = width_ - left - copied;
    for (std::int64_t kd = 0; kd < depth.kernel; ++kd) {
      const std::int64_t id = b.depth * depth.stride - depth.pad + kd * depth.dilation;
      for (std::int64_t h = 0; h < lines(last - first + 1); ++h, to += line) {
        const std::int64_t ih = first * height.stride - height.pad + h;
        if (id < 0 || id >= depth.in || ih < 0 || ih >= height.in) {
          std::memset(to, fill_, static_cast<std::size_t>(line));
          continue;
        }
        std::memset(to, fill_, static_cast<std::size_t>(left * s_.channels));
        std::memcpy(to + left * s_.channels, image + (id * height.in + ih) * across.in * s_.channels, static_cast<std::size_t>(copied * s_.channels));
        std::memset(to + (left + copied) * s_.channels, fill_, static_cast<std::size_t>(right * s_.channels));
      }
    }
  }

  const ConvS8Shape& s_;
  bool copies_;
  std::uint8_t fill_;
  std::int64_t width_;  // pixels of a line
};

// Whether every tap of every output pixel lies inside the image.
inline bool stays_inside(const ConvS8Shape& s) {
  return std::all_of(s.axes.begin(), s.axes.end(), [](const ConvAxis& a) { return a.pad == 0 && (a.out - 1) * a.stride + a.extent() <= a.in; });
}

}  // namespace narrow::kernels
