// com.microsoft DynamicQuantizeLSTM: LSTM whose weights are 8-bit codes and whose inputs and states are quantized, by
// their own range, as they come.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <optional>
#include <vector>

#include "kernels/affine/affine.h"
#include "kernels/gemm_s8/integer_weights.h"
#include "operators/families.h"
#include "operators/quantized_io.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using kernels::GemmEpilogue;
using kernels::GemmOutput;
using kernels::IntegerWeights;
using kernels::pad_to_panels;

enum Input : std::size_t { kX, kW, kR, kB, kLengths, kH, kC, kP, kWScale, kWZero, kRScale, kRZero };

std::int64_t directions_of(const Node& node) { return node.get_string("direction", "forward") == "bidirectional" ? 2 : 1; }

Status infer_dynamic_lstm(InferContext& context) {
  const Node& node = context.node();
  const Type& x = context.input(kX);
  const Type& r = context.input(kR);
  const Dim directions(directions_of(node));
  const std::int64_t stated = node.get_int("hidden_size", 0);
  const Dim hidden = stated > 0 ? Dim(stated) : r.ranked && r.rank() == 3 ? r.dims[1] : Dim();
  const Dim steps = x.ranked && x.rank() == 3 ? x.dims[0] : Dim(), batch = x.ranked && x.rank() == 3 ? x.dims[1] : Dim();
  context.set_output(0, Type::tensor(DType::kF32, {steps, directions, batch, hidden}));
  for (std::size_t i : {1, 2}) context.set_output(i, Type::tensor(DType::kF32, {directions, batch, hidden}));
  return {};
}

float sigmoid(float v) { return 1.0f / (1.0f + std::exp(-v)); }

// One direction's input or recurrent weight, [k, 4 * hidden].
struct Side {
  std::optional<IntegerWeights> weights;
  std::vector<float> scale;  // a column
};

// y[rows, n] = quantize(x)[rows, k] * side (+ bias): x is quantized to u8 with one scale for all rows.
void multiply(const float* x, std::int64_t rows, const Side& side, const std::vector<float>& bias, std::vector<std::uint8_t>& codes,
              float* y, base::ThreadPool& pool) {
  const std::int64_t k = side.weights->k(), n = side.weights->n();
  const kernels::AffineKernels& fast = kernels::affine_kernels();
  float low, high;
  fast.min_max(x, static_cast<std::size_t>(rows * k), &low, &high);
  low = std::min(low, 0.0f);
  high = std::max(high, 0.0f);
  const float step = high == low ? 1.0f : (high - low) / 255.0f;
  const auto zero = static_cast<std::int32_t>(std::nearbyint(std::clamp(-low / step, 0.0f, 255.0f)));
  codes.resize(static_cast<std::size_t>(rows * k));
  fast.quantize_u8(x, codes.size(), step, zero, codes.data());
  const std::vector<std::int32_t> offset = side.weights->offsets(zero, false, nullptr);
  std::vector<float> scale(side.scale);
  for (float& s : scale) s *= step;
  const GemmEpilogue epilogue{GemmOutput::kF32, offset.data(), scale.data(), bias.data(), 0, 0, 255};
  const std::int64_t strips = side.weights->packed().strips(), parts = std::min<std::int64_t>(pool.threads(), strips);
  pool.parallel_for(static_cast<std::size_t>(parts), [&](std::size_t p, int) {
    const std::int64_t part = static_cast<std::int64_t>(p);
    side.weights->multiply({codes.data(), k, nullptr, nullptr, false, false}, rows, strips * part / parts, strips * (part + 1) / parts, nullptr, epilogue, y, n);
  });
}

class DynamicLstmKernel final : public Kernel {
 public:
  static Result<std::unique_ptr<Kernel>> prepare(const PrepareContext& context) {
    auto kernel = std::make_unique<DynamicLstmKernel>();
    const Node& node = *context.node;
    kernel->node_ = node;
    if (const graph::Attribute* given = node.find("activations")) {
      const auto* names = std::get_if<std::vector<std::string>>(&given->value);
      for (std::size_t i = 0; names != nullptr && i < names->size(); ++i) {
        if ((*names)[i] != (i % 3 == 0 ? "Sigmoid" : "Tanh")) return unsupported(fmt::format("the activation {} is not run in 8 bits", (*names)[i]));
      }
    }
    if (node.inputs.size() < 12) return corrupt(fmt::format("{} inputs, expected 12", node.inputs.size()));
    for (std::size_t i : {kW, kR, kWScale, kWZero, kRScale, kRZero}) {
      if (context.constants[i] == nullptr) return unsupported("weights that are not constant are not run in 8 bits");
    }
    NARROW_RETURN_IF_ERROR(kernel->pack(*context.constants[kW], *context.constants[kWScale], *context.constants[kWZero], kernel->input_));
    NARROW_RETURN_IF_ERROR(kernel->pack(*context.constants[kR], *context.constants[kRScale], *context.constants[kRZero], kernel->recurrent_));
    kernel->hidden_ = kernel->recurrent_[0].weights->k();
    if (kernel->input_[0].weights->n() != 4 * kernel->hidden_ || kernel->recurrent_[0].weights->n() != 4 * kernel->hidden_) {
      return corrupt(fmt::format("weights of {} and {} columns, expected 4 times the {} hidden units", kernel->input_[0].weights->n(),
                                 kernel->recurrent_[0].weights->n(), kernel->hidden_));
    }
    return std::unique_ptr<Kernel>(std::move(kernel));
  }

  std::string describe() const override { return kernels::gemm_s8_name(); }

  Status run(RunContext& context) override {
    const Tensor& x = context.input(kX);
    const std::int64_t directions = static_cast<std::int64_t>(input_.size()), h = hidden_;
    if (x.dtype() != DType::kF32 || x.rank() != 3 || x.shape()[2] != input_[0].weights->k()) {
      return invalid_argument(fmt::format("the input is {}{}, expected f32[steps,batch,{}]", to_string(x.dtype()), to_string(x.shape()), input_[0].weights->k()));
    }
    const std::int64_t steps = x.shape()[0], batch = x.shape()[1];
    const auto optional = [&](std::size_t i, std::int64_t size) -> Result<const float*> {
      const Tensor& t = context.input(i);
      if (!t.defined()) return static_cast<const float*>(nullptr);
      if (t.dtype() != DType::kF32 || t.size() != size) return corrupt(fmt::format("input {} is {}{}, expected {} f32 elements", i, to_string(t.dtype()), to_string(t.shape()), size));
      return static_cast<const float*>(t.raw());
    };
    NARROW_TRY(const float* bias, optional(kB, directions * 8 * h));
    NARROW_TRY(const float* first_h, optional(kH, directions * batch * h));
    NARROW_TRY(const float* first_c, optional(kC, directions * batch * h));
    NARROW_TRY(const float* peepholes, optional(kP, directions * 3 * h));
    const bool input_forget = node_.get_int("input_forget", 0) != 0;
    const float limit = node_.get_float("clip", 0) > 0 ? node_.get_float("clip", 0) : INFINITY;
    std::vector<std::int64_t> lengths(static_cast<std::size_t>(batch), steps);
    if (context.has_input(kLengths)) {
      lengths = context.input(kLengths).to_int64();
      if (static_cast<std::int64_t>(lengths.size()) != batch) return corrupt(fmt::format("{} sequence lengths for a batch of {}", lengths.size(), batch));
      for (std::int64_t& length : lengths) length = std::clamp<std::int64_t>(length, 0, steps);
    }
    NARROW_TRY(Tensor * y, context.output(0, DType::kF32, Shape{steps, directions, batch, h}));
    NARROW_TRY(Tensor * y_h, context.output(1, DType::kF32, Shape{directions, batch, h}));
    NARROW_TRY(Tensor * y_c, context.output(2, DType::kF32, Shape{directions, batch, h}));
    float* all = y->mutable_data<float>().data();
    std::fill_n(all, y->size(), 0.0f);
    const bool backward_only = node_.get_string("direction", "forward") == "reverse";
    std::vector<std::uint8_t> codes;
    for (std::int64_t d = 0; d < directions; ++d) {
      const bool reverse = backward_only || d == 1;
      const std::int64_t n = 4 * h;
      std::vector<float> both(static_cast<std::size_t>(n), 0.0f);
      for (std::int64_t j = 0; bias != nullptr && j < n; ++j) both[j] = bias[d * 8 * h + j] + bias[d * 8 * h + n + j];
      std::vector<float> gates(static_cast<std::size_t>(steps * batch * n)), step_gates(static_cast<std::size_t>(batch * n));
      const std::vector<float> padded_bias = pad_to_panels<float>(both, n, 0), none = std::vector<float>(padded_bias.size(), 0.0f);
      if (steps * batch > 0) multiply(x.data<float>().data(), steps * batch, input_[d], padded_bias, codes, gates.data(), context.pool());
      float* hidden = y_h->mutable_data<float>().data() + d * batch * h;
      float* cell = y_c->mutable_data<float>().data() + d * batch * h;
      for (std::int64_t i = 0; i < batch * h; ++i) {
        hidden[i] = first_h == nullptr ? 0 : first_h[d * batch * h + i];
        cell[i] = first_c == nullptr ? 0 : first_c[d * batch * h + i];
      }
      for (std::int64_t s = 0; s < steps; ++s) {
        multiply(hidden, batch, recurrent_[d], none, codes, step_gates.data(), context.pool());
        for (std::int64_t b = 0; b < batch; ++b) {
          if (s >= lengths[b]) continue;
          const std::int64_t t = reverse ? lengths[b] - 1 - s : s;
          const float* from_x = gates.data() + (t * batch + b) * n;
          const float* from_h = step_gates.data() + b * n;
          float* out = all + ((t * directions + d) * batch + b) * h;
          const float* peephole = peepholes == nullptr ? nullptr : peepholes + d * 3 * h;  // input, output, forget
          for (std::int64_t j = 0; j < h; ++j) {  // gates in ONNX's order: input, output, forget, cell
            float& c = cell[b * h + j];
            const auto gate = [&](std::int64_t g) {
              const float seen = peephole == nullptr || g == 3 ? 0 : peephole[g * h + j] * c;
              return std::clamp(from_x[g * h + j] + from_h[g * h + j] + seen, -limit, limit);
            };
            const float in = sigmoid(gate(0)), forget = input_forget ? 1 - in : sigmoid(gate(2));
            c = forget * c + in * std::tanh(gate(3));
            hidden[b * h + j] = out[j] = sigmoid(gate(1)) * std::tanh(c);  // the output gate sees the new cell
          }
        }
      }
    }
    return {};
  }

 private:
  Status pack(const Tensor& w, const Tensor& scale, const Tensor& zero, std::vector<Side>& sides) {
    NARROW_RETURN_IF_ERROR(check_code_type(node_, "a weight", w.dtype()));
    const std::int64_t directions = directions_of(node_);
    if (w.rank() != 3 || w.shape()[0] != directions) return corrupt(fmt::format("a weight has shape {}, expected [{}, k, 4 * hidden]", to_string(w.shape()), directions));
    const std::int64_t k = w.shape()[1], n = w.shape()[2];
    const std::int64_t each = scale.size() == directions * n ? n : 1;
    if (scale.dtype() != DType::kF32 || scale.size() != directions * each || zero.size() != scale.size() || !is_integer(zero.dtype())) {
      return corrupt(fmt::format("a weight has {} scales and {} zero points, expected {} or {}", scale.size(), zero.size(), directions, directions * n));
    }
    const std::vector<std::int64_t> zeros = zero.to_int64();
    for (std::int64_t d = 0; d < directions; ++d) {
      Side side;
      const std::vector<std::int32_t> own(zeros.begin() + d * each, zeros.begin() + (d + 1) * each);
      side.weights.emplace(static_cast<const char*>(w.raw()) + d * k * n, w.dtype() == DType::kU8, k, n, n, 1, own);
      side.scale = pad_to_panels<float>(scale.data<float>().subspan(static_cast<std::size_t>(d * each), static_cast<std::size_t>(each)), n, 0);
      sides.push_back(std::move(side));
    }
    return {};
  }

  Node node_;
  std::int64_t hidden_ = 0;
  std::vector<Side> input_, recurrent_;  // a direction each
};

const std::array kOperators = {
    Operator{.name = "DynamicQuantizeLSTM", .domain = "com.microsoft", .min_inputs = 3, .max_inputs = 12, .min_outputs = 0, .max_outputs = 3,
             .infer = infer_dynamic_lstm, .prepare = DynamicLstmKernel::prepare},
};

}  // namespace

std::span<const Operator> dynamic_lstm_operators() { return kOperators; }

}  // namespace narrow::operators
