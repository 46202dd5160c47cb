#include "language/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/text_file.h"
#include "formats/llama2c/llama2c.h"
#include "formats/safetensors/checkpoint.h"
#include "language/architectures/architectures.h"
#include "language/gguf/import.h"
#include "language/quantized_checkpoint.h"
#include "wire/json.h"

namespace narrow::language {
namespace {

namespace fs = std::filesystem;

// Tensors under their own names; a model saved without its head has them without the first part of the name.
class PlainWeights : public WeightSource {
 public:
  // `tables` are the modules that are stored [rows, columns] even in families that store a Linear as [in, out].
  PlainWeights(bool stored_transposed, std::vector<std::string> tables) : stored_transposed_(stored_transposed), tables_(std::move(tables)) {}

  bool has(const std::string& name) const override { return contains(name) || contains(shorter(name)); }
  Result<Tensor> tensor(const std::string& name) const override { return read(!contains(name) && contains(shorter(name)) ? shorter(name) : name); }
  bool has_matrix(const std::string& module) const override { return has(module + ".weight"); }
  Result<StoredWeight> matrix(const std::string& module) const override {
    const std::string name = module + ".weight";
    NARROW_TRY(Tensor found, tensor(name));
    const DType dtype = found.dtype();
    if (found.rank() != 2 || (dtype != DType::kF32 && dtype != DType::kF16 && dtype != DType::kBF16 && dtype != DType::kF64)) {
      return corrupt(fmt::format("tensor '{}' is {}{}, expected a matrix of f32, f16 or bf16", name, to_string(dtype), to_string(found.shape())));
    }
    if (stored_transposed_ && std::find(tables_.begin(), tables_.end(), module) == tables_.end()) {
      NARROW_TRY(found, transposed(found));
    }
    StoredWeight weight;
    weight.plain = std::move(found);
    return weight;
  }

 protected:
  virtual bool contains(const std::string& name) const = 0;
  virtual Result<Tensor> read(const std::string& name) const = 0;

 private:
  static std::string shorter(const std::string& name) { return name.substr(name.find('.') + 1); }
  bool stored_transposed_;
  std::vector<std::string> tables_;
};

class SafetensorsWeights final : public PlainWeights {
 public:
  SafetensorsWeights(formats::safetensors::Checkpoint file, const Spec& spec)
      : PlainWeights(spec.stored_transposed, {spec.names.embedding, spec.names.positions, spec.names.head}), file_(std::move(file)) {}
  void release(const std::string& prefix) const override {
    for (const auto& entry : file_.entries()) {
      if (entry.tensor.name.starts_with(prefix)) file_.release(entry.tensor.name);
    }
  }

 protected:
  bool contains(const std::string& name) const override { return file_.find(name) != nullptr; }
  Result<Tensor> read(const std::string& name) const override { return file_.tensor(name); }

 private:
  formats::safetensors::Checkpoint file_;
};

class Llama2cWeights final : public PlainWeights {
 public:
  explicit Llama2cWeights(formats::llama2c::Checkpoint file) : PlainWeights(false, {}), file_(std::move(file)) {}
  void release(const std::string&) const override {}

 protected:
  bool contains(const std::string& name) const override { return file_.contains(name); }
  Result<Tensor> read(const std::string& name) const override { return file_.tensor(name); }

 private:
  formats::llama2c::Checkpoint file_;
};

Result<Spec> parse_spec(const std::string& text, const std::string& where) {
  NARROW_TRY(const nlohmann::json document, wire::parse_json(text, where));
  return read_spec(wire::Fields(document, where));
}

// For a family that is not known: matrices that are neither tables, nor heads, norms or routers are taken for Linears.
Result<Spec> spec_by_names(const std::string& text, const std::string& where, const formats::safetensors::Checkpoint& tensors) {
  NARROW_TRY(const nlohmann::json document, wire::parse_json(text, where));
  Spec spec;
  NARROW_TRY(spec.family, wire::Fields(document, where).text("model_type"));
  spec.known = false;
  constexpr std::string_view kOthers[] = {"embed", "wte", "wpe", "head", "norm", "router", "mlp.gate.", "position", "conv", "shared."};
  for (const auto& entry : tensors.entries()) {
    const formats::TensorSpec& tensor = entry.tensor;
    const bool matrix = tensor.shape.size() == 2 && tensor.shape[0] > 1 && tensor.shape[1] > 1 && tensor.name.ends_with(".weight") &&
                        (tensor.dtype == DType::kF32 || tensor.dtype == DType::kF16 || tensor.dtype == DType::kBF16);
    const bool other = std::any_of(std::begin(kOthers), std::end(kOthers), [&](std::string_view part) { return tensor.name.find(part) != std::string::npos; });
    if (matrix && !other) spec.by_name.push_back(tensor.name.substr(0, tensor.name.size() - std::string_view(".weight").size()));
  }
  if (spec.by_name.empty()) return unknown_architecture(where, spec.family);
  return spec;
}

// A model saved without its head has names without the first part ("bert."): the spec then has them too.
void follow_names(const formats::safetensors::Checkpoint& tensors, Spec& spec) {
  Names& n = spec.names;
  const std::string part = n.embedding.substr(0, n.embedding.find('.') + 1);
  const std::string table = n.embedding + ".weight";
  if (part.empty() || tensors.find(table) != nullptr || tensors.find(table.substr(part.size())) == nullptr) return;
  for (std::string* name : {&n.embedding, &n.positions, &n.final_norm, &n.attention_norm, &n.post_attention_norm, &n.mlp_norm, &n.post_mlp_norm, &n.q, &n.k, &n.v, &n.qkv, &n.o, &n.q_norm, &n.k_norm,
                            &n.gate, &n.up, &n.gate_up, &n.down, &n.router, &n.expert_gate, &n.expert_up, &n.expert_down, &n.embedding_norm, &n.token_types, &n.relative_bias, &n.shared_router,
                            &n.shared_gate, &n.shared_up, &n.shared_down}) {
    if (name->starts_with(part)) name->erase(0, part.size());
  }
}

Result<Checkpoint> open_folder(const std::string& folder) {
  Checkpoint checkpoint;
  const std::string config = (fs::path(folder) / "config.json").string();
  NARROW_TRY(checkpoint.config_json, base::read_text_file(config));
  NARROW_TRY(auto tensors, formats::safetensors::Checkpoint::open(folder));
  auto spec = parse_spec(checkpoint.config_json, config);
  if (spec.ok()) {
    checkpoint.spec = *std::move(spec);
    follow_names(tensors, checkpoint.spec);
  } else if (spec.error().code() == ErrorCode::kUnsupported) {
    NARROW_TRY(checkpoint.spec, spec_by_names(checkpoint.config_json, config, tensors));
  } else {
    return std::move(spec).error();
  }
  for (const auto& entry : tensors.entries()) checkpoint.tensor_names.push_back(entry.tensor.name);
  checkpoint.files = tensors.paths();
  checkpoint.weights = std::make_shared<SafetensorsWeights>(std::move(tensors), checkpoint.spec);
  NARROW_TRY(const nlohmann::json document, wire::parse_json(checkpoint.config_json, config));
  if (const auto settings = wire::Fields(document, config).find("quantization_config")) {
    NARROW_TRY(checkpoint.weights, open_quantized(checkpoint.weights, *settings));
  }
  return checkpoint;
}

Result<Checkpoint> open_llama2c(const std::string& path) {
  Checkpoint checkpoint;
  NARROW_TRY(auto file, formats::llama2c::Checkpoint::open(path));
  checkpoint.config_json = file.config_json();
  NARROW_TRY(checkpoint.spec, parse_spec(checkpoint.config_json, path));
  checkpoint.tensor_names = file.names();
  checkpoint.files = {path};
  checkpoint.weights = std::make_shared<Llama2cWeights>(std::move(file));
  return checkpoint;
}

}  // namespace

bool is_checkpoint(const std::string& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) return fs::exists(fs::path(path) / "config.json", error);
  const std::string extension = fs::path(path).extension().string();
  return extension == ".safetensors" || extension == ".bin" || extension == ".gguf";
}

Result<Checkpoint> open_checkpoint(const std::string& path) {
  std::error_code error;
  Result<Checkpoint> opened = [&]() -> Result<Checkpoint> {
    if (fs::is_directory(path, error)) return open_folder(path);
    if (fs::path(path).extension() == ".bin") return open_llama2c(path);
    if (fs::path(path).extension() == ".gguf") return open_gguf(path, parse_spec);
    return open_folder(fs::path(path).parent_path().string());
  }();
  if (opened.ok()) opened->path = path;
  return opened;
}

}  // namespace narrow::language
