#include "diagnosis/alone.h"

#include <algorithm>
#include <unordered_map>

#include "evaluation/difference.h"
#include "runtime/session.h"

namespace narrow::diagnosis {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::ValueId;

struct Joined {
  Graph graph;
  std::vector<std::pair<ValueId, ValueId>> compared;   // float value, the same in the quantized layers
  std::vector<std::string> names;
  // The range that the value's own quantization holds: a Relu may live in it alone, so both sides are cut to it.
  std::unordered_map<ValueId, std::pair<float, float>> ranges;
};

// The float graph with the quantized nodes added behind it; sites take their input from the float values.
Joined join(const Graph& reference, const Graph& quantized, std::span<const ActivationSite> sites) {
  Joined joined{reference.clone(), {}, {}, {}};
  Graph& graph = joined.graph;
  std::unordered_map<int, ValueId> fed;   // QuantizeLinear node to the float value it reads
  for (const ActivationSite& site : sites) fed[site.quantize] = site.reference;
  std::vector<ValueId> ids(quantized.values.size(), kNoValue);
  const auto moved = [&](ValueId id) {
    if (id == kNoValue) return kNoValue;
    ValueId& to = ids[static_cast<std::size_t>(id)];
    if (to != kNoValue) return to;
    const graph::Value& value = quantized.value(id);
    if (std::find(quantized.inputs.begin(), quantized.inputs.end(), id) != quantized.inputs.end() && !value.constant) {
      to = reference.find_value(value.name);
      if (to != kNoValue) return to;
    }
    const std::string name = value.name;
    to = value.constant ? graph.add_constant(name, *value.constant) : graph.add_value(name, value.type);
    return to;
  };
  for (std::size_t i = 0; i < quantized.nodes.size(); ++i) {
    Node node = quantized.nodes[i];
    node.name = graph.unique_node_name(node.name);
    for (ValueId& id : node.inputs) id = moved(id);
    for (ValueId& id : node.outputs) id = moved(id);
    if (const auto found = fed.find(static_cast<int>(i)); found != fed.end()) node.inputs[0] = found->second;
    graph.nodes.push_back(std::move(node));
  }
  std::unordered_map<ValueId, const ActivationSite*> at;
  for (const ActivationSite& site : sites) at[site.quantized] = &site;
  for (const Node& node : quantized.nodes) {
    if (node.is("QuantizeLinear") || node.is("DequantizeLinear")) continue;
    for (const ValueId output : node.outputs) {
      if (output == kNoValue || quantized.constant(output) != nullptr) continue;
      const auto site = at.find(output);
      const ValueId original = site != at.end() ? site->second->reference : reference.find_value(quantized.value(output).name);
      if (original == kNoValue || reference.constant(original) != nullptr) continue;
      const ValueId made = ids[static_cast<std::size_t>(output)];
      joined.compared.emplace_back(original, made);
      joined.names.push_back(reference.value(original).name);
      if (site != at.end()) joined.ranges[made] = {static_cast<float>(site->second->low()), static_cast<float>(site->second->high())};
    }
  }
  // What nobody reads would not be run.
  for (const auto& [original, made] : joined.compared) graph.outputs.push_back(made);
  return joined;
}

std::vector<float> cut(const Tensor& tensor, std::pair<float, float> range) {
  std::vector<float> values = tensor.to_float();
  for (float& x : values) x = std::clamp(x, range.first, range.second);
  return values;
}

class AloneWorker final : public evaluation::Worker {
 public:
  AloneWorker(const Joined& joined, std::vector<std::vector<evaluation::Difference>>& differences) : joined_(joined), differences_(differences) {
    for (std::size_t i = 0; i < joined.compared.size(); ++i) by_made_[joined.compared[i].second] = i;
  }

  Status open(int threads) {
    runtime::SessionOptions options;
    options.threads = threads;
    for (const auto& [original, made] : joined_.compared) {
      options.tapped.push_back(original);
      options.tapped.push_back(made);
    }
    std::sort(options.tapped.begin(), options.tapped.end());
    options.tapped.erase(std::unique(options.tapped.begin(), options.tapped.end()), options.tapped.end());
    options.tap = [this](ValueId id, const Tensor& tensor) -> Status {
      const auto found = by_made_.find(id);
      if (found == by_made_.end()) {
        kept_[id] = tensor.clone();
        return {};
      }
      const auto original = kept_.find(joined_.compared[found->second].first);
      if (original == kept_.end() || !is_float(tensor.dtype())) return {};
      const auto range = joined_.ranges.find(id);
      if (range == joined_.ranges.end()) {
        evaluation::add_tensors(differences_[index_][found->second], original->second, tensor);
      } else if (original->second.size() == tensor.size()) {
        differences_[index_][found->second].add(cut(original->second, range->second), cut(tensor, range->second));
      }
      return {};
    };
    NARROW_TRY(session_, runtime::Session::create(joined_.graph, options));
    return {};
  }

  Status visit(std::size_t index, const datasets::Sample& sample) override {
    index_ = index;
    kept_.clear();
    auto ran = session_->run(sample.inputs);
    kept_.clear();
    return ran.ok() ? Status{} : Status{std::move(ran).error()};
  }

 private:
  const Joined& joined_;
  std::vector<std::vector<evaluation::Difference>>& differences_;
  std::unordered_map<ValueId, std::size_t> by_made_;
  std::unordered_map<ValueId, Tensor> kept_;
  std::unique_ptr<runtime::Session> session_;
  std::size_t index_ = 0;
};

}  // namespace

Result<std::vector<LayerError>> errors_alone(const Graph& reference, const Graph& quantized, std::span<const ActivationSite> sites,
                                             const datasets::Dataset& data, const evaluation::SweepOptions& options) {
  const Joined joined = join(reference, quantized, sites);
  std::vector<std::vector<evaluation::Difference>> differences(data.size(), std::vector<evaluation::Difference>(joined.compared.size()));
  NARROW_RETURN_IF_ERROR(evaluation::sweep(data, options, [&](int threads) -> Result<std::unique_ptr<evaluation::Worker>> {
    auto worker = std::make_unique<AloneWorker>(joined, differences);
    NARROW_RETURN_IF_ERROR(worker->open(threads));
    return std::unique_ptr<evaluation::Worker>(std::move(worker));
  }));
  const graph::Uses uses(reference);
  std::vector<LayerError> errors;
  for (std::size_t i = 0; i < joined.compared.size(); ++i) {
    evaluation::Difference sum;
    for (const auto& sample : differences) sum.merge(sample[i]);
    if (sum.elements == 0) continue;
    LayerError error;
    error.value = joined.names[i];
    error.layer = layer_of(reference, uses, joined.compared[i].first);
    for (const Node& node : reference.nodes) {
      if (node.name == error.layer) error.op_type = node.op_type;
    }
    error.alone_db = sum.sqnr_db();
    errors.push_back(std::move(error));
  }
  return errors;
}

}  // namespace narrow::diagnosis
