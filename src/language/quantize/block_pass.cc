#include "language/quantize/block_pass.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/memory.h"

namespace narrow::language {
namespace {

using graph::Dim;
using graph::Graph;
using graph::Node;
using graph::Type;
using graph::ValueId;

constexpr std::string_view kHidden = "hidden";
constexpr std::int64_t kChunkTokens = 1024;  // enough for products to run at full speed

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

// A copy that gives its memory back to the system: chunks come and go between others of other sizes.
Result<Tensor> keep(const Tensor& value, const std::string& spill_folder) {
  if (!spill_folder.empty()) {
    NARROW_TRY(const std::shared_ptr<void> pages, base::file_pages(spill_folder, value.bytes()));
    std::memcpy(pages.get(), value.raw(), value.bytes());
    return Tensor::from_shared(value.dtype(), value.shape(), pages, pages.get());
  }
  const std::shared_ptr<void> pages = base::system_pages(value.bytes());
  if (pages == nullptr) return resource_exhausted(fmt::format("out of memory: what a block's Linears read takes {} bytes more", value.bytes()));
  std::memcpy(pages.get(), value.raw(), value.bytes());
  return Tensor::from_shared(value.dtype(), value.shape(), pages, pages.get());
}

}  // namespace

std::int64_t HiddenStates::chunk() const { return std::clamp<std::int64_t>(kChunkTokens / std::max<std::int64_t>(1, length), 1, std::max<std::int64_t>(1, sequences)); }

Result<HiddenStates> HiddenStates::copy() const {
  HiddenStates made;
  made.sequences = sequences;
  made.length = length;
  made.hidden = hidden;
  made.spill_folder = spill_folder;
  NARROW_RETURN_IF_ERROR(made.allocate());
  for (std::int64_t chunk_at = 0; chunk_at < chunks(); ++chunk_at) {
    const std::int64_t first = chunk_at * chunk(), count = std::min(chunk(), sequences - first);
    std::copy_n(sequence(first), count * length * hidden, made.sequence(first));
    release(chunk_at);
    made.release(chunk_at);
  }
  return made;
}

Status HiddenStates::allocate() {
  const auto count = static_cast<std::size_t>(tokens() * hidden);
  if (spill_folder.empty()) {
    values.resize(count);
  } else if (spilled == nullptr) {
    NARROW_TRY(spilled, base::file_pages(spill_folder, count * sizeof(float)));
  }
  return {};
}

void HiddenStates::clear() {
  values = {};
  spilled.reset();
}

void HiddenStates::release(std::int64_t chunk_at) const {
  if (spilled == nullptr) return;
  const std::int64_t first = chunk_at * chunk(), count = std::min(chunk(), sequences - first);
  base::release_file_pages(sequence(first), static_cast<std::size_t>(count * length * hidden) * sizeof(float));
}

Result<HiddenStates> embed_sequences(const Spec& spec, const WeightSource& weights, const std::vector<std::vector<std::int64_t>>& sequences, int threads,
                                     const std::string& spill_folder) {
  HiddenStates states;
  states.sequences = static_cast<std::int64_t>(sequences.size());
  states.length = static_cast<std::int64_t>(sequences.front().size());
  states.hidden = spec.hidden;
  states.spill_folder = spill_folder;
  NARROW_RETURN_IF_ERROR(states.allocate());
  NARROW_TRY(const Graph graph, build_embedding(spec, weights));
  NARROW_TRY(const auto session, runtime::Session::create(graph, {.threads = threads}));
  for (std::int64_t i = 0; i < states.sequences; ++i) {
    const Tensor ids = Tensor::from<std::int64_t>({1, states.length}, std::span<const std::int64_t>(sequences[static_cast<std::size_t>(i)]));
    std::vector<runtime::NamedTensor> inputs;
    inputs.emplace_back("input_ids", ids);
    inputs.emplace_back("position_ids", positions_of(1, states.length));
    NARROW_TRY(const std::vector<Tensor> out, session->run(inputs));
    std::memcpy(states.sequence(i), out[0].raw(), out[0].bytes());
    if ((i + 1) % states.chunk() == 0) states.release(i / states.chunk());
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

Result<std::vector<Tensor>> BlockPass::run(std::int64_t chunk) const {
  const std::int64_t first = chunk * states_.chunk(), count = std::min(states_.chunk(), states_.sequences - first);
  std::vector<runtime::NamedTensor> inputs;
  for (const ValueId id : session_->graph().inputs) {
    const std::string& name = session_->graph().value(id).name;
    if (name == kHidden) inputs.emplace_back(name, hidden_of(chunk));
    else if (name == "position_ids") inputs.emplace_back(name, positions_of(count, states_.length));
    else inputs.emplace_back(name, kept_.at(name)[static_cast<std::size_t>(chunk)]);
  }
  return session_->run(inputs);
}

Status BlockPass::aim(const WeightSource& weights, const std::vector<std::string>& linears, bool finishing) {
  finishing_ = finishing;
  session_.reset();
  wanted_.clear();
  spent_.clear();
  NARROW_TRY(Graph graph, build(weights));
  const graph::Uses uses(graph);
  const std::vector<ValueId> given = std::move(graph.outputs);
  graph.outputs.clear();
  std::vector<ValueId> all;  // wanted, whether they have to be computed or not
  const auto want = [&](ValueId value) {
    const std::string& name = graph.value(value).name;
    if (std::find(all.begin(), all.end(), value) != all.end()) return;
    all.push_back(value);
    if (kept_.contains(name)) return;
    if (name == kHidden) {  // the block's own input needs no computing
      for (std::int64_t chunk = 0; hidden_.size() < static_cast<std::size_t>(states_.chunks()); ++chunk) hidden_.push_back(hidden_of(chunk));
      return;
    }
    graph.outputs.push_back(value);
    wanted_.push_back(name);
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
  // What the rest of the block reads, once these values are there.
  Graph rest = graph;
  rest.outputs = given;
  for (const ValueId value : all) {
    if (std::find(rest.inputs.begin(), rest.inputs.end(), value) == rest.inputs.end()) make_input(rest, value);
  }
  graph::remove_dead(rest);
  const graph::Uses later(rest);
  const auto needed = [&](const std::string& name) {
    if (std::find(all.begin(), all.end(), graph.find_value(name)) != all.end()) return true;
    const ValueId value = finishing ? graph::kNoValue : rest.find_value(name);
    return value != graph::kNoValue && !later.readers[static_cast<std::size_t>(value)].empty();
  };
  for (const auto& [name, tensors] : kept_) {
    if (!needed(name)) spent_.push_back(name);
  }
  states_needed_ = needed(std::string(kHidden));
  if (finishing) graph.outputs.insert(graph.outputs.end(), given.begin(), given.end());
  for (const std::string& name : wanted_) kept_[name].resize(static_cast<std::size_t>(states_.chunks()));
  if (graph.outputs.empty()) return {};
  graph::remove_dead(graph);
  NARROW_TRY(session_, runtime::Session::create(graph, {.threads = threads_}));
  return {};
}

Status BlockPass::step(std::int64_t chunk) {
  const auto at = static_cast<std::size_t>(chunk);
  if (chunk > 0) rest(chunk - 1);
  if (session_ != nullptr) {
    NARROW_TRY(const std::vector<Tensor> out, run(chunk));
    for (std::size_t i = 0; i < wanted_.size(); ++i) {
      NARROW_TRY(kept_.at(wanted_[i])[at], keep(out[i], states_.spill_folder));
    }
    if (finishing_) {
      if (!hidden_.empty()) {  // what these Linears read still
        NARROW_TRY(hidden_[at], keep(hidden_[at], states_.spill_folder));
      }
      std::memcpy(states_.sequence(chunk * states_.chunk()), out.back().raw(), out.back().bytes());
    }
  }
  for (const std::string& name : spent_) kept_.at(name)[at] = Tensor();
  if (chunk + 1 < states_.chunks()) return {};
  rest(chunk);
  session_.reset();
  for (const std::string& name : spent_) kept_.erase(name);
  spent_.clear();
  if (!states_needed_ && !finishing_) {
    hidden_.clear();
    states_.clear();
  }
  return {};
}

Status BlockPass::reach(const WeightSource& weights, const std::vector<std::string>& linears) {
  NARROW_RETURN_IF_ERROR(aim(weights, linears));
  for (std::int64_t chunk = 0; chunk < states_.chunks(); ++chunk) NARROW_RETURN_IF_ERROR(step(chunk));
  return {};
}

const std::vector<Tensor>& BlockPass::values(const std::string& name) const { return name == kHidden ? hidden_ : kept_.at(name); }

const std::vector<Tensor>* BlockPass::residuals(const std::string& linear) const {
  const auto name = residual_of_.find(linear);
  return name == residual_of_.end() ? nullptr : &values(name->second);
}

void BlockPass::rest(std::int64_t chunk) const {
  if (states_.spill_folder.empty()) return;
  const auto at = static_cast<std::size_t>(chunk);
  for (const auto& [name, tensors] : kept_) {
    if (tensors[at].defined()) base::release_file_pages(tensors[at].raw(), tensors[at].bytes());
  }
  states_.release(chunk);
}

void BlockPass::drop(std::int64_t chunk) {
  for (auto& [name, tensors] : kept_) tensors[static_cast<std::size_t>(chunk)] = Tensor();
}

Status BlockPass::finish(const WeightSource& weights, HiddenStates& states) {
  NARROW_TRY(Graph graph, build(weights));
  graph::remove_dead(graph);
  NARROW_TRY(session_, runtime::Session::create(graph, {.threads = threads_}));
  NARROW_RETURN_IF_ERROR(states.allocate());
  for (std::int64_t chunk = 0; chunk < states_.chunks(); ++chunk) {
    NARROW_TRY(const std::vector<Tensor> out, run(chunk));
    std::memcpy(states.sequence(chunk * states_.chunk()), out[0].raw(), out[0].bytes());
    states.release(chunk);
    states_.release(chunk);
    drop(chunk);
  }
  session_.reset();
  return {};
}

}  // namespace narrow::language
