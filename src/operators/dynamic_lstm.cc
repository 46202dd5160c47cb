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
#include "kernels/recurrent/recurrent.h"
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
using kernels::RecurrentProblem;

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

// One direction's input or recurrent weight, [k, 4 * hidden], and what a run makes of it.
struct Side {
  std::optional<IntegerWeights> weights;
  std::vector<float> scale;  // a column
  std::vector<float> run_scale, bias;
  std::vector<std::int32_t> offset;
  std::optional<std::int32_t> zero;  // that `offset` was made with
};

// The products of one direction. Rows are quantized to u8 with one scale for all.
class Products final : public kernels::RecurrentProducts {
 public:
  Products(Side& input, Side& recurrent, std::vector<std::uint8_t>& codes, base::ThreadPool& pool)
      : input_(input), recurrent_(recurrent), codes_(codes), pool_(pool) {}

  Status project(const float* x, std::int64_t rows, const float* bias, float* y) override {
    std::fill(input_.bias.begin(), input_.bias.end(), 0.0f);
    if (bias != nullptr) std::copy_n(bias, input_.weights->n(), input_.bias.begin());
    multiply(x, rows, input_, y);
    return {};
  }
  Status advance(const float* state, std::int64_t batch, std::int64_t, std::int64_t, float* y) override {  // an LSTM needs all gates at once
    multiply(state, batch, recurrent_, y);
    return {};
  }

 private:
  static constexpr std::int64_t kWorthThreads = 1 << 20;  // multiplications

  void multiply(const float* x, std::int64_t rows, Side& side, float* y) {
    const std::int64_t k = side.weights->k(), n = side.weights->n();
    if (rows == 0) return;
    const kernels::AffineKernels& fast = kernels::affine_kernels();
    float low, high;
    fast.min_max(x, static_cast<std::size_t>(rows * k), &low, &high);
    low = std::min(low, 0.0f);
    high = std::max(high, 0.0f);
    const float step = high == low ? 1.0f : (high - low) / 255.0f;
    const auto zero = static_cast<std::int32_t>(std::nearbyint(std::clamp(-low / step, 0.0f, 255.0f)));
    codes_.resize(static_cast<std::size_t>(rows * k));
    fast.quantize_u8(x, codes_.size(), step, zero, codes_.data());
    if (side.zero != zero) side.weights->offsets_into(zero, false, nullptr, side.offset.data());
    side.zero = zero;
    for (std::size_t j = 0; j < side.scale.size(); ++j) side.run_scale[j] = side.scale[j] * step;
    const GemmEpilogue epilogue{GemmOutput::kF32, side.offset.data(), side.run_scale.data(), side.bias.data(), 0, 0, 255};
    const std::int64_t strips = side.weights->packed().strips(), parts = rows * k * n < kWorthThreads ? 1 : std::min<std::int64_t>(pool_.threads(), strips);
    pool_.parallel_for(static_cast<std::size_t>(parts), [&](std::size_t p, int) {
      const std::int64_t part = static_cast<std::int64_t>(p);
      side.weights->multiply({codes_.data(), k, nullptr, nullptr, false, false}, rows, strips * part / parts, strips * (part + 1) / parts, nullptr, epilogue, y, n);
    });
  }

  Side& input_;
  Side& recurrent_;
  std::vector<std::uint8_t>& codes_;
  base::ThreadPool& pool_;
};

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
    using Function = kernels::Activation::Function;
    RecurrentProblem& problem = kernel->problem_;
    problem.kind = kernels::RecurrentKind::kLstm;
    problem.hidden = kernel->hidden_;
    problem.f.function = Function::kSigmoid;
    problem.g.function = problem.h.function = Function::kTanh;
    problem.clip = node.get_float("clip", 0);
    problem.input_forget = node.get_int("input_forget", 0) != 0;
    problem.reverse = node.get_string("direction", "forward") == "reverse";
    return std::unique_ptr<Kernel>(std::move(kernel));
  }

  std::string describe() const override { return std::string(kernels::gemm_s8_name()) + "; 8-bit weights packed at load, states quantized as they come"; }

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
    lengths_.clear();
    if (context.has_input(kLengths)) {
      for (std::int64_t length : context.input(kLengths).to_int64()) lengths_.push_back(static_cast<std::int32_t>(std::clamp<std::int64_t>(length, 0, steps)));
      if (static_cast<std::int64_t>(lengths_.size()) != batch) return corrupt(fmt::format("{} sequence lengths for a batch of {}", lengths_.size(), batch));
    }
    NARROW_TRY(Tensor * y, context.output(0, DType::kF32, Shape{steps, directions, batch, h}));
    NARROW_TRY(Tensor * y_h, context.output(1, DType::kF32, Shape{directions, batch, h}));
    NARROW_TRY(Tensor * y_c, context.output(2, DType::kF32, Shape{directions, batch, h}));
    for (std::int64_t d = 0; d < directions; ++d) {
      RecurrentProblem problem = problem_;
      problem.steps = steps;
      problem.batch = batch;
      problem.input = x.shape()[2];
      problem.reverse = problem_.reverse || d == 1;
      problem.x_batch = problem.input;
      problem.x_step = batch * problem.input;
      problem.y_batch = h;
      problem.y_step = directions * batch * h;
      Products products(input_[d], recurrent_[d], codes_, context.pool());
      kernels::RecurrentArguments arguments;
      arguments.x = x.data<float>().data();
      arguments.products = &products;
      arguments.scratch = &scratch_;
      if (bias != nullptr) arguments.bias = bias + d * 8 * h;
      if (peepholes != nullptr) arguments.peephole = peepholes + d * 3 * h;
      if (!lengths_.empty()) arguments.lengths = lengths_.data();
      arguments.y = y->mutable_data<float>().data() + d * batch * h;
      arguments.state = y_h->mutable_data<float>().data() + d * batch * h;
      arguments.cell = y_c->mutable_data<float>().data() + d * batch * h;
      start_with(first_h, d * batch * h, batch * h, arguments.state);
      start_with(first_c, d * batch * h, batch * h, arguments.cell);
      NARROW_RETURN_IF_ERROR(kernels::run_recurrent(problem, arguments, context.pool().threads()));
    }
    return {};
  }

 private:
  static void start_with(const float* given, std::int64_t at, std::int64_t count, float* state) {
    if (given == nullptr) std::fill_n(state, count, 0.0f);
    else std::copy_n(given + at, count, state);
  }

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
      side.run_scale.resize(side.scale.size());
      side.bias.assign(side.scale.size(), 0.0f);
      side.offset.resize(side.scale.size());
      sides.push_back(std::move(side));
    }
    return {};
  }

  Node node_;
  std::int64_t hidden_ = 0;
  RecurrentProblem problem_;
  std::vector<Side> input_, recurrent_;  // a direction each
  std::vector<std::uint8_t> codes_;
  std::vector<std::int32_t> lengths_;
  kernels::RecurrentScratch scratch_;
};

const std::array kOperators = {
    Operator{.name = "DynamicQuantizeLSTM", .domain = "com.microsoft", .min_inputs = 3, .max_inputs = 12, .min_outputs = 0, .max_outputs = 3,
             .infer = infer_dynamic_lstm, .prepare = DynamicLstmKernel::prepare},
};

}  // namespace

std::span<const Operator> dynamic_lstm_operators() { return kOperators; }

}  // namespace narrow::operators
