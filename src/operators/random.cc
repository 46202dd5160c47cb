// RandomNormal, RandomUniform, their Like forms, Bernoulli, Multinomial.
//
// A node draws from its own generator: seeded by its seed attribute, else by its name, and going on from run to run. So
// a model gives the same numbers in every session, and a loop does not get the same ones in every pass.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <numbers>
#include <random>
#include <string_view>
#include <vector>

#include "base/checked.h"
#include "operators/dispatch.h"
#include "operators/element_type.h"
#include "operators/families.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using graph::TypeKind;

// The standard library's distributions differ between implementations; these do not.
class Generator {
 public:
  explicit Generator(const Node& node) : engine_(seed_of(node)) {}
  double uniform() { return static_cast<double>(engine_() >> 11) * 0x1p-53; }  // [0, 1)
  double normal() {  // Box and Muller 1958
    return std::sqrt(-2 * std::log(1 - uniform())) * std::cos(2 * std::numbers::pi * uniform());
  }

 private:
  static std::uint64_t seed_of(const Node& node) {
    if (node.has("seed")) return std::bit_cast<std::uint32_t>(node.get_float("seed", 0));
    std::uint64_t hash = 14695981039346656037u;  // FNV-1a
    for (const char c : node.name) hash = (hash ^ static_cast<std::uint8_t>(c)) * 1099511628211u;
    return hash;
  }
  std::mt19937_64 engine_;
};

// The type of the output: the attribute dtype, else `otherwise`. Errors: corrupt, when it is not one of `allowed`.
Result<DType> output_type(const Node& node, DType otherwise, DTypeSet allowed) {
  DType dtype = otherwise;
  if (node.has("dtype")) dtype = dtype_from_number(node.get_int("dtype", 0)).value_or(DType::kUndefined);
  if (contains(allowed, dtype)) return dtype;
  return corrupt(fmt::format("{}: dtype {} is not a type it can give", where(node), node.has("dtype") ? std::to_string(node.get_int("dtype", 0)) : std::string(to_string(otherwise))));
}

template <typename Draw>
Status fill(const Node& node, Tensor& y, const Draw& draw) {
  const bool known = dispatch(NumericOrBoolList{}, y.dtype(), [&]<typename T>() {
    for (std::int64_t i = 0; i < y.size(); ++i) pointer<T>(y)[i] = store<T>(static_cast<Compute<T>>(draw(i)));
  });
  return known ? Status() : dtype_error(node, y.dtype());
}

// Prepares a kernel that keeps its generator: run(node, generator, context).
using DrawFunction = Status (*)(const Node&, Generator&, RunContext&);
template <DrawFunction draw>
Result<std::unique_ptr<Kernel>> prepare_random(const PrepareContext& context) {
  class RandomKernel final : public Kernel {
   public:
    explicit RandomKernel(const Node& node) : node_(node), generator_(node) {}
    Status run(RunContext& context) override { return draw(node_, generator_, context); }

   private:
    Node node_;
    Generator generator_;
  };
  return std::unique_ptr<Kernel>(std::make_unique<RandomKernel>(*context.node));
}

// ---- uniform and normal ---------------------------------------------------------------------------------------------

bool is_normal(const Node& node) { return node.op_type.starts_with("RandomNormal"); }
bool is_like(const Node& node) { return node.op_type.ends_with("Like"); }

Result<Shape> shape_attribute(const Node& node) {
  Shape shape = node.get_ints("shape");
  if (base::checked_product(shape)) return shape;
  return corrupt(fmt::format("{}: the shape {} is negative or overflows", where(node), to_string(shape)));
}

Status infer_random(InferContext& context) {
  const Node& node = context.node();
  if (!is_like(node)) {
    NARROW_TRY(const Shape shape, shape_attribute(node));
    NARROW_TRY(const DType dtype, output_type(node, DType::kF32, kFloatTypes));
    context.set_output(0, Type::tensor(dtype, std::vector<Dim>(shape.begin(), shape.end())));
    return {};
  }
  Type y = context.input(0);
  if (y.kind != TypeKind::kTensor || (y.dtype == DType::kUndefined && !node.has("dtype"))) return {};
  NARROW_TRY(y.dtype, output_type(node, y.dtype, kFloatTypes));
  context.set_output(0, std::move(y));
  return {};
}

Status draw_random(const Node& node, Generator& generator, RunContext& context) {
  Shape shape;
  if (is_like(node)) {
    shape = context.input(0).shape();
  } else {
    NARROW_TRY(shape, shape_attribute(node));
  }
  NARROW_TRY(const DType dtype, output_type(node, is_like(node) ? context.input(0).dtype() : DType::kF32, kFloatTypes));
  NARROW_TRY(Tensor * y, context.output(0, dtype, shape));
  if (is_normal(node)) {
    const double mean = node.get_float("mean", 0), scale = node.get_float("scale", 1);
    return fill(node, *y, [&](std::int64_t) { return mean + scale * generator.normal(); });
  }
  const double low = node.get_float("low", 0), high = node.get_float("high", 1);
  return fill(node, *y, [&](std::int64_t) { return low + (high - low) * generator.uniform(); });
}

// ---- Bernoulli ------------------------------------------------------------------------------------------------------

Status infer_bernoulli(InferContext& context) {
  NARROW_RETURN_IF_ERROR(check_dtype(context, 0, kFloatTypes));
  Type y = context.input(0);
  if (y.kind != TypeKind::kTensor || (y.dtype == DType::kUndefined && !context.node().has("dtype"))) return {};
  NARROW_TRY(y.dtype, output_type(context.node(), y.dtype, kNumericTypes | kBoolType));
  context.set_output(0, std::move(y));
  return {};
}

Status draw_bernoulli(const Node& node, Generator& generator, RunContext& context) {
  const Tensor& x = context.input(0);
  if (!contains(kFloatTypes, x.dtype())) return dtype_error(node, x.dtype());
  NARROW_TRY(const DType dtype, output_type(node, x.dtype(), kNumericTypes | kBoolType));
  const std::vector<float> chance = x.to_float();
  NARROW_TRY(Tensor * y, context.output(0, dtype, x.shape()));
  return fill(node, *y, [&](std::int64_t i) { return generator.uniform() < chance[i]; });
}

// ---- Multinomial ----------------------------------------------------------------------------------------------------

Result<std::int64_t> sample_size(const Node& node) {
  const std::int64_t size = node.get_int("sample_size", 1);
  if (size >= 1 && size <= (std::int64_t{1} << 32)) return size;
  return corrupt(fmt::format("{}: sample_size is {}, expected 1 or more", where(node), size));
}

Status infer_multinomial(InferContext& context) {
  NARROW_RETURN_IF_ERROR(check_dtype(context, 0, kFloatTypes));
  NARROW_RETURN_IF_ERROR(check_rank(context, 0, 2, 2));
  NARROW_TRY(const DType dtype, output_type(context.node(), DType::kS32, kIndexTypes));
  NARROW_TRY(const std::int64_t size, sample_size(context.node()));
  const Type& x = context.input(0);
  context.set_output(0, Type::tensor(dtype, {x.ranked ? x.dims[0] : Dim(), Dim(size)}));
  return {};
}

// Rows of the input are logarithms of weights, up to a constant.
Status draw_multinomial(const Node& node, Generator& generator, RunContext& context) {
  const Tensor& x = context.input(0);
  if (!contains(kFloatTypes, x.dtype())) return dtype_error(node, x.dtype());
  if (x.rank() != 2 || (x.shape()[0] > 0 && x.shape()[1] < 1)) {
    return invalid_argument(fmt::format("{}: an input of shape {}, expected [batch, classes]", where(node), to_string(x.shape())));
  }
  NARROW_TRY(const DType dtype, output_type(node, DType::kS32, kIndexTypes));
  NARROW_TRY(const std::int64_t size, sample_size(node));
  const std::int64_t classes = x.shape()[1];
  NARROW_TRY(Tensor * y, context.output(0, dtype, Shape{x.shape()[0], size}));
  const std::vector<float> logits = x.to_float();
  std::vector<double> sums(static_cast<std::size_t>(classes));
  return fill(node, *y, [&](std::int64_t i) {
    if (i % size == 0) {  // a new row
      const float* row = logits.data() + i / size * classes;
      const double top = *std::max_element(row, row + classes);
      double sum = 0;
      for (std::int64_t c = 0; c < classes; ++c) sums[c] = sum += std::exp(static_cast<double>(row[c]) - top);
    }
    const auto found = std::upper_bound(sums.begin(), sums.end(), generator.uniform() * sums.back());
    return std::min<std::int64_t>(found - sums.begin(), classes - 1);
  });
}

const std::array kOperators = {
    Operator{.name = "RandomNormal", .since = 22, .min_inputs = 0, .max_inputs = 0, .infer = infer_random, .prepare = prepare_random<draw_random>, .flags = kNotDeterministic},
    Operator{.name = "RandomUniform", .since = 22, .min_inputs = 0, .max_inputs = 0, .infer = infer_random, .prepare = prepare_random<draw_random>, .flags = kNotDeterministic},
    Operator{.name = "RandomNormalLike", .since = 22, .infer = infer_random, .prepare = prepare_random<draw_random>, .flags = kNotDeterministic},
    Operator{.name = "RandomUniformLike", .since = 22, .infer = infer_random, .prepare = prepare_random<draw_random>, .flags = kNotDeterministic},
    Operator{.name = "Bernoulli", .since = 22, .infer = infer_bernoulli, .prepare = prepare_random<draw_bernoulli>, .flags = kNotDeterministic},
    Operator{.name = "Multinomial", .since = 22, .infer = infer_multinomial, .prepare = prepare_random<draw_multinomial>, .flags = kNotDeterministic},
};

}  // namespace

std::span<const Operator> random_operators() { return kOperators; }

}  // namespace narrow::operators
