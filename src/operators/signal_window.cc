// Fixed tables of audio front ends: HannWindow, HammingWindow, BlackmanWindow, MelWeightMatrix.
#include <array>
#include <cmath>
#include <cstring>
#include <numbers>
#include <vector>

#include "operators/element_type.h"
#include "operators/families.h"
#include "operators/scalar_input.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;

Result<DType> output_type(const Node& node) {
  const std::int64_t number = node.get_int("output_datatype", 1);
  const auto dtype = dtype_from_number(number);
  if (dtype && contains(kNumericTypes, *dtype)) return *dtype;
  return corrupt(fmt::format("{}: output_datatype = {} is not a numeric element type", where(node), number));
}

void store_all(const std::vector<double>& values, Tensor& y) {
  dispatch(NumericList{}, y.dtype(), [&]<typename T>() {
    for (std::size_t i = 0; i < values.size(); ++i) pointer<T>(y)[i] = store<T>(static_cast<Compute<T>>(values[i]));
  });
}

// ---- windows --------------------------------------------------------------------------------------------------------

// Samples: more is a mistake in the file, not a model.
constexpr std::int64_t kMaxWindow = std::int64_t{1} << 26;

Status check_window(const Node& node, std::int64_t size) {
  if (size >= 0 && size <= kMaxWindow) return {};
  return corrupt(fmt::format("{}: a window of {} samples, expected 0 to {}", where(node), size, kMaxWindow));
}

Status infer_window(InferContext& context) {
  NARROW_TRY(const DType dtype, output_type(context.node()));
  NARROW_TRY(const auto size, known_integer(context, 0, "size"));
  if (size) NARROW_RETURN_IF_ERROR(check_window(context.node(), *size));
  context.set_output(0, Type::tensor(dtype, {size ? Dim(*size) : Dim()}));
  return {};
}

// a0 - a1 cos(2 pi n / N) + a2 cos(4 pi n / N)
struct CosineSum {
  double a0, a1, a2;
};
constexpr CosineSum kHann = {0.5, 0.5, 0};
constexpr CosineSum kHamming = {25.0 / 46.0, 21.0 / 46.0, 0};
constexpr CosineSum kBlackman = {0.42, 0.5, 0.08};

template <const CosineSum& sum>
Status run_window(const Node& node, RunContext& context) {
  NARROW_TRY(const DType dtype, output_type(node));
  NARROW_TRY(const std::int64_t size, read_integer(node, context.input(0), "size"));
  NARROW_RETURN_IF_ERROR(check_window(node, size));
  NARROW_TRY(Tensor * y, context.output(0, dtype, Shape{size}));
  const double period = static_cast<double>(node.get_int("periodic", 1) != 0 ? size : size - 1);
  std::vector<double> values(static_cast<std::size_t>(size));
  for (std::int64_t n = 0; n < size; ++n) {
    // A symmetric window of one sample has no period: its sample is the middle.
    const double phase = period > 0 ? 2 * std::numbers::pi * static_cast<double>(n) / period : std::numbers::pi;
    values[n] = sum.a0 - sum.a1 * std::cos(phase) + sum.a2 * std::cos(2 * phase);
  }
  store_all(values, *y);
  return {};
}

// ---- MelWeightMatrix ------------------------------------------------------------------------------------------------

// num_mel_bins, dft_length, sample_rate, lower_edge_hertz, upper_edge_hertz
Status check_mel(const Node& node, std::int64_t bands, std::int64_t length) {
  constexpr std::int64_t kMost = std::int64_t{1} << 24;
  if (bands >= 0 && bands <= kMost && length >= 1 && length <= kMost && bands * (length / 2 + 1) <= kMaxWindow) return {};
  return corrupt(fmt::format("{}: {} mel bands of a transform of length {}", where(node), bands, length));
}

Status infer_mel(InferContext& context) {
  NARROW_TRY(const DType dtype, output_type(context.node()));
  NARROW_TRY(const auto bands, known_integer(context, 0, "num_mel_bins"));
  NARROW_TRY(const auto length, known_integer(context, 1, "dft_length"));
  if (bands && length) NARROW_RETURN_IF_ERROR(check_mel(context.node(), *bands, *length));
  context.set_output(0, Type::tensor(dtype, {length && *length >= 1 ? Dim(*length / 2 + 1) : Dim(), bands && *bands >= 0 ? Dim(*bands) : Dim()}));
  return {};
}

double mel(double hertz) { return 2595 * std::log10(1 + hertz / 700); }
double hertz(double mel) { return 700 * (std::pow(10, mel / 2595) - 1); }

Status run_mel(const Node& node, RunContext& context) {
  NARROW_TRY(const DType dtype, output_type(node));
  NARROW_TRY(const std::int64_t bands, read_integer(node, context.input(0), "num_mel_bins"));
  NARROW_TRY(const std::int64_t length, read_integer(node, context.input(1), "dft_length"));
  NARROW_TRY(const std::int64_t rate, read_integer(node, context.input(2), "sample_rate"));
  NARROW_RETURN_IF_ERROR(check_mel(node, bands, length));
  for (std::size_t i : {3, 4}) {
    if (context.input(i).size() != 1 || !contains(kFloatTypes, context.input(i).dtype())) {
      return corrupt(fmt::format("{}: input {} is {}{}, expected one float", where(node), i, to_string(context.input(i).dtype()), to_string(context.input(i).shape())));
    }
  }
  const double low = context.input(3).at_as_double(0), high = context.input(4).at_as_double(0);
  const std::int64_t rows = length / 2 + 1;
  if (!(rate > 0 && low >= 0 && low <= high && high <= static_cast<double>(rate))) {
    return corrupt(fmt::format("{}: mel bands from {} to {} Hz at a sample rate of {}", where(node), low, high, rate));
  }
  // Edges and centres of the triangles, as rows of the spectrum.
  std::vector<std::int64_t> points;
  const double step = (mel(high) - mel(low)) / static_cast<double>(bands + 2);
  for (std::int64_t i = 0; i < bands + 2; ++i) {
    const double frequency = hertz(mel(low) + step * static_cast<double>(i));
    points.push_back(static_cast<std::int64_t>(std::floor(static_cast<double>(length + 1) * frequency / static_cast<double>(rate))));
    if (points.back() < 0 || points.back() >= rows) {
      return corrupt(fmt::format("{}: {} Hz is beyond the spectrum of {} rows", where(node), frequency, rows)).hint("lower upper_edge_hertz to half the sample rate");
    }
  }
  NARROW_TRY(Tensor * y, context.output(0, dtype, Shape{rows, bands}));
  std::vector<double> values(static_cast<std::size_t>(rows * bands), 0);
  for (std::int64_t b = 0; b < bands; ++b) {
    const std::int64_t left = points[b], centre = points[b + 1], right = points[b + 2];
    const auto at = [&](std::int64_t row) -> double& { return values[row * bands + b]; };
    if (left == centre) at(centre) = 1;
    for (std::int64_t row = left; left != centre && row <= centre; ++row) at(row) = static_cast<double>(row - left) / static_cast<double>(centre - left);
    for (std::int64_t row = centre; row < right; ++row) at(row) = static_cast<double>(right - row) / static_cast<double>(right - centre);
  }
  store_all(values, *y);
  return {};
}

const std::array kOperators = {
    Operator{.name = "HannWindow", .since = 17, .infer = infer_window, .run = run_window<kHann>},
    Operator{.name = "HammingWindow", .since = 17, .infer = infer_window, .run = run_window<kHamming>},
    Operator{.name = "BlackmanWindow", .since = 17, .infer = infer_window, .run = run_window<kBlackman>},
    Operator{.name = "MelWeightMatrix", .since = 17, .min_inputs = 5, .max_inputs = 5, .infer = infer_mel, .run = run_mel},
};

}  // namespace

std::span<const Operator> signal_window_operators() { return kOperators; }

}  // namespace narrow::operators
