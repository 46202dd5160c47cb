#include <fmt/format.h>

#include <cstring>

#include "api/data_impl.h"
#include "api/model_impl.h"
#include "narrow/evaluate.h"
#include "runtime/session.h"

namespace narrow {
namespace {

Result<std::vector<Tensor>> run_once(const graph::Graph& graph, const datasets::Sample& sample, int threads) {
  runtime::SessionOptions options;
  options.threads = threads;
  NARROW_TRY(const auto session, runtime::Session::create(graph, options));
  const std::vector<runtime::NamedValue> inputs(sample.inputs.begin(), sample.inputs.end());
  NARROW_TRY(const std::vector<RuntimeValue> outputs, session->run_values(inputs));
  std::vector<Tensor> kept;
  for (const RuntimeValue& output : outputs) {
    if (output.is_tensor()) kept.push_back(output.tensor().clone());
    if (output.is_sequence()) kept.insert(kept.end(), output.sequence().begin(), output.sequence().end());
  }
  return kept;
}

Error differs(const std::string& path, const std::string& what) {
  return internal_error(fmt::format("'{}' does not read back as it was written: {}", path, what));
}

Status same_structure(const std::string& path, const graph::Graph& a, const graph::Graph& b) {
  if (a.nodes.size() != b.nodes.size()) return differs(path, fmt::format("{} nodes became {}", a.nodes.size(), b.nodes.size()));
  if (a.inputs.size() != b.inputs.size() || a.outputs.size() != b.outputs.size()) return differs(path, "its inputs or outputs");
  return {};
}

Result<datasets::Sample> pick_sample(const Model& model, const Data* data) {
  if (data != nullptr) return data->impl().samples->read(0);
  NARROW_TRY(const Data synthetic, Data::synthetic(model, 1, 0));
  return synthetic.impl().samples->read(0);
}

}  // namespace

Status verify_written(const std::string& path, const Model& written, const Data* data, int threads) {
  auto read = Model::load(path);
  if (!read.ok()) return std::move(read).error().context("while reading back what was written");
  const graph::Graph &before = written.impl().model.graph, &after = read->impl().model.graph;
  const auto sample = pick_sample(written, data);
  if (!sample.ok()) return same_structure(path, before, after);
  const auto expected = run_once(before, *sample, threads);
  if (!expected.ok()) return same_structure(path, before, after);
  auto found = run_once(after, *sample, threads);
  if (!found.ok()) return std::move(found).error().context("while running what was written");
  if (found->size() != expected->size()) return differs(path, "its outputs");
  for (std::size_t i = 0; i < expected->size(); ++i) {
    const Tensor &x = (*expected)[i], &y = (*found)[i];
    const bool same = x.dtype() == y.dtype() && x.shape() == y.shape() &&
                      (x.dtype() == DType::kString || x.size() == 0 || std::memcmp(x.raw(), y.raw(), x.bytes()) == 0);
    if (!same) return differs(path, fmt::format("output {} has other values", i));
  }
  return {};
}

}  // namespace narrow
