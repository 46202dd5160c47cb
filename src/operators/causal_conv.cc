// CausalConvWithState: depthwise convolution over time that carries the last inputs from one call to the next.
#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "operators/dispatch.h"
#include "operators/families.h"
#include "operators/float_io.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using graph::TypeKind;

// input [batch, channels, length], weight [channels, 1, taps], bias [channels], past_state [batch, channels, taps - 1]
enum Input : std::size_t { kX, kWeight, kBias, kPast };

Result<bool> has_silu(const Node& node) {
  const std::string name = node.get_string("activation", "none");
  if (name == "silu" || name == "swish") return true;
  if (name.empty() || name == "none") return false;
  return corrupt(fmt::format("{}: activation is '{}', expected none, silu or swish", where(node), name));
}

Status infer_causal_conv(InferContext& context) {
  const Node& node = context.node();
  NARROW_TRY([[maybe_unused]] const bool silu, has_silu(node));
  for (std::size_t i : {kX, kWeight, kPast}) NARROW_RETURN_IF_ERROR(check_rank(context, i, 3, 3));
  NARROW_RETURN_IF_ERROR(check_dtype(context, kX, kFloatTypes));
  NARROW_TRY([[maybe_unused]] const DType dtype, common_dtype(context, std::array<std::size_t, 4>{kX, kWeight, kBias, kPast}));
  const Type& x = context.input(kX);
  const Type& w = context.input(kWeight);
  if (x.kind != TypeKind::kTensor) return {};
  context.set_output(0, x);
  Type state = Type::tensor(x.dtype, {Dim(), Dim(), Dim()});
  if (x.ranked) std::copy_n(x.dims.begin(), 2, state.dims.begin());
  if (w.ranked) {
    if (x.ranked) {
      NARROW_TRY([[maybe_unused]] const Dim channels, unify_dims(node, x.dims[1], w.dims[0], "the number of channels"));
    }
    state.dims[2] = subtract_dims(w.dims[2], Dim(1));
  } else if (context.input(kPast).ranked) {
    state.dims[2] = context.input(kPast).dims[2];
  }
  if (node.output(1) != graph::kNoValue) context.set_output(1, state);
  return {};
}

Status run_causal_conv(const Node& node, RunContext& context) {
  const Tensor& x = context.input(kX);
  const Tensor& w = context.input(kWeight);
  NARROW_TRY(const bool silu, has_silu(node));
  if (x.rank() != 3 || w.rank() != 3 || w.shape()[0] != x.shape()[1] || w.shape()[1] != 1 || w.shape()[2] < 1) {
    return invalid_argument(fmt::format("{}: an input of shape {} and a weight of shape {}, expected [batch, channels, length] and [channels, 1, taps]",
                                        where(node), to_string(x.shape()), to_string(w.shape())));
  }
  const std::int64_t batch = x.shape()[0], channels = x.shape()[1], length = x.shape()[2], taps = w.shape()[2], carried = taps - 1;
  const Shape state_shape = {batch, channels, carried};
  const auto open = [&](std::size_t i, const char* what, const Shape& shape) -> Result<FloatInput> {
    if (!context.has_input(i)) return FloatInput();
    if (context.input(i).shape() == shape) return FloatInput::open(context.input(i), what);
    return invalid_argument(fmt::format("{}: {} has shape {}, expected {}", where(node), what, to_string(context.input(i).shape()), to_string(shape)));
  };
  NARROW_TRY(FloatOutput y, FloatOutput::create(context, 0, x.dtype(), x.shape()));
  FloatOutput state;
  const bool keeps = context.wants_output(1);
  if (keeps) {
    NARROW_TRY(state, FloatOutput::create(context, 1, x.dtype(), state_shape));
  }
  NARROW_TRY(const FloatInput source, FloatInput::open(x, "the input"));
  NARROW_TRY(const FloatInput weight, FloatInput::open(w, "the weight"));
  NARROW_TRY(const FloatInput bias, open(kBias, "the bias", Shape{channels}));
  NARROW_TRY(const FloatInput past, open(kPast, "past_state", state_shape));
  const float* first = past.size() == 0 ? nullptr : past.data();
  parallel_ranges(context.pool(), batch * channels, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> line(static_cast<std::size_t>(carried + length), 0.0f);  // the carried inputs, then the new ones
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t channel = i % channels;
      if (first != nullptr) std::copy_n(first + i * carried, carried, line.data());
      std::copy_n(source.data() + i * length, length, line.data() + carried);
      float* out = y.data() + i * length;
      std::fill_n(out, length, bias.size() == 0 ? 0.0f : bias.data()[channel]);
      for (std::int64_t k = 0; k < taps; ++k) {
        const float factor = weight.data()[channel * taps + k];
        for (std::int64_t t = 0; t < length; ++t) out[t] += factor * line[k + t];
      }
      for (std::int64_t t = 0; silu && t < length; ++t) out[t] = out[t] / (1 + std::exp(-out[t]));
      if (keeps) std::copy_n(line.data() + length, carried, state.data() + i * carried);
    }
  }, length * taps);
  y.store();
  if (keeps) state.store();
  return {};
}

const std::array kOperators = {
    Operator{.name = "CausalConvWithState", .since = 27, .min_inputs = 2, .max_inputs = 4, .max_outputs = 2, .infer = infer_causal_conv,
             .run = run_causal_conv},
};

}  // namespace

std::span<const Operator> causal_conv_operators() { return kOperators; }

}  // namespace narrow::operators
