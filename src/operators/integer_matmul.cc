// Matrix products on 8-bit codes: MatMulInteger, QLinearMatMul, com.microsoft's QGemm, MatMulIntegerToFloat and
// DynamicQuantizeMatMul.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "base/checked.h"
#include "kernels/affine/affine.h"
#include "kernels/gemm_s8/integer_weights.h"
#include "operators/families.h"
#include "operators/float_io.h"
#include "operators/quantized_io.h"
#include "operators/type_rules.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using kernels::GemmEpilogue;
using kernels::GemmOutput;
using kernels::IntegerWeights;
using kernels::pad_to_panels;

constexpr std::size_t kAbsent = 99;
struct Inputs {
  std::size_t a, a_scale, a_zero, b, b_scale, b_zero, bias, y_scale, y_zero;
};

const Inputs& inputs_of(const Node& node) {
  static constexpr Inputs kInteger = {0, kAbsent, 2, 1, kAbsent, 3, kAbsent, kAbsent, kAbsent};
  static constexpr Inputs kQLinear = {0, 1, 2, 3, 4, 5, 8, 6, 7};
  static constexpr Inputs kGemm = {0, 1, 2, 3, 4, 5, 6, 7, 8};
  static constexpr Inputs kToFloat = {0, 2, 4, 1, 3, 5, 6, kAbsent, kAbsent};
  static constexpr Inputs kDynamic = {0, kAbsent, kAbsent, 1, 2, 3, 4, kAbsent, kAbsent};
  if (node.op_type == "MatMulInteger") return kInteger;
  if (node.op_type == "QGemm") return kGemm;
  if (node.op_type == "MatMulIntegerToFloat") return kToFloat;
  if (node.op_type == "DynamicQuantizeMatMul") return kDynamic;
  return kQLinear;
}

Status infer_integer_matmul(InferContext& context) {
  const Node& node = context.node();
  const Inputs& in = inputs_of(node);
  const Type& a = context.input(in.a);
  const Type& b = context.input(in.b);
  Type y = Type::tensor(node.op_type == "MatMulInteger" ? DType::kS32 : DType::kF32);
  if (in.y_scale != kAbsent && context.has_input(in.y_scale)) {
    y.dtype = context.has_input(in.y_zero) ? context.input(in.y_zero).dtype : a.dtype;
  }
  if (node.op_type == "MatMulIntegerToFloat") y.dtype = context.input(in.b_scale).dtype;
  const bool trans_a = node.get_int("transA", 0) != 0, trans_b = node.get_int("transB", 0) != 0;
  if (a.ranked && b.ranked && a.rank() >= 1 && b.rank() >= 1) {
    const auto at = [](const Type& t, int from_end, bool transposed) -> Dim {
      if (t.rank() == 1) return t.dims[0];
      return t.dims[static_cast<std::size_t>(t.rank() - (transposed ? 3 - from_end : from_end))];
    };
    const Dim k = at(a, 1, trans_a), k_b = at(b, 2, trans_b);
    if (k.known() && k_b.known() && k.size != k_b.size) {
      return corrupt(fmt::format("node '{}' ({}): the inner dimensions are {} and {}", node.name, node.op_type, k.size, k_b.size));
    }
    const int batch = std::max({a.rank(), b.rank(), 2}) - 2;
    y.ranked = true;
    for (int d = 0; d < batch; ++d) {
      const int da = a.rank() - 2 - batch + d, db = b.rank() - 2 - batch + d;
      const Dim one(1);
      const Dim& x = da >= 0 ? a.dims[static_cast<std::size_t>(da)] : one;
      const Dim& z = db >= 0 ? b.dims[static_cast<std::size_t>(db)] : one;
      y.dims.push_back(x.known() && x.size == 1 ? z : z.known() && z.size == 1 ? x : x.known() ? x : z);
    }
    if (a.rank() > 1) y.dims.push_back(at(a, 2, trans_a));
    if (b.rank() > 1) y.dims.push_back(at(b, 1, trans_b));
  }
  context.set_output(0, std::move(y));
  return {};
}

// b as weights with its parameters.
struct Right {
  std::vector<IntegerWeights> batches;
  std::vector<std::int32_t> zero_points;
  std::int64_t k = 0, n = 0;
  Shape batch_shape;
};

class IntegerMatmulKernel final : public Kernel {
 public:
  static Result<std::unique_ptr<Kernel>> prepare(const PrepareContext& context) {
    auto kernel = std::make_unique<IntegerMatmulKernel>();
    kernel->node_ = *context.node;
    const Inputs& in = inputs_of(*context.node);
    const auto constant = [&](std::size_t i) { return i < context.constants.size() ? context.constants[i] : nullptr; };
    const bool zero_known = context.node->input(in.b_zero) == graph::kNoValue || constant(in.b_zero) != nullptr;
    if (const Tensor* b = constant(in.b); b != nullptr && zero_known) {
      static const Tensor none;
      const Tensor* zero = constant(in.b_zero);
      NARROW_TRY(kernel->packed_, kernel->pack(*b, zero == nullptr ? none : *zero));
      NARROW_RETURN_IF_ERROR(kernel->fix(context));
    }
    return std::unique_ptr<Kernel>(std::move(kernel));
  }

  std::string describe() const override { return std::string(kernels::gemm_s8_name()) + (packed_ ? "; a constant right side: packed at load, zero points folded into offsets" : "; a right side that is packed at each run"); }

  Status run(RunContext& context) override {
    static const Tensor none;
    const Inputs& in = inputs_of(node_);
    const auto input = [&](std::size_t i) -> const Tensor& { return i < context.input_count() ? context.input(i) : none; };
    std::optional<Right> made;
    if (!packed_) {
      NARROW_TRY(made, pack(input(in.b), input(in.b_zero)));
    }
    const Right& right = packed_ ? *packed_ : *made;

    // The left side: codes given, or made here from f32.
    const Tensor& a = input(in.a);
    const bool dynamic = node_.op_type == "DynamicQuantizeMatMul";
    Left left;
    if (dynamic) {
      if (a.dtype() != DType::kF32) return fail(fmt::format("the input is {}, expected f32", to_string(a.dtype())));
      quantize(a, left, context.pool());
    } else {
      NARROW_RETURN_IF_ERROR(check_code_type(node_, "the left matrix", a.dtype()));
      left.codes = static_cast<const std::uint8_t*>(a.raw());
      left.is_signed = a.dtype() == DType::kS8;
      const std::int64_t rows_per_matrix = a.rank() > 1 ? a.shape()[static_cast<std::size_t>(a.rank() - 2)] : 1;
      const Tensor& zero = input(in.a_zero);
      NARROW_TRY(left.zero_points, read_zero_points(node_, "the left matrix", zero, zero.size() == a.size() ? 1 : zero.size() > rows_per_matrix ? zero.size() : rows_per_matrix));
    }
    Shape a_shape = a.shape();
    if (a_shape.empty()) return fail("the left input is a scalar");
    const bool vector_a = a_shape.size() == 1, vector_b = input(in.b).rank() == 1;
    if (vector_a) a_shape.insert(a_shape.begin(), 1);
    std::vector<std::uint8_t> transposed;
    if (node_.get_int("transA", 0) != 0) {
      if (a_shape.size() != 2) return fail("transA needs a matrix");
      transposed.resize(static_cast<std::size_t>(a.size()));
      for (std::int64_t i = 0; i < a_shape[0]; ++i) {
        for (std::int64_t j = 0; j < a_shape[1]; ++j) transposed[j * a_shape[0] + i] = left.codes[i * a_shape[1] + j];
      }
      std::swap(a_shape[0], a_shape[1]);
      left.codes = transposed.data();
    }
    const std::int64_t m = a_shape[a_shape.size() - 2], k = a_shape.back();
    if (k != right.k) return fail(fmt::format("the inner dimensions are {} and {}", k, right.k));

    Scaling other;
    if (!fixed_) {
      NARROW_TRY(other, read_scaling(m, right.n, input));
    }
    Scaling& scaling = fixed_ ? *fixed_ : other;
    NARROW_RETURN_IF_ERROR(apply_left_scale(scaling, left, input));
    NARROW_TRY(const Shape batch, broadcast(Shape(a_shape.begin(), a_shape.end() - 2), right.batch_shape));
    Shape y_shape = batch;
    if (!vector_a) y_shape.push_back(m);
    if (!vector_b) y_shape.push_back(right.n);
    if (scaling.dtype != DType::kF32) {
      NARROW_TRY(Tensor * y, context.output(0, scaling.dtype, y_shape));
      return compute(left, a_shape, right, scaling, batch, y_shape, y->size(), static_cast<char*>(y->mutable_raw()), context.pool());
    }
    const DType real = node_.op_type == "MatMulIntegerToFloat" ? input(in.b_scale).dtype() : DType::kF32;
    if (!contains(kFloatTypes, real)) return fail(fmt::format("the scale of the right matrix is {}", to_string(real)));
    NARROW_TRY(FloatOutput y, FloatOutput::create(context, 0, real, y_shape));
    NARROW_RETURN_IF_ERROR(compute(left, a_shape, right, scaling, batch, y_shape, y.size(), reinterpret_cast<char*>(y.data()), context.pool()));
    y.store();
    return {};
  }

 private:
  struct Left {
    const std::uint8_t* codes = nullptr;
    bool is_signed = false;
    std::vector<std::int32_t> zero_points{0};  // one, one a row of a matrix, or one a row of all
    float scale = 1;
    std::vector<std::uint8_t> made;
  };
  struct Scaling {
    DType dtype = DType::kS32;
    GemmEpilogue epilogue;
    std::vector<std::int32_t> bias;  // n values, or empty
    std::vector<std::int32_t> row_bias;  // n values for each row of y, where rows differ
    float step = 1;
    std::vector<float> b_scale;  // of n columns, padded
    std::vector<float> scale, offset;
    std::optional<float> a_scale;  // that `scale` was made with
    std::vector<std::int32_t> offsets;
    std::optional<std::pair<std::int32_t, bool>> a_zero;  // that `offsets` were made with
  };

  // y = left * right, elements of the type that `scaling` names; `batch` are the broadcast dimensions before the matrices.
  Status compute(const Left& left, const Shape& a_shape, const Right& right, Scaling& scaling, const Shape& batch, const Shape& y_shape, std::int64_t size, char* y,
                 base::ThreadPool& pool) const {
    if (size == 0) return {};
    const std::int64_t m = a_shape[a_shape.size() - 2], width = bits_of(scaling.dtype) / 8;
    if (!scaling.row_bias.empty()) {
      if (y_shape.size() != 2) return fail("a bias of several rows needs a matrix");
      for (std::int64_t i = 0; i < m; ++i) {
        scaling.bias = pad_to_panels<std::int32_t>(std::span(scaling.row_bias).subspan(static_cast<std::size_t>(i * right.n), static_cast<std::size_t>(right.n)), right.n, 0);
        scaling.a_zero.reset();
        multiply(left, i, 1, m, right.batches[0], scaling, y + i * right.n * width, pool);
      }
      return {};
    }
    if (right.batches.size() == 1) {
      multiply(left, 0, size / right.n, m, right.batches[0], scaling, y, pool);
      return {};
    }
    const Shape a_batch(a_shape.begin(), a_shape.end() - 2);
    const std::int64_t count = *base::checked_product(batch);
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t ia = pick(batch, a_batch, i), ib = pick(batch, right.batch_shape, i);
      scaling.a_zero.reset();
      multiply(left, ia * m, m, m, right.batches[static_cast<std::size_t>(ib)], scaling, y + i * m * right.n * width, pool);
    }
    return {};
  }

  Error fail(std::string what) const { return corrupt(fmt::format("node '{}' ({}): {}", node_.name, node_.op_type, what)); }

  Result<Right> pack(const Tensor& b, const Tensor& zero) const {
    NARROW_RETURN_IF_ERROR(check_code_type(node_, "the right matrix", b.dtype()));
    if (b.rank() == 0) return fail("the right input is a scalar");
    Shape shape = b.shape();
    if (shape.size() == 1) shape.push_back(1);
    Right right;
    const bool trans = node_.get_int("transB", 0) != 0;
    if (trans && shape.size() != 2) return fail("transB needs a matrix");
    const std::int64_t rows = shape[shape.size() - 2], columns = shape.back();
    right.k = trans ? columns : rows;
    right.n = trans ? rows : columns;
    right.batch_shape.assign(shape.begin(), shape.end() - 2);
    NARROW_TRY(right.zero_points, read_zero_points(node_, "the right matrix", zero, right.n));
    const std::int64_t count = *base::checked_product(right.batch_shape);
    for (std::int64_t i = 0; i < count; ++i) {
      right.batches.emplace_back(static_cast<const char*>(b.raw()) + i * rows * columns, b.dtype() == DType::kU8, right.k, right.n,
                                 trans ? 1 : columns, trans ? columns : 1, right.zero_points);
    }
    return right;
  }

  static void quantize(const Tensor& a, Left& left, base::ThreadPool& pool) {
    const auto values = a.data<float>();
    const kernels::AffineKernels& fast = kernels::affine_kernels();
    float low, high;
    fast.min_max(values.data(), values.size(), &low, &high);
    low = std::min(low, 0.0f);
    high = std::max(high, 0.0f);
    left.scale = high == low ? 1.0f : (high - low) / 255.0f;
    left.zero_points = {static_cast<std::int32_t>(std::nearbyint(std::clamp(0.0f - low / left.scale, 0.0f, 255.0f)))};
    left.made.resize(values.size());
    constexpr std::size_t kPart = 1 << 14;
    pool.parallel_for((values.size() + kPart - 1) / kPart, [&](std::size_t part, int) {
      const std::size_t begin = part * kPart, count = std::min(kPart, values.size() - begin);
      fast.quantize_u8(values.data() + begin, count, left.scale, left.zero_points[0], left.made.data() + begin);
    });
    left.codes = left.made.data();
  }

  // Reads ahead what does not depend on the left side, where all of it is constant.
  Status fix(const PrepareContext& context) {
    static const Tensor none;
    const Inputs& in = inputs_of(node_);
    const auto constant = [&](std::size_t i) -> const Tensor& {
      return i < context.constants.size() && context.constants[i] != nullptr ? *context.constants[i] : none;
    };
    for (std::size_t i : {in.b_scale, in.bias, in.y_scale, in.y_zero}) {
      if (i < context.node->inputs.size() && context.node->inputs[i] != graph::kNoValue && !constant(i).defined()) return {};
    }
    if (constant(in.bias).rank() > 1) return {};
    const bool typed_by_left = constant(in.y_scale).defined() && !constant(in.y_zero).defined();
    if (node_.op_type == "MatMulInteger" || typed_by_left) return {};
    NARROW_TRY(fixed_, read_scaling(1, packed_->n, constant));
    return {};
  }

  // What the left side's scale makes of the scaling; nothing where it is the one of the last run.
  Status apply_left_scale(Scaling& s, const Left& left, const auto& input) const {
    if (node_.op_type == "MatMulInteger") return {};
    float a_scale = left.scale;
    if (const Inputs& in = inputs_of(node_); in.a_scale != kAbsent) {
      const Tensor& scale = input(in.a_scale);
      if (scale.size() != 1) {
        return unsupported(fmt::format("node '{}' ({}): the left matrix has {} scales; narrow runs one", node_.name, node_.op_type, scale.size()));
      }
      a_scale = static_cast<float>(scale.at_as_double(0));
    }
    if (s.a_scale == a_scale) return {};
    const float factor = node_.get_float("alpha", 1.0f) * a_scale, step = s.step;
    s.scale.resize(s.b_scale.size());
    for (std::size_t j = 0; j < s.scale.size(); ++j) s.scale[j] = factor * s.b_scale[j] / step;
    s.a_scale = a_scale;
    return {};
  }

  template <typename Get>
  Result<Scaling> read_scaling(std::int64_t m, std::int64_t n, const Get& input) const {
    const Inputs& in = inputs_of(node_);
    Scaling s;
    if (node_.op_type == "MatMulInteger") return s;
    NARROW_TRY(const std::vector<float> b_scale, read_scales(node_, "the right matrix", input(in.b_scale), n));
    s.dtype = DType::kF32;
    s.epilogue.output = GemmOutput::kF32;
    if (in.y_scale != kAbsent && input(in.y_scale).defined()) {
      const Tensor& y_zero = input(in.y_zero);
      NARROW_TRY(const TensorQuant y, read_quant(node_, "the output", input(in.y_scale), y_zero));
      s.dtype = y_zero.defined() ? y_zero.dtype() : input(in.a).dtype();
      NARROW_RETURN_IF_ERROR(check_code_type(node_, "the output", s.dtype));
      const IntegerRange range = integer_range(s.dtype);
      s.epilogue.output = s.dtype == DType::kU8 ? GemmOutput::kU8 : GemmOutput::kS8;
      s.epilogue.zero_point = y.zero_point;
      s.epilogue.low = static_cast<std::int32_t>(std::clamp(node_.get_int("q_min", range.min), range.min, range.max));
      s.epilogue.high = static_cast<std::int32_t>(std::clamp(node_.get_int("q_max", range.max), range.min, range.max));
      s.step = y.scale;
    }
    std::vector<float> offset(static_cast<std::size_t>(n), 0.0f);
    if (const Tensor& bias = input(in.bias); bias.defined()) {
      const Shape& shape = bias.shape();
      const bool of_rows = shape.size() == 2 && shape[0] == m && m != 1 && (shape[1] == n || shape[1] == 1) && bias.dtype() == DType::kS32;
      if (!of_rows && bias.size() != n && bias.size() != 1) return fail(fmt::format("the bias has shape {}, expected [{}] or [{},{}]", to_string(shape), n, m, n));
      for (std::int64_t i = 0; of_rows && i < m * n; ++i) s.row_bias.push_back(bias.data<std::int32_t>()[shape[1] == 1 ? i / n : i]);
      for (std::int64_t j = 0; !of_rows && j < n; ++j) {
        const std::int64_t at = bias.size() == 1 ? 0 : j;
        if (bias.dtype() == DType::kS32) s.bias.push_back(bias.data<std::int32_t>()[at]);
        else if (is_float(bias.dtype())) offset[j] = static_cast<float>(bias.at_as_double(at)) / s.step;
        else return fail(fmt::format("the bias is {}, expected s32 or a float type", to_string(bias.dtype())));
      }
    }
    if (!s.bias.empty()) s.bias = pad_to_panels<std::int32_t>(s.bias, n, 0);
    s.b_scale = pad_to_panels<float>(b_scale, n, 0);
    s.offset = pad_to_panels<float>(offset, n, 0);
    return s;
  }

  // Rows [first, first + rows) of the left codes times one right matrix.
  static void multiply(const Left& left, std::int64_t first, std::int64_t rows, std::int64_t rows_per_matrix, const IntegerWeights& right,
                       Scaling& scaling, char* y, base::ThreadPool& pool) {
    const std::int64_t k = right.k(), n = right.n();
    const std::int64_t width = scaling.dtype == DType::kS32 || scaling.dtype == DType::kF32 ? 4 : 1;
    if (const std::pair zero(left.zero_points[0], left.is_signed); scaling.a_zero != zero) {
      scaling.offsets.resize(static_cast<std::size_t>(right.packed().padded_n()));
      right.offsets_into(zero.first, zero.second, scaling.bias.empty() ? nullptr : scaling.bias.data(), scaling.offsets.data());
      scaling.a_zero = zero;
    }
    std::vector<std::int32_t> shifts;
    if (left.zero_points.size() > 1) {
      for (std::int64_t i = 0; i < rows; ++i) {
        const std::size_t row = static_cast<std::size_t>(first + i);
        const std::int32_t zero = left.zero_points[row < left.zero_points.size() ? row : row % static_cast<std::size_t>(rows_per_matrix)];
        shifts.push_back(zero - left.zero_points[0]);
      }
    }
    GemmEpilogue epilogue = scaling.epilogue;
    epilogue.offset = scaling.offsets.data();
    epilogue.scale = scaling.scale.data();
    epilogue.bias = scaling.offset.data();
    const std::int64_t strips = right.packed().strips();
    // Blocks of rows that keep a panel group's operands in the second-level cache; columns are cut when rows are few.
    const std::int64_t block = std::clamp<std::int64_t>((rows + pool.threads() * 2 - 1) / (pool.threads() * 2), 12, 192);
    const std::int64_t row_tasks = (rows + block - 1) / block;
    constexpr std::int64_t kWorthThreads = 1 << 19;  // multiplications
    if (rows * n * k < kWorthThreads) {
      return right.multiply({left.codes + first * k, k, nullptr, nullptr, left.is_signed, false}, rows, 0, strips, shifts.empty() ? nullptr : shifts.data(), epilogue, y, n);
    }
    const std::int64_t cuts = row_tasks < pool.threads() ? std::min<std::int64_t>(pool.threads() * 2, strips) : 1;
    pool.parallel_for(static_cast<std::size_t>(row_tasks * cuts), [&](std::size_t task, int) {
      const std::int64_t i = static_cast<std::int64_t>(task) / cuts * block, cut = static_cast<std::int64_t>(task) % cuts;
      const std::int64_t count = std::min(block, rows - i);
      right.multiply({left.codes + (first + i) * k, k, nullptr, nullptr, left.is_signed, false}, count, strips * cut / cuts, strips * (cut + 1) / cuts,
                     shifts.empty() ? nullptr : shifts.data() + i, epilogue, y + i * n * width, n);
    });
  }

  Result<Shape> broadcast(const Shape& a, const Shape& b) const {
    Shape out(std::max(a.size(), b.size()));
    for (std::size_t d = 0; d < out.size(); ++d) {
      const std::int64_t x = d + a.size() >= out.size() ? a[d + a.size() - out.size()] : 1;
      const std::int64_t z = d + b.size() >= out.size() ? b[d + b.size() - out.size()] : 1;
      if (x != z && x != 1 && z != 1) return fail(fmt::format("batches {} and {} cannot be broadcast", to_string(a), to_string(b)));
      out[d] = x == 1 ? z : x;
    }
    return out;
  }

  // Which matrix of `shape` belongs to number `index` of the broadcast `batch`.
  static std::int64_t pick(const Shape& batch, const Shape& shape, std::int64_t index) {
    std::int64_t at = 0, stride = 1;
    for (std::size_t d = batch.size(); d-- > 0;) {
      const std::int64_t coordinate = index % batch[d];
      index /= batch[d];
      if (d + shape.size() < batch.size()) continue;
      const std::int64_t size = shape[d + shape.size() - batch.size()];
      if (size != 1) at += coordinate * stride;
      stride *= size;
    }
    return at;
  }

  Node node_;
  std::optional<Right> packed_;
  std::optional<Scaling> fixed_;  // kept from run to run
};

constexpr std::string_view kMicrosoft = "com.microsoft";

const std::array kOperators = {
    Operator{.name = "MatMulInteger", .since = 10, .min_inputs = 2, .max_inputs = 4, .infer = infer_integer_matmul, .prepare = IntegerMatmulKernel::prepare},
    Operator{.name = "QLinearMatMul", .since = 21, .min_inputs = 8, .max_inputs = 8, .infer = infer_integer_matmul, .prepare = IntegerMatmulKernel::prepare},
    // Like QLinearMatMul, with a bias (s32 or f32) as ninth input, an f32 output when y_scale is omitted, q_min and q_max.
    Operator{.name = "QMatMul", .domain = "narrow", .min_inputs = 5, .max_inputs = 9, .infer = infer_integer_matmul, .prepare = IntegerMatmulKernel::prepare},
    Operator{.name = "QGemm", .domain = kMicrosoft, .min_inputs = 6, .max_inputs = 9, .infer = infer_integer_matmul, .prepare = IntegerMatmulKernel::prepare},
    Operator{.name = "MatMulIntegerToFloat", .domain = kMicrosoft, .min_inputs = 4, .max_inputs = 7, .infer = infer_integer_matmul, .prepare = IntegerMatmulKernel::prepare},
    Operator{.name = "DynamicQuantizeMatMul", .domain = kMicrosoft, .min_inputs = 3, .max_inputs = 5, .infer = infer_integer_matmul, .prepare = IntegerMatmulKernel::prepare},
};

}  // namespace

std::span<const Operator> integer_matmul_operators() { return kOperators; }

}  // namespace narrow::operators
