#include "language/exports/safetensors_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <functional>
#include <mutex>
#include <nlohmann/json.hpp>

#include "base/atomic_file.h"
#include "base/float16.h"
#include "formats/safetensors/writer.h"
#include "language/decoder.h"
#include "language/encoder.h"
#include "wire/json.h"

namespace narrow::language {
namespace {

namespace fs = std::filesystem;
using formats::TensorSpec;
using nlohmann::json;

constexpr std::uint64_t kShardBytes = 5'000'000'000;

// Tensors that come from one weight, and how to make them.
struct Item {
  std::string source;  // what the checkpoint's tensors behind it begin with
  std::vector<TensorSpec> specs;
  std::function<Result<std::vector<Tensor>>()> make;
};

std::string module_of(const std::string& tensor) {
  constexpr std::string_view kSuffix = ".weight";
  return tensor.ends_with(kSuffix) ? tensor.substr(0, tensor.size() - kSuffix.size()) : std::string();
}

// [out, in] back to the way in which the family stores it.
Result<Tensor> stored_way(const ExportRequest& request, const Tensor& tensor, const Shape& shape) {
  if (tensor.shape() == shape) return tensor;
  if (!request.model->spec.stored_transposed || tensor.rank() != 2) return internal_error(fmt::format("a tensor of shape {} stands where {} belongs", to_string(tensor.shape()), to_string(shape)));
  return transposed(tensor);
}

// A Linear beside the layers (a pooler, a masked-language head), which readers would look for quantized.
bool is_other_linear(const Spec& spec, const std::string& module) {
  const Names& n = spec.names;
  if (module.empty() || module == n.embedding || module == n.positions || module == n.token_types || module == n.relative_bias) return false;
  const std::string layers = n.o.substr(0, n.o.find("{}"));
  return !module.starts_with(layers) && module.find("orm") == std::string::npos;
}

Result<Item> plain_item(const ExportRequest& request, const std::string& name, bool is_linear) {
  NARROW_TRY(const Tensor original, request.model->weights->tensor(name));
  Item item;
  item.source = name;
  item.specs = {{name, original.dtype(), original.shape()}};
  item.make = [&request, name, is_linear, dtype = original.dtype(), shape = original.shape()]() -> Result<std::vector<Tensor>> {
    Tensor tensor;
    if (is_linear) {
      NARROW_TRY(const StoredWeight weight, request.weights->matrix(module_of(name)));
      NARROW_TRY(tensor, stored_way(request, weight.plain, shape));
    } else {
      NARROW_TRY(tensor, request.weights->tensor(name));
    }
    NARROW_TRY(tensor, as_type(tensor, dtype));
    return std::vector<Tensor>{tensor};
  };
  return item;
}

Result<Item> quantized_item(const ExportRequest& request, const FolderFormat& format, const std::string& module, const MatrixForm& form, DType plain) {
  Item item;
  item.source = module + ".";
  NARROW_TRY(item.specs, format.specs(module, form, plain));
  item.make = [&request, &format, module, plain]() -> Result<std::vector<Tensor>> {
    NARROW_TRY(const StoredWeight weight, request.weights->matrix(module));
    auto packed = format.pack(weight, plain);
    if (!packed.ok()) return std::move(packed).context(fmt::format("'{}'", module)).error();
    std::vector<Tensor> tensors;
    for (formats::WeightTensor& part : *packed) tensors.push_back(std::move(part.tensor));
    return tensors;
  };
  return item;
}

// Items of one shard, made and written by all threads of the pool, each holding one weight at a time.
Status write_shard(const ExportRequest& request, const std::string& path, const std::vector<Item>& items, std::size_t& done, std::size_t total) {
  std::vector<TensorSpec> specs;
  std::vector<std::size_t> first;
  for (const Item& item : items) {
    first.push_back(specs.size());
    specs.insert(specs.end(), item.specs.begin(), item.specs.end());
  }
  std::map<std::string, std::string> metadata = {{"format", "pt"}};
  if (!request.recipe.empty()) metadata["narrow.recipe"] = request.recipe;
  NARROW_TRY(auto writer, formats::safetensors::FileWriter::create(path, specs, metadata));
  std::vector<Status> results(items.size());
  std::atomic<bool> failed = false;
  request.pool->parallel_for(items.size(), [&](std::size_t i, int worker) {
    if (failed) return;
    results[i] = [&]() -> Status {
      NARROW_TRY(const std::vector<Tensor> tensors, items[i].make());
      for (std::size_t t = 0; t < tensors.size(); ++t) NARROW_RETURN_IF_ERROR(writer.write(first[i] + t, tensors[t]));
      request.model->weights->release(items[i].source);
      return {};
    }();
    if (!results[i].ok()) failed = true;
    if (worker == 0 && request.progress) request.progress("writing", done + i, total);
  });
  for (Status& status : results) NARROW_RETURN_IF_ERROR(std::move(status));
  done += items.size();
  return writer.finish();
}

// Tokenizer, generation settings, licence: everything beside the weights.
Status copy_others(const Checkpoint& model, const std::string& folder) {
  std::error_code error;
  const fs::path from = fs::is_directory(model.path, error) ? fs::path(model.path) : fs::path(model.path).parent_path();
  constexpr std::uintmax_t kLargest = 1 << 28;
  for (const fs::directory_entry& entry : fs::directory_iterator(from, error)) {
    const std::string name = entry.path().filename().string(), extension = entry.path().extension().string();
    if (!entry.is_regular_file(error) || name == "config.json" || name == "quantize_config.json" || name.ends_with(".index.json") || entry.file_size(error) > kLargest) continue;
    constexpr std::string_view kKept[] = {".json", ".model", ".txt", ".jinja", ".md", ".py"};
    const bool kept = std::find(std::begin(kKept), std::end(kKept), extension) != std::end(kKept) || name.starts_with("LICENSE") || name.starts_with("NOTICE");
    if (!kept) continue;
    fs::copy_file(entry.path(), fs::path(folder) / name, fs::copy_options::overwrite_existing, error);
    if (error) return io_error(fmt::format("cannot copy '{}' to '{}': {}", entry.path().string(), folder, error.message()));
  }
  return {};
}

}  // namespace

Result<Tensor> as_type(const Tensor& tensor, DType dtype) {
  if (tensor.dtype() == dtype || !is_float(tensor.dtype())) return tensor;
  NARROW_TRY(Tensor out, Tensor::create(dtype, tensor.shape()));
  const std::vector<float> values = tensor.to_float();
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (dtype == DType::kF16) out.mutable_data<base::Float16>()[i] = base::to_float16(values[i]);
    else if (dtype == DType::kBF16) out.mutable_data<base::BFloat16>()[i] = base::to_bfloat16(values[i]);
    else if (dtype == DType::kF32) out.mutable_data<float>()[i] = values[i];
    else return unsupported(fmt::format("a float tensor cannot be written as {}", to_string(dtype)));
  }
  return out;
}

DType plain_type(const Checkpoint& model) {
  auto weight = model.weights->tensor(model.spec.names.embedding + ".weight");
  if (!weight.ok() && !model.spec.by_name.empty()) weight = model.weights->tensor(model.spec.by_name.front() + ".weight");
  return weight.ok() ? weight->dtype() : DType::kF16;
}

Status write_folder(const ExportRequest& request, const FolderFormat& format) {
  const Checkpoint& model = *request.model;
  const std::vector<std::string> names = all_linears(model.spec);
  const std::set<std::string> linears(names.begin(), names.end());
  const DType plain = plain_type(model);
  std::vector<Item> items;
  std::vector<QuantizedName> quantized;
  std::vector<std::string> kept;
  for (const std::string& name : model.tensor_names) {
    const std::string module = module_of(name);
    const bool is_linear = !module.empty() && linears.contains(module);
    if (!module.empty() && request.weights->has_matrix(module) && is_linear) {
      NARROW_TRY(const MatrixForm form, request.weights->form(module));
      if (form.quantized()) {
        NARROW_TRY(Item item, quantized_item(request, format, module, form, plain));
        items.push_back(std::move(item));
        quantized.push_back({module, form});
        continue;
      }
      kept.push_back(module);
    }
    if (module == model.spec.names.head) kept.push_back(module);
    else if (model.spec.encoder && is_other_linear(model.spec, module)) kept.push_back(module);
    NARROW_TRY(Item item, plain_item(request, name, is_linear));
    items.push_back(std::move(item));
  }

  // A tied head is no tensor of the checkpoint, and a module of its readers all the same.
  const std::string& head = model.spec.names.head;
  const bool has_head = !head.empty() && (!model.spec.encoder || has_masked_head(model.spec, *model.weights));
  if (has_head && std::find(kept.begin(), kept.end(), head) == kept.end()) kept.push_back(head);

  // Shards in the order of the checkpoint.
  std::vector<std::vector<Item>> shards(1);
  std::uint64_t bytes = 0;
  for (Item& item : items) {
    std::uint64_t own = 0;
    for (const TensorSpec& spec : item.specs) own += spec.bytes();
    if (bytes + own > kShardBytes && !shards.back().empty()) {
      shards.emplace_back();
      bytes = 0;
    }
    bytes += own;
    shards.back().push_back(std::move(item));
  }
  std::size_t done = 0;
  std::vector<formats::safetensors::Shard> written;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string file = formats::safetensors::shard_name(i, shards.size());
    NARROW_RETURN_IF_ERROR(write_shard(request, (fs::path(request.path) / file).string(), shards[i], done, items.size()));
    formats::safetensors::Shard shard{file, {}};
    for (const Item& item : shards[i]) shard.tensors.insert(shard.tensors.end(), item.specs.begin(), item.specs.end());
    written.push_back(std::move(shard));
  }
  if (shards.size() > 1) NARROW_RETURN_IF_ERROR(formats::safetensors::write_index(request.path, written));

  NARROW_RETURN_IF_ERROR(copy_others(model, request.path));
  NARROW_TRY(json config, wire::parse_json(model.config_json, "config.json"));
  config.erase("quantization_config");
  if (!quantized.empty()) {
    json settings = format.config(quantized, kept);
    if (!settings.is_null()) config["quantization_config"] = std::move(settings);
  }
  return base::write_file((fs::path(request.path) / "config.json").string(), config.dump(2) + "\n");
}

}  // namespace narrow::language
