// ModelProto to Model.
#include <fmt/format.h>

#include <filesystem>
#include <optional>

#include "base/mapped_file.h"
#include "formats/onnx/entry.h"
#include "formats/onnx/graph_reader.h"
#include "formats/onnx/normalise.h"
#include "formats/onnx/onnx.h"
#include "formats/onnx/operator_set.h"
#include "formats/onnx/schema.h"

namespace narrow::formats::onnx {
namespace {

using wire::ProtoField;
using wire::ProtoReader;
using wire::WireType;

std::string_view as_text(std::span<const std::uint8_t> bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

bool is_lfs_pointer(std::span<const std::uint8_t> bytes) { return as_text(bytes).starts_with("version https://git-lfs"); }

Status read_opset(const ProtoField& message, graph::Model& model) {
  std::string domain;
  std::int64_t version = 0;
  ProtoReader reader(message);
  ProtoField field;
  while (true) {
    NARROW_TRY(const bool more, reader.next(field));
    if (!more) break;
    if (field.number == opset_field::kDomain) {
      NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kBytes, "OperatorSetIdProto.domain"));
      domain = field.text() == "ai.onnx" ? std::string_view() : field.text();
    } else if (field.number == opset_field::kVersion) {
      NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kVarint, "OperatorSetIdProto.version"));
      version = field.as_int();
    }
  }
  if (version < 1) return corrupt(fmt::format("opset_import of domain '{}' has the version {}", domain, version));
  if (!model.opsets.emplace(domain, version).second) return corrupt(fmt::format("domain '{}' is imported twice", domain));
  return {};
}

class ModelReader {
 public:
  ModelReader(graph::Model& model) : model_(model) {}

  Status read(std::span<const std::uint8_t> bytes) {
    ProtoReader reader(bytes);
    ProtoField field;
    while (true) {
      NARROW_TRY(const bool more, reader.next(field));
      if (!more) return {};
      NARROW_RETURN_IF_ERROR(read_field(field));
    }
  }

  const std::optional<ProtoField>& graph() const { return graph_; }
  FunctionTable& functions() { return functions_; }

 private:
  Status read_field(const ProtoField& field) {
    const auto text = [&](std::string& out) -> Status {
      NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kBytes, "ModelProto"));
      out = field.text();
      return {};
    };
    const auto number = [&](std::int64_t& out) -> Status {
      NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kVarint, "ModelProto"));
      out = field.as_int();
      return {};
    };
    switch (field.number) {
      case model_field::kIrVersion: return number(model_.ir_version);
      case model_field::kModelVersion: return number(model_.model_version);
      case model_field::kProducerName: return text(model_.producer_name);
      case model_field::kProducerVersion: return text(model_.producer_version);
      case model_field::kDomain: return text(model_.domain);
      case model_field::kDoc: return text(model_.doc);
      case model_field::kGraph:
        NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kBytes, "ModelProto.graph"));
        if (graph_) return corrupt("the model has two graphs");
        graph_ = field;
        return {};
      case model_field::kOpsetImport:
        NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kBytes, "ModelProto.opset_import"));
        return read_opset(field, model_);
      case model_field::kMetadata: {
        NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kBytes, "ModelProto.metadata_props"));
        std::string key, value;
        NARROW_RETURN_IF_ERROR(read_entry(field, "StringStringEntryProto", key, value));
        model_.metadata[key] = value;
        return {};
      }
      case model_field::kFunctions:
        NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kBytes, "ModelProto.functions"));
        return functions_.add(field);
      case model_field::kTrainingInfo:
      case model_field::kConfiguration: {
        NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kBytes, "ModelProto"));
        wire::ProtoMessage carried;
        carried.add_string(field.number, field.text());
        model_.foreign.push_back(carried.to_string());
        return {};
      }
      default: return {};
    }
  }

  graph::Model& model_;
  std::optional<ProtoField> graph_;
  FunctionTable functions_;
};

Status check_versions(const graph::Model& model) {
  if (model.ir_version < kOldestIr || model.ir_version > kNewestIr) {
    return unsupported(fmt::format("the model has IR version {}, expected {} to {}", model.ir_version, kOldestIr, kNewestIr))
        .hint(model.ir_version > kNewestIr ? "Export the model for an older ONNX version." : "Is this an ONNX model?");
  }
  const auto it = model.opsets.find("");
  if (it != model.opsets.end() && it->second > kNewestOpset) {
    return unsupported(fmt::format("the model uses opset {} of ai.onnx, the newest known is {}", it->second, kNewestOpset))
        .hint("Export the model with an older opset.");
  }
  return {};
}

}  // namespace

bool probe(std::span<const std::uint8_t> head, std::string_view path) {
  if (path.ends_with(".onnx")) return true;
  // ir_version first, then a producer, domain or graph: how every exporter starts.
  return head.size() > 3 && head[0] == 0x08 && head[1] >= kOldestIr && head[1] <= kNewestIr && (head[2] == 0x12 || head[2] == 0x3A);
}

Result<graph::Model> import_bytes(std::span<const std::uint8_t> bytes, const std::string& label, std::shared_ptr<const void> owner,
                                  const std::string& folder, const ImportOptions& options) {
  const auto while_reading = [&] { return fmt::format("while reading the ONNX model '{}'", label); };
  if (bytes.empty()) return corrupt(fmt::format("'{}' is empty, expected an ONNX model", label));
  if (is_lfs_pointer(bytes)) {
    return corrupt(fmt::format("'{}' is a git-lfs pointer, not the model itself", label)).hint("Fetch the file first: git lfs pull.");
  }
  graph::Model model;
  model.source_format = "onnx";
  model.source_path = label;
  ModelReader reader(model);
  NARROW_RETURN_IF_ERROR(reader.read(bytes).context(while_reading()));
  if (!reader.graph()) return corrupt(fmt::format("'{}' holds no graph, expected an ONNX model", label));
  for (const auto& [domain, version] : reader.functions().opsets()) model.opsets.emplace(domain, version);
  NARROW_RETURN_IF_ERROR(check_versions(model).context(while_reading()));
  ExternalData external(folder, options.allowed_roots);
  std::string annotations;
  const GraphContext context{{std::move(owner), &external}, label, &annotations, &reader.functions()};
  Scope scope{&model.graph, nullptr, 1};
  NARROW_RETURN_IF_ERROR(read_graph(*reader.graph(), scope, context).context(while_reading()));
  model.data_paths = external.paths();
  if (!annotations.empty()) {
    wire::ProtoMessage carried;
    carried.add_string(model_field::kGraph, annotations);
    model.foreign.push_back(carried.to_string());
  }
  NARROW_RETURN_IF_ERROR(check_operators(model).context(while_reading()));
  NARROW_RETURN_IF_ERROR(normalise(model).context(while_reading()));
  return model;
}

Result<graph::Model> import_file(const std::string& path, const ImportOptions& options) {
  NARROW_TRY(const auto file, base::MappedFile::open(path));
  std::string folder = std::filesystem::path(path).parent_path().string();
  if (folder.empty()) folder = ".";
  return import_bytes(file->bytes(), path, file, folder, options);
}

}  // namespace narrow::formats::onnx
