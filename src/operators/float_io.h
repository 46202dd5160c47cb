// Kernels of the compute-heavy families work in f32. These two carry a tensor of any other floating type (f16, bf16,
// f64) in and out; an f32 tensor passes without a copy.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "narrow/result.h"
#include "operators/operator.h"
#include "tensor/tensor.h"

namespace narrow::operators {

class FloatInput {
 public:
  // `tensor` must outlive this. Errors: unsupported, when it is not f32, f64, f16 or bf16; `what` names it.
  static Result<FloatInput> open(const Tensor& tensor, const char* what);
  const float* data() const { return borrowed_ != nullptr ? borrowed_ : widened_.data(); }
  std::int64_t size() const { return size_; }

 private:
  const float* borrowed_ = nullptr;
  std::int64_t size_ = 0;
  std::vector<float> widened_;
};

class FloatOutput {
 public:
  // Memory for output i, uninitialised.
  static Result<FloatOutput> create(RunContext& context, std::size_t i, DType dtype, std::span<const std::int64_t> shape);
  float* data() { return direct_ != nullptr ? direct_ : staged_.data(); }
  std::int64_t size() const { return tensor_->size(); }
  // Call when data() is filled: rounds to the output's type.
  void store();

 private:
  Tensor* tensor_ = nullptr;
  float* direct_ = nullptr;
  std::vector<float> staged_;
};

}  // namespace narrow::operators
