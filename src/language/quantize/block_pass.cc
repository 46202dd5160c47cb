#include "language/quantize/block_pass.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace narrow::language {
namespace {

using graph::Dim;
using graph::Graph;
using graph::Node;
using graph::Type;
using graph::ValueId;

constexpr std::string_view kHidden = "hidden";
constexpr std::int64_t kChunkTokens = 2048;  // enough for products to run at full speed

Tensor positions_of(std::int64_t count, std::int64_t length) {
  Tensor positions = *Tensor::create(DType::kS64, {count, length});
  for (std::int64_t i = 0; i < count * length; ++i) positions.mutable_data<std::int64_t>()[static_cast<std::size_t>(i)] = i % length;
  return positions;
}

// The value is given from outside: nothing computes it any more.
void make_input(Graph& graph, ValueId value) {
  for (Node& node : graph.nodes) {
    for (ValueId& output : node.outputs) {
      if (output == value) output = graph.add_value("", Type());
    }
  }
  graph.value(value).type = Type::tensor(DType::kF32);
  graph.inputs.push_back(value);
}

}  // namespace

std::int64_t HiddenStates::chunk() const { return std::clamp<std::int64_t>(kChunkTokens / std::max<std::int64_t>(1, length), 1, std::max<std::int64_t>(1, sequences)); }

Result<HiddenStates> embed_sequences(const Spec& spec, const WeightSource& weights, const std::vector<std::vector<std::int64_t>>& sequences, int threads) {
  HiddenStates states;
  states.sequences = static_cast<std::int64_t>(sequences.size());
  states.length = static_cast<std::int64_t>(sequences.front().size());
  states.hidden = spec.hidden;
  states.values.resize(static_cast<std::size_t>(states.tokens() * states.hidden));
  NARROW_TRY(const Graph graph, build_embedding(spec, weights));
  NARROW_TRY(const auto session, runtime::Session::create(graph, {.threads = threads}));
  for (std::int64_t i = 0; i < states.sequences; ++i) {
    const Tensor ids = Tensor::from<std::int64_t>({1, states.length}, std::span<const std::int64_t>(sequences[static_cast<std::size_t>(i)]));
    std::vector<runtime::NamedTensor> inputs;
    inputs.emplace_back("input_ids", ids);
    inputs.emplace_back("position_ids", positions_of(1, states.length));
    NARROW_TRY(const std::vector<Tensor> out, session->run(inputs));
    std::memcpy(states.sequence(i), out[0].raw(), out[0].bytes());
  }
  return states;
}

// The block, with what is kept already coming from outside.
Result<Graph> BlockPass::build(const WeightSource& weights) const {
  NARROW_TRY(Graph graph, build_block(spec_, weights, layer_, {.positions = states_.length}));
  for (const auto& [name, tensors] : kept_) make_input(graph, graph.find_value(name));
  return graph;
}

Tensor BlockPass::hidden_of(std::int64_t chunk) const {
  const std::int64_t first = chunk * states_.chunk(), count = std::min(states_.chunk(), states_.sequences - first);
  return Tensor::from_borrowed(DType::kF32, {count, states_.length, states_.hidden}, const_cast<float*>(states_.sequence(first)));
}

Result<std::vector<Tensor>> BlockPass::run(runtime::Session& session, std::int64_t chunk) const {
  const std::int64_t first = chunk * states_.chunk(), count = std::min(states_.chunk(), states_.sequences - first);
  std::vector<runtime::NamedTensor> inputs;
  for (const ValueId id : session.graph().inputs) {
    const std::string& name = session.graph().value(id).name;
    if (name == kHidden) inputs.emplace_back(name, hidden_of(chunk));
    else if (name == "position_ids") inputs.emplace_back(name, positions_of(count, states_.length));
    else inputs.emplace_back(name, kept_.at(name)[static_cast<std::size_t>(chunk)]);
  }
  return session.run(inputs);
}

Status BlockPass::reach(const WeightSource& weights, const std::vector<std::string>& linears) {
  NARROW_TRY(Graph graph, build(weights));
  const graph::Uses uses(graph);
  graph.outputs.clear();
  std::vector<std::string> wanted;
  const auto want = [&](ValueId value) {
    const std::string& name = graph.value(value).name;
    if (name == kHidden) {  // the block's own input needs no computing
      for (std::int64_t chunk = 0; hidden_.size() < static_cast<std::size_t>(states_.chunks()); ++chunk) hidden_.push_back(hidden_of(chunk));
      return;
    }
    if (kept_.contains(name) || std::find(graph.outputs.begin(), graph.outputs.end(), value) != graph.outputs.end()) return;
    graph.outputs.push_back(value);
    wanted.push_back(name);
  };
  for (const std::string& linear : linears) {
    const auto node = std::find_if(graph.nodes.begin(), graph.nodes.end(), [&](const Node& n) { return n.name == linear; });
    if (node == graph.nodes.end()) return internal_error(fmt::format("the block has no Linear '{}'", linear));
    value_of_[linear] = graph.value(node->input(0)).name;
    want(node->input(0));
    const auto& readers = uses.readers[static_cast<std::size_t>(node->output(0))];
    if (readers.size() != 1 || readers[0].node < 0) continue;
    const Node& reader = graph.nodes[static_cast<std::size_t>(readers[0].node)];
    if (!reader.is("Add")) continue;
    const ValueId other = reader.input(0) == node->output(0) ? reader.input(1) : reader.input(0);
    residual_of_[linear] = graph.value(other).name;
    want(other);
  }
  if (wanted.empty()) return {};
  graph::remove_dead(graph);
  NARROW_TRY(const auto session, runtime::Session::create(graph, {.threads = threads_}));
  std::map<std::string, std::vector<Tensor>> found;
  for (std::int64_t chunk = 0; chunk < states_.chunks(); ++chunk) {
    NARROW_TRY(const std::vector<Tensor> out, run(*session, chunk));
    for (std::size_t i = 0; i < out.size(); ++i) found[wanted[i]].push_back(out[i].clone());
  }
  kept_.merge(found);
  return {};
}

const std::vector<Tensor>& BlockPass::values(const std::string& name) const { return name == kHidden ? hidden_ : kept_.at(name); }

const std::vector<Tensor>* BlockPass::residuals(const std::string& linear) const {
  const auto name = residual_of_.find(linear);
  return name == residual_of_.end() ? nullptr : &values(name->second);
}

void BlockPass::divide_inputs(const std::string& linear, std::span<const float> factors) {
  for (Tensor& tensor : kept_.at(value_of_.at(linear))) {
    const std::span<float> values = tensor.mutable_data<float>();
    for (std::size_t i = 0; i < values.size(); ++i) values[i] /= factors[i % factors.size()];
  }
}

Status BlockPass::finish(const WeightSource& weights, HiddenStates& states) {
  NARROW_TRY(Graph graph, build(weights));
  graph::remove_dead(graph);
  NARROW_TRY(const auto session, runtime::Session::create(graph, {.threads = threads_}));
  for (std::int64_t chunk = 0; chunk < states_.chunks(); ++chunk) {
    NARROW_TRY(const std::vector<Tensor> out, run(*session, chunk));
    std::memcpy(states.sequence(chunk * states.chunk()), out[0].raw(), out[0].bytes());
  }
  return {};
}

}  // namespace narrow::language
