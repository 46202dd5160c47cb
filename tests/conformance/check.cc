#include "conformance/check.h"

#include <fmt/format.h>

#include <memory>

#include "base/mapped_file.h"
#include "conformance/compare.h"
#include "evaluation/session.h"
#include "formats/onnx/onnx.h"
#include "runtime/session.h"

namespace narrow::conformance {
namespace {

Status compare(const Data& data, runtime::Session& session) {
  std::vector<runtime::NamedValue> inputs;
  for (const Value& input : data.inputs) inputs.emplace_back(input.name, input.value);
  NARROW_TRY(const std::vector<RuntimeValue> found, session.run_values(inputs));
  for (std::size_t i = 0; i < data.outputs.size(); ++i) {
    if (i >= found.size()) return internal_error(fmt::format("{} outputs, expected {}", found.size(), data.outputs.size()));
    const std::string what = difference(data.outputs[i].value, found[i]);
    if (!what.empty()) return internal_error(fmt::format("output '{}': {}", data.outputs[i].name, what));
  }
  return {};
}

Status run(const Case& one, const graph::Graph& graph, bool optimized) {
  NARROW_TRY(const auto session, optimized ? evaluation::open_session(graph, {}) : runtime::Session::create(graph, {}));
  for (const DataSet& set : one.sets) {
    NARROW_TRY(const Data data, read_data(one, set, graph));
    NARROW_RETURN_IF_ERROR(compare(data, *session));
  }
  return {};
}

// Of an attribute's value what can be told in a line.
struct ValueText {
  std::string operator()(std::int64_t v) const { return fmt::format("{}", v); }
  std::string operator()(float v) const { return fmt::format("{}", v); }
  std::string operator()(const std::string& v) const { return v; }
  std::string operator()(const Tensor& v) const { return to_string(RuntimeValue(v)); }
  std::string operator()(const graph::GraphPtr& v) const;
  std::string operator()(const graph::Type& v) const { return graph::to_string(v); }
  std::string operator()(const graph::Attribute::Foreign& v) const { return v.bytes; }
  template <typename T>
  std::string operator()(const std::vector<T>& list) const {
    std::string text;
    for (const T& v : list) text += (*this)(v) + ",";
    return text;
  }
};

// What must survive export and import: inputs, outputs and nodes, with names and types. Constants may be named anew.
std::string outline(const graph::Graph& graph) {
  std::string text;
  const auto add = [&](const char* what, const std::vector<graph::ValueId>& ids) {
    text += what;
    for (graph::ValueId id : ids) text += id == graph::kNoValue ? " -" : fmt::format(" {}:{}", graph.value(id).name, graph::to_string(graph.value(id).type));
    text += "\n";
  };
  add("inputs", graph.inputs);
  for (const graph::Node& node : graph.nodes) {
    add(fmt::format("{} {} {}", node.name, node.domain, node.op_type).c_str(), node.outputs);
    for (const graph::Attribute& attribute : node.attributes) text += fmt::format(" {}={}", attribute.name, std::visit(ValueText{}, attribute.value));
  }
  add("outputs", graph.outputs);
  return text;
}

std::string ValueText::operator()(const graph::GraphPtr& v) const { return outline(*v); }

// Exported, imported, and found to be the same model.
Result<graph::Model> rewritten(const graph::Model& model, const Case& one) {
  NARROW_TRY(std::string bytes, formats::onnx::export_bytes(model));
  const auto owner = std::make_shared<std::string>(std::move(bytes));
  NARROW_TRY(graph::Model again, formats::onnx::import_bytes({reinterpret_cast<const std::uint8_t*>(owner->data()), owner->size()},
                                                             one.name + " as exported", owner));
  const std::string before = outline(model.graph), after = outline(again.graph);
  if (before != after) return internal_error(fmt::format("export and import change the graph:\n{}became\n{}", before, after));
  return again;
}

std::string text(const Status& status) { return status.ok() ? "" : status.error().to_string(); }

}  // namespace

Outcome check(const Case& one) {
  Outcome outcome;
  const auto model = formats::onnx::import_file(one.model.string(), {});
  if (!model.ok()) {
    outcome.fill(model.error().to_string());
    return outcome;
  }
  outcome[kAsWritten] = text(run(one, model->graph, false));
  outcome[kOptimized] = text(run(one, model->graph, true));
  const auto again = rewritten(*model, one);
  if (!again.ok()) outcome[kKept] = again.error().to_string();
  outcome[kRewritten] = again.ok() ? text(run(one, again->graph, false)) : again.error().to_string();
  return outcome;
}

}  // namespace narrow::conformance
