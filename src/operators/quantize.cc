// QuantizeLinear, DequantizeLinear (every type and granularity) and DynamicQuantizeLinear.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/float8.h"
#include "kernels/affine/affine.h"
#include "operators/element_type.h"
#include "operators/families.h"

namespace narrow::operators {
namespace {

constexpr std::int64_t kParallelElements = 1 << 15;  // below this one thread is faster

// Which scale belongs to which element: x is [outer, axis, inner], an element (o, a, i) uses scale index(o, a, i).
struct Layout {
  enum class Kind { kPerTensor, kPerAxis, kBlocked } kind = Kind::kPerTensor;
  std::int64_t outer = 1, axis = 1, inner = 1;
  std::int64_t block = 1, blocks = 1;

  std::int64_t index(std::int64_t o, std::int64_t a, std::int64_t i) const {
    switch (kind) {
      case Kind::kPerTensor: return 0;
      case Kind::kPerAxis: return a;
      case Kind::kBlocked: return (o * blocks + a / block) * inner + i;
    }
    return 0;
  }
};

Result<Layout> layout_of(const graph::Node& node, const Shape& x, const Tensor& scale, const Tensor& zero_point) {
  const auto name = [&] { return fmt::format("node '{}' ({})", node.name, node.op_type); };
  if (zero_point.defined() && zero_point.shape() != scale.shape() && !(zero_point.size() == 1 && scale.size() == 1)) {
    return corrupt(fmt::format("{}: the zero point has shape {}, expected the scale's, {}", name(),
                               to_string(zero_point.shape()), to_string(scale.shape())));
  }
  Layout layout;
  const std::int64_t block = node.get_int("block_size", 0);
  if (scale.size() == 1 && block == 0) {
    for (std::int64_t dim : x) layout.inner *= dim;
    return layout;
  }
  const int rank = static_cast<int>(x.size());
  std::int64_t axis = node.get_int("axis", 1);
  if (axis < -rank || axis >= rank) {
    return corrupt(fmt::format("{}: axis {} is outside an input of rank {}", name(), axis, rank));
  }
  if (axis < 0) axis += rank;
  for (int d = 0; d < axis; ++d) layout.outer *= x[d];
  layout.axis = x[axis];
  for (int d = static_cast<int>(axis) + 1; d < rank; ++d) layout.inner *= x[d];
  if (scale.rank() == 1 && block == 0) {
    if (scale.size() != layout.axis) {
      return corrupt(fmt::format("{}: {} scales for axis {} of shape {}, expected {}", name(), scale.size(), axis,
                                 to_string(x), layout.axis));
    }
    layout.kind = Layout::Kind::kPerAxis;
    return layout;
  }
  layout.kind = Layout::Kind::kBlocked;
  bool fits = scale.rank() == rank && block >= 0;
  for (int d = 0; fits && d < rank; ++d) fits = d == axis || scale.shape()[d] == x[d];
  if (fits) {
    layout.blocks = scale.shape()[axis];
    layout.block = block != 0 ? block : layout.blocks == 0 ? 1 : (layout.axis + layout.blocks - 1) / layout.blocks;
    fits = layout.blocks == (layout.axis + layout.block - 1) / std::max<std::int64_t>(layout.block, 1);
  }
  if (!fits) {
    return corrupt(fmt::format("{}: scales of shape {} do not cut shape {} into blocks of {} along axis {}", name(),
                               to_string(scale.shape()), to_string(x), block, axis));
  }
  return layout;
}

// Calls run(first element, count, scale index) for each run of elements that share a scale; runs are split over threads.
template <typename Run>
void for_each_run(const Layout& layout, base::ThreadPool& pool, const Run& run) {
  if (layout.kind == Layout::Kind::kPerTensor) {
    const std::int64_t n = layout.inner;
    const std::int64_t parts = n >= kParallelElements ? std::min<std::int64_t>(pool.threads() * 2, n / 4096) : 1;
    pool.parallel_for(static_cast<std::size_t>(parts), [&](std::size_t p, int) {
      // Even bounds keep two 4-bit codes of a byte in one part.
      const std::int64_t begin = n * static_cast<std::int64_t>(p) / parts / 64 * 64;
      const std::int64_t end = static_cast<std::int64_t>(p) + 1 == parts ? n : n * static_cast<std::int64_t>(p + 1) / parts / 64 * 64;
      run(begin, end - begin, 0);
    });
    return;
  }
  const auto rows = [&](std::int64_t o) {
    for (std::int64_t a = 0; a < layout.axis; ++a) {
      const std::int64_t begin = (o * layout.axis + a) * layout.inner;
      if (layout.kind == Layout::Kind::kPerAxis) {
        run(begin, layout.inner, a);
      } else if (layout.inner == 1) {
        const std::int64_t count = std::min(layout.block - a % layout.block, layout.axis - a);
        run(begin, count, layout.index(o, a, 0));
        a += count - 1;
      } else {
        for (std::int64_t i = 0; i < layout.inner; ++i) run(begin + i, 1, layout.index(o, a, i));
      }
    }
  };
  for (std::int64_t o = 0; o < layout.outer; ++o) rows(o);
}

const base::SmallFloat* small_float(DType dtype) {
  switch (dtype) {
    case DType::kF8E4M3FN: return &base::kE4M3FN;
    case DType::kF8E4M3FNUZ: return &base::kE4M3FNUZ;
    case DType::kF8E5M2: return &base::kE5M2;
    case DType::kF8E5M2FNUZ: return &base::kE5M2FNUZ;
    case DType::kF4E2M1: return &base::kE2M1;
    default: return nullptr;
  }
}

bool is_quantized_type(DType dtype) {
  return small_float(dtype) != nullptr || (is_integer(dtype) && bits_of(dtype) <= 16);
}

void store_code(void* out, DType dtype, std::int64_t i, std::int32_t code) {
  const int bits = bits_of(dtype);
  if (bits == 16) {
    const auto value = static_cast<std::uint16_t>(code);
    std::memcpy(static_cast<char*>(out) + i * 2, &value, 2);
  } else if (bits == 8) {
    static_cast<std::uint8_t*>(out)[i] = static_cast<std::uint8_t>(code);
  } else {
    const int per_byte = 8 / bits, shift = bits * static_cast<int>(i % per_byte), mask = (1 << bits) - 1;
    auto& byte = static_cast<std::uint8_t*>(out)[i / per_byte];
    byte = static_cast<std::uint8_t>((byte & ~(mask << shift)) | ((code & mask) << shift));
  }
}

void store_real(void* out, DType dtype, std::int64_t i, float value) {
  if (dtype == DType::kF32) static_cast<float*>(out)[i] = value;
  else if (dtype == DType::kF64) static_cast<double*>(out)[i] = value;
  else if (dtype == DType::kF16) static_cast<base::Float16*>(out)[i] = base::to_float16(value);
  else static_cast<base::BFloat16*>(out)[i] = base::to_bfloat16(value);
}

DType quantized_dtype(const graph::Node& node, DType zero_point) {
  if (zero_point != DType::kUndefined) return zero_point;
  return dtype_from_number(node.get_int("output_dtype", 0)).value_or(DType::kU8);
}

Status infer_quantize(InferContext& context) {
  graph::Type type = context.input(0);
  if (type.kind == graph::TypeKind::kUnknown) type = graph::Type::tensor(DType::kUndefined);
  // A zero point whose own type is not known leaves the question open.
  const bool open = context.has_input(2) && context.input(2).dtype == DType::kUndefined;
  type.dtype = open ? DType::kUndefined : quantized_dtype(context.node(), context.has_input(2) ? context.input(2).dtype : DType::kUndefined);
  context.set_output(0, type);
  return {};
}

Status run_quantize(const graph::Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  const Tensor& scale = context.input(1);
  const Tensor& zero_point = context.input(2);
  const DType dtype = quantized_dtype(node, zero_point.dtype());
  if (!is_quantized_type(dtype)) return unsupported(fmt::format("narrow does not quantize to {}", to_string(dtype)));
  if (!is_float(x.dtype()) && x.dtype() != DType::kS32) {
    return corrupt(fmt::format("the input is {}, expected a float type or s32", to_string(x.dtype())));
  }
  NARROW_TRY(const Layout layout, layout_of(node, x.shape(), scale, zero_point));
  NARROW_TRY(Tensor * out, context.output(0, dtype, x.shape()));

  const std::vector<float> scales = scale.to_float();
  std::vector<float> widened;
  const float* values = static_cast<const float*>(x.raw());
  if (x.dtype() != DType::kF32) {
    widened = x.to_float();
    values = widened.data();
  }
  const base::SmallFloat* small = small_float(dtype);
  std::vector<std::int32_t> zeros(scales.size(), 0);
  if (zero_point.defined() && small == nullptr) {
    for (std::size_t i = 0; i < zeros.size(); ++i) zeros[i] = static_cast<std::int32_t>(zero_point.at_as_double(static_cast<std::int64_t>(i)));
  }
  const kernels::AffineKernels& fast = kernels::affine_kernels();
  void* codes = out->mutable_raw();
  if (bits_of(dtype) < 8) std::memset(codes, 0, out->bytes());  // codes are written beside each other in one byte
  if (small != nullptr) {
    const bool saturate = node.get_int("saturate", 1) != 0;
    for_each_run(layout, context.pool(), [&](std::int64_t begin, std::int64_t count, std::int64_t s) {
      for (std::int64_t i = begin; i < begin + count; ++i) store_code(codes, dtype, i, base::to_small_float(values[i] / scales[s], *small, saturate));
    });
  } else if (dtype == DType::kU8) {
    for_each_run(layout, context.pool(), [&](std::int64_t begin, std::int64_t count, std::int64_t s) {
      fast.quantize_u8(values + begin, static_cast<std::size_t>(count), scales[s], zeros[s], static_cast<std::uint8_t*>(codes) + begin);
    });
  } else if (dtype == DType::kS8) {
    for_each_run(layout, context.pool(), [&](std::int64_t begin, std::int64_t count, std::int64_t s) {
      fast.quantize_s8(values + begin, static_cast<std::size_t>(count), scales[s], zeros[s], static_cast<std::int8_t*>(codes) + begin);
    });
  } else {
    const IntegerRange range = integer_range(dtype);
    for_each_run(layout, context.pool(), [&](std::int64_t begin, std::int64_t count, std::int64_t s) {
      const float low = static_cast<float>(range.min - zeros[s]), high = static_cast<float>(range.max - zeros[s]);
      for (std::int64_t i = begin; i < begin + count; ++i) {
        float v = values[i] / scales[s];
        v = std::isnan(v) ? 0 : std::clamp(v, low, high);
        store_code(codes, dtype, i, static_cast<std::int32_t>(std::nearbyint(v)) + zeros[s]);
      }
    });
  }
  return {};
}

DType dequantized_dtype(const graph::Node& node, DType scale) {
  const auto asked = dtype_from_number(node.get_int("output_dtype", 0));
  if (asked) return *asked;
  // An e8m0 scale is only an exponent; the real numbers are f32.
  return scale == DType::kF8E8M0 ? DType::kF32 : scale;
}

Status infer_dequantize(InferContext& context) {
  graph::Type type = context.input(0);
  if (type.kind == graph::TypeKind::kUnknown) type = graph::Type::tensor(DType::kUndefined);
  type.dtype = dequantized_dtype(context.node(), context.input(1).dtype);
  context.set_output(0, type);
  return {};
}

Status run_dequantize(const graph::Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  const Tensor& scale = context.input(1);
  const Tensor& zero_point = context.input(2);
  const DType dtype = dequantized_dtype(node, scale.dtype());
  if (!is_quantized_type(x.dtype()) && x.dtype() != DType::kS32) {
    return corrupt(fmt::format("the input is {}, expected a quantized type", to_string(x.dtype())));
  }
  if (dtype != DType::kF32 && dtype != DType::kF64 && dtype != DType::kF16 && dtype != DType::kBF16) {
    return corrupt(fmt::format("cannot dequantize to {}", to_string(dtype)));
  }
  NARROW_TRY(const Layout layout, layout_of(node, x.shape(), scale, zero_point));
  NARROW_TRY(Tensor * out, context.output(0, dtype, x.shape()));
  const std::vector<float> scales = scale.to_float();
  const bool real_codes = small_float(x.dtype()) != nullptr;
  std::vector<std::int32_t> zeros(scales.size(), 0);
  if (zero_point.defined() && !real_codes) {
    for (std::size_t i = 0; i < zeros.size(); ++i) zeros[i] = static_cast<std::int32_t>(zero_point.at_as_double(static_cast<std::int64_t>(i)));
  }
  const kernels::AffineKernels& fast = kernels::affine_kernels();
  void* reals = out->mutable_raw();
  if (dtype == DType::kF32 && x.dtype() == DType::kU8) {
    for_each_run(layout, context.pool(), [&](std::int64_t begin, std::int64_t count, std::int64_t s) {
      fast.dequantize_u8(static_cast<const std::uint8_t*>(x.raw()) + begin, static_cast<std::size_t>(count), scales[s], zeros[s], static_cast<float*>(reals) + begin);
    });
  } else if (dtype == DType::kF32 && x.dtype() == DType::kS8) {
    for_each_run(layout, context.pool(), [&](std::int64_t begin, std::int64_t count, std::int64_t s) {
      fast.dequantize_s8(static_cast<const std::int8_t*>(x.raw()) + begin, static_cast<std::size_t>(count), scales[s], zeros[s], static_cast<float*>(reals) + begin);
    });
  } else {
    for_each_run(layout, context.pool(), [&](std::int64_t begin, std::int64_t count, std::int64_t s) {
      for (std::int64_t i = begin; i < begin + count; ++i) {
        const double code = x.at_as_double(i);
        // An integer difference is exact before it becomes f32, as ONNX computes it.
        store_real(reals, dtype, i, static_cast<float>(code - zeros[s]) * scales[s]);
      }
    });
  }
  return {};
}

Status infer_dynamic_quantize(InferContext& context) {
  graph::Type type = context.input(0);
  if (type.kind == graph::TypeKind::kUnknown) type = graph::Type::tensor(DType::kUndefined);
  type.dtype = DType::kU8;
  context.set_output(0, type);
  context.set_output(1, graph::Type::tensor(DType::kF32, {}));
  context.set_output(2, graph::Type::tensor(DType::kU8, {}));
  return {};
}

Status run_dynamic_quantize(const graph::Node&, RunContext& context) {
  const Tensor& x = context.input(0);
  if (x.dtype() != DType::kF32) return corrupt(fmt::format("the input is {}, expected f32", to_string(x.dtype())));
  const auto values = x.data<float>();
  const kernels::AffineKernels& fast = kernels::affine_kernels();
  float low, high;
  fast.min_max(values.data(), values.size(), &low, &high);
  low = std::min(low, 0.0f);
  high = std::max(high, 0.0f);
  // ONNX: scale = range / 255; zero point = saturate(round(0 - low / scale)). A constant-zero input gets scale 1.
  const float scale = high == low ? 1.0f : (high - low) / 255.0f;
  const float zero = std::nearbyint(std::clamp(0.0f - low / scale, 0.0f, 255.0f));
  NARROW_TRY(Tensor * codes, context.output(0, DType::kU8, x.shape()));
  NARROW_TRY(Tensor * scale_out, context.output(1, DType::kF32, {}));
  NARROW_TRY(Tensor * zero_out, context.output(2, DType::kU8, {}));
  scale_out->mutable_data<float>()[0] = scale;
  zero_out->mutable_data<std::uint8_t>()[0] = static_cast<std::uint8_t>(zero);
  fast.quantize_u8(values.data(), values.size(), scale, static_cast<std::int32_t>(zero), codes->mutable_data<std::uint8_t>().data());
  return {};
}

constexpr std::string_view kMicrosoft = "com.microsoft";

const std::array kOperators = {
    Operator{.name = "QuantizeLinear", .since = 25, .min_inputs = 2, .max_inputs = 3, .infer = infer_quantize, .run = run_quantize},
    Operator{.name = "QuantizeLinear", .domain = kMicrosoft, .min_inputs = 2, .max_inputs = 3, .infer = infer_quantize, .run = run_quantize},
    Operator{.name = "DequantizeLinear", .since = 25, .min_inputs = 2, .max_inputs = 3, .infer = infer_dequantize, .run = run_dequantize},
    Operator{.name = "DequantizeLinear", .domain = kMicrosoft, .min_inputs = 2, .max_inputs = 3, .infer = infer_dequantize, .run = run_dequantize},
    Operator{.name = "DynamicQuantizeLinear", .since = 11, .min_outputs = 3, .max_outputs = 3, .infer = infer_dynamic_quantize, .run = run_dynamic_quantize},
};

}  // namespace

std::span<const Operator> quantize_operators() { return kOperators; }

}  // namespace narrow::operators
