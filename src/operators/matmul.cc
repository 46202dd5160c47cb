// MatMul and Gemm.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <optional>
#include <tuple>

#include "base/checked.h"
#include "base/cpu.h"
#include "base/mapped_file.h"
#include "kernels/gemm/gemm.h"
#include "kernels/product_f32/product_f32.h"
#include "operators/families.h"
#include "operators/float_io.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;

Error shapes_disagree(const Node& node, std::string what) {
  return corrupt(fmt::format("node '{}' ({}): {}", node.name, node.op_type, what));
}

// Element types without a fast path are multiplied by definition.
template <typename Body>
bool with_exact_type(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::kF64: body(double{}); return true;
    case DType::kS32: body(std::int32_t{}); return true;
    case DType::kS64: body(std::int64_t{}); return true;
    case DType::kU32: body(std::uint32_t{}); return true;
    case DType::kU64: body(std::uint64_t{}); return true;
    default: return false;
  }
}

// ---- MatMul ----

// A dimension of a broadcast pair; an error when both are known and neither fits.
Result<Dim> broadcast(const Node& node, const Dim& a, const Dim& b) {
  if (a.known() && a.size == 1) return b;
  if (b.known() && b.size == 1) return a;
  if (a.known() && b.known() && a.size != b.size) {
    return shapes_disagree(node, fmt::format("batch dimensions {} and {} cannot be broadcast", a.size, b.size));
  }
  if (a.known()) return a;
  if (b.known()) return b;
  return a.same(b) ? a : Dim();
}

Status infer_matmul(InferContext& context) {
  const Node& node = context.node();
  const Type& a = context.input(0);
  const Type& b = context.input(1);
  Type y = Type::tensor(a.dtype != DType::kUndefined ? a.dtype : b.dtype);
  if ((a.ranked && a.rank() == 0) || (b.ranked && b.rank() == 0)) return shapes_disagree(node, "an input is a scalar, expected rank 1 or more");
  if (a.ranked && b.ranked) {
    std::vector<Dim> left = a.dims, right = b.dims;
    const bool vector_a = left.size() == 1, vector_b = right.size() == 1;
    if (vector_a) left.insert(left.begin(), Dim(1));
    if (vector_b) right.push_back(Dim(1));
    const Dim& ka = left.back();
    const Dim& kb = right[right.size() - 2];
    if (ka.known() && kb.known() && ka.size != kb.size) {
      return shapes_disagree(node, fmt::format("{} times {}: the inner dimensions {} and {} differ", graph::to_string(a), graph::to_string(b), ka.size, kb.size));
    }
    const std::size_t batch = std::max(left.size(), right.size()) - 2;
    y.ranked = true;
    for (std::size_t i = 0; i < batch; ++i) {
      const std::size_t skip_a = batch - (left.size() - 2), skip_b = batch - (right.size() - 2);
      const Dim one(1);
      NARROW_TRY(Dim dim, broadcast(node, i < skip_a ? one : left[i - skip_a], i < skip_b ? one : right[i - skip_b]));
      y.dims.push_back(std::move(dim));
    }
    if (!vector_a) y.dims.push_back(left[left.size() - 2]);
    if (!vector_b) y.dims.push_back(right.back());
  }
  context.set_output(0, std::move(y));
  return {};
}

// A MatMul resolved against real shapes: for each matrix of the output, which matrices make it.
struct MatMulPlan {
  std::int64_t m = 1, n = 1, k = 1;
  Shape output;
  std::vector<std::int64_t> a_index, b_index;  // per output matrix

  static Result<MatMulPlan> make(const Node& node, Shape a, Shape b) {
    const auto misfit = [&] {
      return invalid_argument(fmt::format("node '{}' (MatMul): shapes {} and {} cannot be multiplied", node.name, to_string(a), to_string(b)));
    };
    if (a.empty() || b.empty()) return misfit();
    const bool vector_a = a.size() == 1, vector_b = b.size() == 1;
    if (vector_a) a.insert(a.begin(), 1);
    if (vector_b) b.push_back(1);
    if (a.back() != b[b.size() - 2]) return misfit();
    MatMulPlan plan;
    plan.m = a[a.size() - 2];
    plan.k = a.back();
    plan.n = b.back();
    const std::size_t batch = std::max(a.size(), b.size()) - 2;
    Shape batch_a(batch, 1), batch_b(batch, 1);
    std::copy(a.begin(), a.end() - 2, batch_a.end() - static_cast<std::ptrdiff_t>(a.size() - 2));
    std::copy(b.begin(), b.end() - 2, batch_b.end() - static_cast<std::ptrdiff_t>(b.size() - 2));
    for (std::size_t i = 0; i < batch; ++i) {
      if (batch_a[i] != batch_b[i] && batch_a[i] != 1 && batch_b[i] != 1) return misfit();
      plan.output.push_back(batch_a[i] == 1 ? batch_b[i] : batch_a[i]);
    }
    const auto matrices = base::checked_product(plan.output);
    if (!matrices) return misfit();
    // Constant right sides fold all rows into one tall product.
    const bool single_b = std::all_of(batch_b.begin(), batch_b.end(), [](std::int64_t d) { return d == 1; });
    if (single_b && batch_a == plan.output) {
      const auto rows = base::checked_mul(*matrices, plan.m);
      if (!rows) return misfit();
      if (!vector_a) plan.output.push_back(plan.m);
      plan.m = *rows;
      plan.a_index = plan.b_index = {0};
    } else {
      plan.fill_indices(batch_a, batch_b, *matrices);
      if (!vector_a) plan.output.push_back(plan.m);
    }
    if (!vector_b) plan.output.push_back(plan.n);
    if (!base::checked_product(plan.output)) return misfit();
    return plan;
  }

 private:
  void fill_indices(const Shape& batch_a, const Shape& batch_b, std::int64_t matrices) {
    const std::size_t rank = output.size();
    if (matrices == 0 || m == 0 || n == 0) return;
    for (std::int64_t i = 0; i < matrices; ++i) {
      std::int64_t rest = i, at_a = 0, at_b = 0, scale_a = 1, scale_b = 1;
      for (std::size_t d = rank; d-- > 0;) {
        const std::int64_t position = rest % output[d];
        rest /= output[d];
        if (batch_a[d] != 1) at_a += position * scale_a;
        if (batch_b[d] != 1) at_b += position * scale_b;
        scale_a *= batch_a[d];
        scale_b *= batch_b[d];
      }
      a_index.push_back(at_a);
      b_index.push_back(at_b);
    }
  }
};

// A constant right side, [k, n] or transposed, re-laid once and shared by all plans and sessions that use this constant. None
// where it is no float, or empty, or where the product by definition is wanted. Errors: resource_exhausted.
Result<std::optional<kernels::PackedF32>> pack(const Tensor& b, bool transposed) {
  using Packed = std::optional<kernels::PackedF32>;
  if (!is_float(b.dtype()) || b.dtype() == DType::kF64 || b.size() == 0 || base::effective_isa() == base::Isa::kScalar) return Packed();
  const std::int64_t rows = b.shape()[0], columns = b.shape()[1];
  // What is packed keeps its constant, so that no other can come to lie at the same address meanwhile.
  using Key = std::tuple<const void*, DType, std::int64_t, std::int64_t, bool>;
  static std::mutex mutex;
  static std::map<Key, std::weak_ptr<float>> known;
  const Key key(b.raw(), b.dtype(), rows, columns, transposed);
  kernels::PackedF32 packed;
  packed.k = transposed ? columns : rows;
  packed.n = transposed ? rows : columns;
  const std::lock_guard lock(mutex);
  if (const auto found = known.find(key); found != known.end() && b.owned()) {
    packed.data = found->second.lock();
    if (packed.data != nullptr) return Packed(std::move(packed));
  }
  Result<FloatInput> values = FloatInput::open(b, "input B");
  if (!values.ok()) return Packed();
  try {
    packed = transposed ? kernels::pack_f32(values->data(), columns, rows, 1, columns) : kernels::pack_f32(values->data(), rows, columns, columns, 1);
    if (!b.owned()) return Packed(std::move(packed));
    packed.data = std::shared_ptr<float>(packed.data.get(), [made = packed.data, constant = b](float*) {});
    std::erase_if(known, [](const auto& entry) { return entry.second.expired(); });
    known[key] = packed.data;
  } catch (const std::bad_alloc&) {
    return resource_exhausted("out of memory packing a matrix");
  }
  base::MappedFile::release_if_mapped(b.byte_span());
  return Packed(std::move(packed));
}

std::string matmul_description(bool packed) {
  if (!packed) return "onednn:sgemm; a right side that comes with each run";
  return std::string(kernels::product_f32_name()) + "; a constant right side: packed at load, so rows that are few do not pay for packing";
}

constexpr double kLeastForThreads = 1 << 20;  // multiplications of one matrix

class MatMulKernel final : public Kernel {
 public:
  MatMulKernel(const Node& node, int threads) : node_(node), threads_(threads) {}

  static Result<std::unique_ptr<Kernel>> prepare(const PrepareContext& context) {
    auto kernel = std::make_unique<MatMulKernel>(*context.node, context.threads);
    const Tensor* b = context.constants[1];
    if (b != nullptr && b->rank() == 2) {
      NARROW_TRY(kernel->packed_, pack(*b, false));
    }
    return std::unique_ptr<Kernel>(std::move(kernel));
  }

  Status run(RunContext& context) override {
    const Tensor& a = context.input(0);
    const Tensor& b = context.input(1);
    if (a.dtype() != b.dtype()) {
      return invalid_argument(fmt::format("node '{}' (MatMul): inputs are {} and {}, expected one type", node_.name, to_string(a.dtype()), to_string(b.dtype())));
    }
    NARROW_TRY(const MatMulPlan plan, MatMulPlan::make(node_, a.shape(), b.shape()));
    Status status;
    const bool exact = with_exact_type(a.dtype(), [&](auto zero) { status = run_exact<decltype(zero)>(context, plan); });
    if (exact) return status;
    NARROW_TRY(FloatOutput y, FloatOutput::create(context, 0, a.dtype(), plan.output));
    NARROW_TRY(const FloatInput left, FloatInput::open(a, "input A"));
    if (packed_) {  // one product of all rows
      if (y.size() > 0) kernels::multiply_f32(left.data(), y.size() / plan.n, *packed_, {}, y.data(), context.pool());
      y.store();
      return {};
    }
    NARROW_TRY(const FloatInput right, FloatInput::open(b, "input B"));
    // Whole matrices to a thread, or parts of their longer side: oneDNN's own threads would spin beside the pool's.
    const auto matrices = static_cast<std::int64_t>(plan.a_index.size()), threads = static_cast<std::int64_t>(threads_);
    const bool by_columns = plan.n > plan.m;
    const std::int64_t side = by_columns ? plan.n : plan.m;
    const bool worth = static_cast<double>(plan.m) * static_cast<double>(plan.n) * static_cast<double>(plan.k) >= kLeastForThreads;
    const std::int64_t parts = matrices >= threads || !worth ? 1 : std::clamp<std::int64_t>((side + 15) / 16, 1, threads);
    std::vector<Status> done(static_cast<std::size_t>(matrices * parts));
    context.pool().parallel_for(done.size(), [&](std::size_t task, int) {
      const std::size_t i = task / static_cast<std::size_t>(parts);
      const std::int64_t part = static_cast<std::int64_t>(task) % parts;
      const std::int64_t begin = (side + 15) / 16 * part / parts * 16, end = std::min(side, (side + 15) / 16 * (part + 1) / parts * 16);
      const std::int64_t row = by_columns ? 0 : begin, column = by_columns ? begin : 0;
      done[task] = kernels::gemm_f32(false, false, by_columns ? plan.m : end - begin, by_columns ? end - begin : plan.n, plan.k, 1.0f,
                                     left.data() + (plan.a_index[i] * plan.m + row) * plan.k, plan.k,
                                     right.data() + plan.b_index[i] * plan.k * plan.n + column, plan.n, 0.0f,
                                     y.data() + (static_cast<std::int64_t>(i) * plan.m + row) * plan.n + column, plan.n, 1);
    });
    for (Status& status : done) NARROW_RETURN_IF_ERROR(std::move(status));
    y.store();
    return {};
  }

  std::string describe() const override { return matmul_description(packed_.has_value()); }

 private:
  template <typename T>
  Status run_exact(RunContext& context, const MatMulPlan& plan) {
    NARROW_TRY(Tensor * y, context.output(0, kDTypeOf<T>, plan.output));
    const T* a = context.input(0).data<T>().data();
    const T* b = context.input(1).data<T>().data();
    for (std::size_t i = 0; i < plan.a_index.size(); ++i) {
      kernels::gemm_reference<T>(false, false, plan.m, plan.n, plan.k, a + plan.a_index[i] * plan.m * plan.k,
                                 b + plan.b_index[i] * plan.k * plan.n,
                                 y->mutable_data<T>().data() + static_cast<std::int64_t>(i) * plan.m * plan.n);
    }
    return {};
  }

  Node node_;
  int threads_;
  std::optional<kernels::PackedF32> packed_;
};

// ---- Gemm ----

Status infer_gemm(InferContext& context) {
  const Node& node = context.node();
  const Type& a = context.input(0);
  const Type& b = context.input(1);
  const Type& c = context.input(2);
  const bool trans_a = node.get_int("transA", 0) != 0, trans_b = node.get_int("transB", 0) != 0;
  if (a.ranked && a.rank() != 2) return shapes_disagree(node, fmt::format("input A has rank {}, expected 2", a.rank()));
  if (b.ranked && b.rank() != 2) return shapes_disagree(node, fmt::format("input B has rank {}, expected 2", b.rank()));
  Type y = Type::tensor(a.dtype != DType::kUndefined ? a.dtype : b.dtype, std::vector<Dim>(2));
  if (a.ranked) y.dims[0] = a.dims[trans_a ? 1 : 0];
  if (b.ranked) y.dims[1] = b.dims[trans_b ? 0 : 1];
  if (a.ranked && b.ranked) {
    const Dim& ka = a.dims[trans_a ? 0 : 1];
    const Dim& kb = b.dims[trans_b ? 1 : 0];
    if (ka.known() && kb.known() && ka.size != kb.size) {
      return shapes_disagree(node, fmt::format("the inner dimensions {} and {} differ", ka.size, kb.size));
    }
  }
  if (c.ranked) {
    if (c.rank() > 2) return shapes_disagree(node, fmt::format("input C has rank {}, expected at most 2", c.rank()));
    for (int i = 0; i < c.rank(); ++i) {
      const Dim& have = c.dims[i];
      const Dim& want = y.dims[2 - c.rank() + i];
      if (have.known() && want.known() && have.size != 1 && have.size != want.size) {
        return shapes_disagree(node, fmt::format("input C of shape {} cannot be broadcast to the output", graph::to_string(c)));
      }
    }
  }
  context.set_output(0, std::move(y));
  return {};
}

class GemmKernel final : public Kernel {
 public:
  GemmKernel(const Node& node, int threads) : node_(node), threads_(threads) {
    trans_a_ = node.get_int("transA", 0) != 0;
    trans_b_ = node.get_int("transB", 0) != 0;
    alpha_ = node.get_float("alpha", 1.0f);
    beta_ = node.get_float("beta", 1.0f);
  }

  static Result<std::unique_ptr<Kernel>> prepare(const PrepareContext& context) {
    auto kernel = std::make_unique<GemmKernel>(*context.node, context.threads);
    if (const Tensor* b = context.constants[1]; b != nullptr && b->rank() == 2 && !kernel->trans_a_ && kernel->alpha_ == 1) {
      NARROW_TRY(kernel->packed_, pack(*b, kernel->trans_b_));
    }
    return std::unique_ptr<Kernel>(std::move(kernel));
  }

  Status run(RunContext& context) override {
    const Tensor& a = context.input(0);
    const Tensor& b = context.input(1);
    const bool has_c = context.has_input(2);
    if (a.rank() != 2 || b.rank() != 2) return misfit(a, b);
    const std::int64_t m = a.shape()[trans_a_ ? 1 : 0], k = a.shape()[trans_a_ ? 0 : 1], n = b.shape()[trans_b_ ? 0 : 1];
    if (b.shape()[trans_b_ ? 1 : 0] != k || a.dtype() != b.dtype()) return misfit(a, b);
    std::int64_t row_step = 0, column_step = 0;
    if (has_c) {
      const Tensor& c = context.input(2);
      const std::int64_t rows = c.rank() == 2 ? c.shape()[0] : 1, columns = c.rank() >= 1 ? c.shape().back() : 1;
      if (c.rank() > 2 || (rows != 1 && rows != m) || (columns != 1 && columns != n) || c.dtype() != a.dtype()) {
        return invalid_argument(fmt::format("node '{}' (Gemm): input C is {}{}, which does not fit the output [{},{}]", node_.name, to_string(c.dtype()), to_string(c.shape()), m, n));
      }
      row_step = rows == 1 ? 0 : columns;
      column_step = columns == 1 ? 0 : 1;
    }
    const Shape shape = {m, n};
    Status status;
    const bool exact = with_exact_type(a.dtype(), [&](auto zero) {
      status = run_exact<decltype(zero)>(context, shape, k, row_step, column_step);
    });
    if (exact) return status;
    NARROW_TRY(FloatOutput y, FloatOutput::create(context, 0, a.dtype(), shape));
    NARROW_TRY(const FloatInput left, FloatInput::open(a, "input A"));
    if (packed_ && (!has_c || row_step == 0) && y.size() > 0) {
      bias_.assign(static_cast<std::size_t>(packed_->padded_n()), 0.0f);
      if (has_c) {
        NARROW_TRY(const FloatInput c, FloatInput::open(context.input(2), "input C"));
        for (std::int64_t j = 0; j < n; ++j) bias_[static_cast<std::size_t>(j)] = beta_ * c.data()[j * column_step];
      }
      kernels::multiply_f32(left.data(), m, *packed_, {.bias = bias_.data()}, y.data(), context.pool());
      y.store();
      return {};
    }
    NARROW_TRY(const FloatInput right, FloatInput::open(b, "input B"));
    if (has_c) {
      NARROW_TRY(const FloatInput c, FloatInput::open(context.input(2), "input C"));
      for (std::int64_t i = 0; i < m; ++i) {
        for (std::int64_t j = 0; j < n; ++j) y.data()[i * n + j] = c.data()[i * row_step + j * column_step];
      }
    }
    NARROW_RETURN_IF_ERROR(kernels::gemm_f32(trans_a_, trans_b_, m, n, k, alpha_, left.data(), trans_a_ ? m : k, right.data(),
                                             trans_b_ ? k : n, has_c ? beta_ : 0.0f, y.data(), n, threads_));
    y.store();
    return {};
  }

  std::string describe() const override { return matmul_description(packed_.has_value()); }

 private:
  Error misfit(const Tensor& a, const Tensor& b) const {
    return invalid_argument(fmt::format("node '{}' (Gemm): {}{} and {}{} cannot be multiplied (transA {}, transB {})", node_.name, to_string(a.dtype()),
                                        to_string(a.shape()), to_string(b.dtype()), to_string(b.shape()), trans_a_, trans_b_));
  }

  template <typename T>
  Status run_exact(RunContext& context, const Shape& shape, std::int64_t k, std::int64_t row_step, std::int64_t column_step) {
    NARROW_TRY(Tensor * y, context.output(0, kDTypeOf<T>, shape));
    T* out = y->mutable_data<T>().data();
    kernels::gemm_reference<T>(trans_a_, trans_b_, shape[0], shape[1], k, context.input(0).data<T>().data(), context.input(1).data<T>().data(), out);
    const T* c = context.has_input(2) ? context.input(2).data<T>().data() : nullptr;
    for (std::int64_t i = 0; i < shape[0]; ++i) {
      for (std::int64_t j = 0; j < shape[1]; ++j) {
        double value = alpha_ * static_cast<double>(out[i * shape[1] + j]);
        if (c != nullptr) value += beta_ * static_cast<double>(c[i * row_step + j * column_step]);
        out[i * shape[1] + j] = static_cast<T>(value);
      }
    }
    return {};
  }

  Node node_;
  int threads_;
  bool trans_a_, trans_b_;
  float alpha_, beta_;
  std::optional<kernels::PackedF32> packed_;
  std::vector<float> bias_;  // padded
};

constexpr QuantRule kMatMulRule = {.role = QuantRole::kCompute, .weight_input = 1,
                                   .weight_axis = [](const Node&, int rank) { return rank - 1; }};
constexpr QuantRule kGemmRule = {.role = QuantRole::kCompute, .weight_input = 1, .bias_input = 2,
                                 .weight_axis = [](const Node& node, int) { return node.get_int("transB", 0) != 0 ? 0 : 1; }};

const std::array kOperators = {
    Operator{.name = "MatMul", .since = 13, .min_inputs = 2, .max_inputs = 2, .infer = infer_matmul,
             .prepare = MatMulKernel::prepare, .quant = kMatMulRule},
    Operator{.name = "Gemm", .since = 13, .min_inputs = 2, .max_inputs = 3, .infer = infer_gemm,
             .prepare = GemmKernel::prepare, .quant = kGemmRule},
};

}  // namespace

std::span<const Operator> matmul_operators() { return kOperators; }

}  // namespace narrow::operators
