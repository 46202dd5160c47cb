// Moving elements of any type between tensors without looking at them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "narrow/result.h"
#include "operators/operator.h"

namespace narrow::operators {

// One loop of a copy: how far an element step goes in the source and in the destination, in elements.
struct StridedAxis {
  std::int64_t extent, from, to;
};

// Row-major strides of a shape, in elements.
std::vector<std::int64_t> strides_of(const Shape& shape);

// An output that elements are moved into. Strings and packed 4- and 2-bit elements are moved through a buffer of one
// object each, so offsets and strides always count elements.
class MovedOutput {
 public:
  // Errors: as RunContext::output.
  static Result<MovedOutput> create(RunContext& context, std::size_t index, DType dtype, const Shape& shape);

  // Copies one element per combination of the axes, slowest axis first. Precondition: all offsets are in range and no
  // two combinations write the same element. `source` has the output's type.
  void copy(const Tensor& source, std::int64_t from, std::int64_t to, std::vector<StridedAxis> axes);
  // Writes a whole output from a one-element tensor, or zero (the empty string) from none.
  void fill(const Tensor* value);
  // Hands the output over. Nothing may be moved afterwards.
  void finish();

 private:
  MovedOutput(RunContext& context, std::size_t index, DType dtype, Shape shape, Tensor* tensor);
  RunContext* context_;
  std::size_t index_;
  DType dtype_;
  Shape shape_;
  Tensor* tensor_;                      // null for strings
  std::vector<std::string> strings_;
  std::vector<std::uint8_t> unpacked_;  // one code a byte, for packed types
  std::int64_t size_;
};

// The codes of a packed tensor, one a byte.
std::vector<std::uint8_t> unpack_codes(const Tensor& tensor);
void pack_codes(const std::vector<std::uint8_t>& codes, Tensor& tensor);
// Whether elements are smaller than a byte.
bool is_packed(DType dtype);

}  // namespace narrow::operators
