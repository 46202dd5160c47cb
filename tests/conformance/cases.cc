#include "conformance/cases.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/mapped_file.h"
#include "formats/onnx/tensor_reader.h"

namespace narrow::conformance {
namespace {

namespace fs = std::filesystem;

bool wanted(const std::string& name, const std::vector<std::string>& filters) {
  return filters.empty() || std::any_of(filters.begin(), filters.end(), [&](const std::string& f) { return name.find(f) != std::string::npos; });
}

std::vector<fs::path> numbered(const fs::path& stem) {
  std::vector<fs::path> files;
  while (fs::exists(stem.string() + fmt::format("{}.pb", files.size()))) files.push_back(stem.string() + fmt::format("{}.pb", files.size()));
  return files;
}

std::vector<fs::path> sorted_entries(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) entries.push_back(entry.path());
  std::sort(entries.begin(), entries.end());
  return entries;
}

// <group>/<case>/model.onnx with test_data_set_N/input_K.pb, or <group>/<case>.onnx with <case>_output_K.pb.
void add_cases(const fs::path& entry, const std::string& group, std::vector<Case>& cases) {
  Case one;
  one.name = group + "/" + entry.stem().string();
  if (fs::is_regular_file(entry) && entry.extension() == ".onnx") {
    one.model = entry;
    one.made_inputs = true;
    one.sets.push_back({{}, numbered(entry.parent_path() / (entry.stem().string() + "_output_"))});
    if (!one.sets[0].outputs.empty()) cases.push_back(std::move(one));
    return;
  }
  one.model = entry / "model.onnx";
  if (!fs::is_regular_file(one.model)) return;
  for (const fs::path& set : sorted_entries(entry)) {
    if (!set.filename().string().starts_with("test_data_set_")) continue;
    one.sets.push_back({numbered(set / "input_"), numbered(set / "output_")});
  }
  if (!one.sets.empty()) cases.push_back(std::move(one));
}

Result<Tensor> made_input(const graph::Value& value) {
  if (value.type.dtype != DType::kF32 || !value.type.ranked) {
    return unsupported(fmt::format("input '{}' is {}, and there is no file for it", value.name, graph::to_string(value.type)));
  }
  Shape shape;
  for (const graph::Dim& dim : value.type.dims) shape.push_back(dim.known() ? dim.size : 1);
  NARROW_TRY(Tensor tensor, Tensor::create(DType::kF32, shape));
  const double n = static_cast<double>(tensor.size());
  for (std::int64_t i = 0; i < tensor.size(); ++i) tensor.mutable_data<float>()[i] = static_cast<float>(static_cast<double>(i) / n);
  return tensor;
}

// Field numbers of SequenceProto and OptionalProto (onnx-data.proto).
enum : std::uint32_t { kSequenceElemType = 2, kTensorValues = 3, kOptionalTensor = 3, kOptionalSequence = 5 };

using formats::onnx::TensorSource;
using wire::ProtoField;

Result<RuntimeValue> read_one_tensor(const ProtoField& message, const TensorSource& source) {
  NARROW_TRY(formats::onnx::NamedTensor named, formats::onnx::read_tensor(message, source));
  return RuntimeValue(std::move(named.tensor));
}

Result<RuntimeValue> read_sequence(const ProtoField& message, const graph::Type& type, const TensorSource& source) {
  RuntimeValue::Sequence tensors;
  wire::ProtoReader reader(message);
  ProtoField field;
  while (true) {
    NARROW_TRY(const bool more, reader.next(field));
    if (!more) break;
    if (field.number == kSequenceElemType || field.type != wire::WireType::kBytes) continue;
    if (field.number > kTensorValues) return unsupported("a sequence of something else than tensors");
    if (field.number != kTensorValues) continue;
    NARROW_TRY(RuntimeValue value, read_one_tensor(field, source));
    tensors.push_back(std::move(value.tensor()));
  }
  const DType dtype = tensors.empty() ? type.dtype : tensors[0].dtype();
  return RuntimeValue::sequence(dtype, std::move(tensors));
}

Result<RuntimeValue> read_optional(const ProtoField& message, const graph::Type& type, const TensorSource& source) {
  wire::ProtoReader reader(message);
  ProtoField field;
  while (true) {
    NARROW_TRY(const bool more, reader.next(field));
    if (!more) return RuntimeValue::nothing();
    if (field.type != wire::WireType::kBytes) continue;
    if (field.number == kOptionalTensor) return read_one_tensor(field, source);
    if (field.number == kOptionalSequence) return read_sequence(field, type, source);
  }
}

Result<RuntimeValue> read_message(const ProtoField& message, const graph::Type& type, const TensorSource& source) {
  switch (type.kind) {
    case graph::TypeKind::kTensor:
    case graph::TypeKind::kUnknown: return read_one_tensor(message, source);
    case graph::TypeKind::kSequence: return read_sequence(message, type, source);
    case graph::TypeKind::kOptional: return read_optional(message, type, source);
    case graph::TypeKind::kOther: break;
  }
  return unsupported("a type that narrow does not run");
}

Result<Value> read_value(const fs::path& path, const graph::Value& declared) {
  NARROW_TRY(const auto file, base::MappedFile::open(path.string()));
  ProtoField message;
  message.type = wire::WireType::kBytes;
  message.bytes = file->bytes();
  auto value = read_message(message, declared.type, {file, nullptr});
  if (!value.ok()) return std::move(value).error().context(fmt::format("in '{}'", path.filename().string()));
  return Value{declared.name, *std::move(value)};
}

}  // namespace

Result<std::vector<Case>> find_cases(const fs::path& root, const std::vector<std::string>& filters) {
  std::vector<Case> cases;
  for (const fs::path& group : sorted_entries(root)) {
    if (!fs::is_directory(group)) continue;
    for (const fs::path& entry : sorted_entries(group)) add_cases(entry, group.filename().string(), cases);
  }
  if (cases.empty()) return not_found(fmt::format("'{}' holds no case: expected <group>/<case>/model.onnx", root.string()));
  std::erase_if(cases, [&](const Case& one) { return !wanted(one.name, filters); });
  return cases;
}

Result<Data> read_data(const Case& one, const DataSet& set, const graph::Graph& graph) {
  // The files count the inputs that have no initializer, unless there are enough for all.
  std::vector<graph::ValueId> inputs = graph.inputs;
  if (one.made_inputs || set.inputs.size() != inputs.size()) {
    std::erase_if(inputs, [&](graph::ValueId id) { return graph.constant(id) != nullptr; });
  }
  if (!one.made_inputs && set.inputs.size() > inputs.size()) {
    return corrupt(fmt::format("{} input files for {} inputs", set.inputs.size(), inputs.size()));
  }
  if (set.outputs.size() > graph.outputs.size()) {
    return corrupt(fmt::format("{} output files for {} outputs", set.outputs.size(), graph.outputs.size()));
  }
  Data data;
  for (std::size_t i = 0; i < (one.made_inputs ? inputs.size() : set.inputs.size()); ++i) {
    const graph::Value& declared = graph.value(inputs[i]);
    if (one.made_inputs) {
      NARROW_TRY(Tensor tensor, made_input(declared));
      data.inputs.push_back({declared.name, std::move(tensor)});
    } else {
      NARROW_TRY(Value value, read_value(set.inputs[i], declared));
      data.inputs.push_back(std::move(value));
    }
  }
  for (std::size_t i = 0; i < set.outputs.size(); ++i) {
    NARROW_TRY(Value value, read_value(set.outputs[i], graph.value(graph.outputs[i])));
    data.outputs.push_back(std::move(value));
  }
  return data;
}

}  // namespace narrow::conformance
