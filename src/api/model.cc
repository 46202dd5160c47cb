#include "narrow/model.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>

#include "api/model_impl.h"
#include "base/text.h"
#include "evaluation/inventory.h"
#include "evaluation/work.h"
#include "formats/format.h"
#include "language/checkpoint.h"
#include "language/decoder.h"
#include "language/encoder.h"
#include "operators/operator.h"

namespace narrow {
namespace {

TensorInfo tensor_info(const graph::Value& value) {
  TensorInfo info;
  info.name = value.name;
  info.type = graph::to_string(value.type);
  info.element_type = std::string(to_string(value.type.dtype));
  info.ranked = value.type.ranked;
  for (const graph::Dim& dim : value.type.dims) info.shape.push_back(dim.size);
  return info;
}

std::uint64_t tensor_bytes(const std::vector<SizeClass>& sizes) {
  std::uint64_t total = 0;
  for (const SizeClass& entry : sizes) total += entry.bytes;
  return total;
}

// The file, and its external data when the tensors cannot all be inside it.
std::uint64_t stored_bytes(const std::string& path, std::uint64_t tensors) {
  std::error_code error;
  const std::uint64_t file = path.empty() ? 0 : std::filesystem::file_size(path, error);
  if (path.empty() || error) return tensors;
  return file >= tensors ? file : file + tensors;
}

bool same_file(const std::string& a, const std::string& b) {
  struct stat x {}, y {};
  return ::stat(a.c_str(), &x) == 0 && ::stat(b.c_str(), &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

// Whether some format that can be written has the path's extension.
bool names_format(std::string_view path) {
  for (const formats::Format& format : formats::formats()) {
    if (format.export_model == nullptr) continue;
    for (const std::string_view extension : format.extensions) {
      if (path.ends_with(extension)) return true;
    }
  }
  return false;
}

// A Hugging Face folder of an encoder, whose graph follows from its config.json.
Result<Model> load_encoder(const std::string& path) {
  NARROW_TRY(const language::Checkpoint checkpoint, language::open_checkpoint(path));
  const language::Spec& spec = checkpoint.spec;
  if (!spec.encoder) return unsupported(fmt::format("'{}' is a language model that goes on with texts, not one that maps inputs to outputs", path)).hint("narrow evaluate, quantize, generate and convert take it.");
  bool rounds = false;  // which no operator of ONNX says
  for (const std::string& name : language::all_linears(spec)) {
    NARROW_TRY(const language::MatrixForm form, checkpoint.weights->form(name));
    rounds = rounds || form.inputs.rounds();
  }
  graph::Model model;
  NARROW_TRY(model.graph, language::build_encoder(spec, *checkpoint.weights, rounds ? language::Form::kRun : language::Form::kOnnx));
  model.graph.name = spec.family;
  model.opsets = {{"", 24}, {"com.microsoft", 1}};
  model.source_path = path;
  model.source_format = "huggingface";
  return Model(std::make_shared<const Model::Impl>(std::move(model)));
}

}  // namespace

const Model::Impl::Typed& Model::Impl::typed() const {
  std::call_once(once_, [&] {
    typed_.graph = model.graph.clone();
    auto inferred = operators::infer_types(typed_.graph);
    if (!inferred.ok()) {
      typed_.graph = model.graph.clone();
      typed_.failure = inferred.error().to_string();
      return;
    }
    std::map<std::string, std::vector<std::string>> nodes_by_reason;
    for (const auto& gap : inferred->gaps) {
      nodes_by_reason[gap.reason].push_back(typed_.graph.nodes[static_cast<std::size_t>(gap.node)].name);
    }
    for (const auto& [reason, nodes] : nodes_by_reason) {
      typed_.gaps.push_back(nodes.size() == 1 ? fmt::format("'{}': {}", nodes[0], reason)
                                              : fmt::format("'{}' and {} more: {}", nodes[0], nodes.size() - 1, reason));
    }
  });
  return typed_;
}

std::vector<graph::ValueId> fed_inputs(const graph::Graph& graph) {
  std::vector<graph::ValueId> fed;
  for (const graph::ValueId id : graph.inputs) {
    if (graph.constant(id) == nullptr) fed.push_back(id);
  }
  return fed;
}

Result<Model> Model::load(const std::string& path, const LoadOptions& options) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error) && language::is_checkpoint(path)) return load_encoder(path);
  formats::ImportOptions import_options;
  import_options.allowed_roots = options.allowed_roots;
  NARROW_TRY(graph::Model model, formats::import_model(path, import_options));
  return Model(std::make_shared<const Impl>(std::move(model)));
}

Status Model::check_output(const std::string& path, bool is_model) const {
  std::vector<std::string> sources = impl_->model.data_paths;
  sources.push_back(impl_->model.source_path);
  for (const std::string& source : sources) {
    // Weights of a large model go to a file beside it.
    for (const std::string& written : {path, path + ".data"}) {
      if (!same_file(written, source)) continue;
      return invalid_argument(fmt::format("'{}' is {} the model was read from; narrow never writes over its input", written,
                                          source == impl_->model.source_path ? "the file" : "a data file"))
          .hint("Give another output name.");
    }
  }
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  const std::string folder = parent.empty() ? "." : parent.string();
  if (::access(folder.c_str(), W_OK | X_OK) != 0) {
    return io_error(fmt::format("cannot write '{}': {}: {}", path, folder, std::strerror(errno)))
        .hint("Check that the folder exists and that you may write to it.");
  }
  if (is_model && !names_format(path)) {
    return unsupported(fmt::format("cannot write '{}': no format has this extension", path))
        .hint("`narrow list formats` shows the formats and their extensions.");
  }
  return {};
}

Status Model::save(const std::string& path) const {
  NARROW_RETURN_IF_ERROR(check_output(path));
  return formats::export_model(impl_->model, path);
}

ModelInfo Model::info() const {
  const graph::Model& model = impl_->model;
  const Impl::Typed& typed = impl_->typed();
  ModelInfo info;
  info.path = model.source_path;
  info.format = model.source_format;
  info.ir_version = model.ir_version;
  info.opsets = model.opsets;
  info.producer = model.producer_name;
  if (!model.producer_version.empty()) info.producer += " " + model.producer_version;
  info.nodes = typed.graph.nodes.size();
  info.parameters = evaluation::count_parameters(typed.graph);
  info.multiply_adds = static_cast<std::uint64_t>(evaluation::count_work(typed.graph).multiply_adds());
  info.quantized = evaluation::is_quantized(typed.graph);
  for (const graph::ValueId id : fed_inputs(typed.graph)) info.inputs.push_back(tensor_info(typed.graph.value(id)));
  for (const graph::ValueId id : typed.graph.outputs) info.outputs.push_back(tensor_info(typed.graph.value(id)));
  info.operators = evaluation::count_operators(typed.graph);
  info.sizes = evaluation::size_by_class(typed.graph);
  const std::uint64_t tensors = tensor_bytes(info.sizes);
  info.size_bytes = stored_bytes(info.path, tensors);
  if (info.size_bytes > tensors) info.sizes.push_back({"graph and names", info.size_bytes - tensors, 0});
  if (!typed.failure.empty()) info.notes.push_back(typed.failure);
  for (const std::string& gap : typed.gaps) info.notes.push_back("type not known: " + gap);
  for (const OperatorCount& op : info.operators) {
    if (!op.runnable) {
      info.notes.push_back(fmt::format("narrow cannot run {}{}{}: it is kept as it is and stays float", op.domain,
                                       op.domain.empty() ? "" : ".", op.op_type));
    }
  }
  if (const auto recipe = model.metadata.find("narrow.recipe"); recipe != model.metadata.end()) info.recipe = recipe->second;
  return info;
}

}  // namespace narrow
