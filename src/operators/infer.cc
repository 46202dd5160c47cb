#include "operators/infer.h"

#include <fmt/format.h>

#include <new>

#include "operators/operator.h"
#include "operators/type_rules.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::Type;
using graph::TypeKind;
using graph::ValueId;

// Folding during inference is meant for shape arithmetic; bigger constants are fold_constants' business.
constexpr std::int64_t kSmallElements = 4096;
// A few numbers can ask for any amount of memory (ConstantOfShape, a transform's length): that waits for a run.
constexpr std::int64_t kMostFolded = std::int64_t{1} << 22;

class Inferrer;

class Context final : public InferContext {
 public:
  Context(Inferrer& owner, const Node& node) : owner_(owner), node_(node) {}
  const Node& node() const override { return node_; }
  const Type& input(std::size_t i) const override;
  const Tensor* constant(std::size_t i) const override;
  std::optional<std::vector<Dim>> dims_value(std::size_t i) const override;
  void set_output(std::size_t i, Type type) override;
  void set_dims_value(std::size_t i, std::vector<Dim> dims) override;
  Result<std::vector<Type>> infer_subgraph(const Graph& subgraph, std::span<const Type> inputs) override;

 private:
  Inferrer& owner_;
  const Node& node_;
};

// One graph being inferred; `outer` resolves what a subgraph captures.
class Inferrer {
 public:
  Inferrer(Graph& graph, const Inferrer* outer, const InferOptions& options)
      : graph_(graph), outer_(outer), options_(options) {}

  Status run() {
    for (graph::Value& value : graph_.values) {
      if (value.constant) value.type = Type::of(*value.constant);
      if (value.captured) {
        if (const auto* found = captured(value.name)) value.type = found->first->value(found->second).type;
      }
    }
    for (std::size_t n = 0; n < graph_.nodes.size(); ++n) NARROW_RETURN_IF_ERROR(visit(static_cast<int>(n)));
    return {};
  }

  Graph& graph() { return graph_; }
  const Tensor* known(ValueId id) const {
    if (id == kNoValue) return nullptr;
    const graph::Value& value = graph_.value(id);
    if (value.constant) return &*value.constant;
    const auto it = inference.known.find(id);
    if (it != inference.known.end()) return &it->second;
    if (value.captured && outer_ != nullptr) {
      for (const Inferrer* scope = outer_; scope != nullptr; scope = scope->outer_) {
        const ValueId outer_id = scope->graph_.find_value(value.name);
        if (outer_id != kNoValue) return scope->known(outer_id);
      }
    }
    return nullptr;
  }

  std::unordered_map<ValueId, std::vector<Dim>> dims_values;
  Inference inference;
  const InferOptions& options() const { return options_; }

 private:
  // The graph and id that a captured name means, looking outwards.
  const std::pair<const Graph*, ValueId>* captured(const std::string& name) {
    for (const Inferrer* scope = outer_; scope != nullptr; scope = scope->outer_) {
      const ValueId id = scope->graph_.find_value(name);
      if (id != kNoValue && !scope->graph_.value(id).captured) {
        found_ = {&scope->graph_, id};
        return &found_;
      }
    }
    return nullptr;
  }

  Status visit(int index) {
    const Node& node = graph_.nodes[static_cast<std::size_t>(index)];
    const Operator* op = find_operator(node.domain, node.op_type);
    if (op == nullptr || op->infer == nullptr) {
      inference.gaps.push_back({index, fmt::format("narrow has no type rule for {}", node.op_type)});
      return {};
    }
    NARROW_RETURN_IF_ERROR(check_arity(node, *op));
    if (options_.fold_small && fold(node, *op)) return {};
    Context context(*this, node);
    Status status = op->infer(context);
    if (!status.ok()) return std::move(status).context(fmt::format("while inferring the types of node '{}' ({})", node.name, node.op_type));
    for (ValueId out : node.outputs) {
      if (out != kNoValue && graph_.value(out).type.kind == TypeKind::kUnknown) {
        inference.gaps.push_back({index, fmt::format("the type of '{}' is not known", graph_.value(out).name)});
        break;
      }
    }
    return {};
  }

  bool fold(const Node& node, const Operator& op) {
    if ((op.flags & kNotDeterministic) != 0) return false;
    std::vector<const Tensor*> inputs;
    for (ValueId id : node.inputs) {
      const Tensor* tensor = known(id);
      if (id != kNoValue && (tensor == nullptr || tensor->size() > kSmallElements)) return false;
      inputs.push_back(tensor);
    }
    // Shape and Size need only the type.
    for (const graph::Attribute& attribute : node.attributes) {
      if (std::holds_alternative<graph::GraphPtr>(attribute.value)) return false;
    }
    Context rule(*this, node);
    if (!op.infer(rule).ok()) return false;  // reported when the rule is applied
    for (ValueId out : node.outputs) {
      if (out != kNoValue && known_elements(graph_.value(out).type).value_or(0) > kMostFolded) return false;
    }
    Result<std::vector<Tensor>> outputs = evaluate_node(node, inputs);
    if (!outputs.ok()) return false;  // the type rule says what is wrong, or the node stays for run time
    for (std::size_t i = 0; i < node.outputs.size() && i < outputs->size(); ++i) {
      const ValueId id = node.outputs[i];
      if (id == kNoValue || !(*outputs)[i].defined()) continue;
      graph_.value(id).type = Type::of((*outputs)[i]);
      if ((*outputs)[i].size() <= kSmallElements) inference.known.emplace(id, (*outputs)[i]);
    }
    return true;
  }

  Graph& graph_;
  const Inferrer* outer_;
  const InferOptions& options_;
  std::pair<const Graph*, ValueId> found_;
};

const Type& Context::input(std::size_t i) const {
  static const Type unknown;
  const ValueId id = node_.input(i);
  return id == kNoValue ? unknown : owner_.graph().value(id).type;
}

const Tensor* Context::constant(std::size_t i) const { return owner_.known(node_.input(i)); }

std::optional<std::vector<Dim>> Context::dims_value(std::size_t i) const {
  const ValueId id = node_.input(i);
  if (id == kNoValue) return std::nullopt;
  if (const Tensor* tensor = owner_.known(id)) {
    const bool integer = is_integer(tensor->dtype());
    if (!integer || tensor->rank() > 1 || tensor->size() > kSmallElements) return std::nullopt;
    std::vector<Dim> dims;
    for (std::int64_t v : tensor->to_int64()) dims.emplace_back(v);
    return dims;
  }
  const auto it = owner_.dims_values.find(id);
  if (it == owner_.dims_values.end()) return std::nullopt;
  return it->second;
}

// What a rule found, merged with what the file declared: a known size beats an unknown one, a symbol beats nothing.
Type merge(const Type& found, const Type& declared) {
  if (found.kind == TypeKind::kUnknown) return declared;
  if (declared.kind != found.kind || declared.of_sequence != found.of_sequence) return found;
  Type merged = found;
  if (merged.dtype == DType::kUndefined) merged.dtype = declared.dtype;
  if (!merged.ranked && declared.ranked) {
    merged.ranked = true;
    merged.dims = declared.dims;
  } else if (merged.ranked && declared.ranked && merged.dims.size() == declared.dims.size()) {
    for (std::size_t i = 0; i < merged.dims.size(); ++i) {
      if (!merged.dims[i].known() && (declared.dims[i].known() || merged.dims[i].symbol.empty())) {
        merged.dims[i] = declared.dims[i];
      }
    }
  }
  return merged;
}

void Context::set_output(std::size_t i, Type type) {
  const ValueId id = node_.output(i);
  if (id == kNoValue) return;
  graph::Value& value = owner_.graph().value(id);
  value.type = merge(type, value.type);
}

void Context::set_dims_value(std::size_t i, std::vector<Dim> dims) {
  const ValueId id = node_.output(i);
  if (id == kNoValue) return;
  bool all_known = true;
  for (const Dim& dim : dims) all_known = all_known && dim.known();
  const Type& type = owner_.graph().value(id).type;
  if (all_known && owner_.options().fold_small && type.ranked && type.rank() <= 1 && type.dtype == DType::kS64) {
    std::vector<std::int64_t> sizes;
    for (const Dim& dim : dims) sizes.push_back(dim.size);
    Shape shape;
    if (type.rank() == 1) shape.push_back(static_cast<std::int64_t>(sizes.size()));
    if (type.rank() == 1 || sizes.size() == 1) {
      owner_.inference.known.insert_or_assign(id, Tensor::from<std::int64_t>(shape, std::span<const std::int64_t>(sizes)));
    }
  }
  owner_.dims_values.insert_or_assign(id, std::move(dims));
}

Result<std::vector<Type>> Context::infer_subgraph(const Graph& subgraph, std::span<const Type> inputs) {
  // Subgraphs are shared by const pointers in nodes; types found inside are written to the subgraph itself.
  Graph& body = const_cast<Graph&>(subgraph);
  for (std::size_t i = 0; i < inputs.size() && i < body.inputs.size(); ++i) {
    body.value(body.inputs[i]).type = merge(inputs[i], body.value(body.inputs[i]).type);
  }
  Inferrer inner(body, &owner_, owner_.options());
  NARROW_RETURN_IF_ERROR(inner.run());
  std::vector<Type> outputs;
  for (ValueId id : body.outputs) outputs.push_back(body.value(id).type);
  return outputs;
}

// Inputs borrowed, outputs owned.
class EvaluateContext final : public RunContext {
 public:
  EvaluateContext(const Node& node, std::span<const Tensor* const> inputs) : node_(node), outputs_(kMaxOutputs) {
    for (const Tensor* tensor : inputs) inputs_.emplace_back(tensor == nullptr ? Tensor() : *tensor);
  }
  std::size_t input_count() const override { return inputs_.size(); }
  const Tensor& input(std::size_t i) const override { return value(i).tensor(); }
  const RuntimeValue& value(std::size_t i) const override {
    static const RuntimeValue none;
    return i < inputs_.size() ? inputs_[i] : none;
  }
  Result<Tensor*> output(std::size_t i, DType dtype, std::span<const std::int64_t> shape) override {
    if (i >= outputs_.size()) return internal_error(fmt::format("output {} is beyond what {} can have", i, node_.op_type));
    NARROW_TRY(outputs_[i], Tensor::create(dtype, Shape(shape.begin(), shape.end())));
    return &outputs_[i];
  }
  void set_output(std::size_t i, Tensor tensor) override {
    if (i < outputs_.size()) outputs_[i] = std::move(tensor);
  }
  // Sequences are not handed out: who folds constants keeps tensors.
  void set_value(std::size_t i, RuntimeValue value) override { set_output(i, std::move(value.tensor())); }
  bool wants_output(std::size_t i) const override { return node_.output(i) != kNoValue; }
  const RuntimeValue* captured(std::string_view) const override { return nullptr; }
  base::ThreadPool& pool() override {
    static base::ThreadPool single(1);
    return single;
  }
  std::vector<Tensor> take() {
    outputs_.resize(node_.outputs.size());
    return std::move(outputs_);
  }

 private:
  // Folding concerns nodes of few outputs (Split is the widest); wider nodes are simply not folded.
  static constexpr std::size_t kMaxOutputs = 64;
  const Node& node_;
  std::vector<RuntimeValue> inputs_;
  std::vector<Tensor> outputs_;
};

}  // namespace

Result<Inference> infer_types(Graph& graph, const InferOptions& options) {
  Inferrer inferrer(graph, nullptr, options);
  NARROW_RETURN_IF_ERROR(inferrer.run());
  return std::move(inferrer.inference);
}

Result<std::vector<Tensor>> evaluate_node(const Node& node, std::span<const Tensor* const> inputs) {
  PrepareContext prepare_context;
  prepare_context.node = &node;
  for (const Tensor* tensor : inputs) {
    prepare_context.input_types.push_back(tensor == nullptr ? Type() : Type::of(*tensor));
    prepare_context.constants.push_back(tensor);
  }
  prepare_context.output_types.resize(node.outputs.size());
  NARROW_TRY(std::unique_ptr<Kernel> kernel, prepare(prepare_context));
  EvaluateContext context(node, inputs);
  try {
    NARROW_RETURN_IF_ERROR(kernel->run(context));
  } catch (const std::bad_alloc&) {
    return resource_exhausted(fmt::format("out of memory in node '{}' ({})", node.name, node.op_type));
  }
  return context.take();
}

}  // namespace narrow::operators
