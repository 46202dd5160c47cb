#include "runtime/executor.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <new>

#include "base/checked.h"
#include "base/text.h"
#include "runtime/memory_plan.h"

namespace narrow::runtime {
namespace {

using graph::kNoValue;
using graph::ValueId;

// What a kernel sees of its node while it runs.
class NodeContext final : public operators::RunContext {
 public:
  NodeContext(Plan& plan, const PlannedNode& node, Environment& environment, std::uint8_t* arena, RunContext* outer)
      : plan_(plan), node_(node), environment_(environment), arena_(arena), outer_(outer) {}

  std::size_t input_count() const override { return node_.node->inputs.size(); }
  const Tensor& input(std::size_t i) const override { return value(i).tensor(); }
  const RuntimeValue& value(std::size_t i) const override {
    static const RuntimeValue none;
    const ValueId id = node_.node->input(i);
    return id == kNoValue ? none : plan_.values[id];
  }

  Result<Tensor*> output(std::size_t i, DType dtype, std::span<const std::int64_t> shape) override {
    const ValueId id = node_.node->output(i);
    if (id == kNoValue) {
      NARROW_TRY(Tensor tensor, Tensor::create(dtype, Shape(shape.begin(), shape.end())));
      return unwanted_.emplace_back(std::make_unique<Tensor>(std::move(tensor))).get();
    }
    const Slot& slot = plan_.slots[id];
    // The slot was sized for exactly this type: anything else, smaller or larger, gets memory of its own.
    if (slot.planned && slot.dtype == dtype && std::equal(shape.begin(), shape.end(), slot.shape.begin(), slot.shape.end())) {
      // From the run before, as a rule: then nothing is made anew.
      const Tensor& last = plan_.values[id].tensor();
      if (last.raw() != arena_ + slot.offset || last.owned() || last.dtype() != dtype || last.shape() != slot.shape) {
        plan_.values[id] = Tensor::from_borrowed(dtype, slot.shape, arena_ + slot.offset);
      }
    } else {
      NARROW_TRY(plan_.values[id], Tensor::create(dtype, Shape(shape.begin(), shape.end())));
    }
    return &plan_.values[id].tensor();
  }

  void set_output(std::size_t i, Tensor tensor) override {
    const ValueId id = node_.node->output(i);
    if (id == kNoValue) return;
    // Borrowed bytes (the arena's, an outer graph's) stay only where the plan knows that the output aliases the input.
    plan_.values[id] = tensor.owned() || (i == 0 && node_.aliases_input) ? std::move(tensor) : tensor.clone();
  }

  void set_value(std::size_t i, RuntimeValue value) override {
    const ValueId id = node_.node->output(i);
    if (value.is_tensor()) set_output(i, std::move(value.tensor()));
    else if (id != kNoValue) plan_.values[id] = std::move(value);
  }

  bool wants_output(std::size_t i) const override { return node_.node->output(i) != kNoValue; }

  const RuntimeValue* captured(std::string_view name) const override {
    const ValueId id = plan_.graph.find_value(name);
    if (id != kNoValue && plan_.values[id].defined()) return &plan_.values[id];
    return outer_ == nullptr ? nullptr : outer_->captured(name);
  }

  base::ThreadPool& pool() override { return environment_.pool; }

 private:
  Plan& plan_;
  const PlannedNode& node_;
  Environment& environment_;
  std::uint8_t* arena_;
  RunContext* outer_;
  std::vector<std::unique_ptr<Tensor>> unwanted_;
};

std::string where(const graph::Node& node) {
  return fmt::format("while running node '{}' ({})", base::escape_controls(node.name), base::escape_controls(node.op_type));
}

// The planned shape over the input's bytes. False when the input is not what was planned.
bool reshape(Plan& plan, const graph::Node& node) {
  const ValueId from = node.input(0), to = node.output(0);
  const RuntimeValue& given = plan.values[from];
  const graph::Type &planned = plan.graph.value(from).type, &wanted = plan.graph.value(to).type;
  if (!given.is_tensor() || given.dtype() != planned.dtype) return false;
  const Tensor& tensor = given.tensor();
  if (!std::equal(tensor.shape().begin(), tensor.shape().end(), planned.dims.begin(), planned.dims.end(),
                  [](std::int64_t size, const graph::Dim& dim) { return dim.size == size; })) {
    return false;
  }
  const Tensor& last = plan.values[to].tensor();
  if (tensor.owned() || last.owned() || last.raw() != tensor.raw() || last.dtype() != tensor.dtype()) plan.values[to] = tensor.reshaped(*wanted.static_shape());
  return true;
}

// Lets go of what no later node reads. What lies in the arena stays named: the next run finds it made.
void release(Plan& plan, const PlannedNode& planned) {
  for (ValueId id : planned.last_used) {
    RuntimeValue& value = plan.values[id];
    if (!value.is_tensor() || value.tensor().owned()) value = RuntimeValue();
  }
}

Status run_node(PlannedNode& planned, NodeContext& context) {
  for (std::size_t i = 0; !planned.takes_values && i < context.input_count(); ++i) {
    const RuntimeValue& value = context.value(i);
    if (value.is_sequence() || value.is_nothing()) {
      return invalid_argument(fmt::format("input {} is {}, expected a tensor", i, to_string(value)));
    }
  }
  try {
    return planned.kernel->run(context);
  } catch (const std::bad_alloc&) {
    return resource_exhausted("out of memory");
  } catch (const std::exception& e) {
    return internal_error(e.what());
  }
}

}  // namespace

Executor::Executor(graph::Graph graph, std::vector<ValueId> feeds, PlanRequest request, Environment& environment)
    : graph_(std::move(graph)), feeds_(std::move(feeds)), request_(std::move(request)), environment_(environment) {}

Result<std::unique_ptr<Executor>> Executor::create(graph::Graph graph, std::vector<ValueId> feeds, PlanRequest request,
                                                   Environment& environment) {
  NARROW_RETURN_IF_ERROR(graph::verify(graph, fmt::format("graph '{}'", base::escape_controls(graph.name))));
  std::unique_ptr<Executor> executor(new Executor(std::move(graph), std::move(feeds), std::move(request), environment));
  executor->folded_ = executor->graph_.clone();
  NARROW_RETURN_IF_ERROR(fold_constants(executor->folded_));
  return executor;
}

void Executor::set_tap(Tap tap) {
  tap_ = std::move(tap);
  tapped_.assign(graph_.values.size(), false);
  for (ValueId id : request_.kept) tapped_[id] = true;
}

std::uint64_t Executor::weight_bytes() const {
  std::uint64_t bytes = 0;
  for (const graph::Value& value : graph_.values) {
    if (value.constant) bytes += value.constant->bytes();
  }
  return bytes;
}

Result<Plan*> Executor::plan(const Key& key) {
  const auto cached = std::find_if(plans_.begin(), plans_.end(), [&](const auto& entry) { return entry.first == key; });
  if (cached != plans_.end()) {
    plans_.splice(plans_.begin(), plans_, cached);
    return plans_.front().second.get();
  }
  bool overridden = false;
  for (std::size_t i = 0; i < feeds_.size(); ++i) {
    overridden = overridden || (key[i].kind != RuntimeValue::Kind::kUndefined && graph_.value(feeds_[i]).constant);
  }
  graph::Graph graph = (overridden ? graph_ : folded_).clone();
  for (std::size_t i = 0; i < feeds_.size(); ++i) {
    const Fed& fed = key[i];
    if (fed.kind == RuntimeValue::Kind::kUndefined) continue;
    graph::Value& value = graph.value(feeds_[i]);
    value.constant.reset();
    if (fed.kind == RuntimeValue::Kind::kTensor) value.type = graph::Type::tensor(fed.dtype, {fed.shape.begin(), fed.shape.end()});
    if (fed.kind == RuntimeValue::Kind::kSequence) value.type = graph::Type::sequence(graph::Type::tensor(fed.dtype));
  }
  if (overridden) NARROW_RETURN_IF_ERROR(fold_constants(graph));
  NARROW_TRY(std::unique_ptr<Plan> made, make_plan(std::move(graph), request_, environment_));
  if (plans_.size() >= kCachedPlans) plans_.pop_back();
  plans_.emplace_front(key, std::move(made));
  return plans_.front().second.get();
}

Status Executor::plan_for(std::span<const graph::Type> types) {
  Key key;
  for (const graph::Type& type : types) {
    const bool tensor = type.kind == graph::TypeKind::kTensor;
    key.push_back({tensor ? RuntimeValue::Kind::kTensor : RuntimeValue::Kind::kUndefined, type.dtype, type.static_shape().value_or(Shape{})});
  }
  NARROW_TRY(Plan * made, plan(key));
  (void)made;
  return {};
}

Status Executor::reserve_arena(std::uint64_t bytes) {
  if (bytes <= arena_capacity_) return {};
  arena_.reset();
  arena_capacity_ = 0;
  void* memory = std::aligned_alloc(kSlotAlignment, base::round_up(bytes, kSlotAlignment));
  if (memory == nullptr) {
    return resource_exhausted(fmt::format("out of memory: the activations of this run need {}", base::human_bytes(bytes)));
  }
  arena_ = std::shared_ptr<void>(memory, std::free);
  arena_capacity_ = bytes;
  return {};
}

Status Executor::tap_value(ValueId id, const Tensor& tensor) {
  Status status = tap_(id, tensor);
  if (status.ok()) return status;
  return std::move(status).context(fmt::format("while observing '{}'", base::escape_controls(graph_.value(id).name)));
}

Status Executor::run_nodes(Plan& plan, operators::RunContext* outer) {
  auto* arena = static_cast<std::uint8_t*>(arena_.get());
  for (PlannedNode& planned : plan.nodes) {
    if (planned.only_reshapes && reshape(plan, *planned.node)) {
      if (planned.profile != nullptr) ++planned.profile->calls;
      release(plan, planned);
      continue;
    }
    NodeContext context(plan, planned, environment_, arena, outer);
    const auto start = environment_.profile ? std::chrono::steady_clock::now() : std::chrono::steady_clock::time_point();
    Status status = run_node(planned, context);
    if (!status.ok()) return std::move(status).context(where(*planned.node));
    if (planned.profile != nullptr) {
      const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
      planned.profile->total_ms += took.count();
      ++planned.profile->calls;
    }
    for (ValueId id : planned.node->outputs) {
      if (id == kNoValue) continue;
      if (!plan.values[id].defined()) {
        return internal_error(fmt::format("output '{}' was not produced", base::escape_controls(plan.graph.value(id).name)))
            .context(where(*planned.node));
      }
      if (!tap_ || !tapped_[id] || plan.graph.value(id).constant || !plan.values[id].is_tensor()) continue;
      NARROW_RETURN_IF_ERROR(tap_value(id, plan.values[id].tensor()));
    }
    release(plan, planned);
  }
  return {};
}

Result<std::vector<RuntimeValue>> Executor::run(std::span<const RuntimeValue> feeds, operators::RunContext* outer) {
  Key key;
  for (const RuntimeValue& feed : feeds) key.push_back({feed.kind(), feed.dtype(), feed.tensor().shape()});
  NARROW_TRY(Plan * plan, this->plan(key));
  NARROW_RETURN_IF_ERROR(reserve_arena(plan->arena_bytes));
  for (std::size_t i = 0; i < feeds_.size(); ++i) {
    if (feeds[i].defined()) plan->values[feeds_[i]] = feeds[i];
  }
  if (tap_) {
    for (ValueId id : request_.kept) {
      if (plan->values[id].is_tensor() && (plan->graph.value(id).constant || std::count(feeds_.begin(), feeds_.end(), id) != 0)) {
        NARROW_RETURN_IF_ERROR(tap_value(id, plan->values[id].tensor()));
      }
    }
  }
  NARROW_RETURN_IF_ERROR(run_nodes(*plan, outer));

  std::vector<RuntimeValue> outputs;
  const auto* begin = static_cast<const std::uint8_t*>(arena_.get());
  for (ValueId id : plan->graph.outputs) {
    if (!plan->values[id].is_tensor()) {  // the tensors in a sequence own their bytes
      outputs.push_back(plan->values[id]);
      continue;
    }
    const Tensor& value = plan->values[id].tensor();
    const auto* raw = static_cast<const std::uint8_t*>(value.raw());
    const bool in_arena = !value.owned() && begin != nullptr && raw >= begin && raw < begin + arena_capacity_;
    if (!request_.outputs_in_arena && !value.owned()) {
      outputs.push_back(value.clone());
    } else {
      outputs.emplace_back(in_arena ? Tensor::from_shared(value.dtype(), value.shape(), arena_, raw) : value);
    }
  }
  return outputs;
}

}  // namespace narrow::runtime
