// Loop and Scan: a subgraph run again and again.
//
// Trip counts come from the file. A Loop is bounded by what it collects: every scan output grows with each pass and is
// refused beyond kMaxScanBytes. A Loop that collects nothing runs as long as its condition says, as in other runtimes;
// whoever runs hostile models bounds the time of the process.
#include <array>
#include <cstring>
#include <limits>

#include "base/checked.h"
#include "operators/dispatch.h"
#include "operators/common_shape.h"
#include "operators/families.h"
#include "operators/strided_copy.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::GraphPtr;
using graph::Node;
using graph::Type;
using graph::TypeKind;

constexpr std::uint64_t kMaxScanBytes = std::uint64_t{1} << 40;

Result<GraphPtr> body_of(const Node& node, std::size_t inputs, std::size_t outputs) {
  GraphPtr body = node.get_graph("body");
  if (body == nullptr) return corrupt(fmt::format("{}: the attribute body is missing or no graph", where(node)));
  if (body->inputs.size() != inputs || body->outputs.size() != outputs) {
    return corrupt(fmt::format("{}: the body has {} inputs and {} outputs, expected {} and {}", where(node),
                               body->inputs.size(), body->outputs.size(), inputs, outputs));
  }
  return body;
}

// What holds before the first pass and after any other.
Type weakest(const Type& a, const Type& b) {
  if (a.kind == TypeKind::kUnknown || a.kind != b.kind || a.dtype != b.dtype || a.of_sequence != b.of_sequence) return Type();
  return common_shape(a, b);
}

// A tensor whose bytes the next pass of the body cannot overwrite.
Tensor kept(const Tensor& tensor) { return tensor.dtype() == DType::kString ? tensor : tensor.clone(); }
RuntimeValue kept(const RuntimeValue& value) { return value.is_tensor() ? kept(value.tensor()) : value; }

Status emit(RunContext& context, std::size_t i, const RuntimeValue& value) {
  if (!context.wants_output(i)) return {};
  if (!value.is_tensor() || value.dtype() == DType::kString) {
    context.set_value(i, value);
    return {};
  }
  const Tensor& tensor = value.tensor();
  NARROW_TRY(Tensor * y, context.output(i, tensor.dtype(), tensor.shape()));
  if (y->bytes() != 0) std::memcpy(y->mutable_raw(), tensor.raw(), y->bytes());
  return {};
}

// One output that collects a tensor a pass.
class Collected {
 public:
  Status add(const Node& node, const RuntimeValue& value) {
    if (!value.is_tensor()) return invalid_argument(fmt::format("{}: a scan output is {}, expected a tensor", where(node), to_string(value)));
    const Tensor& tensor = value.tensor();
    if (parts_.empty()) first_ = tensor.shape();
    if (tensor.shape() != first_ || (!parts_.empty() && tensor.dtype() != parts_[0].dtype())) {
      return invalid_argument(fmt::format("{}: a scan output has shape {} in one pass and {} in another", where(node),
                                          to_string(first_), to_string(tensor.shape())));
    }
    bytes_ += tensor.bytes() + sizeof(Tensor);
    if (bytes_ > kMaxScanBytes) {
      return resource_exhausted(fmt::format("{}: a scan output grows beyond {} bytes", where(node), kMaxScanBytes));
    }
    parts_.push_back(kept(tensor));
    return {};
  }

  // Stacks the passes along `axis` of the output, the last pass first when `reversed`. Nothing collected: a tensor with
  // no elements of the declared type.
  Status write(const Node& node, RunContext& context, std::size_t output, std::int64_t axis, bool reversed, const Type& declared) {
    if (!context.wants_output(output)) return {};
    Shape shape = first_;
    DType dtype = parts_.empty() ? declared.dtype : parts_[0].dtype();
    if (parts_.empty()) {
      if (dtype == DType::kUndefined) return unsupported(fmt::format("{}: no pass was made and the type of output {} is not declared", where(node), output));
      for (const Dim& dim : declared.dims) shape.push_back(dim.known() ? dim.size : 0);
    }
    NARROW_TRY(const int at, normalize_axis(node, axis, static_cast<int>(shape.size()) + 1));
    const auto count = static_cast<std::int64_t>(parts_.size());
    std::int64_t outer = 1, inner = 1;
    for (int d = 0; d < at; ++d) outer *= shape[d];
    for (std::size_t d = at; d < shape.size(); ++d) inner *= shape[d];
    shape.insert(shape.begin() + at, count);
    NARROW_TRY(MovedOutput out, MovedOutput::create(context, output, dtype, shape));
    for (std::int64_t i = 0; i < count; ++i) {
      out.copy(parts_[i], 0, (reversed ? count - 1 - i : i) * inner, {{outer, inner, count * inner}, {inner, 1, 1}});
    }
    out.finish();
    return {};
  }

 private:
  std::vector<Tensor> parts_;
  Shape first_;
  std::uint64_t bytes_ = 0;
};

// ---- Loop: inputs (trip count, condition, carried…), body (pass, condition, carried…) -> (condition, carried…, scans…) ----

// The trip count and the condition may be left out, but not their places.
Status check_loop(const Node& node) {
  if (node.inputs.size() >= 2) return {};
  return corrupt(fmt::format("{}: {} inputs, expected a trip count, a condition and the carried values", where(node), node.inputs.size()));
}

Status infer_loop(InferContext& context) {
  const Node& node = context.node();
  NARROW_RETURN_IF_ERROR(check_loop(node));
  const std::size_t carried = node.inputs.size() - 2;
  if (node.outputs.size() < carried) {
    return corrupt(fmt::format("{}: {} outputs for {} carried values", where(node), node.outputs.size(), carried));
  }
  NARROW_RETURN_IF_ERROR(check_dtype(context, 0, set_of({DType::kS64})));
  NARROW_RETURN_IF_ERROR(check_dtype(context, 1, kBoolType));
  NARROW_TRY(const GraphPtr body, body_of(node, carried + 2, node.outputs.size() + 1));
  // A carried value may change its shape from pass to pass: only its element type and, when the body keeps it, its
  // shape are certain.
  std::vector<Type> inputs = {Type::tensor(DType::kS64, std::vector<Dim>{}), Type::tensor(DType::kBool)};
  for (std::size_t i = 0; i < carried; ++i) {
    const Type& x = context.input(i + 2);
    Type any_shape = x;
    any_shape.ranked = false;
    any_shape.dims.clear();
    inputs.push_back(std::move(any_shape));
  }
  NARROW_TRY(const auto found, context.infer_subgraph(*body, inputs));
  for (std::size_t i = 0; i < carried; ++i) context.set_output(i, weakest(context.input(i + 2), found[i + 1]));
  for (std::size_t i = carried; i < node.outputs.size(); ++i) {
    Type type = found[i + 1];
    if (type.ranked) type.dims.insert(type.dims.begin(), Dim());
    context.set_output(i, type);
  }
  return {};
}

class LoopKernel final : public Kernel {
 public:
  LoopKernel(Node node, GraphPtr body, std::unique_ptr<Subgraph> ready)
      : node_(std::move(node)), body_(std::move(body)), ready_(std::move(ready)) {}

  Status run(RunContext& context) override {
    const std::size_t carried = node_.inputs.size() - 2, scans = node_.outputs.size() - carried;
    std::int64_t limit = std::numeric_limits<std::int64_t>::max();
    if (context.has_input(0)) {
      if (context.input(0).dtype() != DType::kS64 || context.input(0).size() != 1) {
        return corrupt(fmt::format("{}: the trip count must be one s64", where(node_)));
      }
      limit = *pointer<std::int64_t>(context.input(0));
    }
    bool going = true;
    if (context.has_input(1)) {
      NARROW_TRY(going, condition(context.input(1)));
    }
    std::vector<RuntimeValue> inputs(carried + 2);
    for (std::size_t i = 0; i < carried; ++i) inputs[i + 2] = context.value(i + 2);
    std::vector<Collected> collected(scans);
    for (std::int64_t pass = 0; pass < limit && going; ++pass) {
      inputs[0] = Tensor::scalar(pass);
      inputs[1] = Tensor::scalar(going);
      NARROW_TRY(std::vector<RuntimeValue> outputs, ready_->run(inputs, context));
      NARROW_TRY(going, condition(outputs[0].tensor()));
      for (std::size_t i = 0; i < scans; ++i) NARROW_RETURN_IF_ERROR(collected[i].add(node_, outputs[carried + 1 + i]));
      for (std::size_t i = 0; i < carried; ++i) inputs[i + 2] = kept(outputs[i + 1]);
    }
    for (std::size_t i = 0; i < carried; ++i) NARROW_RETURN_IF_ERROR(emit(context, i, inputs[i + 2]));
    for (std::size_t i = 0; i < scans; ++i) {
      const Type& declared = body_->value(body_->outputs[carried + 1 + i]).type;
      NARROW_RETURN_IF_ERROR(collected[i].write(node_, context, carried + i, 0, false, declared));
    }
    return {};
  }

 private:
  Result<bool> condition(const Tensor& tensor) {
    if (tensor.dtype() != DType::kBool || tensor.size() != 1) {
      return corrupt(fmt::format("{}: the condition must be one bool, found {}{}", where(node_), to_string(tensor.dtype()),
                                 to_string(tensor.shape())));
    }
    return *pointer<std::uint8_t>(tensor) != 0;
  }

  Node node_;
  GraphPtr body_;
  std::unique_ptr<Subgraph> ready_;
};

Result<std::unique_ptr<Kernel>> prepare_loop(const PrepareContext& context) {
  const Node& node = *context.node;
  if (!context.make_subgraph) return unsupported(fmt::format("{}: a node with subgraphs runs only in a session", where(node)));
  NARROW_RETURN_IF_ERROR(check_loop(node));
  if (node.outputs.size() + 2 < node.inputs.size()) {
    return corrupt(fmt::format("{}: {} outputs for {} carried values", where(node), node.outputs.size(), node.inputs.size() - 2));
  }
  NARROW_TRY(GraphPtr body, body_of(node, node.inputs.size(), node.outputs.size() + 1));
  NARROW_TRY(auto ready, context.make_subgraph(*body));
  return std::unique_ptr<Kernel>(std::make_unique<LoopKernel>(node, std::move(body), std::move(ready)));
}

// ---- Scan: inputs (state…, sequences…), body (state…, slices…) -> (state…, slices…) -----------------------------------

struct ScanPlan {
  std::size_t states, sequences, scans;
  std::vector<std::int64_t> input_axes, output_axes, input_directions, output_directions;
};

Result<ScanPlan> scan_plan(const Node& node) {
  const std::int64_t sequences = node.get_int("num_scan_inputs", 0);
  if (sequences < 1 || sequences > static_cast<std::int64_t>(node.inputs.size())) {
    return corrupt(fmt::format("{}: num_scan_inputs is {} of {} inputs", where(node), sequences, node.inputs.size()));
  }
  ScanPlan plan{node.inputs.size() - static_cast<std::size_t>(sequences), static_cast<std::size_t>(sequences), 0, {}, {}, {}, {}};
  if (node.outputs.size() < plan.states) {
    return corrupt(fmt::format("{}: {} outputs for {} state values", where(node), node.outputs.size(), plan.states));
  }
  plan.scans = node.outputs.size() - plan.states;
  const auto list = [&](std::string_view name, std::size_t count, std::vector<std::int64_t>& out) -> Status {
    out = node.get_ints(name);
    if (out.empty()) out.assign(count, 0);
    if (out.size() == count) return {};
    return corrupt(fmt::format("{}: {} has {} numbers, expected {}", where(node), name, out.size(), count));
  };
  NARROW_RETURN_IF_ERROR(list("scan_input_axes", plan.sequences, plan.input_axes));
  NARROW_RETURN_IF_ERROR(list("scan_output_axes", plan.scans, plan.output_axes));
  NARROW_RETURN_IF_ERROR(list("scan_input_directions", plan.sequences, plan.input_directions));
  NARROW_RETURN_IF_ERROR(list("scan_output_directions", plan.scans, plan.output_directions));
  return plan;
}

Status infer_scan(InferContext& context) {
  const Node& node = context.node();
  NARROW_TRY(const ScanPlan plan, scan_plan(node));
  NARROW_TRY(const GraphPtr body, body_of(node, node.inputs.size(), node.outputs.size()));
  std::vector<Type> inputs;
  Dim length;
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    Type type = context.input(i);
    if (i >= plan.states && type.ranked) {
      NARROW_TRY(const int axis, normalize_axis(node, plan.input_axes[i - plan.states], type.rank()));
      NARROW_TRY(length, unify_dims(node, length, type.dims[axis], "the sequence length"));
      type.dims.erase(type.dims.begin() + axis);
    }
    inputs.push_back(std::move(type));
  }
  NARROW_TRY(const auto found, context.infer_subgraph(*body, inputs));
  for (std::size_t i = 0; i < node.outputs.size(); ++i) {
    Type type = found[i];
    if (i >= plan.states && type.kind == TypeKind::kTensor && type.ranked) {
      NARROW_TRY(const int axis, normalize_axis(node, plan.output_axes[i - plan.states], type.rank() + 1));
      type.dims.insert(type.dims.begin() + axis, length);
    }
    context.set_output(i, type);
  }
  return {};
}

// One step of a sequence, the axis taken out.
Result<Tensor> slice_of(const Tensor& x, int axis, std::int64_t index) {
  Shape shape = x.shape();
  shape.erase(shape.begin() + axis);
  std::int64_t outer = 1, inner = 1;
  for (int d = 0; d < axis; ++d) outer *= x.shape()[d];
  for (int d = axis + 1; d < x.rank(); ++d) inner *= x.shape()[d];
  NARROW_TRY(Tensor out, Tensor::create(x.dtype(), shape));
  const std::size_t bytes = static_cast<std::size_t>(inner) * bits_of(x.dtype()) / 8;
  for (std::int64_t o = 0; o < outer && bytes != 0; ++o) {
    std::memcpy(static_cast<char*>(out.mutable_raw()) + static_cast<std::size_t>(o) * bytes,
                static_cast<const char*>(x.raw()) + static_cast<std::size_t>(o * x.shape()[axis] + index) * bytes, bytes);
  }
  return out;
}

class ScanKernel final : public Kernel {
 public:
  ScanKernel(Node node, GraphPtr body, ScanPlan plan, std::unique_ptr<Subgraph> ready)
      : node_(std::move(node)), body_(std::move(body)), plan_(std::move(plan)), ready_(std::move(ready)) {}

  Status run(RunContext& context) override {
    std::int64_t length = -1;
    std::vector<int> axes;
    for (std::size_t i = 0; i < plan_.sequences; ++i) {
      const Tensor& x = context.input(plan_.states + i);
      if (x.dtype() == DType::kString || is_packed(x.dtype())) return dtype_error(node_, x.dtype());
      NARROW_TRY(const int axis, normalize_axis(node_, plan_.input_axes[i], x.rank()));
      if (length >= 0 && x.shape()[axis] != length) {
        return invalid_argument(fmt::format("{}: sequences of lengths {} and {}", where(node_), length, x.shape()[axis]));
      }
      length = x.shape()[axis];
      axes.push_back(axis);
    }
    std::vector<RuntimeValue> inputs(plan_.states + plan_.sequences);
    for (std::size_t i = 0; i < plan_.states; ++i) inputs[i] = context.value(i);
    std::vector<Collected> collected(plan_.scans);
    for (std::int64_t step = 0; step < length; ++step) {
      for (std::size_t i = 0; i < plan_.sequences; ++i) {
        const std::int64_t at = plan_.input_directions[i] != 0 ? length - 1 - step : step;
        NARROW_TRY(inputs[plan_.states + i], slice_of(context.input(plan_.states + i), axes[i], at));
      }
      NARROW_TRY(std::vector<RuntimeValue> outputs, ready_->run(inputs, context));
      for (std::size_t i = 0; i < plan_.scans; ++i) NARROW_RETURN_IF_ERROR(collected[i].add(node_, outputs[plan_.states + i]));
      for (std::size_t i = 0; i < plan_.states; ++i) inputs[i] = kept(outputs[i]);
    }
    for (std::size_t i = 0; i < plan_.states; ++i) NARROW_RETURN_IF_ERROR(emit(context, i, inputs[i]));
    for (std::size_t i = 0; i < plan_.scans; ++i) {
      const Type& declared = body_->value(body_->outputs[plan_.states + i]).type;
      NARROW_RETURN_IF_ERROR(collected[i].write(node_, context, plan_.states + i, plan_.output_axes[i],
                                                plan_.output_directions[i] != 0, declared));
    }
    return {};
  }

 private:
  Node node_;
  GraphPtr body_;
  ScanPlan plan_;
  std::unique_ptr<Subgraph> ready_;
};

Result<std::unique_ptr<Kernel>> prepare_scan(const PrepareContext& context) {
  const Node& node = *context.node;
  if (!context.make_subgraph) return unsupported(fmt::format("{}: a node with subgraphs runs only in a session", where(node)));
  NARROW_TRY(ScanPlan plan, scan_plan(node));
  NARROW_TRY(GraphPtr body, body_of(node, node.inputs.size(), node.outputs.size()));
  NARROW_TRY(auto ready, context.make_subgraph(*body));
  return std::unique_ptr<Kernel>(std::make_unique<ScanKernel>(node, std::move(body), std::move(plan), std::move(ready)));
}

const std::array kOperators = {
    Operator{.name = "Loop", .since = 24, .min_inputs = 0, .max_inputs = -1, .max_outputs = -1, .infer = infer_loop,
             .prepare = prepare_loop, .flags = kTakesValues},
    Operator{.name = "Scan", .since = 24, .min_inputs = 1, .max_inputs = -1, .max_outputs = -1, .infer = infer_scan,
             .prepare = prepare_scan, .flags = kTakesValues},
};

}  // namespace

std::span<const Operator> loop_operators() { return kOperators; }

}  // namespace narrow::operators
