// com.microsoft's products with more in them: FusedMatMul (and its older name TransposeMatMul) transposes and scales,
// FusedGemm and FusedConv end in an activation.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>

#include "base/checked.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/gemm/gemm.h"
#include "operators/broadcast.h"
#include "operators/dispatch.h"
#include "operators/families.h"
#include "operators/float_io.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using kernels::UnaryF32;

constexpr std::string_view kMicrosoft = "com.microsoft";

// ---- FusedMatMul ----

// How one side is read: "B" of attributes transB, transBatchB.
struct Transposition {
  bool matrix = false, batch = false;

  static Transposition read(const Node& node, char side) {
    return {node.get_int(std::string("trans") + side, 0) != 0, node.get_int(std::string("transBatch") + side, 0) != 0};
  }
};

// Dimensions as the product sees them: [batch…, rows, columns]. A vector is never transposed.
template <typename T>
std::vector<T> product_dims(std::vector<T> dims, const Transposition& t) {
  if (dims.size() < 2) return dims;
  if (t.batch) std::rotate(dims.begin(), dims.begin() + 1, dims.end() - 1);
  if (t.matrix) std::swap(dims[dims.size() - 1], dims[dims.size() - 2]);
  return dims;
}

Status infer_fused_matmul(InferContext& context) {
  const Node& node = context.node();
  NARROW_RETURN_IF_ERROR(check_rank(context, 0, 1, -1));
  NARROW_RETURN_IF_ERROR(check_rank(context, 1, 1, -1));
  NARROW_TRY(const DType dtype, common_dtype(context, std::array<std::size_t, 2>{0, 1}));
  Type y = Type::tensor(dtype);
  if (context.input(0).ranked && context.input(1).ranked) {
    std::vector<Dim> a = product_dims(context.input(0).dims, Transposition::read(node, 'A'));
    std::vector<Dim> b = product_dims(context.input(1).dims, Transposition::read(node, 'B'));
    const bool vector_a = a.size() == 1, vector_b = b.size() == 1;
    if (vector_a) a.insert(a.begin(), Dim(1));
    if (vector_b) b.push_back(Dim(1));
    NARROW_TRY([[maybe_unused]] const Dim inner, unify_dims(node, a.back(), b[b.size() - 2], "the inner dimension"));
    const Type batch_a = Type::tensor(dtype, {a.begin(), a.end() - 2}), batch_b = Type::tensor(dtype, {b.begin(), b.end() - 2});
    const Type* batches[] = {&batch_a, &batch_b};
    NARROW_TRY(auto dims, broadcast_types(node, batches));
    if (dims) y = Type::tensor(dtype, *std::move(dims));
    if (!vector_a) y.dims.push_back(a[a.size() - 2]);
    if (!vector_b) y.dims.push_back(b.back());
  }
  context.set_output(0, std::move(y));
  return {};
}

// One side as stored: where its matrices begin and how long their stored rows are.
struct Side {
  bool transposed = false;
  Shape batch;                        // dimensions before the matrix, as the product sees them
  std::vector<std::int64_t> strides;  // of those, in elements
  std::int64_t rows = 1, columns = 1; // as the product sees them
  std::int64_t stored_row = 1;        // elements from one stored row to the next

  static Side make(Shape shape, const Transposition& t, bool left) {
    Side side;
    if (shape.size() == 1) {
      (left ? side.columns : side.rows) = shape[0];
      side.stored_row = left ? shape[0] : 1;
      return side;
    }
    const std::size_t rank = shape.size();
    side.batch.assign(t.batch ? shape.begin() + 1 : shape.begin(), t.batch ? shape.end() - 1 : shape.end() - 2);
    const std::int64_t stored_rows = t.batch ? shape[0] : shape[rank - 2], stored_columns = shape[rank - 1];
    std::int64_t stride = t.batch ? stored_columns : stored_rows * stored_columns;
    side.strides.resize(side.batch.size());
    for (std::size_t d = side.batch.size(); d-- > 0;) {
      side.strides[d] = stride;
      stride *= side.batch[d];
    }
    side.stored_row = t.batch ? stride : stored_columns;
    side.transposed = t.matrix;
    side.rows = t.matrix ? stored_columns : stored_rows;
    side.columns = t.matrix ? stored_rows : stored_columns;
    return side;
  }

  // Where the matrix at this index of the output's batch dimensions begins.
  std::int64_t offset(std::int64_t index, const Shape& out) const {
    std::int64_t offset = 0;
    for (std::size_t d = out.size(); d-- > 0; index /= out[d]) {
      const std::size_t missing = out.size() - batch.size();
      if (d >= missing && batch[d - missing] != 1) offset += index % out[d] * strides[d - missing];
    }
    return offset;
  }
};

Status run_fused_matmul(const Node& node, RunContext& context) {
  const Tensor& a = context.input(0);
  const Tensor& b = context.input(1);
  const auto misfit = [&] {
    return invalid_argument(fmt::format("{}: {}{} and {}{} cannot be multiplied", where(node), to_string(a.dtype()), to_string(a.shape()), to_string(b.dtype()), to_string(b.shape())));
  };
  if (a.rank() == 0 || b.rank() == 0 || a.dtype() != b.dtype()) return misfit();
  const Side left = Side::make(a.shape(), Transposition::read(node, 'A'), true);
  const Side right = Side::make(b.shape(), Transposition::read(node, 'B'), false);
  if (left.columns != right.rows) return misfit();
  const Shape* batches[] = {&left.batch, &right.batch};
  NARROW_TRY(Shape shape, broadcast_shapes(node, batches));
  const Shape batch = shape;
  const auto matrices = base::checked_product(batch);
  if (a.rank() > 1) shape.push_back(left.rows);
  if (b.rank() > 1) shape.push_back(right.columns);
  if (!matrices || !base::checked_product(shape)) return misfit();
  NARROW_TRY(FloatOutput y, FloatOutput::create(context, 0, a.dtype(), shape));
  NARROW_TRY(const FloatInput from_a, FloatInput::open(a, "input A"));
  NARROW_TRY(const FloatInput from_b, FloatInput::open(b, "input B"));
  const float alpha = node.get_float("alpha", 1.0f);
  if (y.size() == 0) return {};
  const auto multiply = [&](std::int64_t i, int threads) {
    return kernels::gemm_f32(left.transposed, right.transposed, left.rows, right.columns, left.columns, alpha, from_a.data() + left.offset(i, batch), left.stored_row,
                             from_b.data() + right.offset(i, batch), right.stored_row, 0, y.data() + i * left.rows * right.columns, right.columns, threads);
  };
  if (*matrices < context.pool().threads()) {
    for (std::int64_t i = 0; i < *matrices; ++i) NARROW_RETURN_IF_ERROR(multiply(i, context.pool().threads()));
  } else {
    std::vector<Status> done(static_cast<std::size_t>(context.pool().threads()));
    context.pool().parallel_for(static_cast<std::size_t>(*matrices), [&](std::size_t i, int worker) {
      Status status = multiply(static_cast<std::int64_t>(i), 1);
      if (!status.ok()) done[static_cast<std::size_t>(worker)] = std::move(status);
    });
    for (Status& status : done) NARROW_RETURN_IF_ERROR(std::move(status));
  }
  y.store();
  return {};
}

// ---- FusedGemm, FusedConv ----

// The activation at the end, with its parameters in the order of ONNX Runtime's activation_params.
struct Activation {
  std::string name;
  float alpha = 0, beta = 0;

  static Result<Activation> read(const Node& node) {
    Activation activation{.name = node.get_string("activation", "")};
    const std::vector<float> listed = node.get_floats("activation_params");
    const auto parameter = [&](std::size_t i, const char* attribute, float fallback) {
      return i < listed.size() ? listed[i] : node.get_float(attribute, fallback);
    };
    struct Known {
      std::string_view name;
      float alpha = 0, beta = 0;
    };
    constexpr float kLargest = std::numeric_limits<float>::max();
    const Known known[] = {{""}, {"Relu"}, {"Sigmoid"}, {"Tanh"}, {"LeakyRelu", 0.01f}, {"Clip", -kLargest, kLargest}, {"HardSigmoid", 0.2f, 0.5f}, {"Elu", 1.0f},
                           {"Softplus"}, {"Softsign"}, {"Selu", 1.67326319f, 1.05070102f}, {"ThresholdedRelu", 1.0f}, {"HardSwish"}};
    for (const Known& row : known) {
      if (row.name != activation.name) continue;
      activation.alpha = parameter(0, "activation_alpha", row.alpha);
      activation.beta = parameter(1, row.name == "Selu" ? "activation_gamma" : "activation_beta", row.beta);
      return activation;
    }
    return unsupported(fmt::format("{}: narrow does not know the activation '{}'", where(node), activation.name));
  }

  void apply(float* y, std::int64_t n) const {
    struct Kernel {
      std::string_view name;
      UnaryF32 function;
    };
    static constexpr Kernel kKernels[] = {{"Relu", UnaryF32::kRelu}, {"Sigmoid", UnaryF32::kSigmoid}, {"Tanh", UnaryF32::kTanh}, {"LeakyRelu", UnaryF32::kLeakyRelu},
                                          {"Clip", UnaryF32::kClip}, {"HardSigmoid", UnaryF32::kHardSigmoid}, {"HardSwish", UnaryF32::kHardSwish}};
    const float parameters[] = {name == "HardSwish" ? 1.0f / 6.0f : alpha, name == "HardSwish" ? 0.5f : beta};
    for (const Kernel& kernel : kKernels) {
      if (kernel.name == name) return kernels::unary_f32(kernel.function)(y, y, static_cast<std::size_t>(n), parameters);
    }
    const auto each = [&](auto f) { std::transform(y, y + n, y, f); };
    if (name == "Elu") each([this](float x) { return x < 0 ? alpha * std::expm1(x) : x; });
    if (name == "Softplus") each([](float x) { return std::max(x, 0.0f) + std::log1p(std::exp(-std::fabs(x))); });
    if (name == "Softsign") each([](float x) { return x / (1 + std::fabs(x)); });
    if (name == "Selu") each([this](float x) { return beta * (x < 0 ? alpha * std::expm1(x) : x); });
    if (name == "ThresholdedRelu") each([this](float x) { return x > alpha || x != x ? x : 0.0f; });
  }
};

// A context that shows the first inputs only and remembers where output 0 was put.
class InnerContext final : public RunContext {
 public:
  InnerContext(RunContext& outer, std::size_t inputs) : outer_(outer), inputs_(std::min(inputs, outer.input_count())) {}
  std::size_t input_count() const override { return inputs_; }
  const Tensor& input(std::size_t i) const override { return value(i).tensor(); }
  const RuntimeValue& value(std::size_t i) const override {
    static const RuntimeValue none;
    return i < inputs_ ? outer_.value(i) : none;
  }
  Result<Tensor*> output(std::size_t i, DType dtype, std::span<const std::int64_t> shape) override {
    NARROW_TRY(Tensor * made, outer_.output(i, dtype, shape));
    made_ = made;
    return made;
  }
  void set_output(std::size_t i, Tensor tensor) override { outer_.set_output(i, std::move(tensor)); }
  void set_value(std::size_t i, RuntimeValue value) override { outer_.set_value(i, std::move(value)); }
  bool wants_output(std::size_t i) const override { return outer_.wants_output(i); }
  const RuntimeValue* captured(std::string_view name) const override { return outer_.captured(name); }
  base::ThreadPool& pool() override { return outer_.pool(); }
  Tensor* made() const { return made_; }

 private:
  RunContext& outer_;
  std::size_t inputs_;
  Tensor* made_ = nullptr;
};

std::string_view plain_name(const Node& node) { return node.op_type == "FusedGemm" ? "Gemm" : "Conv"; }

Status infer_fused(InferContext& context) {
  NARROW_TRY([[maybe_unused]] const Activation activation, Activation::read(context.node()));
  return find_operator("", plain_name(context.node()))->infer(context);
}

// The product's own kernel, then FusedConv's fourth input is added, then the activation applied.
class FusedKernel final : public Kernel {
 public:
  static Result<std::unique_ptr<Kernel>> prepare(const PrepareContext& context) {
    auto kernel = std::make_unique<FusedKernel>();
    kernel->node_ = *context.node;
    NARROW_TRY(kernel->activation_, Activation::read(*context.node));
    Node plain = *context.node;
    plain.op_type = plain_name(plain);
    plain.domain = "";
    if (plain.inputs.size() > kProductInputs) plain.inputs.resize(kProductInputs);
    PrepareContext inner = context;
    inner.node = &plain;
    inner.input_types.resize(plain.inputs.size());
    inner.constants.resize(plain.inputs.size());
    NARROW_TRY(kernel->product_, find_operator("", plain.op_type)->prepare(inner));
    return std::unique_ptr<Kernel>(std::move(kernel));
  }

  Status run(RunContext& context) override {
    InnerContext inner(context, kProductInputs);
    NARROW_RETURN_IF_ERROR(product_->run(inner));
    Tensor* y = inner.made();
    if (y == nullptr) return internal_error(fmt::format("{}: the product made no output", where(node_)));
    const Tensor* sum = context.has_input(kProductInputs) ? &context.input(kProductInputs) : nullptr;
    if (sum != nullptr && (sum->shape() != y->shape() || sum->dtype() != y->dtype())) {
      return invalid_argument(fmt::format("{}: input {} is {}{}, expected {}{}", where(node_), kProductInputs, to_string(sum->dtype()), to_string(sum->shape()), to_string(y->dtype()),
                                          to_string(y->shape())));
    }
    const bool known = dispatch(FloatList{}, y->dtype(), [&]<typename T>() { finish<T>(pointer<T>(*y), sum == nullptr ? nullptr : pointer<T>(*sum), y->size(), context.pool()); });
    if (!known) return dtype_error(node_, y->dtype());
    return {};
  }

  std::string describe() const override { return product_->describe(); }

 private:
  static constexpr std::size_t kProductInputs = 3;
  static constexpr std::int64_t kPiece = 1024;

  // y = activation(y + sum), in f32 whatever T.
  template <typename T>
  void finish(T* y, const T* sum, std::int64_t count, base::ThreadPool& pool) const {
    parallel_ranges(pool, count, [&](std::int64_t begin, std::int64_t end) {
      float piece[kPiece];
      for (std::int64_t at = begin; at < end; at += kPiece) {
        const std::int64_t n = std::min(kPiece, end - at);
        for (std::int64_t i = 0; i < n; ++i) piece[i] = static_cast<float>(load(y[at + i]));
        if (sum != nullptr) {
          for (std::int64_t i = 0; i < n; ++i) piece[i] += static_cast<float>(load(sum[at + i]));
        }
        activation_.apply(piece, n);
        for (std::int64_t i = 0; i < n; ++i) y[at + i] = store<T>(static_cast<Compute<T>>(piece[i]));
      }
    }, 4);
  }

  Node node_;
  Activation activation_;
  std::unique_ptr<Kernel> product_;
};

const std::array kOperators = {
    Operator{.name = "FusedMatMul", .domain = kMicrosoft, .min_inputs = 2, .max_inputs = 2, .infer = infer_fused_matmul, .run = run_fused_matmul},
    Operator{.name = "TransposeMatMul", .domain = kMicrosoft, .min_inputs = 2, .max_inputs = 2, .infer = infer_fused_matmul, .run = run_fused_matmul},
    Operator{.name = "FusedGemm", .domain = kMicrosoft, .min_inputs = 2, .max_inputs = 3, .infer = infer_fused, .prepare = FusedKernel::prepare},
    Operator{.name = "FusedConv", .domain = kMicrosoft, .min_inputs = 2, .max_inputs = 4, .infer = infer_fused, .prepare = FusedKernel::prepare},
};

}  // namespace

std::span<const Operator> fused_product_operators() { return kOperators; }

}  // namespace narrow::operators
