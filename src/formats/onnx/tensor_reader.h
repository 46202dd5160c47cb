// TensorProto and SparseTensorProto to Tensor: views into the source where the bytes allow it, copies elsewhere.
#pragma once

#include <memory>
#include <string>

#include "formats/onnx/external_data.h"
#include "narrow/result.h"
#include "tensor/tensor.h"
#include "wire/protobuf.h"

namespace narrow::formats::onnx {

struct TensorSource {
  std::shared_ptr<const void> owner;  // keeps the message's bytes alive; null when the caller does
  ExternalData* external = nullptr;
};

struct NamedTensor {
  std::string name;
  std::string doc;
  Tensor tensor;
};

// The stored bytes must be exactly what type and shape need, in exactly one storage field. Raw bytes become views when
// they are aligned for their element type. Errors: corrupt, unsupported (element type), and external data's.
Result<NamedTensor> read_tensor(const wire::ProtoField& message, const TensorSource& source);

// Made dense. Errors: also resource_exhausted when the dense form is far larger than the file's.
Result<NamedTensor> read_sparse_tensor(const wire::ProtoField& message, const TensorSource& source);

}  // namespace narrow::formats::onnx
