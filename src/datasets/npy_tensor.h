// .npy bytes as tensors and back.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "narrow/result.h"
#include "tensor/tensor.h"
#include "wire/npy.h"

namespace narrow::datasets {

// `owner` keeps `bytes` alive; the tensor shares them where order and alignment allow, otherwise it has its own copy.
// Errors: what wire::parse_npy reports; resource_exhausted.
Result<Tensor> tensor_from_npy(wire::ByteSpan bytes, const std::string& where, std::shared_ptr<const void> owner);

// Errors: unsupported for element types that NumPy has not.
Result<std::string> npy_bytes(const Tensor& tensor);

// An integer tensor of any shape with more than one element in at most one dimension, as class indices. Errors: corrupt.
Result<std::vector<std::int64_t>> label_values(const Tensor& tensor, const std::string& where);

// `tensor` as another element type: any number to a float type; integers and bool to integers when every value fits.
// Errors: invalid_argument, naming `where`.
Result<Tensor> convert_elements(const Tensor& tensor, DType dtype, const std::string& where);

}  // namespace narrow::datasets
