#include "language/gguf/import.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "formats/gguf/gguf.h"
#include "formats/rotary_order.h"
#include "language/gguf/hyperparameters.h"
#include "language/gguf/tensor_names.h"

namespace narrow::language {
namespace {

// Where a tensor of the checkpoint lies in the file.
struct Place {
  std::string tensor;
  std::int64_t head = 0, expert = 0, experts = 0;
  bool plus_one = false, one_row = false;
};

class GgufWeights final : public WeightSource {
 public:
  GgufWeights(formats::gguf::File file, std::unordered_map<std::string, Place> places) : file_(std::move(file)), places_(std::move(places)) {}

  bool has(const std::string& name) const override { return places_.contains(name); }
  bool has_matrix(const std::string& module) const override { return has(module + ".weight"); }

  Result<Tensor> tensor(const std::string& name) const override {
    const auto at = places_.find(name);
    if (at == places_.end()) return not_found(fmt::format("{}: no tensor stands for '{}'", file_.metadata().where, name));
    const Place& place = at->second;
    const formats::gguf::TensorEntry& entry = *file_.find(place.tensor);
    if (place.one_row) {
      NARROW_TRY(const Tensor row, file_.tensor(place.tensor));
      return row.reshaped({1, row.size()});
    }
    if (place.head == 0 && place.experts == 0 && !place.plus_one) return file_.tensor(place.tensor);
    if (place.experts > 0) return expert_of(entry, place);
    NARROW_TRY(const Tensor stored, file_.tensor(place.tensor));
    return rearranged(stored, place, name);
  }

  Result<StoredWeight> matrix(const std::string& module) const override {
    StoredWeight weight;
    NARROW_TRY(weight.plain, tensor(module + ".weight"));
    const DType dtype = weight.plain.dtype();
    if (weight.plain.rank() != 2 || (dtype != DType::kF32 && dtype != DType::kF16 && dtype != DType::kBF16 && dtype != DType::kF64)) {
      return corrupt(fmt::format("{}: '{}' is {}{}, expected a matrix", file_.metadata().where, module, to_string(dtype), to_string(weight.plain.shape())));
    }
    return weight;
  }

  Result<MatrixForm> form(const std::string& module) const override {
    const auto at = places_.find(module + ".weight");
    const formats::gguf::TensorEntry* entry = at == places_.end() ? nullptr : file_.find(at->second.tensor);
    if (entry == nullptr || entry->shape.size() < (at->second.one_row ? 1u : 2u)) return not_found(fmt::format("{}: no matrix stands for '{}'", file_.metadata().where, module));
    return MatrixForm{.rows = at->second.one_row ? 1 : entry->shape[entry->shape.size() - 2], .columns = entry->shape.back(), .dtype = DType::kF32};
  }

  void release(const std::string& prefix) const override {
    for (const auto& [name, place] : places_) {
      if (name.starts_with(prefix)) file_.release(place.tensor);
    }
  }

 private:
  Result<Tensor> expert_of(const formats::gguf::TensorEntry& entry, const Place& place) const {
    NARROW_TRY(Tensor out, Tensor::create(DType::kF32, {entry.shape[1], entry.shape[2]}));
    NARROW_RETURN_IF_ERROR(file_.decode_rows(entry, place.expert * entry.shape[1], entry.shape[1], out.mutable_data<float>().data()));
    return out;
  }

  // Rows in Hugging Face's order, norms less the one that the file adds.
  Result<Tensor> rearranged(const Tensor& stored, const Place& place, const std::string& name) const {
    NARROW_TRY(Tensor out, Tensor::create(stored.dtype(), stored.shape()));
    const std::int64_t rows = stored.rank() == 0 ? 1 : stored.shape()[0];
    if (place.head != 0 && rows % place.head != 0) return corrupt(fmt::format("{}: '{}' has {} rows in heads of {}", file_.metadata().where, name, rows, place.head));
    const std::size_t row_bytes = stored.bytes() / static_cast<std::size_t>(rows);
    for (std::int64_t row = 0; row < rows; ++row) {
      const std::int64_t from = place.head != 0 ? formats::interleaved_row(row, place.head) : row;
      std::memcpy(static_cast<std::uint8_t*>(out.mutable_raw()) + static_cast<std::size_t>(row) * row_bytes, static_cast<const std::uint8_t*>(stored.raw()) + static_cast<std::size_t>(from) * row_bytes, row_bytes);
    }
    if (!place.plus_one) return out;
    if (out.dtype() != DType::kF32) return corrupt(fmt::format("{}: '{}' is {}, expected f32", file_.metadata().where, name, to_string(out.dtype())));
    for (float& v : out.mutable_data<float>()) v -= 1.0f;
    return out;
  }

  formats::gguf::File file_;
  std::unordered_map<std::string, Place> places_;
};

}  // namespace

Result<Checkpoint> open_gguf(const std::string& path, Result<Spec> (*parse_spec)(const std::string&, const std::string&)) {
  NARROW_TRY(formats::gguf::File file, formats::gguf::File::open(path));
  Checkpoint checkpoint;
  NARROW_TRY(checkpoint.config_json, config_of_gguf(file));
  NARROW_TRY(checkpoint.spec, parse_spec(checkpoint.config_json, path));
  NARROW_TRY(const std::vector<GgufName> names, gguf_names(checkpoint.spec));
  std::unordered_map<std::string, Place> places;
  for (const GgufName& name : names) {
    for (const char* suffix : {".weight", ".bias"}) {
      const formats::gguf::TensorEntry* entry = file.find(name.name + suffix);
      if (entry == nullptr) continue;
      if (name.experts > 0 && (entry->shape.size() != 3 || entry->shape[0] != name.experts)) {
        return corrupt(fmt::format("{}: '{}' has shape {}, expected {} experts", path, entry->name, to_string(entry->shape), name.experts));
      }
      for (std::int64_t expert = 0; expert < std::max<std::int64_t>(name.experts, 1); ++expert) {
        std::string full = layer_name(name.module, expert) + suffix;
        checkpoint.tensor_names.push_back(full);
        places.emplace(std::move(full), Place{name.name + suffix, name.head, expert, name.experts, name.plus_one && std::strcmp(suffix, ".weight") == 0, name.one_row});
      }
    }
  }
  checkpoint.path = path;
  checkpoint.files = {path};
  checkpoint.weights = std::make_shared<GgufWeights>(std::move(file), std::move(places));
  return checkpoint;
}

}  // namespace narrow::language
