// BatchNormalization, InstanceNormalization, LayerNormalization, GroupNormalization, RMSNormalization (and ONNX Runtime's
// SimplifiedLayerNormalization), LpNormalization, LRN and MeanVarianceNormalization.
#include "kernels/normalization/normalization.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "operators/families.h"
#include "operators/float_io.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;

Error bad_node(const Node& node, std::string what) {
  return corrupt(fmt::format("node '{}' ({}): {}", node.name, node.op_type, what));
}

// `attribute` as an axis of a tensor of this rank.
Result<std::size_t> read_axis(const Node& node, int rank) {
  const std::int64_t axis = node.get_int("axis", -1);
  if (axis >= -rank && axis < rank) return static_cast<std::size_t>(axis < 0 ? axis + rank : axis);
  return bad_node(node, fmt::format("axis is {}, expected {} to {}", axis, -rank, rank - 1));
}

std::int64_t product(std::span<const std::int64_t> dims) {
  std::int64_t total = 1;
  for (std::int64_t dim : dims) total *= dim;
  return total;
}

std::int64_t channels_of(const Shape& shape) { return shape.size() > 1 ? shape[1] : 1; }
std::int64_t inner_of(const Shape& shape) { return shape.size() > 2 ? product(std::span(shape).subspan(2)) : 1; }

// Input i as one f32 number a channel.
Result<FloatInput> open_per_channel(const Node& node, RunContext& context, std::size_t i, std::int64_t channels) {
  NARROW_TRY(FloatInput input, FloatInput::open(context.input(i), "a channel parameter"));
  if (input.size() == channels) return input;
  return invalid_argument(fmt::format("node '{}' ({}): input {} has {} elements, expected {}, one a channel", node.name, node.op_type, i, input.size(), channels));
}

// The type rule of all: output 0 is like the input; inputs from 1 on, when `per_channel`, match dimension 1.
Status infer_like_input(InferContext& context, bool per_channel) {
  const Type& x = context.input(0);
  if (per_channel && x.ranked && x.rank() >= 2) {
    for (std::size_t i = 1; i < context.node().inputs.size(); ++i) {
      const Type& parameter = context.input(i);
      if (!parameter.ranked) continue;
      if (parameter.rank() != 1 || (parameter.dims[0].known() && x.dims[1].known() && parameter.dims[0].size != x.dims[1].size)) {
        return bad_node(context.node(), fmt::format("input {} is {}, expected one element for each channel of {}", i, graph::to_string(parameter), graph::to_string(x)));
      }
    }
  }
  context.set_output(0, x);
  return {};
}

Status infer_plain(InferContext& context) { return infer_like_input(context, false); }
Status infer_channels(InferContext& context) { return infer_like_input(context, true); }

Status infer_batch(InferContext& context) {
  NARROW_RETURN_IF_ERROR(infer_channels(context));
  for (std::size_t i : {1, 2}) {
    if (context.node().output(i) != graph::kNoValue) context.set_output(i, context.input(i + 2));
  }
  return {};
}

// ---- BatchNormalization ----

// Mean and variance of each channel of [batch, channels, inner].
struct ChannelMoments {
  std::vector<double> mean, variance;
};
ChannelMoments channel_moments(const float* x, std::int64_t batch, std::int64_t channels, std::int64_t inner) {
  ChannelMoments m{std::vector<double>(static_cast<std::size_t>(channels)), std::vector<double>(static_cast<std::size_t>(channels))};
  const double count = static_cast<double>(batch * inner);
  const auto each = [&](const auto& visit) {
    for (std::int64_t row = 0; row < batch * channels; ++row) {
      for (std::int64_t i = 0; i < inner; ++i) visit(static_cast<std::size_t>(row % channels), static_cast<double>(x[row * inner + i]));
    }
  };
  each([&](std::size_t c, double v) { m.mean[c] += v / count; });
  each([&](std::size_t c, double v) { m.variance[c] += (v - m.mean[c]) * (v - m.mean[c]) / count; });
  return m;
}

// In training mode the batch's own moments are used, and outputs 1 and 2 are the running ones moved towards them.
Status run_batch(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  const std::int64_t channels = channels_of(x.shape()), batch = x.rank() == 0 ? 1 : x.shape()[0], inner = inner_of(x.shape());
  NARROW_TRY(const FloatInput scale, open_per_channel(node, context, 1, channels));
  NARROW_TRY(const FloatInput bias, open_per_channel(node, context, 2, channels));
  NARROW_TRY(const FloatInput mean, open_per_channel(node, context, 3, channels));
  NARROW_TRY(const FloatInput variance, open_per_channel(node, context, 4, channels));
  NARROW_TRY(FloatOutput y, FloatOutput::create(context, 0, x.dtype(), x.shape()));
  NARROW_TRY(const FloatInput source, FloatInput::open(x, "the input"));
  ChannelMoments moments{std::vector<double>(mean.data(), mean.data() + channels), std::vector<double>(variance.data(), variance.data() + channels)};
  if (node.get_int("training_mode", 0) != 0) {
    const double momentum = node.get_float("momentum", 0.9f);
    const ChannelMoments found = channel_moments(source.data(), batch, channels, inner);
    const auto move = [&](std::size_t i, const std::vector<double>& running, const std::vector<double>& own) -> Status {
      if (!context.wants_output(i)) return {};
      NARROW_TRY(FloatOutput out, FloatOutput::create(context, i, context.input(i + 2).dtype(), Shape{channels}));
      for (std::size_t c = 0; c < own.size(); ++c) out.data()[c] = static_cast<float>(running[c] * momentum + own[c] * (1 - momentum));
      out.store();
      return {};
    };
    NARROW_RETURN_IF_ERROR(move(1, moments.mean, found.mean));
    NARROW_RETURN_IF_ERROR(move(2, moments.variance, found.variance));
    moments = found;
  }
  const double epsilon = node.get_float("epsilon", 1e-5f);
  std::vector<float> factor(static_cast<std::size_t>(channels)), shift(factor.size());
  for (std::size_t c = 0; c < factor.size(); ++c) {
    const double f = scale.data()[c] / std::sqrt(moments.variance[c] + epsilon);
    factor[c] = static_cast<float>(f);
    shift[c] = static_cast<float>(bias.data()[c] - moments.mean[c] * f);
  }
  kernels::scale_shift_f32(source.data(), batch, channels, inner, factor.data(), shift.data(), y.data(), context.pool());
  y.store();
  return {};
}

// ---- InstanceNormalization, GroupNormalization ----

// Rows of whole groups of channels are normalized, then each channel gets its scale and bias.
Status run_groups(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  if (x.rank() < 2) return bad_node(node, fmt::format("the input has rank {}, expected 2 or more", x.rank()));
  const std::int64_t channels = x.shape()[1], inner = inner_of(x.shape());
  const std::int64_t groups = node.op_type == "GroupNormalization" ? node.get_int("num_groups", 0) : channels;
  if (groups < (channels == 0 ? 0 : 1) || (groups > 0 && channels % groups != 0)) {
    return bad_node(node, fmt::format("num_groups is {}, expected a divisor of the {} channels", groups, channels));
  }
  NARROW_TRY(const FloatInput scale, open_per_channel(node, context, 1, channels));
  NARROW_TRY(const FloatInput bias, open_per_channel(node, context, 2, channels));
  NARROW_TRY(FloatOutput y, FloatOutput::create(context, 0, x.dtype(), x.shape()));
  if (y.size() == 0) return {};
  NARROW_TRY(const FloatInput source, FloatInput::open(x, "the input"));
  const float epsilon = node.get_float("epsilon", 1e-5f);
  const std::int64_t per_group = channels / groups, size = per_group * inner;
  context.pool().parallel_for(static_cast<std::size_t>(x.shape()[0] * groups), [&](std::size_t row, int) {
    const std::int64_t start = static_cast<std::int64_t>(row) * size;
    const kernels::RowMoments moments = kernels::row_moments_f32(source.data() + start, size, epsilon);
    for (std::int64_t i = 0; i < per_group; ++i) {
      const std::int64_t c = static_cast<std::int64_t>(row) % groups * per_group + i, at = start + i * inner;
      const float factor = moments.inverse_deviation * scale.data()[c];
      const float shift = bias.data()[c] - moments.mean * factor;
      kernels::scale_shift_f32(source.data() + at, 1, 1, inner, &factor, &shift, y.data() + at, context.pool());
    }
  });
  y.store();
  return {};
}

Status infer_groups(InferContext& context) {
  const Node& node = context.node();
  const std::int64_t groups = node.get_int("num_groups", 0);
  const Type& x = context.input(0);
  const bool known = x.ranked && x.rank() >= 2 && x.dims[1].known();
  if (groups < 1 || (known && x.dims[1].size % groups != 0)) {
    return bad_node(node, fmt::format("num_groups is {}, expected a divisor of the channels of {}", groups, graph::to_string(x)));
  }
  return infer_channels(context);
}

// ---- LayerNormalization, RMSNormalization ----

Status infer_layer(InferContext& context) {
  const Node& node = context.node();
  const Type& x = context.input(0);
  if (x.ranked) {
    NARROW_TRY(const std::size_t axis, read_axis(node, x.rank()));
    Type moments = x;
    moments.dtype = DType::kF32;
    for (std::size_t i = axis; i < moments.dims.size(); ++i) moments.dims[i] = Dim(1);
    for (std::size_t i = 1; i < 3; ++i) {
      if (node.output(i) != graph::kNoValue) context.set_output(i, moments);
    }
  }
  context.set_output(0, x);
  return {};
}

// Input i stretched to the normalized shape. Without a copy when it has that many elements already.
struct RowParameter {
  FloatInput input;
  std::vector<float> stretched;
  const float* data() const { return stretched.empty() ? input.data() : stretched.data(); }
};

Result<RowParameter> open_row_parameter(const Node& node, RunContext& context, std::size_t i, std::span<const std::int64_t> row) {
  RowParameter parameter;
  const Tensor& tensor = context.input(i);
  NARROW_TRY(parameter.input, FloatInput::open(tensor, "a row parameter"));
  const Shape& shape = tensor.shape();
  const auto misfit = [&] {
    return invalid_argument(fmt::format("node '{}' ({}): input {} has shape {}, which does not stretch to the normalized {}", node.name, node.op_type, i, to_string(shape), to_string(row)));
  };
  // Leading ones beyond the normalized axes change nothing.
  std::span<const std::int64_t> have = shape;
  while (have.size() > row.size()) {
    if (have.front() != 1) return misfit();
    have = have.subspan(1);
  }
  const std::size_t missing = row.size() - have.size();
  bool same = true;
  for (std::size_t d = 0; d < row.size(); ++d) {
    const std::int64_t dim = d < missing ? 1 : have[d - missing];
    if (dim != row[d] && dim != 1) return misfit();
    same = same && dim == row[d];
  }
  if (same) return parameter;
  const std::int64_t size = product(row);
  parameter.stretched.resize(static_cast<std::size_t>(size));
  for (std::int64_t at = 0; at < size; ++at) {
    std::int64_t rest = at, from = 0, scale = 1;
    for (std::size_t d = row.size(); d-- > missing;) {
      const std::int64_t dim = have[d - missing];
      if (dim != 1) from += rest % row[d] * scale;
      scale *= dim;
      rest /= row[d];
    }
    parameter.stretched[static_cast<std::size_t>(at)] = parameter.input.data()[from];
  }
  return parameter;
}

Status run_layer(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  const bool root_mean_square = node.op_type != "LayerNormalization";
  NARROW_TRY(const std::size_t axis, read_axis(node, x.rank()));
  const std::span<const std::int64_t> row = std::span(x.shape()).subspan(axis);
  if (x.size() == 0) {
    NARROW_TRY([[maybe_unused]] Tensor * empty, context.output(0, x.dtype(), x.shape()));
    return {};
  }
  RowParameter scale, bias;
  NARROW_TRY(scale, open_row_parameter(node, context, 1, row));
  const bool has_bias = !root_mean_square && context.has_input(2);
  if (has_bias) {
    NARROW_TRY(bias, open_row_parameter(node, context, 2, row));
  }
  NARROW_TRY(FloatOutput y, FloatOutput::create(context, 0, x.dtype(), x.shape()));
  NARROW_TRY(const FloatInput source, FloatInput::open(x, "the input"));
  Shape moments_shape = x.shape();
  std::fill(moments_shape.begin() + static_cast<std::ptrdiff_t>(axis), moments_shape.end(), 1);
  FloatOutput means, deviations;
  const std::size_t deviation_output = root_mean_square ? 1 : 2;
  const bool wants_mean = !root_mean_square && context.wants_output(1), wants_deviation = context.wants_output(deviation_output);
  if (wants_mean) {
    NARROW_TRY(means, FloatOutput::create(context, 1, DType::kF32, moments_shape));
  }
  if (wants_deviation) {
    NARROW_TRY(deviations, FloatOutput::create(context, deviation_output, DType::kF32, moments_shape));
  }
  const float epsilon = node.get_float("epsilon", 1e-5f);
  const std::int64_t size = product(row), rows = x.size() / size;
  // Short rows travel together, so that handing them out costs little.
  const std::int64_t batch = std::max<std::int64_t>(1, 16384 / size);
  context.pool().parallel_for(static_cast<std::size_t>((rows + batch - 1) / batch), [&](std::size_t job, int) {
    const std::int64_t begin = static_cast<std::int64_t>(job) * batch;
    for (std::int64_t r = begin; r < std::min(rows, begin + batch); ++r) {
      const float* from = source.data() + r * size;
      const kernels::RowMoments moments = root_mean_square
                                              ? kernels::RowMoments{0, kernels::inverse_root_mean_square_f32(from, size, epsilon)}
                                              : kernels::row_moments_f32(from, size, epsilon);
      kernels::normalize_row_f32(from, size, moments.mean, moments.inverse_deviation, scale.data(), has_bias ? bias.data() : nullptr, y.data() + r * size);
      if (wants_mean) means.data()[r] = moments.mean;
      if (wants_deviation) deviations.data()[r] = moments.inverse_deviation;
    }
  });
  y.store();
  return {};
}

// ---- LpNormalization ----

Status infer_lp(InferContext& context) {
  const Node& node = context.node();
  const std::int64_t p = node.get_int("p", 2);
  if (p != 1 && p != 2) return bad_node(node, fmt::format("p is {}, expected 1 or 2", p));
  if (context.input(0).ranked) {
    NARROW_TRY([[maybe_unused]] const std::size_t axis, read_axis(node, context.input(0).rank()));
  }
  return infer_plain(context);
}

Status run_lp(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  const std::int64_t p = node.get_int("p", 2);
  if (p != 1 && p != 2) return bad_node(node, fmt::format("p is {}, expected 1 or 2", p));
  NARROW_TRY(const std::size_t axis, read_axis(node, x.rank()));
  NARROW_TRY(FloatOutput y, FloatOutput::create(context, 0, x.dtype(), x.shape()));
  NARROW_TRY(const FloatInput source, FloatInput::open(x, "the input"));
  const std::span<const std::int64_t> shape = x.shape();
  const std::int64_t outer = product(shape.first(axis)), n = shape[axis], inner = product(shape.subspan(axis + 1));
  for (std::int64_t o = 0; o < outer; ++o) {
    for (std::int64_t i = 0; i < inner; ++i) {
      const std::int64_t start = o * n * inner + i;
      double norm = 0;
      for (std::int64_t k = 0; k < n; ++k) {
        const double v = source.data()[start + k * inner];
        norm += p == 1 ? std::fabs(v) : v * v;
      }
      if (p == 2) norm = std::sqrt(norm);
      const double factor = norm == 0 ? 0 : 1 / norm;
      for (std::int64_t k = 0; k < n; ++k) y.data()[start + k * inner] = static_cast<float>(source.data()[start + k * inner] * factor);
    }
  }
  y.store();
  return {};
}

// ---- LRN ----

Status infer_lrn(InferContext& context) {
  const std::int64_t size = context.node().get_int("size", 0);
  if (size < 1) return bad_node(context.node(), fmt::format("size is {}, expected 1 or more", size));
  return infer_plain(context);
}

Status run_lrn(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  const std::int64_t size = node.get_int("size", 0);
  if (size < 1) return bad_node(node, fmt::format("size is {}, expected 1 or more", size));
  if (x.rank() < 2) return bad_node(node, fmt::format("the input has rank {}, expected 2 or more", x.rank()));
  NARROW_TRY(FloatOutput y, FloatOutput::create(context, 0, x.dtype(), x.shape()));
  NARROW_TRY(const FloatInput source, FloatInput::open(x, "the input"));
  if (y.size() == 0) return {};
  kernels::local_response_f32(source.data(), x.shape()[0], x.shape()[1], inner_of(x.shape()), std::min<std::int64_t>(size, 1 << 30),
                              node.get_float("alpha", 1e-4f), node.get_float("beta", 0.75f), node.get_float("bias", 1.0f), y.data(), context.pool());
  y.store();
  return {};
}

// ---- MeanVarianceNormalization ----

Status run_mean_variance(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  std::vector<std::int64_t> axes = node.get_ints("axes");
  if (!node.has("axes")) axes = {0, 2, 3};
  std::vector<bool> reduced(x.shape().size(), false);
  for (std::int64_t axis : axes) {
    if (axis < -x.rank() || axis >= x.rank()) return bad_node(node, fmt::format("axis {} is out of range for rank {}", axis, x.rank()));
    reduced[static_cast<std::size_t>(axis < 0 ? axis + x.rank() : axis)] = true;
  }
  NARROW_TRY(FloatOutput y, FloatOutput::create(context, 0, x.dtype(), x.shape()));
  NARROW_TRY(const FloatInput source, FloatInput::open(x, "the input"));
  if (y.size() == 0) return {};
  std::int64_t rows = 1;
  for (std::size_t d = 0; d < reduced.size(); ++d) rows *= reduced[d] ? 1 : x.shape()[d];
  const auto row_of = [&](std::int64_t at) {
    std::int64_t row = 0, scale = 1;
    for (std::size_t d = reduced.size(); d-- > 0;) {
      if (!reduced[d]) {
        row += at % x.shape()[d] * scale;
        scale *= x.shape()[d];
      }
      at /= x.shape()[d];
    }
    return static_cast<std::size_t>(row);
  };
  std::vector<double> mean(static_cast<std::size_t>(rows)), variance(mean.size());
  const double count = static_cast<double>(x.size() / rows);
  for (std::int64_t i = 0; i < x.size(); ++i) mean[row_of(i)] += source.data()[i] / count;
  for (std::int64_t i = 0; i < x.size(); ++i) {
    const double distance = source.data()[i] - mean[row_of(i)];
    variance[row_of(i)] += distance * distance / count;
  }
  constexpr double kEpsilon = 1e-9;  // the standard's
  for (std::int64_t i = 0; i < x.size(); ++i) {
    const std::size_t row = row_of(i);
    y.data()[i] = static_cast<float>((source.data()[i] - mean[row]) / (std::sqrt(variance[row]) + kEpsilon));
  }
  y.store();
  return {};
}

const std::array kOperators = {
    Operator{.name = "BatchNormalization", .since = 15, .min_inputs = 5, .max_inputs = 5, .max_outputs = 3, .infer = infer_batch,
             .run = run_batch, .flags = kInPlace},
    Operator{.name = "InstanceNormalization", .since = 22, .min_inputs = 3, .max_inputs = 3, .infer = infer_channels, .run = run_groups},
    Operator{.name = "GroupNormalization", .since = 21, .min_inputs = 3, .max_inputs = 3, .infer = infer_groups, .run = run_groups},
    Operator{.name = "LayerNormalization", .since = 17, .min_inputs = 2, .max_inputs = 3, .max_outputs = 3, .infer = infer_layer, .run = run_layer},
    Operator{.name = "RMSNormalization", .since = 23, .min_inputs = 2, .max_inputs = 2, .infer = infer_layer, .run = run_layer},
    // ONNX Runtime's own, which it puts into ai.onnx.
    Operator{.name = "SimplifiedLayerNormalization", .min_inputs = 2, .max_inputs = 2, .max_outputs = 2, .infer = infer_layer, .run = run_layer},
    Operator{.name = "LpNormalization", .since = 22, .infer = infer_lp, .run = run_lp},
    Operator{.name = "LRN", .since = 13, .infer = infer_lrn, .run = run_lrn},
    Operator{.name = "MeanVarianceNormalization", .since = 13, .infer = infer_plain, .run = run_mean_variance},
};

}  // namespace

std::span<const Operator> normalization_operators() { return kOperators; }

}  // namespace narrow::operators
