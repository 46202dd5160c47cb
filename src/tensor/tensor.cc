#include "tensor/tensor.h"

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "base/checked.h"

namespace narrow {
namespace {

constexpr std::size_t kAlignment = 64;  // a cache line, and the widest vector

float f8_to_float(std::uint8_t bits, int exponent_bits, int mantissa_bits, int bias, bool fn, bool fnuz) {
  const int sign = bits >> 7;
  const int exponent = (bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const int mantissa = bits & ((1 << mantissa_bits) - 1);
  const int top = (1 << exponent_bits) - 1;
  const float nan = std::bit_cast<float>(0x7FC00000u);
  if (fnuz && bits == 0x80) return nan;
  if (fn && !fnuz && exponent == top && mantissa == (1 << mantissa_bits) - 1) return nan;
  if (!fn && !fnuz && exponent == top) {
    return mantissa != 0 ? nan : std::bit_cast<float>(sign ? 0xFF800000u : 0x7F800000u);
  }
  const float fraction = static_cast<float>(mantissa) / static_cast<float>(1 << mantissa_bits);
  const int power = (exponent == 0 ? 1 : exponent) - bias;
  const float value = std::ldexp((exponent == 0 ? 0.0f : 1.0f) + fraction, power);
  return sign ? -value : value;
}

constexpr float kF4E2M1[8] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};

template <typename T>
T load(const void* data, std::int64_t i) {
  T value;
  std::memcpy(&value, static_cast<const char*>(data) + i * static_cast<std::int64_t>(sizeof(T)), sizeof(T));
  return value;
}

int load_packed(const void* data, std::int64_t i, int bits) {
  const int per_byte = 8 / bits;
  const auto byte = static_cast<const std::uint8_t*>(data)[i / per_byte];
  return (byte >> (bits * static_cast<int>(i % per_byte))) & ((1 << bits) - 1);
}

int sign_extend(int value, int bits) { return (value ^ (1 << (bits - 1))) - (1 << (bits - 1)); }

}  // namespace

std::string to_string(std::span<const std::int64_t> shape) { return fmt::format("[{}]", fmt::join(shape, ",")); }

std::optional<std::uint64_t> storage_bytes(DType dtype, std::int64_t count) {
  const auto bits = base::checked_mul<std::uint64_t>(static_cast<std::uint64_t>(count), bits_of(dtype));
  if (count < 0 || !bits) return std::nullopt;
  return *bits / 8 + (*bits % 8 != 0);
}

Result<Tensor> Tensor::create(DType dtype, Shape shape) {
  const auto count = base::checked_product(shape);
  const auto bytes = count ? storage_bytes(dtype, *count) : std::nullopt;
  if (!bytes || *bytes > (std::uint64_t{1} << 46)) {
    return invalid_argument(fmt::format("cannot make a {} tensor of shape {}: a dimension is negative or the size overflows",
                                        narrow::to_string(dtype), narrow::to_string(shape)));
  }
  Tensor tensor;
  tensor.dtype_ = dtype;
  tensor.count_ = *count;
  if (dtype == DType::kString) {
    tensor.strings_ = std::make_shared<std::vector<std::string>>(static_cast<std::size_t>(*count));
    tensor.shape_ = std::move(shape);
    return tensor;
  }
  const std::size_t capacity = base::round_up<std::size_t>(std::max<std::size_t>(*bytes, 1), kAlignment);
  void* data = std::aligned_alloc(kAlignment, capacity);
  if (data == nullptr) {
    return resource_exhausted(fmt::format("out of memory: a {} tensor of shape {} needs {} bytes",
                                          narrow::to_string(dtype), narrow::to_string(shape), *bytes));
  }
  std::memset(data, 0, capacity);
  tensor.owner_ = std::shared_ptr<void>(data, std::free);
  tensor.data_ = data;
  tensor.writable_ = true;
  tensor.shape_ = std::move(shape);
  return tensor;
}

Tensor Tensor::from_shared(DType dtype, Shape shape, std::shared_ptr<const void> owner, const void* data) {
  Tensor tensor;
  tensor.dtype_ = dtype;
  tensor.count_ = base::checked_product(shape).value_or(0);
  tensor.shape_ = std::move(shape);
  tensor.data_ = data;
  tensor.owner_ = std::move(owner);
  return tensor;
}

Tensor Tensor::from_borrowed(DType dtype, Shape shape, void* data) {
  Tensor tensor = from_shared(dtype, std::move(shape), nullptr, data);
  tensor.writable_ = true;
  return tensor;
}

Tensor Tensor::from_strings(Shape shape, std::vector<std::string> strings) {
  Tensor tensor;
  tensor.dtype_ = DType::kString;
  tensor.count_ = static_cast<std::int64_t>(strings.size());
  tensor.shape_ = std::move(shape);
  tensor.strings_ = std::make_shared<const std::vector<std::string>>(std::move(strings));
  return tensor;
}

Tensor Tensor::reshaped(Shape shape) const {
  assert(base::checked_product(shape) == count_);
  Tensor tensor = *this;
  tensor.shape_ = std::move(shape);
  return tensor;
}

Tensor Tensor::clone() const {
  if (dtype_ == DType::kString) return *this;
  Result<Tensor> copy = create(dtype_, shape_);
  if (!copy.ok()) std::abort();  // the original exists, so its shape is valid: only an exhausted heap comes here
  if (bytes() != 0) std::memcpy(copy->mutable_raw(), data_, bytes());
  return *std::move(copy);
}

double Tensor::at_as_double(std::int64_t i) const {
  switch (dtype_) {
    case DType::kF32: return load<float>(data_, i);
    case DType::kF64: return load<double>(data_, i);
    case DType::kF16: return base::to_float(load<base::Float16>(data_, i));
    case DType::kBF16: return base::to_float(load<base::BFloat16>(data_, i));
    case DType::kF8E4M3FN: return f8_to_float(load<std::uint8_t>(data_, i), 4, 3, 7, true, false);
    case DType::kF8E4M3FNUZ: return f8_to_float(load<std::uint8_t>(data_, i), 4, 3, 8, true, true);
    case DType::kF8E5M2: return f8_to_float(load<std::uint8_t>(data_, i), 5, 2, 15, false, false);
    case DType::kF8E5M2FNUZ: return f8_to_float(load<std::uint8_t>(data_, i), 5, 2, 16, true, true);
    case DType::kF8E8M0: {
      const int exponent = load<std::uint8_t>(data_, i);
      return exponent == 255 ? std::bit_cast<float>(0x7FC00000u) : std::ldexp(1.0, exponent - 127);
    }
    case DType::kF4E2M1: {
      const int code = load_packed(data_, i, 4);
      return code & 8 ? -kF4E2M1[code & 7] : kF4E2M1[code & 7];
    }
    case DType::kS4: return sign_extend(load_packed(data_, i, 4), 4);
    case DType::kU4: return load_packed(data_, i, 4);
    case DType::kS2: return sign_extend(load_packed(data_, i, 2), 2);
    case DType::kU2: return load_packed(data_, i, 2);
    case DType::kS8: return load<std::int8_t>(data_, i);
    case DType::kU8: return load<std::uint8_t>(data_, i);
    case DType::kS16: return load<std::int16_t>(data_, i);
    case DType::kU16: return load<std::uint16_t>(data_, i);
    case DType::kS32: return load<std::int32_t>(data_, i);
    case DType::kU32: return load<std::uint32_t>(data_, i);
    case DType::kS64: return static_cast<double>(load<std::int64_t>(data_, i));
    case DType::kU64: return static_cast<double>(load<std::uint64_t>(data_, i));
    case DType::kBool: return load<std::uint8_t>(data_, i) != 0;
    case DType::kUndefined: case DType::kC64: case DType::kC128: case DType::kString: break;
  }
  return 0;
}

std::vector<std::int64_t> Tensor::to_int64() const {
  std::vector<std::int64_t> out(static_cast<std::size_t>(count_));
  for (std::int64_t i = 0; i < count_; ++i) {
    out[i] = dtype_ == DType::kS64 || dtype_ == DType::kU64 ? load<std::int64_t>(data_, i)
                                                           : static_cast<std::int64_t>(at_as_double(i));
  }
  return out;
}

std::vector<float> Tensor::to_float() const {
  std::vector<float> out(static_cast<std::size_t>(count_));
  if (dtype_ == DType::kF32) {
    if (count_ != 0) std::memcpy(out.data(), data_, bytes());
    return out;
  }
  for (std::int64_t i = 0; i < count_; ++i) out[i] = static_cast<float>(at_as_double(i));
  return out;
}

}  // namespace narrow
