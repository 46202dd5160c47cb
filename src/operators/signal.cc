// DFT and STFT. Signals carry real or complex numbers in their last dimension (1 or 2).
#include <array>
#include <optional>
#include <vector>

#include "kernels/fft/fft.h"
#include "operators/families.h"
#include "operators/scalar_input.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using graph::TypeKind;
using kernels::Complex;
using kernels::Fft;

Status check_length(const Node& node, std::int64_t length) {
  if (length >= 1 && length <= Fft::kMaxLength) return {};
  return corrupt(fmt::format("{}: a transform of length {}, expected 1 to {}", where(node), length, Fft::kMaxLength));
}

Status check_components(const Node& node, std::int64_t components) {
  if (components == 1 || components == 2) return {};
  return corrupt(fmt::format("{}: the last dimension of the signal is {}, expected 1 (real) or 2 (complex)", where(node), components));
}

// ---- DFT ------------------------------------------------------------------------------------------------------------

// The transformed axis of a signal of that rank. Errors: corrupt.
Result<int> signal_axis(const Node& node, std::int64_t axis, int rank) {
  NARROW_TRY(const int normal, normalize_axis(node, axis, rank));
  if (normal != rank - 1) return normal;
  return corrupt(fmt::format("{}: axis {} is the one that holds real and imaginary parts", where(node), axis));
}

struct Transform {
  bool inverse = false, onesided = false;
  // A one-sided spectrum has only as many values as are independent.
  bool to_real() const { return inverse && onesided; }
  std::int64_t default_length(std::int64_t size) const { return to_real() ? 2 * (size - 1) : size; }
  std::int64_t outputs(std::int64_t length) const { return onesided && !inverse ? length / 2 + 1 : length; }
};

Transform transform_of(const Node& node) {
  return {node.get_int("inverse", 0) != 0, node.get_int("onesided", 0) != 0};
}

Status infer_dft(InferContext& context) {
  const Node& node = context.node();
  NARROW_RETURN_IF_ERROR(check_dtype(context, 0, kFloatTypes));
  NARROW_RETURN_IF_ERROR(check_rank(context, 0, 2, -1));
  NARROW_TRY(const auto length, known_integer(context, 1, "dft_length"));
  NARROW_TRY(const auto axis, known_integer(context, 2, "axis"));
  const Type& x = context.input(0);
  Type y = x;
  if (x.kind != TypeKind::kTensor || !x.ranked) {
    if (x.kind == TypeKind::kTensor) context.set_output(0, y);
    return {};
  }
  const Transform transform = transform_of(node);
  if (x.dims.back().known()) NARROW_RETURN_IF_ERROR(check_components(node, x.dims.back().size));
  if (length) NARROW_RETURN_IF_ERROR(check_length(node, *length));
  y.dims.back() = Dim(transform.to_real() ? 1 : 2);
  if (context.has_input(2) && !axis) {
    for (std::size_t d = 0; d + 1 < y.dims.size(); ++d) y.dims[d] = Dim();
  } else {
    NARROW_TRY(const int at, signal_axis(node, axis.value_or(-2), x.rank()));
    const Dim& size = x.dims[static_cast<std::size_t>(at)];
    Dim& out = y.dims[static_cast<std::size_t>(at)];
    if (length) {
      out = Dim(transform.outputs(*length));
    } else if (context.has_input(1) || (!size.known() && transform.onesided)) {
      out = Dim();
    } else if (size.known()) {
      NARROW_RETURN_IF_ERROR(check_length(node, transform.default_length(size.size)));
      out = Dim(transform.outputs(transform.default_length(size.size)));
    }
  }
  context.set_output(0, std::move(y));
  return {};
}

// One line of a signal: `count` numbers of `components`, `stride` elements apart.
struct Line {
  std::int64_t count, stride, components;
};

template <typename T>
void read_line(const T* from, const Line& line, std::span<Complex> to) {
  const std::int64_t n = std::min<std::int64_t>(line.count, static_cast<std::int64_t>(to.size()));
  for (std::int64_t i = 0; i < n; ++i) {
    const T* at = from + i * line.stride;
    to[i] = {static_cast<double>(load(at[0])), line.components == 2 ? static_cast<double>(load(at[1])) : 0.0};
  }
  std::fill(to.begin() + n, to.end(), Complex{});
}

template <typename T>
void write_line(std::span<const Complex> from, const Line& line, T* to) {
  for (std::int64_t i = 0; i < line.count; ++i) {
    T* at = to + i * line.stride;
    at[0] = store<T>(static_cast<Compute<T>>(from[i].re));
    if (line.components == 2) at[1] = store<T>(static_cast<Compute<T>>(from[i].im));
  }
}

// The spectrum of a real signal from its first half, whose ends are real.
void complete_spectrum(std::span<Complex> x) {
  const std::size_t n = x.size();
  x[0].im = 0;
  if (n % 2 == 0) x[n / 2].im = 0;
  for (std::size_t k = 1; k < (n + 1) / 2; ++k) x[n - k] = {x[k].re, -x[k].im};
}

Status run_dft(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  if (!contains(kFloatTypes, x.dtype())) return dtype_error(node, x.dtype());
  if (x.rank() < 2) return corrupt(fmt::format("{}: the signal has rank {}, expected 2 or more", where(node), x.rank()));
  const Transform transform = transform_of(node);
  std::int64_t given_axis = -2;
  if (context.has_input(2)) {
    NARROW_TRY(given_axis, read_integer(node, context.input(2), "axis"));
  }
  NARROW_TRY(const int axis, signal_axis(node, given_axis, x.rank()));
  const std::int64_t size = x.shape()[static_cast<std::size_t>(axis)], components = x.shape().back();
  NARROW_RETURN_IF_ERROR(check_components(node, components));
  std::int64_t length = transform.default_length(size);
  if (context.has_input(1)) {
    NARROW_TRY(length, read_integer(node, context.input(1), "dft_length"));
  }
  NARROW_RETURN_IF_ERROR(check_length(node, length));
  Shape shape = x.shape();
  shape[static_cast<std::size_t>(axis)] = transform.outputs(length);
  shape.back() = transform.to_real() ? 1 : 2;
  NARROW_TRY(Tensor * y, context.output(0, x.dtype(), shape));
  if (y->size() == 0) return {};
  std::int64_t inner = 1, outer = 1;
  for (int d = 0; d < axis; ++d) outer *= shape[static_cast<std::size_t>(d)];
  for (int d = axis + 1; d + 1 < x.rank(); ++d) inner *= shape[static_cast<std::size_t>(d)];
  const Line from = {size, inner * components, components};
  const Line to = {transform.outputs(length), inner * shape.back(), shape.back()};
  const Fft fft(length);
  dispatch(FloatList{}, x.dtype(), [&]<typename T>() {
    parallel_ranges(context.pool(), outer * inner, [&](std::int64_t begin, std::int64_t end) {
      std::vector<Complex> line(static_cast<std::size_t>(length)), scratch(fft.scratch_size());
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t o = i / inner, at = i % inner;
        read_line(pointer<T>(x) + (o * size * inner + at) * components, from, line);
        if (transform.to_real()) {
          std::fill(line.begin() + std::min<std::int64_t>(length / 2 + 1, length), line.end(), Complex{});
          complete_spectrum(line);
        }
        if (transform.inverse) fft.inverse(line, scratch);
        else fft.forward(line, scratch);
        write_line<T>(line, to, pointer<T>(*y) + (o * to.count * inner + at) * to.components);
      }
    }, length * 8);
  });
  return {};
}

// ---- STFT -----------------------------------------------------------------------------------------------------------

// signal, frame_step, window, frame_length
Status check_frames(const Node& node, std::int64_t signal, std::int64_t frame, std::int64_t step) {
  NARROW_RETURN_IF_ERROR(check_length(node, frame));
  if (step < 1) return corrupt(fmt::format("{}: frame_step is {}, expected 1 or more", where(node), step));
  if (frame <= signal) return {};
  return corrupt(fmt::format("{}: frames of {} samples in a signal of {}", where(node), frame, signal));
}

Status infer_stft(InferContext& context) {
  const Node& node = context.node();
  NARROW_RETURN_IF_ERROR(check_dtype(context, 0, kFloatTypes));
  NARROW_RETURN_IF_ERROR(check_rank(context, 0, 3, 3));
  NARROW_RETURN_IF_ERROR(check_rank(context, 2, 1, 1));
  NARROW_TRY([[maybe_unused]] const DType dtype, common_dtype(context, std::array<std::size_t, 2>{0, 2}));
  NARROW_TRY(const auto step, known_integer(context, 1, "frame_step"));
  NARROW_TRY(const auto length, known_integer(context, 3, "frame_length"));
  const Type& x = context.input(0);
  if (x.kind != TypeKind::kTensor) return {};
  Type y = Type::tensor(x.dtype, {Dim(), Dim(), Dim(), Dim(2)});
  if (x.ranked) {
    y.dims[0] = x.dims[0];
    if (x.dims[2].known()) NARROW_RETURN_IF_ERROR(check_components(node, x.dims[2].size));
  }
  Dim frame;
  if (length) frame = Dim(*length);
  else if (!context.has_input(3) && context.input(2).ranked) frame = context.input(2).dims[0];
  else if (!context.has_input(3) && !context.has_input(2) && x.ranked) frame = x.dims[1];
  if (frame.known()) {
    y.dims[2] = Dim(node.get_int("onesided", 1) != 0 ? frame.size / 2 + 1 : frame.size);
    if (x.ranked && x.dims[1].known() && step) {
      NARROW_RETURN_IF_ERROR(check_frames(node, x.dims[1].size, frame.size, *step));
      y.dims[1] = Dim((x.dims[1].size - frame.size) / *step + 1);
    }
  }
  context.set_output(0, std::move(y));
  return {};
}

Status run_stft(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  if (!contains(kFloatTypes, x.dtype())) return dtype_error(node, x.dtype());
  if (x.rank() != 3) return corrupt(fmt::format("{}: the signal has rank {}, expected 3", where(node), x.rank()));
  const std::int64_t batch = x.shape()[0], samples = x.shape()[1], components = x.shape()[2];
  NARROW_RETURN_IF_ERROR(check_components(node, components));
  NARROW_TRY(const std::int64_t step, read_integer(node, context.input(1), "frame_step"));
  const bool windowed = context.has_input(2);
  const Tensor& window = context.input(2);
  std::int64_t frame = windowed ? window.size() : samples;
  if (context.has_input(3)) {
    NARROW_TRY(frame, read_integer(node, context.input(3), "frame_length"));
  }
  NARROW_RETURN_IF_ERROR(check_frames(node, samples, frame, step));
  if (windowed && (window.dtype() != x.dtype() || window.rank() != 1 || window.size() != frame)) {
    return corrupt(fmt::format("{}: the window is {}{}, expected {}[{}]", where(node), to_string(window.dtype()), to_string(window.shape()), to_string(x.dtype()), frame));
  }
  const std::int64_t frames = (samples - frame) / step + 1, bins = node.get_int("onesided", 1) != 0 ? frame / 2 + 1 : frame;
  NARROW_TRY(Tensor * y, context.output(0, x.dtype(), Shape{batch, frames, bins, 2}));
  if (y->size() == 0) return {};
  const Fft fft(frame);
  dispatch(FloatList{}, x.dtype(), [&]<typename T>() {
    parallel_ranges(context.pool(), batch * frames, [&](std::int64_t begin, std::int64_t end) {
      std::vector<Complex> line(static_cast<std::size_t>(frame)), scratch(fft.scratch_size());
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t first = i / frames * samples + i % frames * step;
        read_line(pointer<T>(x) + first * components, Line{frame, components, components}, line);
        for (std::int64_t n = 0; windowed && n < frame; ++n) {
          const double weight = static_cast<double>(load(pointer<T>(window)[n]));
          line[n] = {line[n].re * weight, line[n].im * weight};
        }
        fft.forward(line, scratch);
        write_line<T>(line, Line{bins, 2, 2}, pointer<T>(*y) + i * bins * 2);
      }
    }, frame * 8);
  });
  return {};
}

const std::array kOperators = {
    Operator{.name = "DFT", .since = 20, .max_inputs = 3, .infer = infer_dft, .run = run_dft},
    Operator{.name = "STFT", .since = 17, .min_inputs = 2, .max_inputs = 4, .infer = infer_stft, .run = run_stft},
};

}  // namespace

std::span<const Operator> signal_operators() { return kOperators; }

}  // namespace narrow::operators
