#include "runtime/subgraph.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "base/text.h"
#include "runtime/executor.h"

namespace narrow::runtime {
namespace {

using graph::kNoValue;
using graph::ValueId;

class BodySubgraph final : public operators::Subgraph {
 public:
  BodySubgraph(std::unique_ptr<Executor> executor, std::vector<std::string> captured)
      : executor_(std::move(executor)), captured_(std::move(captured)) {}

  Result<std::vector<RuntimeValue>> run(std::span<const RuntimeValue> inputs, operators::RunContext& outer) override {
    const graph::Graph& graph = executor_->graph();
    if (inputs.size() != graph.inputs.size()) {
      return corrupt(fmt::format("the subgraph '{}' takes {} inputs, got {}", base::escape_controls(graph.name),
                                 graph.inputs.size(), inputs.size()));
    }
    std::vector<RuntimeValue> feeds(inputs.begin(), inputs.end());
    for (const std::string& name : captured_) {
      const RuntimeValue* value = outer.captured(name);
      if (value == nullptr) {
        return corrupt(fmt::format("the subgraph '{}' reads '{}', which no enclosing graph provides",
                                   base::escape_controls(graph.name), base::escape_controls(name)));
      }
      feeds.push_back(*value);
    }
    return executor_->run(feeds, &outer);
  }

 private:
  std::unique_ptr<Executor> executor_;
  std::vector<std::string> captured_;
};

}  // namespace

Result<std::unique_ptr<operators::Subgraph>> make_subgraph(const graph::Graph& body, const graph::Graph& enclosing,
                                                           Environment& environment, int depth, std::string scope) {
  if (depth > kMaxSubgraphDepth) {
    return unsupported(fmt::format("graph '{}': subgraphs nest deeper than {}", base::escape_controls(body.name), kMaxSubgraphDepth));
  }
  graph::Graph graph = body.clone();
  std::vector<ValueId> feeds = graph.inputs;
  std::vector<std::string> captured;
  for (std::size_t v = 0; v < graph.values.size(); ++v) {
    graph::Value& value = graph.values[v];
    if (!value.captured) continue;
    const ValueId id = enclosing.find_value(value.name);
    if (id != kNoValue) value.type = enclosing.value(id).type;
    if (const Tensor* constant = enclosing.constant(id)) {
      value.constant = *constant;
      value.captured = false;
      continue;
    }
    feeds.push_back(static_cast<ValueId>(v));
    captured.push_back(value.name);
  }
  PlanRequest request;
  request.outputs_in_arena = false;
  request.depth = depth;
  request.scope = std::move(scope);
  NARROW_TRY(std::unique_ptr<Executor> executor,
             Executor::create(std::move(graph), std::move(feeds), std::move(request), environment));
  return std::unique_ptr<operators::Subgraph>(std::make_unique<BodySubgraph>(std::move(executor), std::move(captured)));
}

}  // namespace narrow::runtime
