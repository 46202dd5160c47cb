#include "datasets/npy_tensor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

namespace narrow::datasets {
namespace {

struct NpyType {
  DType dtype;
  char kind;
  int size;
};
constexpr NpyType kTypes[] = {
    {DType::kF16, 'f', 2}, {DType::kF32, 'f', 4}, {DType::kF64, 'f', 8}, {DType::kS8, 'i', 1},  {DType::kS16, 'i', 2},
    {DType::kS32, 'i', 4}, {DType::kS64, 'i', 8}, {DType::kU8, 'u', 1},  {DType::kU16, 'u', 2}, {DType::kU32, 'u', 4},
    {DType::kU64, 'u', 8}, {DType::kBool, 'b', 1},
};

// False when a value does not fit.
template <typename T>
bool fill(const Tensor& from, Tensor& to) {
  T* out = static_cast<T*>(to.mutable_raw());
  if (from.dtype() == DType::kU64) {
    const auto values = from.data<std::uint64_t>();
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (values[i] > static_cast<std::uint64_t>(std::numeric_limits<T>::max())) return false;
      out[i] = static_cast<T>(values[i]);
    }
    return true;
  }
  const std::vector<std::int64_t> values = from.to_int64();
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!std::in_range<T>(values[i])) return false;
    out[i] = static_cast<T>(values[i]);
  }
  return true;
}

}  // namespace

Result<Tensor> tensor_from_npy(wire::ByteSpan bytes, const std::string& where, std::shared_ptr<const void> owner) {
  NARROW_TRY(const wire::NpyArray array, wire::parse_npy(bytes, where));
  const auto* type = std::find_if(std::begin(kTypes), std::end(kTypes),
                                  [&](const NpyType& t) { return t.kind == array.kind && t.size == array.item_size; });
  if (type == std::end(kTypes)) return internal_error(fmt::format("{}: no tensor type for {}{}", where, array.kind, array.item_size));
  const bool aligned = reinterpret_cast<std::uintptr_t>(array.data.data()) % static_cast<std::size_t>(array.item_size) == 0;
  const bool same_order = !array.big_endian && (!array.fortran_order || array.shape.size() < 2);
  // Any byte but 0 and 1 would be an invalid bool.
  const bool valid_bools = type->dtype != DType::kBool || std::all_of(array.data.begin(), array.data.end(), [](std::uint8_t b) { return b <= 1; });
  if (!valid_bools) return corrupt(fmt::format("{}: a bool element is neither 0 nor 1", where));
  if (owner != nullptr && aligned && same_order && array.count > 0) {
    return Tensor::from_shared(type->dtype, array.shape, std::move(owner), array.data.data());
  }
  NARROW_TRY(Tensor tensor, Tensor::create(type->dtype, array.shape));
  wire::copy_npy_elements(array, static_cast<std::uint8_t*>(tensor.mutable_raw()));
  return tensor;
}

Result<std::string> npy_bytes(const Tensor& tensor) {
  const auto* type = std::find_if(std::begin(kTypes), std::end(kTypes), [&](const NpyType& t) { return t.dtype == tensor.dtype(); });
  if (type == std::end(kTypes)) {
    return unsupported(fmt::format("NumPy has no element type for {}", narrow::to_string(tensor.dtype())));
  }
  std::string out = wire::npy_header(type->kind, type->size, tensor.shape());
  out.append(static_cast<const char*>(tensor.raw()), tensor.bytes());
  return out;
}

Result<std::vector<std::int64_t>> label_values(const Tensor& tensor, const std::string& where) {
  const auto wide = std::count_if(tensor.shape().begin(), tensor.shape().end(), [](std::int64_t d) { return d != 1; });
  if ((!is_integer(tensor.dtype()) && tensor.dtype() != DType::kBool) || wide > 1) {
    return corrupt(fmt::format("{}: labels are {} of shape {}, expected one integer a sample", where,
                               narrow::to_string(tensor.dtype()), narrow::to_string(tensor.shape())));
  }
  std::vector<std::int64_t> labels = tensor.to_int64();
  for (std::int64_t label : labels) {
    if (label < 0) return corrupt(fmt::format("{}: label {} is negative, classes count from 0", where, label));
  }
  return labels;
}

Result<Tensor> convert_elements(const Tensor& tensor, DType dtype, const std::string& where) {
  if (tensor.dtype() == dtype) return tensor;
  const auto refused = [&](std::string_view why) {
    return invalid_argument(fmt::format("{}: elements are {}, the model expects {}{}", where, narrow::to_string(tensor.dtype()),
                                        narrow::to_string(dtype), why));
  };
  const bool from_integer = is_integer(tensor.dtype()) || tensor.dtype() == DType::kBool;
  if (!from_integer && !is_float(tensor.dtype())) return refused("");
  NARROW_TRY(Tensor out, Tensor::create(dtype, tensor.shape()));
  const auto n = static_cast<std::size_t>(tensor.size());
  switch (dtype) {
    case DType::kF32: {
      const std::vector<float> values = tensor.to_float();
      std::copy(values.begin(), values.end(), out.mutable_data<float>().begin());
      return out;
    }
    case DType::kF16: {
      const std::vector<float> values = tensor.to_float();
      for (std::size_t i = 0; i < n; ++i) out.mutable_data<base::Float16>()[i] = base::to_float16(values[i]);
      return out;
    }
    case DType::kF64:
      for (std::size_t i = 0; i < n; ++i) out.mutable_data<double>()[i] = tensor.at_as_double(static_cast<std::int64_t>(i));
      return out;
    default: break;
  }
  if (!from_integer) return refused("").hint("Convert the array with astype, or pass floats to a float input.");
  bool fitted = false;
  switch (dtype) {
    case DType::kS8: fitted = fill<std::int8_t>(tensor, out); break;
    case DType::kU8: fitted = fill<std::uint8_t>(tensor, out); break;
    case DType::kS16: fitted = fill<std::int16_t>(tensor, out); break;
    case DType::kU16: fitted = fill<std::uint16_t>(tensor, out); break;
    case DType::kS32: fitted = fill<std::int32_t>(tensor, out); break;
    case DType::kU32: fitted = fill<std::uint32_t>(tensor, out); break;
    case DType::kS64: fitted = fill<std::int64_t>(tensor, out); break;
    case DType::kU64: fitted = fill<std::uint64_t>(tensor, out); break;
    case DType::kBool: {
      for (std::size_t i = 0; i < n; ++i) static_cast<std::uint8_t*>(out.mutable_raw())[i] = tensor.at_as_double(static_cast<std::int64_t>(i)) != 0;
      fitted = true;
      break;
    }
    default: return refused("");
  }
  if (!fitted) return refused(" and a value does not fit");
  return out;
}

}  // namespace narrow::datasets
