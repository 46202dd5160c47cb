// Sequences of tensors: made, read, changed, split from and joined into tensors, mapped by a subgraph.
#include <array>

#include "operators/common_shape.h"
#include "operators/dispatch.h"
#include "operators/element_type.h"
#include "operators/families.h"
#include "operators/infer.h"

namespace narrow::operators {
namespace {

using graph::GraphPtr;
using graph::Node;
using graph::Type;
using graph::TypeKind;
using Sequence = RuntimeValue::Sequence;

// A tensor that stays what it is while a sequence holds it.
Tensor kept(const Tensor& tensor) { return tensor.owned() ? tensor : tensor.clone(); }

Result<const RuntimeValue*> sequence_input(const Node& node, const RunContext& context, std::size_t i) {
  const RuntimeValue& value = context.value(i);
  if (value.is_sequence()) return &value;
  return invalid_argument(fmt::format("{}: input {} is {}, expected a sequence", where(node), i, to_string(value)));
}

Result<const Tensor*> tensor_input(const Node& node, const RunContext& context, std::size_t i) {
  const RuntimeValue& value = context.value(i);
  if (value.is_tensor()) return &value.tensor();
  return invalid_argument(fmt::format("{}: input {} is {}, expected a tensor", where(node), i, to_string(value)));
}

// Type of the tensors in sequence input 0; kUnknown when it is not known. Errors: corrupt, when it is no sequence.
Result<Type> inferred_element(InferContext& context) {
  const Type& type = context.input(0);
  if (type.kind == TypeKind::kUnknown) return Type();
  if (type.kind == TypeKind::kSequence) return type.element();
  return corrupt(fmt::format("{}: input 0 is {}, expected a sequence", where(context.node()), graph::to_string(type)));
}

// What holds for a tensor of either type. Errors: corrupt, when their element types differ.
Result<Type> either(const Node& node, const Type& a, const Type& b) {
  if (a.kind != TypeKind::kTensor || b.kind != TypeKind::kTensor) return Type::tensor(a.dtype != DType::kUndefined ? a.dtype : b.dtype);
  if (a.dtype != DType::kUndefined && b.dtype != DType::kUndefined && a.dtype != b.dtype) {
    return corrupt(fmt::format("{}: {} and {} in one sequence", where(node), to_string(a.dtype), to_string(b.dtype)));
  }
  return common_shape(a, b);
}

// The element that `position` names, counted from the end when negative. `count` itself is allowed when `after_last`.
Result<std::size_t> position_input(const Node& node, const RunContext& context, std::size_t i, std::size_t count, bool after_last) {
  NARROW_TRY(const Tensor* tensor, tensor_input(node, context, i));
  if (!contains(kIndexTypes, tensor->dtype()) || tensor->size() != 1) {
    return invalid_argument(fmt::format("{}: the position is {}, expected one s32 or s64", where(node), to_string(context.value(i))));
  }
  const std::int64_t size = static_cast<std::int64_t>(count), given = tensor->to_int64()[0];
  const std::int64_t position = given < 0 ? given + size : given;
  if (position < 0 || position >= size + (after_last ? 1 : 0)) {
    return invalid_argument(fmt::format("{}: position {} of a sequence of {}", where(node), given, count));
  }
  return static_cast<std::size_t>(position);
}

// ---- SequenceConstruct, SequenceEmpty -------------------------------------------------------------------------------

Status infer_construct(InferContext& context) {
  Type element = context.input(0);
  for (std::size_t i = 1; i < context.node().inputs.size(); ++i) {
    NARROW_TRY(element, either(context.node(), element, context.input(i)));
  }
  element.kind = TypeKind::kTensor;
  context.set_output(0, Type::sequence(element));
  return {};
}

Status run_construct(const Node& node, RunContext& context) {
  Sequence tensors;
  for (std::size_t i = 0; i < context.input_count(); ++i) {
    if (context.input(i).dtype() != context.input(0).dtype()) {
      return invalid_argument(fmt::format("{}: input {} is {}, but the first is {}", where(node), i, to_string(context.input(i).dtype()),
                                          to_string(context.input(0).dtype())));
    }
    tensors.push_back(kept(context.input(i)));
  }
  context.set_value(0, RuntimeValue::sequence(context.input(0).dtype(), std::move(tensors)));
  return {};
}

Result<DType> empty_dtype(const Node& node) {
  if (!node.has("dtype")) return DType::kF32;
  const std::int64_t number = node.get_int("dtype", 0);
  if (const auto dtype = dtype_from_number(number)) return *dtype;
  return corrupt(fmt::format("{}: {} is no element type", where(node), number));
}

Status infer_empty(InferContext& context) {
  NARROW_TRY(const DType dtype, empty_dtype(context.node()));
  context.set_output(0, Type::sequence(Type::tensor(dtype)));
  return {};
}

Status run_empty(const Node& node, RunContext& context) {
  NARROW_TRY(const DType dtype, empty_dtype(node));
  context.set_value(0, RuntimeValue::sequence(dtype, {}));
  return {};
}

// ---- SequenceAt, SequenceLength -------------------------------------------------------------------------------------

Status infer_at(InferContext& context) {
  NARROW_TRY(Type element, inferred_element(context));
  NARROW_RETURN_IF_ERROR(check_dtype(context, 1, kIndexTypes));
  context.set_output(0, std::move(element));
  return {};
}

Status run_at(const Node& node, RunContext& context) {
  NARROW_TRY(const RuntimeValue* value, sequence_input(node, context, 0));
  NARROW_TRY(const std::size_t at, position_input(node, context, 1, value->sequence().size(), false));
  context.set_output(0, value->sequence()[at]);
  return {};
}

Status infer_length(InferContext& context) {
  NARROW_TRY(const Type element, inferred_element(context));
  (void)element;
  context.set_output(0, Type::tensor(DType::kS64, std::vector<graph::Dim>{}));
  return {};
}

Status run_length(const Node& node, RunContext& context) {
  NARROW_TRY(const RuntimeValue* value, sequence_input(node, context, 0));
  context.set_output(0, Tensor::scalar(static_cast<std::int64_t>(value->sequence().size())));
  return {};
}

// ---- SequenceInsert, SequenceErase ----------------------------------------------------------------------------------

Status infer_insert(InferContext& context) {
  NARROW_TRY(const Type element, inferred_element(context));
  NARROW_TRY(const Type type, either(context.node(), element, context.input(1)));
  context.set_output(0, Type::sequence(type));
  return {};
}

Status run_insert(const Node& node, RunContext& context) {
  NARROW_TRY(const RuntimeValue* value, sequence_input(node, context, 0));
  NARROW_TRY(const Tensor* tensor, tensor_input(node, context, 1));
  if (tensor->dtype() != value->dtype()) {
    return invalid_argument(fmt::format("{}: the tensor is {}, but the sequence holds {}", where(node), to_string(tensor->dtype()), to_string(value->dtype())));
  }
  Sequence tensors = value->sequence();
  std::size_t at = tensors.size();
  if (context.value(2).defined()) { NARROW_TRY(at, position_input(node, context, 2, tensors.size(), true)); }
  tensors.insert(tensors.begin() + static_cast<std::ptrdiff_t>(at), kept(*tensor));
  context.set_value(0, RuntimeValue::sequence(value->dtype(), std::move(tensors)));
  return {};
}

Status infer_erase(InferContext& context) {
  NARROW_TRY(const Type element, inferred_element(context));
  (void)element;
  context.set_output(0, context.input(0));
  return {};
}

Status run_erase(const Node& node, RunContext& context) {
  NARROW_TRY(const RuntimeValue* value, sequence_input(node, context, 0));
  Sequence tensors = value->sequence();
  if (tensors.empty()) return invalid_argument(fmt::format("{}: the sequence is empty", where(node)));
  std::size_t at = tensors.size() - 1;
  if (context.value(1).defined()) { NARROW_TRY(at, position_input(node, context, 1, tensors.size(), false)); }
  tensors.erase(tensors.begin() + static_cast<std::ptrdiff_t>(at));
  context.set_value(0, RuntimeValue::sequence(value->dtype(), std::move(tensors)));
  return {};
}

// ---- SplitToSequence, ConcatFromSequence ----------------------------------------------------------------------------

Status infer_split_to_sequence(InferContext& context) {
  const Node& node = context.node();
  Type element = context.input(0);
  if (element.kind != TypeKind::kTensor) return {};
  if (element.ranked) {
    NARROW_TRY(const int axis, normalize_axis(node, node.get_int("axis", 0), element.rank()));
    if (!context.has_input(1) && node.get_int("keepdims", 1) == 0) element.dims.erase(element.dims.begin() + axis);
    else element.dims[axis] = context.has_input(1) ? graph::Dim() : graph::Dim(1);
  }
  context.set_output(0, Type::sequence(element));
  return {};
}

// The lengths of the parts of an axis of length `total`.
Result<std::vector<std::int64_t>> part_lengths(const Node& node, const RunContext& context, std::int64_t total) {
  if (!context.has_input(1)) return std::vector<std::int64_t>(static_cast<std::size_t>(total), 1);
  const Tensor& split = context.input(1);
  if (!contains(kIndexTypes, split.dtype()) || split.rank() > 1) return dtype_error(node, split.dtype());
  std::vector<std::int64_t> lengths = split.to_int64();
  if (split.rank() == 0) {
    const std::int64_t length = lengths[0];
    if (length <= 0) return invalid_argument(fmt::format("{}: parts of length {}", where(node), length));
    lengths.clear();
    for (std::int64_t at = 0; at < total; at += std::min(length, total - at)) lengths.push_back(std::min(length, total - at));
    return lengths;
  }
  std::int64_t rest = total;
  bool fits = true;
  for (const std::int64_t length : lengths) {
    fits = fits && length >= 0 && length <= rest;
    if (fits) rest -= length;
  }
  if (fits && rest == 0) return lengths;
  return invalid_argument(fmt::format("{}: split {} of an axis of length {}", where(node), to_string(lengths), total));
}

Status run_split_to_sequence(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  NARROW_TRY(const int axis, normalize_axis(node, node.get_int("axis", 0), x.rank()));
  NARROW_TRY(const std::vector<std::int64_t> lengths, part_lengths(node, context, x.shape()[axis]));
  const bool squeeze = !context.has_input(1) && node.get_int("keepdims", 1) == 0;
  Node slice;
  slice.name = node.name;
  slice.op_type = "Slice";
  slice.inputs = {0, 1, 2, 3};
  slice.outputs = {4};
  const Tensor axes = Tensor::from<std::int64_t>({1}, {axis});
  Sequence tensors;
  std::int64_t at = 0;
  for (const std::int64_t length : lengths) {
    const Tensor start = Tensor::from<std::int64_t>({1}, {at}), end = Tensor::from<std::int64_t>({1}, {at + length});
    const std::array<const Tensor*, 4> inputs = {&x, &start, &end, &axes};
    NARROW_TRY(std::vector<Tensor> part, evaluate_node(slice, inputs));
    Shape shape = part[0].shape();
    if (squeeze) shape.erase(shape.begin() + axis);
    tensors.push_back(kept(part[0].reshaped(std::move(shape))));
    at += length;
  }
  context.set_value(0, RuntimeValue::sequence(x.dtype(), std::move(tensors)));
  return {};
}

Status infer_concat_from_sequence(InferContext& context) {
  const Node& node = context.node();
  NARROW_TRY(const Type element, inferred_element(context));
  if (element.kind != TypeKind::kTensor) return {};
  Type type = element;
  if (type.ranked) {
    const bool stack = node.get_int("new_axis", 0) != 0;
    NARROW_TRY(const int axis, normalize_axis(node, node.get_int("axis", 0), type.rank() + (stack ? 1 : 0)));
    if (stack) type.dims.insert(type.dims.begin() + axis, graph::Dim());
    else type.dims[axis] = graph::Dim();
  }
  context.set_output(0, std::move(type));
  return {};
}

Status run_concat_from_sequence(const Node& node, RunContext& context) {
  NARROW_TRY(const RuntimeValue* value, sequence_input(node, context, 0));
  Sequence tensors = value->sequence();
  if (tensors.empty()) return invalid_argument(fmt::format("{}: the sequence is empty", where(node)));
  if (!node.has("axis")) return corrupt(fmt::format("{}: the attribute axis is missing", where(node)));
  const bool stack = node.get_int("new_axis", 0) != 0;
  NARROW_TRY(const int axis, normalize_axis(node, node.get_int("axis", 0), tensors[0].rank() + (stack ? 1 : 0)));
  Node concat;
  concat.name = node.name;
  concat.op_type = "Concat";
  concat.set("axis", std::int64_t{axis});
  std::vector<const Tensor*> inputs;
  for (Tensor& tensor : tensors) {
    if (stack) {
      if (tensor.shape() != value->sequence()[0].shape()) {
        return invalid_argument(fmt::format("{}: tensors of shapes {} and {} cannot be stacked", where(node), to_string(value->sequence()[0].shape()),
                                            to_string(tensor.shape())));
      }
      Shape shape = tensor.shape();
      shape.insert(shape.begin() + axis, 1);
      tensor = tensor.reshaped(std::move(shape));
    }
    inputs.push_back(&tensor);
    concat.inputs.push_back(0);
  }
  concat.outputs = {1};
  NARROW_TRY(std::vector<Tensor> joined, evaluate_node(concat, inputs));
  context.set_output(0, std::move(joined[0]));
  return {};
}

// ---- SequenceMap ----------------------------------------------------------------------------------------------------

Result<GraphPtr> map_body(const Node& node) {
  GraphPtr body = node.get_graph("body");
  if (body == nullptr) return corrupt(fmt::format("{}: the attribute body is missing or no graph", where(node)));
  if (body->inputs.size() != node.inputs.size() || body->outputs.size() != node.outputs.size()) {
    return corrupt(fmt::format("{}: the body has {} inputs and {} outputs, expected {} and {}", where(node), body->inputs.size(),
                               body->outputs.size(), node.inputs.size(), node.outputs.size()));
  }
  return body;
}

Status infer_map(InferContext& context) {
  NARROW_TRY(const GraphPtr body, map_body(context.node()));
  std::vector<Type> inputs;
  for (std::size_t i = 0; i < context.node().inputs.size(); ++i) {
    const Type& type = context.input(i);
    inputs.push_back(type.kind == TypeKind::kSequence ? type.element() : type);
  }
  NARROW_TRY(const std::vector<Type> found, context.infer_subgraph(*body, inputs));
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (found[i].kind == TypeKind::kTensor) context.set_output(i, Type::sequence(found[i]));
  }
  return {};
}

class MapKernel final : public Kernel {
 public:
  MapKernel(Node node, GraphPtr body, std::unique_ptr<Subgraph> ready)
      : node_(std::move(node)), body_(std::move(body)), ready_(std::move(ready)) {}

  Status run(RunContext& context) override {
    NARROW_TRY(const RuntimeValue* first, sequence_input(node_, context, 0));
    const std::size_t length = first->sequence().size();
    std::vector<RuntimeValue> inputs(context.input_count());
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const RuntimeValue& value = context.value(i);
      if (!value.is_sequence()) inputs[i] = value;
      else if (value.sequence().size() != length) {
        return invalid_argument(fmt::format("{}: sequences of {} and {} tensors", where(node_), length, value.sequence().size()));
      }
    }
    std::vector<Sequence> results(node_.outputs.size());
    for (std::size_t at = 0; at < length; ++at) {
      for (std::size_t i = 0; i < inputs.size(); ++i) {
        if (context.value(i).is_sequence()) inputs[i] = context.value(i).sequence()[at];
      }
      NARROW_TRY(std::vector<RuntimeValue> outputs, ready_->run(inputs, context));
      for (std::size_t i = 0; i < results.size(); ++i) {
        if (!outputs[i].is_tensor() || (at != 0 && outputs[i].dtype() != results[i][0].dtype())) {
          return invalid_argument(fmt::format("{}: the body's output {} is {}, expected tensors of one type", where(node_), i, to_string(outputs[i])));
        }
        results[i].push_back(kept(outputs[i].tensor()));
      }
    }
    for (std::size_t i = 0; i < results.size(); ++i) {
      const DType dtype = results[i].empty() ? body_->value(body_->outputs[i]).type.dtype : results[i][0].dtype();
      context.set_value(i, RuntimeValue::sequence(dtype, std::move(results[i])));
    }
    return {};
  }

 private:
  Node node_;
  GraphPtr body_;
  std::unique_ptr<Subgraph> ready_;
};

Result<std::unique_ptr<Kernel>> prepare_map(const PrepareContext& context) {
  const Node& node = *context.node;
  if (!context.make_subgraph) return unsupported(fmt::format("{}: a node with subgraphs runs only in a session", where(node)));
  NARROW_TRY(GraphPtr body, map_body(node));
  NARROW_TRY(auto ready, context.make_subgraph(*body));
  return std::unique_ptr<Kernel>(std::make_unique<MapKernel>(node, std::move(body), std::move(ready)));
}

const std::array kOperators = {
    Operator{.name = "SequenceConstruct", .since = 11, .max_inputs = -1, .infer = infer_construct, .run = run_construct},
    Operator{.name = "SequenceEmpty", .since = 11, .min_inputs = 0, .max_inputs = 0, .infer = infer_empty, .run = run_empty},
    Operator{.name = "SequenceAt", .since = 11, .min_inputs = 2, .max_inputs = 2, .infer = infer_at, .run = run_at, .flags = kTakesValues},
    Operator{.name = "SequenceLength", .since = 11, .infer = infer_length, .run = run_length, .flags = kTakesValues},
    Operator{.name = "SequenceInsert", .since = 11, .min_inputs = 2, .max_inputs = 3, .infer = infer_insert, .run = run_insert,
             .flags = kTakesValues},
    Operator{.name = "SequenceErase", .since = 11, .max_inputs = 2, .infer = infer_erase, .run = run_erase, .flags = kTakesValues},
    Operator{.name = "SplitToSequence", .since = 24, .max_inputs = 2, .infer = infer_split_to_sequence, .run = run_split_to_sequence},
    Operator{.name = "ConcatFromSequence", .since = 11, .infer = infer_concat_from_sequence, .run = run_concat_from_sequence,
             .flags = kTakesValues},
    Operator{.name = "SequenceMap", .since = 17, .max_inputs = -1, .max_outputs = -1, .infer = infer_map, .prepare = prepare_map,
             .flags = kTakesValues},
};

}  // namespace

std::span<const Operator> sequence_operators() { return kOperators; }

}  // namespace narrow::operators
