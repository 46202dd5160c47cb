#include "runtime/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "runtime/environment.h"
#include "runtime/executor.h"

namespace narrow::runtime {

using graph::ValueId;

struct Session::Impl {
  explicit Impl(const SessionOptions& options) : environment(options) {}
  Environment environment;
  std::unique_ptr<Executor> executor;

  Status check_input(ValueId id, const RuntimeValue& given) const;
};

namespace {

std::string quoted(const std::string& name) { return fmt::format("'{}'", base::escape_controls(name)); }

}  // namespace

Status Session::Impl::check_input(ValueId id, const RuntimeValue& given) const {
  using graph::TypeKind;
  const graph::Value& value = executor->graph().value(id);
  const graph::Type& type = value.type;
  const Tensor& tensor = given.tensor();
  if (!given.defined()) return invalid_argument(fmt::format("input {} is an empty tensor", quoted(value.name)));
  const TypeKind inside = type.kind == TypeKind::kOptional ? type.element().kind : type.kind;
  bool fits = type.dtype == DType::kUndefined || type.dtype == given.dtype();
  if (given.is_nothing()) fits = type.kind == TypeKind::kOptional;
  else if (inside == TypeKind::kTensor || inside == TypeKind::kSequence) fits = fits && given.is_sequence() == (inside == TypeKind::kSequence);
  if (type.ranked && given.is_tensor()) {
    fits = fits && type.rank() == tensor.rank();
    for (int d = 0; fits && d < type.rank(); ++d) fits = !type.dims[d].known() || type.dims[d].size == tensor.shape()[d];
  }
  if (fits) return {};
  return invalid_argument(fmt::format("input {} is {}, expected {}", quoted(value.name), to_string(given), graph::to_string(type)));
}

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::~Session() = default;

Result<std::unique_ptr<Session>> Session::create(const graph::Graph& graph, SessionOptions options) {
  for (ValueId id : options.tapped) {
    if (id < 0 || static_cast<std::size_t>(id) >= graph.values.size()) {
      return invalid_argument(fmt::format("there is no value {} to observe", id));
    }
  }
  NARROW_RETURN_IF_ERROR(check_supported(graph, options.tapped));
  auto impl = std::make_unique<Impl>(options);
  PlanRequest request;
  request.kept = options.tapped;
  NARROW_TRY(impl->executor, Executor::create(graph.clone(), graph.inputs, std::move(request), impl->environment));
  if (options.tap) impl->executor->set_tap(std::move(options.tap));

  // Shapes known already: what cannot work is said now, and the first run is as fast as the next.
  std::vector<graph::Type> types;
  bool all_static = true;
  for (ValueId id : graph.inputs) {
    const graph::Value& value = graph.value(id);
    types.push_back(value.constant ? graph::Type() : value.type);
    const bool known = value.type.kind == graph::TypeKind::kTensor && value.type.dtype != DType::kUndefined && value.type.static_shape();
    all_static = all_static && (value.constant || known);
  }
  if (all_static) NARROW_RETURN_IF_ERROR(impl->executor->plan_for(types));
  return std::unique_ptr<Session>(new Session(std::move(impl)));
}

Result<std::vector<Tensor>> Session::run(std::span<const NamedTensor> inputs) {
  const std::vector<NamedValue> given(inputs.begin(), inputs.end());
  NARROW_TRY(std::vector<RuntimeValue> values, run_values(given));
  std::vector<Tensor> outputs;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!values[i].is_tensor()) {
      return unsupported(fmt::format("output {} is {}; only tensors can be compared and saved", quoted(graph().value(graph().outputs[i]).name), to_string(values[i])))
          .hint("Let the model return tensors: SequenceAt, ConcatFromSequence, OptionalGetElement.");
    }
    outputs.push_back(std::move(values[i].tensor()));
  }
  return outputs;
}

Result<std::vector<RuntimeValue>> Session::run_values(std::span<const NamedValue> inputs) {
  const graph::Graph& graph = impl_->executor->graph();
  std::vector<RuntimeValue> feeds(graph.inputs.size());
  for (const auto& [name, value] : inputs) {
    const auto position = std::find_if(graph.inputs.begin(), graph.inputs.end(),
                                       [&, &wanted = name](ValueId id) { return graph.value(id).name == wanted; });
    if (position == graph.inputs.end()) {
      std::vector<std::string_view> names;
      std::vector<std::string> list;
      for (ValueId id : graph.inputs) {
        if (graph.value(id).constant) continue;
        names.push_back(graph.value(id).name);
        list.push_back(quoted(graph.value(id).name));
      }
      return invalid_argument(fmt::format("the model has no input {}{}", quoted(name), base::did_you_mean(name, names)))
          .hint(fmt::format("its inputs are {}", base::join(list, ", ")));
    }
    RuntimeValue& feed = feeds[static_cast<std::size_t>(position - graph.inputs.begin())];
    if (feed.defined()) return invalid_argument(fmt::format("input {} is given twice", quoted(name)));
    NARROW_RETURN_IF_ERROR(impl_->check_input(*position, value));
    feed = value;
  }
  for (std::size_t i = 0; i < feeds.size(); ++i) {
    const graph::Value& value = graph.value(graph.inputs[i]);
    if (feeds[i].defined() || value.constant) continue;
    return invalid_argument(fmt::format("input {} ({}) is missing", quoted(value.name), graph::to_string(value.type)));
  }
  return impl_->executor->run(feeds, nullptr);
}

const graph::Graph& Session::graph() const { return impl_->executor->graph(); }

std::vector<NodeProfile> Session::profile() const {
  return {impl_->environment.profiles.begin(), impl_->environment.profiles.end()};
}

MemoryUse Session::memory() const {
  MemoryUse use;
  use.weights = impl_->executor->weight_bytes();
  if (const Plan* plan = impl_->executor->last_plan()) {
    use.arena = plan->arena_bytes;
    use.arena_unshared = plan->unshared_bytes;
  }
  return use;
}

}  // namespace narrow::runtime
