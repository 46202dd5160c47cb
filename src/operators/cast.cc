// Cast and CastLike: every numeric type to every other, 8-bit and smaller floats and packed integers included; BitCast.
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/float8.h"
#include "operators/element_type.h"
#include "operators/elementwise.h"
#include "operators/families.h"
#include "operators/strided_copy.h"

namespace narrow::operators {
namespace {

using graph::Node;
using graph::Type;
using graph::TypeKind;

Result<DType> cast_target(const Node& node) {
  const std::int64_t number = node.get_int("to", 0);
  const auto dtype = dtype_from_number(number);
  if (dtype) return *dtype;
  return corrupt(fmt::format("{}: to = {} is not an element type", where(node), number));
}

Status infer_to(InferContext& context, DType dtype) {
  const Type& x = context.input(0);
  Type out = x.kind == TypeKind::kTensor ? x : Type::tensor(dtype);
  out.dtype = dtype;
  context.set_output(0, out);
  if (!is_integer(dtype)) return {};
  if (auto dims = context.dims_value(0)) context.set_dims_value(0, *std::move(dims));
  return {};
}

Status infer_cast(InferContext& context) {
  NARROW_TRY(const DType dtype, cast_target(context.node()));
  return infer_to(context, dtype);
}

Status infer_cast_like(InferContext& context) {
  const Type& like = context.input(1);
  if (like.kind != TypeKind::kTensor || like.dtype == DType::kUndefined) return {};
  return infer_to(context, like.dtype);
}

// A number of one type as another. Integers wrap; floats go to integers towards zero, NaN as 0, and what is outside the
// 64-bit range as its nearest end before it wraps (the standard leaves that open).
template <typename To, typename From>
To convert(From v) {
  if constexpr (std::is_same_v<To, bool>) {
    return v != From(0);
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    if (v != v) return 0;
    if constexpr (std::is_same_v<To, std::uint64_t>) {
      if (v >= From(0x1p64)) return std::numeric_limits<To>::max();
      if (v >= From(0x1p63)) return static_cast<To>(v);
    }
    if (v >= From(0x1p63)) return static_cast<To>(std::numeric_limits<std::int64_t>::max());
    if (v < From(-0x1p63)) return static_cast<To>(std::numeric_limits<std::int64_t>::min());
    return static_cast<To>(static_cast<std::int64_t>(v));
  } else {
    return static_cast<To>(v);
  }
}

template <typename From, typename To>
void convert_all(const From* in, To* out, std::int64_t count, base::ThreadPool& pool) {
  parallel_ranges(pool, count, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      if constexpr (std::is_same_v<From, double> && std::is_same_v<To, base::Float16>) {
        // Through f32 with the discarded bits kept in its last one, so that rounding happens once.
        float narrow = static_cast<float>(in[i]);
        if (static_cast<double>(narrow) != in[i] && std::isfinite(narrow)) {
          std::uint32_t bits = std::bit_cast<std::uint32_t>(narrow);
          if (std::fabs(static_cast<double>(narrow)) > std::fabs(in[i])) --bits;
          narrow = std::bit_cast<float>(bits | 1u);
        }
        out[i] = store<To>(narrow);
      } else {
        out[i] = store<To>(convert<Compute<To>>(load(in[i])));
      }
    }
  });
}

// ---- types that are read and written by code ------------------------------------------------------------------------

const base::SmallFloat* small_float_of(DType dtype) {
  switch (dtype) {
    case DType::kF8E4M3FN: return &base::kE4M3FN;
    case DType::kF8E4M3FNUZ: return &base::kE4M3FNUZ;
    case DType::kF8E5M2: return &base::kE5M2;
    case DType::kF8E5M2FNUZ: return &base::kE5M2FNUZ;
    case DType::kF4E2M1: return &base::kE2M1;
    default: return nullptr;
  }
}

bool is_coded(DType dtype) { return small_float_of(dtype) != nullptr || dtype == DType::kF8E8M0 || is_packed(dtype); }

Result<base::ScaleRounding> rounding_of(const Node& node) {
  const std::string mode = node.get_string("round_mode", "up");
  if (mode == "up") return base::ScaleRounding::kUp;
  if (mode == "down") return base::ScaleRounding::kDown;
  if (mode == "nearest") return base::ScaleRounding::kNearest;
  return corrupt(fmt::format("{}: round_mode is '{}', expected up, down or nearest", where(node), mode));
}

Status cast_to_codes(const Node& node, const Tensor& x, Tensor& y) {
  const bool saturate = node.get_int("saturate", 1) != 0;
  NARROW_TRY(const base::ScaleRounding rounding, rounding_of(node));
  const DType to = y.dtype();
  const base::SmallFloat* format = small_float_of(to);
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(x.size()));
  const auto code_of = [&](auto v) -> std::uint8_t {
    if (format != nullptr) return base::to_small_float(static_cast<float>(v), *format, saturate || to == DType::kF4E2M1);
    if (to == DType::kF8E8M0) return base::to_e8m0(static_cast<float>(v), rounding, saturate);
    return static_cast<std::uint8_t>(convert<std::int64_t>(v));  // 4- and 2-bit integers wrap
  };
  const bool numeric = dispatch(NumericOrBoolList{}, x.dtype(), [&]<typename T>() {
    for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = code_of(load(pointer<T>(x)[i]));
  });
  if (!numeric) {
    for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = code_of(x.at_as_double(static_cast<std::int64_t>(i)));
  }
  if (is_packed(to)) pack_codes(codes, y);
  else if (!codes.empty()) std::memcpy(y.mutable_raw(), codes.data(), codes.size());
  return {};
}

// ---- strings --------------------------------------------------------------------------------------------------------

Status cast_from_strings(const Node& node, const Tensor& x, Tensor& y) {
  Status status;
  const bool known = dispatch(NumericList{}, y.dtype(), [&]<typename T>() {
    for (std::int64_t i = 0; i < x.size() && status.ok(); ++i) {
      const std::string& text = x.strings()[i];
      const char* begin = text.data() + (text.starts_with('+') ? 1 : 0);
      const char* end = text.data() + text.size();
      bool parsed = false;
      if constexpr (std::is_integral_v<Compute<T>>) {
        std::int64_t v = 0;
        const auto r = std::from_chars(begin, end, v);
        parsed = r.ec == std::errc() && r.ptr == end;
        if (parsed) pointer<T>(y)[i] = static_cast<T>(v);
      }
      if (!parsed) {
        double v = 0;
        const auto r = std::from_chars(begin, end, v);
        parsed = r.ec == std::errc() && r.ptr == end && begin != end;
        if (parsed) pointer<T>(y)[i] = store<T>(convert<Compute<T>>(v));
      }
      if (!parsed) status = invalid_argument(fmt::format("{}: '{}' is not a number", where(node), text));
    }
  });
  return known ? status : dtype_error(node, y.dtype());
}

Status cast_to_strings(const Node& node, const Tensor& x, RunContext& context) {
  std::vector<std::string> strings;
  const bool known = dispatch(NumericOrBoolList{}, x.dtype(), [&]<typename T>() {
    for (std::int64_t i = 0; i < x.size(); ++i) {
      const auto v = load(pointer<T>(x)[i]);
      if constexpr (std::is_same_v<T, Bool8>) strings.push_back(v ? "True" : "False");
      else if constexpr (std::is_floating_point_v<Compute<T>>) {
        strings.push_back(std::isnan(v) ? "NaN" : std::isinf(v) ? (v > 0 ? "INF" : "-INF") : fmt::format("{}", v));
      } else strings.push_back(fmt::format("{}", static_cast<std::conditional_t<std::is_signed_v<Compute<T>>, std::int64_t, std::uint64_t>>(v)));
    }
  });
  if (!known) return dtype_error(node, x.dtype());
  context.set_output(0, Tensor::from_strings(x.shape(), std::move(strings)));
  return {};
}

Status cast(const Node& node, DType to, RunContext& context) {
  const Tensor& x = context.input(0);
  const DType from = x.dtype();
  if (from != to && to == DType::kString) return cast_to_strings(node, x, context);
  if (from == DType::kString && to == DType::kString) {
    context.set_output(0, Tensor::from_strings(x.shape(), x.strings()));
    return {};
  }
  NARROW_TRY(Tensor * y, context.output(0, to, x.shape()));
  if (from == to) {
    if (y->bytes() != 0) std::memmove(y->mutable_raw(), x.raw(), y->bytes());
    return {};
  }
  if (from == DType::kString) return cast_from_strings(node, x, *y);
  if (is_coded(to)) {
    if (bits_of(from) == 0 || from == DType::kC64 || from == DType::kC128) return dtype_error(node, from);
    return cast_to_codes(node, x, *y);
  }
  bool known = false;
  if (is_coded(from)) {
    known = dispatch(NumericOrBoolList{}, to, [&]<typename To>() {
      for (std::int64_t i = 0; i < x.size(); ++i) {
        pointer<To>(*y)[i] = store<To>(convert<Compute<To>>(x.at_as_double(i)));
      }
    });
    return known ? Status() : dtype_error(node, to);
  }
  const bool source = dispatch(NumericOrBoolList{}, from, [&]<typename From>() {
    known = dispatch(NumericOrBoolList{}, to, [&]<typename To>() {
      convert_all(pointer<From>(x), pointer<To>(*y), x.size(), context.pool());
    });
  });
  if (!source) return dtype_error(node, from);
  return known ? Status() : dtype_error(node, to);
}

Status run_cast(const Node& node, RunContext& context) {
  NARROW_TRY(const DType to, cast_target(node));
  return cast(node, to, context);
}

Status run_cast_like(const Node& node, RunContext& context) { return cast(node, context.input(1).dtype(), context); }

// ---- BitCast --------------------------------------------------------------------------------------------------------

Status check_width(const Node& node, DType from, DType to) {
  if (bits_of(from) == bits_of(to) && bits_of(to) != 0) return {};
  return corrupt(fmt::format("{}: {} as {}, expected a type of as many bits", where(node), to_string(from), to_string(to)));
}

Status infer_bit_cast(InferContext& context) {
  NARROW_TRY(const DType to, cast_target(context.node()));
  const Type& x = context.input(0);
  if (x.kind == TypeKind::kTensor && x.dtype != DType::kUndefined) NARROW_RETURN_IF_ERROR(check_width(context.node(), x.dtype, to));
  Type out = x.kind == TypeKind::kTensor ? x : Type::tensor(to);
  out.dtype = to;
  context.set_output(0, out);
  return {};
}

Status run_bit_cast(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  NARROW_TRY(const DType to, cast_target(node));
  NARROW_RETURN_IF_ERROR(check_width(node, x.dtype(), to));
  NARROW_TRY(Tensor * y, context.output(0, to, x.shape()));
  if (y->bytes() != 0) std::memcpy(y->mutable_raw(), x.raw(), y->bytes());
  return {};
}

const std::array kOperators = {
    Operator{.name = "Cast", .since = 24, .infer = infer_cast, .run = run_cast},
    Operator{.name = "CastLike", .since = 24, .min_inputs = 2, .max_inputs = 2, .infer = infer_cast_like, .run = run_cast_like},
    Operator{.name = "BitCast", .since = 26, .infer = infer_bit_cast, .run = run_bit_cast},
};

}  // namespace

std::span<const Operator> cast_operators() { return kOperators; }

}  // namespace narrow::operators
