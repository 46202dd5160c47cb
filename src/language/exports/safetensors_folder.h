// What all formats that are a Hugging Face folder share: which tensors there will be, shards, config.json, files beside.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <vector>

#include "formats/quantized_weights/quantized_weights.h"
#include "language/exports/exports.h"

namespace narrow::language {

// One weight's place in the output.
struct QuantizedName {
  std::string module;
  MatrixForm form;
};

struct FolderFormat {
  // The tensors that a quantized weight becomes, names with the module's in front.
  Result<std::vector<formats::TensorSpec>> (*specs)(const std::string& module, const MatrixForm& form, DType plain);
  Result<std::vector<formats::WeightTensor>> (*pack)(const StoredWeight& weight, DType plain);
  // config.json's "quantization_config"; null for none. `kept` are Linears that stay float.
  nlohmann::json (*config)(const std::vector<QuantizedName>& quantized, const std::vector<std::string>& kept);
};

Status write_folder(const ExportRequest& request, const FolderFormat& format);

// The tensor as the type, rounded to nearest; what is no float as it is. Errors: unsupported (a type that is none).
Result<Tensor> as_type(const Tensor& tensor, DType dtype);

// The type that the model's floats are stored in.
DType plain_type(const Checkpoint& model);

}  // namespace narrow::language
