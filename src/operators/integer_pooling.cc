// Pooling on 8-bit codes (com.microsoft QLinearAveragePool, QLinearGlobalAveragePool; narrow's channels-last QMaxPool) and
// the borders between channels-first f32 and channels-last codes (narrow's ToCodes, FromCodes, Layout).
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "kernels/affine/affine.h"
#include "kernels/codes/codes.h"
#include "kernels/conv_s8/layout.h"
#include "operators/families.h"
#include "operators/quantized_io.h"
#include "operators/window.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using kernels::Window;

bool is_global(const Node& node) { return node.op_type == "QLinearGlobalAveragePool"; }
bool is_max(const Node& node) { return node.op_type == "QMaxPool"; }
bool channels_last(const Node& node) { return node.get_int("channels_last", is_max(node) ? 1 : 0) != 0; }

Status infer_pool(InferContext& context) {
  const Node& node = context.node();
  const Type& x = context.input(0);
  Type y = x;
  if (y.kind == graph::TypeKind::kUnknown) y = Type::tensor(DType::kUndefined);
  if (context.has_input(4) && context.input(4).dtype != DType::kUndefined) y.dtype = context.input(4).dtype;
  if (x.ranked) {
    if (x.rank() < 3) return corrupt(fmt::format("node '{}' ({}): the input has rank {}, expected 3 or more", node.name, node.op_type, x.rank()));
    const std::size_t first = channels_last(node) ? 1 : 2, count = static_cast<std::size_t>(x.rank() - 2);
    std::vector<Dim> out(count, Dim(1));
    if (!is_global(node)) {
      NARROW_TRY(const WindowAttributes attributes, read_window(node));
      NARROW_TRY(out, window_output_dims(node, attributes, std::span(x.dims).subspan(first, count), attributes.kernel, false));
    }
    std::copy(out.begin(), out.end(), y.dims.begin() + static_cast<std::ptrdiff_t>(first));
  }
  context.set_output(0, std::move(y));
  return {};
}

// Calls visit(first input pixel of the output pixel's window as coordinates) … the window's pixels that are inside, and
// how many positions it covers with the padding counted.
template <typename Visit>
void for_each_window(const std::array<Window, 3>& axes, std::int64_t pixel, const Visit& visit) {
  const std::int64_t at[3] = {pixel / (axes[1].out * axes[2].out), pixel / axes[2].out % axes[1].out, pixel % axes[2].out};
  for (std::int64_t kd = 0; kd < axes[0].kernel; ++kd) {
    const std::int64_t d = at[0] * axes[0].stride - axes[0].pad_begin + kd * axes[0].dilation;
    if (d < 0 || d >= axes[0].in) continue;
    for (std::int64_t kh = 0; kh < axes[1].kernel; ++kh) {
      const std::int64_t h = at[1] * axes[1].stride - axes[1].pad_begin + kh * axes[1].dilation;
      if (h < 0 || h >= axes[1].in) continue;
      for (std::int64_t kw = 0; kw < axes[2].kernel; ++kw) {
        const std::int64_t w = at[2] * axes[2].stride - axes[2].pad_begin + kw * axes[2].dilation;
        if (w >= 0 && w < axes[2].in) visit((d * axes[1].in + h) * axes[2].in + w);
      }
    }
  }
}

// Positions of a window that count when padding is included: those within the padded input (ceil_mode may reach beyond).
std::int64_t padded_positions(const std::array<Window, 3>& axes, std::int64_t pixel) {
  const std::int64_t at[3] = {pixel / (axes[1].out * axes[2].out), pixel / axes[2].out % axes[1].out, pixel % axes[2].out};
  std::int64_t positions = 1;
  for (int a = 0; a < 3; ++a) {
    std::int64_t inside = 0;
    for (std::int64_t k = 0; k < axes[a].kernel; ++k) {
      const std::int64_t p = at[a] * axes[a].stride - axes[a].pad_begin + k * axes[a].dilation;
      inside += p >= -axes[a].pad_begin && p < axes[a].in + axes[a].pad_end ? 1 : 0;
    }
    positions *= inside;
  }
  return positions;
}

// The largest code of each channel, all pixels of [first, last).
void max_pool(const std::array<Window, 3>& axes, const std::uint8_t* x, std::int64_t channels, std::int64_t first, std::int64_t last, bool is_signed,
              std::uint8_t* y) {
  thread_local std::vector<const std::uint8_t*> rows;
  for (std::int64_t pixel = first; pixel < last; ++pixel) {
    rows.clear();
    for_each_window(axes, pixel, [&](std::int64_t source) { rows.push_back(x + source * channels); });
    if (rows.empty()) std::fill_n(y + pixel * channels, channels, static_cast<std::uint8_t>(is_signed ? 0x80 : 0));
    else kernels::code_kernels().maximum(rows.data(), rows.size(), static_cast<std::size_t>(channels), is_signed, y + pixel * channels);
  }
}

// y starts at pixel `first`. Sums are exact; mean and rounding follow in f32 as for dequantized values.
void average_pool(const std::array<Window, 3>& axes, const std::uint8_t* x, std::int64_t channels, std::int64_t first, std::int64_t last,
                  bool is_signed, const TensorQuant& qx, bool include_pad, float* y) {
  thread_local std::vector<std::int32_t> sums;  // kept from call to call, like the other buffers of this file
  sums.resize(static_cast<std::size_t>(channels));
  for (std::int64_t pixel = first; pixel < last; ++pixel) {
    std::fill(sums.begin(), sums.end(), 0);
    std::int64_t count = 0;
    for_each_window(axes, pixel, [&](std::int64_t source) {
      kernels::code_kernels().add(x + source * channels, static_cast<std::size_t>(channels), is_signed, sums.data());
      ++count;
    });
    const float divisor = static_cast<float>(std::max<std::int64_t>(1, include_pad ? padded_positions(axes, pixel) : count));
    for (std::int64_t c = 0; c < channels; ++c) {
      y[(pixel - first) * channels + c] = static_cast<float>(sums[c] - static_cast<std::int32_t>(count) * qx.zero_point) * qx.scale / divisor;
    }
  }
}

Status run_pool(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  NARROW_RETURN_IF_ERROR(check_code_type(node, "the input", x.dtype()));
  if (x.rank() < 3 || x.rank() > 5) return unsupported(fmt::format("the input has rank {}, expected 3 to 5", x.rank()));
  const bool last = channels_last(node), max = is_max(node);
  const int spatial = x.rank() - 2;
  std::array<Window, 3> axes;
  Shape shape = x.shape();
  const std::size_t first = last ? 1 : 2;
  if (is_global(node)) {
    for (int d = 0; d < spatial; ++d) {
      Window& w = axes[static_cast<std::size_t>(3 - spatial + d)];
      w.in = w.kernel = shape[first + static_cast<std::size_t>(d)];
      shape[first + static_cast<std::size_t>(d)] = 1;
    }
  } else {
    NARROW_TRY(const WindowAttributes attributes, read_window(node));
    NARROW_TRY(const std::vector<Window> windows, resolve_window(node, attributes, std::span(x.shape()).subspan(first, static_cast<std::size_t>(spatial))));
    for (int d = 0; d < spatial; ++d) {
      axes[static_cast<std::size_t>(3 - spatial + d)] = windows[static_cast<std::size_t>(d)];
      shape[first + static_cast<std::size_t>(d)] = windows[static_cast<std::size_t>(d)].out;
    }
  }
  TensorQuant qx, qy;
  DType dtype = x.dtype();
  if (!max) {
    NARROW_TRY(qx, read_quant(node, "the input", context.input(1), context.input(2)));
    NARROW_TRY(qy, read_quant(node, "the output", context.input(3), context.has_input(4) ? context.input(4) : Tensor()));
    if (context.has_input(4)) dtype = context.input(4).dtype();
    NARROW_RETURN_IF_ERROR(check_code_type(node, "the output", dtype));
  }
  NARROW_TRY(Tensor * y, context.output(0, dtype, shape));
  if (y->size() == 0) return {};
  const std::int64_t channels = last ? x.shape().back() : x.shape()[1];
  const std::int64_t in = axes[0].in * axes[1].in * axes[2].in, out = axes[0].out * axes[1].out * axes[2].out;
  const auto* codes = static_cast<const std::uint8_t*>(x.raw());
  std::vector<std::uint8_t> turned;
  if (!last) {
    turned.resize(static_cast<std::size_t>(x.size()));
    for (std::int64_t n = 0; n < x.shape()[0]; ++n) kernels::transpose(codes + n * channels * in, channels, in, turned.data() + n * channels * in);
    codes = turned.data();
  }
  const bool is_signed = x.dtype() == DType::kS8, include_pad = node.get_int("count_include_pad", 0) != 0;
  auto* result = static_cast<std::uint8_t*>(y->mutable_raw());
  const kernels::AffineKernels& fast = kernels::affine_kernels();
  const std::int64_t line = std::max<std::int64_t>(1, axes[2].out), lines = x.shape()[0] * (out / line);
  std::vector<std::uint8_t> unturned(last ? 0 : static_cast<std::size_t>(y->size()));
  std::uint8_t* target = last ? result : unturned.data();
  context.pool().parallel_for(static_cast<std::size_t>(lines), [&](std::size_t task, int) {
    const std::int64_t image = static_cast<std::int64_t>(task) / (out / line), begin = static_cast<std::int64_t>(task) % (out / line) * line;
    const std::uint8_t* source = codes + image * in * channels;
    std::uint8_t* sink = target + image * out * channels;
    if (max) return max_pool(axes, source, channels, begin, begin + line, is_signed, sink);
    thread_local std::vector<float> means;
    means.resize(static_cast<std::size_t>(line * channels));
    average_pool(axes, source, channels, begin, begin + line, is_signed, qx, include_pad, means.data());
    const float* from = means.data();
    const auto n = static_cast<std::size_t>(line * channels);
    if (dtype == DType::kU8) fast.quantize_u8(from, n, qy.scale, qy.zero_point, sink + begin * channels);
    else fast.quantize_s8(from, n, qy.scale, qy.zero_point, reinterpret_cast<std::int8_t*>(sink + begin * channels));
  });
  if (!last) {
    for (std::int64_t n = 0; n < x.shape()[0]; ++n) kernels::transpose(target + n * channels * out, out, channels, result + n * channels * out);
  }
  return {};
}

// ---- layout borders -------------------------------------------------------------------------------------------------

// [n, c, …] <-> [n, …, c]
Type turned_type(Type type, bool to_last) {
  if (!type.ranked || type.rank() < 3) return type;
  if (to_last) std::rotate(type.dims.begin() + 1, type.dims.begin() + 2, type.dims.end());
  else std::rotate(type.dims.begin() + 1, type.dims.end() - 1, type.dims.end());
  return type;
}

bool to_last(const Node& node) { return node.op_type == "ToCodes" || node.get_int("to_channels_last", 0) != 0; }

Status infer_border(InferContext& context) {
  const Node& node = context.node();
  Type type = context.input(0);
  if (type.kind == graph::TypeKind::kUnknown) type = Type::tensor(DType::kUndefined);
  if (node.op_type == "ToCodes") type.dtype = context.input(2).dtype;
  if (node.op_type == "FromCodes") type.dtype = DType::kF32;
  context.set_output(0, turned_type(std::move(type), to_last(node)));
  return {};
}

Status run_border(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  if (x.rank() < 3) return corrupt(fmt::format("the input has rank {}, expected 3 or more", x.rank()));
  const bool forward = to_last(node), quantize = node.op_type == "ToCodes", dequantize = node.op_type == "FromCodes";
  Shape shape = x.shape();
  if (forward) std::rotate(shape.begin() + 1, shape.begin() + 2, shape.end());
  else std::rotate(shape.begin() + 1, shape.end() - 1, shape.end());
  TensorQuant q;
  if (quantize || dequantize) {
    NARROW_TRY(q, read_quant(node, "the codes", context.input(1), context.input(2)));
  }
  const DType dtype = quantize ? context.input(2).dtype() : dequantize ? DType::kF32 : x.dtype();
  if (quantize && x.dtype() != DType::kF32) return corrupt(fmt::format("the input is {}, expected f32", to_string(x.dtype())));
  const bool wide = !quantize && !dequantize && x.dtype() == DType::kF32;
  if (!wide) NARROW_RETURN_IF_ERROR(check_code_type(node, "the codes", quantize ? dtype : x.dtype()));
  NARROW_TRY(Tensor * y, context.output(0, dtype, shape));
  if (y->size() == 0) return {};
  const std::int64_t batch = x.shape()[0], image = x.size() / batch;
  const std::int64_t channels = forward ? x.shape()[1] : x.shape().back(), pixels = image / channels;
  if (wide) {
    const auto* from = static_cast<const std::uint32_t*>(x.raw());
    auto* to = static_cast<std::uint32_t*>(y->mutable_raw());
    context.pool().parallel_for(static_cast<std::size_t>(batch), [&](std::size_t n, int) {
      const std::int64_t at = static_cast<std::int64_t>(n) * image;
      kernels::transpose(from + at, forward ? channels : pixels, forward ? pixels : channels, to + at);
    });
    return {};
  }
  const kernels::AffineKernels& fast = kernels::affine_kernels();
  // Pixels in strips, so that a strip of codes is turned while it is in the cache.
  const std::int64_t strip = std::max<std::int64_t>(64, 16384 / channels / 64 * 64);
  const std::int64_t strips = (pixels + strip - 1) / strip;
  context.pool().parallel_for(static_cast<std::size_t>(batch * strips), [&](std::size_t task, int) {
    const std::int64_t n = static_cast<std::int64_t>(task) / strips, begin = static_cast<std::int64_t>(task) % strips * strip;
    const std::int64_t count = std::min(strip, pixels - begin);
    thread_local std::vector<std::uint8_t> staged;
    staged.resize(static_cast<std::size_t>(count * channels));
    if (quantize) {
      for (std::int64_t c = 0; c < channels; ++c) {
        const float* from = static_cast<const float*>(x.raw()) + n * image + c * pixels + begin;
        if (dtype == DType::kU8) fast.quantize_u8(from, static_cast<std::size_t>(count), q.scale, q.zero_point, staged.data() + c * count);
        else fast.quantize_s8(from, static_cast<std::size_t>(count), q.scale, q.zero_point, reinterpret_cast<std::int8_t*>(staged.data()) + c * count);
      }
      auto* turned = static_cast<std::uint8_t*>(y->mutable_raw()) + n * image + begin * channels;
      if (channels == 3) {
        const std::uint8_t* planes[] = {staged.data(), staged.data() + count, staged.data() + 2 * count};
        kernels::code_kernels().interleave3(planes, static_cast<std::size_t>(count), turned);
      } else {
        kernels::transpose(staged.data(), channels, count, turned);
      }
      return;
    }
    const auto* codes = static_cast<const std::uint8_t*>(x.raw()) + n * image;
    if (forward) {
      for (std::int64_t c = 0; c < channels; ++c) std::copy_n(codes + c * pixels + begin, count, staged.data() + c * count);
      kernels::transpose(staged.data(), channels, count, static_cast<std::uint8_t*>(y->mutable_raw()) + n * image + begin * channels);
      return;
    }
    kernels::transpose(codes + begin * channels, count, channels, staged.data());
    for (std::int64_t c = 0; c < channels; ++c) {
      if (!dequantize) {
        std::copy_n(staged.data() + c * count, count, static_cast<std::uint8_t*>(y->mutable_raw()) + n * image + c * pixels + begin);
      } else if (x.dtype() == DType::kU8) {
        fast.dequantize_u8(staged.data() + c * count, static_cast<std::size_t>(count), q.scale, q.zero_point, static_cast<float*>(y->mutable_raw()) + n * image + c * pixels + begin);
      } else {
        fast.dequantize_s8(reinterpret_cast<const std::int8_t*>(staged.data()) + c * count, static_cast<std::size_t>(count), q.scale, q.zero_point,
                           static_cast<float*>(y->mutable_raw()) + n * image + c * pixels + begin);
      }
    }
  });
  return {};
}

constexpr std::string_view kMicrosoft = "com.microsoft";

const std::array kOperators = {
    Operator{.name = "QLinearAveragePool", .domain = kMicrosoft, .min_inputs = 4, .max_inputs = 5, .infer = infer_pool, .run = run_pool},
    Operator{.name = "QLinearGlobalAveragePool", .domain = kMicrosoft, .min_inputs = 4, .max_inputs = 5, .infer = infer_pool, .run = run_pool},
    Operator{.name = "QMaxPool", .domain = "narrow", .infer = infer_pool, .run = run_pool},
    Operator{.name = "ToCodes", .domain = "narrow", .min_inputs = 3, .max_inputs = 3, .infer = infer_border, .run = run_border},
    Operator{.name = "FromCodes", .domain = "narrow", .min_inputs = 3, .max_inputs = 3, .infer = infer_border, .run = run_border},
    Operator{.name = "Layout", .domain = "narrow", .infer = infer_border, .run = run_border},
};

}  // namespace

std::span<const Operator> integer_pooling_operators() { return kOperators; }

}  // namespace narrow::operators
