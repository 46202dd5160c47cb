// Array: a dense, row-major array of numbers that a program exchanges with narrow.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "narrow/result.h"

namespace narrow {

// Element type names are those of narrow everywhere: "f32" "f64" "f16" "bf16" "s8" "u8" "s16" "u16" "s32" "u32" "s64"
// "u64" "bool".
template <typename T>
constexpr std::string_view element_type_of() {
  if constexpr (std::is_same_v<T, float>) return "f32";
  else if constexpr (std::is_same_v<T, double>) return "f64";
  else if constexpr (std::is_same_v<T, bool>) return "bool";
  else if constexpr (std::is_same_v<T, std::int8_t>) return "s8";
  else if constexpr (std::is_same_v<T, std::uint8_t>) return "u8";
  else if constexpr (std::is_same_v<T, std::int16_t>) return "s16";
  else if constexpr (std::is_same_v<T, std::uint16_t>) return "u16";
  else if constexpr (std::is_same_v<T, std::int32_t>) return "s32";
  else if constexpr (std::is_same_v<T, std::uint32_t>) return "u32";
  else if constexpr (std::is_same_v<T, std::int64_t>) return "s64";
  else { static_assert(std::is_same_v<T, std::uint64_t>, "no such element type"); return "u64"; }
}

struct Array {
  std::string element_type;            // "f32", …
  std::vector<std::int64_t> shape;
  std::vector<std::uint8_t> bytes;     // little endian, product(shape) elements

  template <typename T>
  static Array from(std::vector<std::int64_t> shape, std::span<const T> values) {
    Array out{std::string(element_type_of<T>()), std::move(shape), {}};
    out.bytes.resize(values.size_bytes());
    if (!values.empty()) std::memcpy(out.bytes.data(), values.data(), values.size_bytes());
    return out;
  }

  // The elements. Precondition: T is the element type.
  template <typename T>
  std::span<const T> as() const {
    assert(element_type == element_type_of<T>());
    return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
  }

  std::int64_t size() const;                    // elements
  std::vector<double> to_double() const;        // any element type, converted

  // NumPy files. Errors: not_found, io, corrupt, unsupported (an element type narrow does not have).
  static Result<Array> load_npy(const std::string& path);
  Status save_npy(const std::string& path) const;
};

struct NamedArray {
  std::string name;
  Array array;
};

}  // namespace narrow
