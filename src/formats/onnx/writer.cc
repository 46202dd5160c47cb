// Model to ModelProto and, for large models, a data file beside it.
#include <fmt/format.h>

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/atomic_file.h"
#include "base/checked.h"
#include "base/text.h"
#include "formats/onnx/graph_writer.h"
#include "formats/onnx/lower.h"
#include "formats/onnx/onnx.h"
#include "formats/onnx/schema.h"

namespace narrow::formats::onnx {
namespace {

using graph::Graph;
using wire::ProtoMessage;

constexpr std::int64_t kDefaultOpset = 13;           // of models from other formats: per-channel quantization exists
constexpr std::uint64_t kSmallestExternal = 1024;    // smaller tensors (shapes, scales) stay readable in the model
constexpr std::uint64_t kHeadroom = 1 << 20;

void collect_domains(const Graph& graph, std::map<std::string, std::int64_t>& opsets) {
  for (const graph::Node& node : graph.nodes) {
    opsets.emplace(node.domain, 1);
    for (const graph::Attribute& attribute : node.attributes) {
      if (const auto* one = std::get_if<graph::GraphPtr>(&attribute.value)) collect_domains(**one, opsets);
      if (const auto* many = std::get_if<std::vector<graph::GraphPtr>>(&attribute.value)) {
        for (const graph::GraphPtr& sub : *many) collect_domains(*sub, opsets);
      }
    }
  }
}

bool all_initializers_are_inputs(const Graph& graph) {
  std::vector<bool> is_input(graph.values.size(), false);
  for (graph::ValueId id : graph.inputs) is_input[id] = true;
  for (std::size_t v = 0; v < graph.values.size(); ++v) {
    if (graph.values[v].constant && !is_input[v]) return false;
  }
  return true;
}

bool has_metadata(const Graph& graph) {
  return std::any_of(graph.nodes.begin(), graph.nodes.end(), [](const graph::Node& n) { return !n.metadata.empty(); });
}

ProtoMessage metadata_entry(std::string_view key, std::string_view value) {
  ProtoMessage message;
  message.add_string(entry_field::kKey, key);
  message.add_string(entry_field::kValue, value);
  return message;
}

// Carried parts of the main graph, encoded as that field of the model, are put back inside it.
std::string carried_graph_fields(const graph::Model& model) {
  std::string fields;
  for (const std::string& part : model.foreign) {
    wire::ProtoReader reader({reinterpret_cast<const std::uint8_t*>(part.data()), part.size()});
    wire::ProtoField field;
    const Result<bool> read = reader.next(field);
    if (read.ok() && *read && field.number == model_field::kGraph) fields += field.text();
  }
  return fields;
}

bool is_graph_part(const std::string& part) { return !part.empty() && static_cast<std::uint8_t>(part[0]) == ((model_field::kGraph << 3) | 2); }

// What every form of the file shares: the graph lowered to the opset that is written.
struct Prepared {
  const graph::Model& model;
  Graph graph;
  std::map<std::string, std::int64_t> opsets;
  std::int64_t ir_version;
};

Prepared prepare(const graph::Model& model, std::int64_t wanted) {
  Prepared out{model, model.graph.clone(), model.opsets, 0};
  const bool from_onnx = model.source_format == "onnx" && model.opsets.contains("");
  const std::int64_t natural = from_onnx ? std::max<std::int64_t>(7, model.opsets.at("")) : kDefaultOpset;
  const std::int64_t at_least = wanted != 0 ? wanted : natural;
  const std::int64_t opset = required_opset(out.graph, at_least);
  lower(out.graph, opset);
  collect_domains(out.graph, out.opsets);
  out.opsets[""] = opset;
  out.ir_version = std::max(ir_version_of(opset), model.source_format == "onnx" ? model.ir_version : kOldestIr);
  if (!all_initializers_are_inputs(out.graph)) out.ir_version = std::max<std::int64_t>(out.ir_version, 4);
  if (has_metadata(out.graph)) out.ir_version = std::max<std::int64_t>(out.ir_version, 10);
  return out;
}

ProtoMessage write_model(const Prepared& prepared, ExternalLayout* external) {
  const graph::Model& model = prepared.model;
  ProtoMessage message;
  message.add_int(model_field::kIrVersion, prepared.ir_version);
  message.add_string(model_field::kProducerName, model.producer_name.empty() ? "narrow" : model.producer_name);
  if (!model.producer_version.empty()) message.add_string(model_field::kProducerVersion, model.producer_version);
  if (!model.domain.empty()) message.add_string(model_field::kDomain, model.domain);
  if (model.model_version != 0) message.add_int(model_field::kModelVersion, model.model_version);
  if (!model.doc.empty()) message.add_string(model_field::kDoc, model.doc);
  ProtoMessage graph = write_graph(prepared.graph, external);
  const bool from_onnx = model.source_format == "onnx";
  if (from_onnx) graph.add_encoded(carried_graph_fields(model));
  message.add_message(model_field::kGraph, graph);
  for (const auto& [domain, version] : prepared.opsets) {
    ProtoMessage opset;
    opset.add_string(opset_field::kDomain, domain);
    opset.add_int(opset_field::kVersion, version);
    message.add_message(model_field::kOpsetImport, opset);
  }
  for (const auto& [key, value] : model.metadata) message.add_message(model_field::kMetadata, metadata_entry(key, value));
  for (const std::string& part : model.foreign) {
    if (from_onnx && !is_graph_part(part)) message.add_encoded(part);
  }
  return message;
}

// Weights are mostly pages of a mapped file: once written they need not stay in memory. A hint without effect elsewhere.
void release_pages(wire::ByteSpan bytes) {
#ifdef MADV_PAGEOUT
  constexpr std::uintptr_t kPage = 4096;
  const std::uintptr_t start = base::round_up(reinterpret_cast<std::uintptr_t>(bytes.data()), kPage);
  const std::uintptr_t end = reinterpret_cast<std::uintptr_t>(bytes.data() + bytes.size()) / kPage * kPage;
  if (end > start) ::madvise(reinterpret_cast<void*>(start), end - start, MADV_PAGEOUT);
#else
  (void)bytes;
#endif
}

Status write_data_file(base::AtomicFile& file, const ExternalLayout& layout) {
  static constexpr std::uint8_t kZeros[4096] = {};
  constexpr std::size_t kChunk = std::size_t{32} << 20;
  for (const ExternalLayout::Entry& entry : layout.entries()) {
    const std::uint64_t gap = entry.offset - file.position();
    NARROW_RETURN_IF_ERROR(file.write(std::span(kZeros, static_cast<std::size_t>(gap))));
    for (std::size_t at = 0; at < entry.bytes.size(); at += kChunk) {
      const wire::ByteSpan chunk = entry.bytes.subspan(at, std::min(kChunk, entry.bytes.size() - at));
      NARROW_RETURN_IF_ERROR(file.write(chunk));
      if (chunk.size() == kChunk) release_pages(chunk);
    }
  }
  return {};
}

}  // namespace

Status export_file(const graph::Model& model, const std::string& path, const ExportOptions& options) {
  if (options.opset != 0 && (options.opset < 7 || options.opset > kNewestOpset)) {
    return invalid_argument(fmt::format("cannot write opset {}, expected 7 to {}", options.opset, kNewestOpset));
  }
  const Prepared prepared = prepare(model, options.opset);
  const auto in_file = [&] { return fmt::format("while writing the ONNX model '{}'", path); };
  ProtoMessage message = write_model(prepared, nullptr);
  const std::uint64_t limit = options.external_data_above != 0 ? std::min(options.external_data_above, wire::kMaxMessageBytes)
                                                               : wire::kMaxMessageBytes - kHeadroom;
  if (message.size() <= limit) {
    NARROW_TRY(base::AtomicFile file, base::AtomicFile::create(path));
    NARROW_RETURN_IF_ERROR(message.write([&](wire::ByteSpan piece) { return file.write(piece); }));
    return file.commit();
  }
  ExternalLayout layout(std::filesystem::path(path).filename().string() + ".data", kSmallestExternal);
  message = write_model(prepared, &layout);
  if (message.size() > wire::kMaxMessageBytes) {
    return unsupported(fmt::format("the model needs {} without its weights, ONNX files hold at most 2 GiB", base::human_bytes(message.size()))).context(in_file());
  }
  const std::string data_path = path + ".data";
  NARROW_TRY(base::AtomicFile data, base::AtomicFile::create(data_path));
  NARROW_RETURN_IF_ERROR(write_data_file(data, layout));
  NARROW_TRY(base::AtomicFile file, base::AtomicFile::create(path));
  NARROW_RETURN_IF_ERROR(message.write([&](wire::ByteSpan piece) { return file.write(piece); }));
  NARROW_RETURN_IF_ERROR(data.commit());
  Status status = file.commit();
  if (!status.ok()) ::unlink(data_path.c_str());
  return status;
}

Result<std::string> export_bytes(const graph::Model& model) {
  const Prepared prepared = prepare(model, 0);
  const ProtoMessage message = write_model(prepared, nullptr);
  if (message.size() > wire::kMaxMessageBytes) return unsupported("the model is larger than one ONNX message can be");
  return message.to_string();
}

}  // namespace narrow::formats::onnx
