// What a value of a running graph holds: a tensor, a sequence of tensors, or nothing (an optional without a value).
// An optional that has a value holds that tensor or sequence itself.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tensor/tensor.h"

namespace narrow {

class RuntimeValue {
 public:
  enum class Kind : std::uint8_t { kUndefined, kTensor, kSequence, kNothing };
  using Sequence = std::vector<Tensor>;

  RuntimeValue() = default;
  RuntimeValue(Tensor tensor)  // NOLINT: implicit on purpose
      : kind_(tensor.defined() ? Kind::kTensor : Kind::kUndefined), tensor_(std::move(tensor)) {}
  // Precondition: every tensor is of type `dtype` and owns its bytes.
  static RuntimeValue sequence(DType dtype, Sequence tensors) {
    RuntimeValue value;
    value.kind_ = Kind::kSequence;
    value.element_ = dtype;
    value.sequence_ = std::make_shared<const Sequence>(std::move(tensors));
    return value;
  }
  static RuntimeValue nothing() {
    RuntimeValue value;
    value.kind_ = Kind::kNothing;
    return value;
  }

  Kind kind() const { return kind_; }
  bool defined() const { return kind_ != Kind::kUndefined; }
  bool is_tensor() const { return kind_ == Kind::kTensor; }
  bool is_sequence() const { return kind_ == Kind::kSequence; }
  bool is_nothing() const { return kind_ == Kind::kNothing; }

  // An undefined tensor unless this is one.
  const Tensor& tensor() const { return tensor_; }
  Tensor& tensor() { return tensor_; }
  // Precondition: is_sequence().
  const Sequence& sequence() const { return *sequence_; }
  // Of the tensor, or of a sequence's tensors, empty ones too; kUndefined for nothing.
  DType dtype() const { return is_sequence() ? element_ : tensor_.dtype(); }

 private:
  Kind kind_ = Kind::kUndefined;
  DType element_ = DType::kUndefined;
  Tensor tensor_;
  std::shared_ptr<const Sequence> sequence_;
};

// "f32[2,3]", "a sequence of 3 f32 tensors", "an empty optional".
std::string to_string(const RuntimeValue& value);

}  // namespace narrow
