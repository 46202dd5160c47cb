#include "language/quantize/journal.h"

#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/atomic_file.h"
#include "base/mapped_file.h"
#include "formats/safetensors/checkpoint.h"
#include "formats/safetensors/writer.h"
#include "wire/json.h"

namespace narrow::language {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::string_view kJobFile = "job.toml";
constexpr std::string_view kKey = "narrow.block";

Tensor bytes_tensor(const std::vector<std::uint8_t>& bytes) { return Tensor::from<std::uint8_t>({static_cast<std::int64_t>(bytes.size())}, std::span<const std::uint8_t>(bytes)); }
Tensor floats_tensor(const std::vector<float>& values) { return Tensor::from<float>({static_cast<std::int64_t>(values.size())}, std::span<const float>(values)); }

// What a block comes apart into: tensors under names of their own, and JSON that says how they belong together.
struct Parts {
  std::vector<std::pair<std::string, Tensor>> tensors;
  json description = {{"matrices", json::object()}, {"tensors", json::array()}, {"linears", json::array()}};
};

void add_matrix(const std::string& name, const StoredWeight& weight, Parts& parts) {
  json& entry = parts.description["matrices"][name];
  if (const auto& m = weight.grouped) {
    entry = {{"kind", "grouped"}, {"rows", m->rows}, {"columns", m->columns}, {"bits", m->bits}, {"group_size", m->group_size}, {"scale_type", static_cast<int>(m->scale_type)}, {"symmetric", m->symmetric()}};
    parts.tensors.emplace_back(name + "#codes", bytes_tensor(m->codes));
    parts.tensors.emplace_back(name + "#scales", floats_tensor(m->scales));
    if (!m->symmetric()) parts.tensors.emplace_back(name + "#zeros", bytes_tensor(m->zeros));
  } else if (const auto& b = weight.codebook) {
    entry = {{"kind", "codebook"}, {"rows", b->rows}, {"columns", b->columns}, {"block", b->block}, {"type", static_cast<int>(b->type)}, {"nested", !b->nested.empty()}};
    parts.tensors.emplace_back(name + "#codes", bytes_tensor(b->codes));
    parts.tensors.emplace_back(name + "#absmax", floats_tensor(b->absmax));
    if (!b->nested.empty()) {
      parts.tensors.emplace_back(name + "#nested", bytes_tensor(b->nested[0].codes));
      parts.tensors.emplace_back(name + "#nested_absmax", floats_tensor(b->nested[0].absmax));
      parts.tensors.emplace_back(name + "#offset", floats_tensor({b->nested[0].offset}));
    }
  } else {
    entry = {{"kind", "plain"}};
    parts.tensors.emplace_back(name + "#plain", weight.plain);
  }
  if (weight.inputs.rounds()) entry["inputs"] = {{"kind", static_cast<int>(weight.inputs.kind)}, {"zero", weight.inputs.zero}};
  if (weight.inputs.kind == encodings::InputRounding::Kind::kTensor) parts.tensors.emplace_back(name + "#input_scale", floats_tensor({weight.inputs.scale}));
}

template <typename T>
std::vector<T> to_vector(const Tensor& tensor) {
  const auto data = tensor.data<T>();
  return {data.begin(), data.end()};
}

Result<StoredWeight> read_matrix(const std::string& name, const json& entry, const formats::safetensors::Checkpoint& file) {
  const auto part = [&](const char* suffix) { return file.tensor(name + suffix); };
  StoredWeight weight;
  const std::string kind = entry.at("kind");
  if (kind == "plain") {
    NARROW_TRY(weight.plain, part("#plain"));
    return weight;
  }
  if (const auto inputs = entry.find("inputs"); inputs != entry.end()) {
    weight.inputs.kind = static_cast<encodings::InputRounding::Kind>(inputs->at("kind").get<int>());
    weight.inputs.zero = inputs->at("zero");
    if (weight.inputs.kind == encodings::InputRounding::Kind::kTensor) {
      NARROW_TRY(const Tensor scale, part("#input_scale"));
      weight.inputs.scale = scale.data<float>()[0];
    }
  }
  NARROW_TRY(const Tensor codes, part("#codes"));
  if (kind == "grouped") {
    encodings::GroupedMatrix m;
    m.rows = entry.at("rows");
    m.columns = entry.at("columns");
    m.bits = entry.at("bits");
    m.group_size = entry.at("group_size");
    m.scale_type = static_cast<encodings::ScaleType>(entry.at("scale_type").get<int>());
    m.codes = to_vector<std::uint8_t>(codes);
    NARROW_TRY(const Tensor scales, part("#scales"));
    m.scales = to_vector<float>(scales);
    if (!entry.at("symmetric").get<bool>()) {
      NARROW_TRY(const Tensor zeros, part("#zeros"));
      m.zeros = to_vector<std::uint8_t>(zeros);
    }
    weight.grouped = std::make_shared<const encodings::GroupedMatrix>(std::move(m));
    return weight;
  }
  encodings::CodebookMatrix b;
  b.rows = entry.at("rows");
  b.columns = entry.at("columns");
  b.block = entry.at("block");
  b.type = static_cast<encodings::CodebookMatrix::Type>(entry.at("type").get<int>());
  b.codes = to_vector<std::uint8_t>(codes);
  NARROW_TRY(const Tensor absmax, part("#absmax"));
  b.absmax = to_vector<float>(absmax);
  if (entry.at("nested").get<bool>()) {
    encodings::CodebookMatrix::Nested nested;
    NARROW_TRY(const Tensor nested_codes, part("#nested"));
    NARROW_TRY(const Tensor nested_absmax, part("#nested_absmax"));
    NARROW_TRY(const Tensor offset, part("#offset"));
    nested.codes = to_vector<std::uint8_t>(nested_codes);
    nested.absmax = to_vector<float>(nested_absmax);
    nested.offset = offset.data<float>()[0];
    b.nested.push_back(std::move(nested));
  }
  weight.codebook = std::make_shared<const encodings::CodebookMatrix>(std::move(b));
  return weight;
}

json to_json(const LinearOutcome& o) {
  return {{"name", o.name}, {"method", o.method}, {"bits", o.bits}, {"group_size", o.group_size}, {"rows", o.rows}, {"columns", o.columns}, {"error", o.error},
          {"rounding_error", o.rounding_error}, {"fell_back", o.fell_back}, {"note", o.note}, {"bytes_before", o.bytes_before}, {"bytes_after", o.bytes_after}};
}

LinearOutcome to_outcome(const json& j) {
  LinearOutcome o;
  o.name = j.at("name");
  o.method = j.at("method");
  o.bits = j.at("bits");
  o.group_size = j.at("group_size");
  o.rows = j.at("rows");
  o.columns = j.at("columns");
  o.error = j.at("error");
  o.rounding_error = j.at("rounding_error");
  o.fell_back = j.at("fell_back");
  o.note = j.at("note");
  o.bytes_before = j.at("bytes_before");
  o.bytes_after = j.at("bytes_after");
  return o;
}

}  // namespace

std::string Journal::path(std::int64_t layer) const { return (fs::path(folder_) / fmt::format("block_{:05}.safetensors", layer)).string(); }
bool Journal::has(std::int64_t layer) const { return fs::exists(path(layer)); }

Result<Journal> Journal::open(const std::string& folder, const std::string& job, bool resume) {
  std::error_code error;
  const fs::path job_path = fs::path(folder) / kJobFile;
  if (resume && fs::exists(job_path)) {
    NARROW_TRY(const auto file, base::MappedFile::open(job_path.string()));
    const std::string_view found(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size());
    if (found != job) {
      return invalid_argument(fmt::format("'{}' holds the blocks of another run: its model, recipe or calibration data differ", folder))
          .hint("Give the same options as then, or leave out --resume to start again.");
    }
    return Journal(folder);
  }
  fs::remove_all(folder, error);
  fs::create_directories(folder, error);
  if (error) return io_error(fmt::format("cannot create the folder '{}': {}", folder, error.message()));
  NARROW_RETURN_IF_ERROR(base::write_file(job_path.string(), job));
  return Journal(folder);
}

Status Journal::write(std::int64_t layer, const BlockResult& result) const {
  Parts parts;
  for (const auto& [name, weight] : result.matrices) add_matrix(name, weight, parts);
  for (const auto& [name, tensor] : result.tensors) {
    parts.description["tensors"].push_back(name);
    parts.tensors.emplace_back(name + "#tensor", tensor);
  }
  for (const LinearOutcome& outcome : result.linears) parts.description["linears"].push_back(to_json(outcome));
  std::vector<formats::TensorSpec> specs;
  for (const auto& [name, tensor] : parts.tensors) specs.push_back({name, tensor.dtype(), tensor.shape()});
  NARROW_TRY(auto writer, formats::safetensors::FileWriter::create(path(layer), specs, {{std::string(kKey), parts.description.dump()}}));
  for (std::size_t i = 0; i < parts.tensors.size(); ++i) NARROW_RETURN_IF_ERROR(writer.write(i, parts.tensors[i].second));
  return writer.finish();
}

Result<BlockResult> Journal::read(std::int64_t layer) const {
  NARROW_TRY(const auto file, formats::safetensors::Checkpoint::open(path(layer)));
  const auto text = file.metadata().find(std::string(kKey));
  if (text == file.metadata().end()) return corrupt(fmt::format("'{}' is not a block of this journal", path(layer))).hint("Leave out --resume to start again.");
  NARROW_TRY(const json description, wire::parse_json(text->second, path(layer)));
  BlockResult result;
  try {
    for (const auto& [name, entry] : description.at("matrices").items()) {
      NARROW_TRY(result.matrices[name], read_matrix(name, entry, file));
    }
    for (const json& name : description.at("tensors")) {
      NARROW_TRY(result.tensors[name.get<std::string>()], file.tensor(name.get<std::string>() + "#tensor"));
    }
    for (const json& outcome : description.at("linears")) result.linears.push_back(to_outcome(outcome));
  } catch (const json::exception& e) {
    return corrupt(fmt::format("'{}': {}", path(layer), e.what())).hint("Leave out --resume to start again.");
  }
  return result;
}

void Journal::remove() const {
  std::error_code error;
  fs::remove_all(folder_, error);
}

}  // namespace narrow::language
