// A dense, row-major tensor: element type, shape, and bytes that it owns, shares, maps from a file or borrows.
#pragma once

#include <cassert>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "narrow/result.h"
#include "tensor/dtype.h"

namespace narrow {

using Shape = std::vector<std::int64_t>;

std::string to_string(std::span<const std::int64_t> shape);  // "[1,3,224,224]"

// Bytes that `count` elements take, nullopt on overflow. Packed types round up to whole bytes.
std::optional<std::uint64_t> storage_bytes(DType dtype, std::int64_t count);

class Tensor {
 public:
  Tensor() = default;

  // Zero-filled and owned. Errors: invalid_argument (negative or overflowing shape), resource_exhausted.
  static Result<Tensor> create(DType dtype, Shape shape);

  // Bytes kept alive by `owner` (a mapping, another tensor's buffer). Precondition: `size` == storage bytes of the shape.
  static Tensor from_shared(DType dtype, Shape shape, std::shared_ptr<const void> owner, const void* data);

  // Borrowed memory that the caller keeps alive and lets be written (the runtime's arena).
  static Tensor from_borrowed(DType dtype, Shape shape, void* data);

  static Tensor from_strings(Shape shape, std::vector<std::string> strings);

  // Owned copy of `values`. Precondition: values.size() is the shape's element count.
  template <typename T>
  static Tensor from(Shape shape, std::span<const T> values);
  template <typename T>
  static Tensor from(Shape shape, std::initializer_list<T> values) {
    return from<T>(std::move(shape), std::span<const T>(values.begin(), values.size()));
  }
  template <typename T>
  static Tensor scalar(T value) { return from<T>(Shape{}, std::span<const T>(&value, 1)); }

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int rank() const { return static_cast<int>(shape_.size()); }
  std::int64_t size() const { return count_; }          // elements
  std::uint64_t bytes() const { return *storage_bytes(dtype_, count_); }
  bool defined() const { return dtype_ != DType::kUndefined; }
  bool writable() const { return writable_; }
  bool owned() const { return owner_ != nullptr || strings_ != nullptr; }  // false: the bytes are borrowed

  const void* raw() const { return data_; }
  void* mutable_raw() { assert(writable_); return const_cast<void*>(data_); }
  std::span<const std::uint8_t> byte_span() const { return {static_cast<const std::uint8_t*>(data_), bytes()}; }

  // Precondition: T is the stored type (not for packed types).
  template <typename T>
  std::span<const T> data() const {
    assert(kDTypeOf<T> == dtype_);
    return {static_cast<const T*>(data_), static_cast<std::size_t>(count_)};
  }
  template <typename T>
  std::span<T> mutable_data() {
    assert(kDTypeOf<T> == dtype_ && writable_);
    return {static_cast<T*>(const_cast<void*>(data_)), static_cast<std::size_t>(count_)};
  }
  const std::vector<std::string>& strings() const { return *strings_; }

  // The same bytes under another shape of equal element count.
  Tensor reshaped(Shape shape) const;
  // An owned, writable copy.
  Tensor clone() const;

  // Any integer, bool or floating element as double (packed types included). Slow: for parameters and tests.
  double at_as_double(std::int64_t index) const;
  // All elements of an integer or bool tensor as int64. Precondition: is_integer(dtype()) or bool.
  std::vector<std::int64_t> to_int64() const;
  // All elements converted to f32. Precondition: numeric.
  std::vector<float> to_float() const;

 private:
  DType dtype_ = DType::kUndefined;
  Shape shape_;
  std::int64_t count_ = 0;
  const void* data_ = nullptr;
  bool writable_ = false;
  std::shared_ptr<const void> owner_;
  std::shared_ptr<const std::vector<std::string>> strings_;
};

template <typename T>
Tensor Tensor::from(Shape shape, std::span<const T> values) {
  Result<Tensor> tensor = create(kDTypeOf<T>, std::move(shape));
  assert(tensor.ok() && tensor->size() == static_cast<std::int64_t>(values.size()));
  T* out = static_cast<T*>(tensor->mutable_raw());
  for (std::size_t i = 0; i < values.size(); ++i) out[i] = values[i];
  return *std::move(tensor);
}

}  // namespace narrow
