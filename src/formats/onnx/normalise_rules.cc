#include "formats/onnx/normalise_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "formats/onnx/schema.h"
#include "formats/onnx/tensor_reader.h"
#include "formats/onnx/types.h"

namespace narrow::formats::onnx {
namespace {

using graph::kNoValue;
using graph::Node;
using graph::ValueId;

// Moves an ints attribute to input `i`, when the node has it.
Status ints_to_input(Node& node, RewriteContext& context, const char* attribute, std::size_t i) {
  if (!node.has(attribute)) return {};
  const std::vector<std::int64_t> values = node.get_ints(attribute);
  set_input(node, i, context.add_ints(node, attribute, values));
  node.erase(attribute);
  return {};
}

// Drops trailing outputs beyond `keep` that nobody reads. Errors when one is read.
Status trim_outputs(Node& node, RewriteContext& context, std::size_t keep, const char* why) {
  for (std::size_t i = keep; i < node.outputs.size(); ++i) {
    if (context.is_used(node.outputs[i])) return unsupported(fmt::format("output {} is used, {}", i, why));
  }
  if (node.outputs.size() > keep) node.outputs.resize(keep);
  return {};
}

Status axes_to_input(Node& node, RewriteContext& context) { return ints_to_input(node, context, "axes", 1); }

Status lift_unsqueeze(Node& node, RewriteContext& context) {
  if (!node.has("axes")) return corrupt("the attribute 'axes' is missing");
  return axes_to_input(node, context);
}

Status lift_split(Node& node, RewriteContext& context) { return ints_to_input(node, context, "split", 1); }

// Since 18 a split into equal parts says how many.
Status count_split(Node& node, RewriteContext&) {
  if (node.input(1) == kNoValue) node.set("num_outputs", static_cast<std::int64_t>(node.outputs.size()));
  return {};
}

Status lift_slice(Node& node, RewriteContext& context) {
  if (!node.has("starts") || !node.has("ends")) return corrupt("the attributes 'starts' and 'ends' are missing");
  NARROW_RETURN_IF_ERROR(ints_to_input(node, context, "starts", 1));
  NARROW_RETURN_IF_ERROR(ints_to_input(node, context, "ends", 2));
  return ints_to_input(node, context, "axes", 3);
}

Status lift_reshape(Node& node, RewriteContext& context) { return ints_to_input(node, context, "shape", 1); }

Status lift_pad(Node& node, RewriteContext& context) {
  const char* name = node.has("pads") ? "pads" : "paddings";
  if (!node.has(name)) return corrupt("the attribute 'pads' is missing");
  return ints_to_input(node, context, name, 1);
}

Status lift_pad_value(Node& node, RewriteContext& context) {
  const float value = node.get_float("value", 0.0f);
  node.erase("value");
  if (value != 0.0f) set_input(node, 2, context.add_scalar_like(node, "value", node.input(0), value));
  return {};
}

Status lift_clip(Node& node, RewriteContext& context) {
  const auto move = [&](const char* attribute, std::size_t i, float unbounded) {
    const float bound = node.get_float(attribute, unbounded);
    node.erase(attribute);
    if (bound != unbounded) set_input(node, i, context.add_scalar_like(node, attribute, node.input(0), bound));
  };
  constexpr float kLargest = 3.4028234663852886e38f;
  move("min", 1, -kLargest);
  move("max", 2, kLargest);
  return {};
}

Status lift_dropout(Node& node, RewriteContext& context) {
  const float ratio = node.get_float("ratio", 0.5f);
  node.erase("ratio");
  node.erase("is_test");
  if (context.opset() < 10) NARROW_RETURN_IF_ERROR(trim_outputs(node, context, 1, "but a mask of numbers was removed from ONNX"));
  set_input(node, 1, context.graph().add_constant(node.name + "_ratio", Tensor::scalar(ratio)));
  return {};
}

Status lift_topk(Node& node, RewriteContext& context) {
  const std::int64_t k = node.get_int("k", -1);
  if (k < 0) return corrupt("the attribute 'k' is missing or negative");
  node.erase("k");
  set_input(node, 1, context.add_ints(node, "k", {k}));
  return {};
}

Status lift_cast(Node& node, RewriteContext&) {
  const graph::Attribute* to = node.find("to");
  const auto* name = to == nullptr ? nullptr : std::get_if<std::string>(&to->value);
  if (name == nullptr) return {};
  const auto type = data_type_from_name(*name);
  if (!type) return corrupt(fmt::format("the attribute 'to' is '{}', which is no element type", *name));
  node.set("to", *type);
  return {};
}

Result<Tensor> constant_value(const Node& node) {
  for (const graph::Attribute& attribute : node.attributes) {
    const auto is = [&](const char* name) { return attribute.name == name; };
    if (const auto* t = std::get_if<Tensor>(&attribute.value); t != nullptr && is("value")) return *t;
    if (const auto* f = std::get_if<float>(&attribute.value); f != nullptr && is("value_float")) return Tensor::scalar(*f);
    if (const auto* i = std::get_if<std::int64_t>(&attribute.value); i != nullptr && is("value_int")) return Tensor::scalar(*i);
    if (const auto* s = std::get_if<std::string>(&attribute.value); s != nullptr && is("value_string")) return Tensor::from_strings({}, {*s});
    if (is("value_floats")) {
      const std::vector<float> values = node.get_floats("value_floats");
      return Tensor::from<float>({static_cast<std::int64_t>(values.size())}, values);
    }
    if (is("value_ints")) {
      const std::vector<std::int64_t> values = node.get_ints("value_ints");
      return Tensor::from<std::int64_t>({static_cast<std::int64_t>(values.size())}, values);
    }
    if (const auto* s = std::get_if<std::vector<std::string>>(&attribute.value); s != nullptr && is("value_strings")) {
      return Tensor::from_strings({static_cast<std::int64_t>(s->size())}, *s);
    }
    if (const auto* bytes = std::get_if<graph::Attribute::Foreign>(&attribute.value); bytes != nullptr && is("sparse_value")) {
      wire::ProtoReader reader({reinterpret_cast<const std::uint8_t*>(bytes->bytes.data()), bytes->bytes.size()});
      wire::ProtoField field;
      while (true) {
        NARROW_TRY(const bool more, reader.next(field));
        if (!more) break;
        if (field.number != attribute_field::kSparse) continue;
        NARROW_TRY(NamedTensor dense, read_sparse_tensor(field, {}));  // dense bytes are always its own
        return std::move(dense.tensor);
      }
    }
  }
  return corrupt("a Constant needs one of the value attributes");
}

Status fold_constant(Node& node, RewriteContext& context) {
  if (node.output(0) == kNoValue || node.outputs.size() != 1 || !node.inputs.empty()) return corrupt("a Constant has no inputs and one output");
  NARROW_TRY(Tensor tensor, constant_value(node));
  graph::Value& value = context.graph().value(node.outputs[0]);
  value.type = graph::Type::of(tensor);
  value.constant = std::move(tensor);
  context.drop_node();
  return {};
}

Status rename_scatter(Node& node, RewriteContext&) {
  node.op_type = "ScatterElements";
  return {};
}

// ---- Resize ---------------------------------------------------------------------------------------------------------

Status lift_upsample(Node& node, RewriteContext& context) {
  std::vector<float> scales = node.get_floats("scales");
  if (context.opset() < 7) {
    if (scales.empty()) scales = {1.0f, 1.0f, node.get_float("height_scale", 1.0f), node.get_float("width_scale", 1.0f)};
    node.erase("height_scale");
    node.erase("width_scale");
  }
  node.erase("scales");
  ValueId from = node.input(1);
  if (from == kNoValue) {
    if (scales.empty()) return corrupt("the scales are missing");
    from = context.graph().add_constant(node.name + "_scales", Tensor::from<float>({static_cast<std::int64_t>(scales.size())}, scales));
  }
  node.op_type = "Resize";
  const std::string mode = node.get_string("mode", "nearest");
  node.set("mode", mode == "bilinear" ? std::string("linear") : mode);
  node.set("coordinate_transformation_mode", std::string("asymmetric"));
  node.set("nearest_mode", std::string("floor"));
  if (node.inputs.empty()) return corrupt("the input is missing");
  node.inputs = {node.inputs[0], kNoValue, from};
  return {};
}

// Opset 10 had inputs (x, scales) and no choice of coordinates. Runtimes round nearest coordinates down, but up when
// the image shrinks.
Status lift_resize10(Node& node, RewriteContext& context) {
  if (node.inputs.size() != 2) return corrupt(fmt::format("has {} inputs, expected 2", node.inputs.size()));
  const Tensor* scales = context.graph().constant(node.inputs[1]);
  const std::vector<float> factors = scales != nullptr && scales->dtype() == DType::kF32 ? scales->to_float() : std::vector<float>{};
  const bool shrinks = std::any_of(factors.begin(), factors.end(), [](float f) { return f < 1.0f; });
  const bool grows = std::any_of(factors.begin(), factors.end(), [](float f) { return f > 1.0f; });
  if (shrinks && grows && node.get_string("mode", "nearest") == "nearest") {
    return unsupported("nearest Resize of opset 10 that grows one dimension and shrinks another has no newer form");
  }
  node.inputs = {node.inputs[0], kNoValue, node.inputs[1]};
  node.set("coordinate_transformation_mode", std::string("asymmetric"));
  node.set("nearest_mode", std::string(shrinks ? "ceil" : "floor"));
  return {};
}

// Inputs that opset 11 demanded and that mean "none" when empty or unused.
Status omit_empty_resize_inputs(Node& node, RewriteContext& context) {
  const std::string coordinates = node.get_string("coordinate_transformation_mode", "half_pixel");
  if (node.inputs.size() > 1 && coordinates != "tf_crop_and_resize") node.inputs[1] = kNoValue;
  if (node.input(3) != kNoValue) {
    const Tensor* scales = context.graph().constant(node.input(2));
    if (scales != nullptr && scales->size() == 0) node.inputs[2] = kNoValue;
  }
  if (coordinates == "tf_half_pixel_for_nn") {
    if (node.get_string("mode", "nearest") != "nearest" || node.get_string("nearest_mode", "round_prefer_floor") != "floor") {
      return unsupported("coordinate_transformation_mode tf_half_pixel_for_nn was removed from ONNX");
    }
    // floor((x + 0.5) / s) is the half-pixel coordinate plus 0.5, rounded down.
    node.set("coordinate_transformation_mode", std::string("half_pixel"));
    node.set("nearest_mode", std::string("round_prefer_ceil"));
  }
  return {};
}

// ---- normalisation --------------------------------------------------------------------------------------------------

Status lift_batch_normalization(Node& node, RewriteContext& context) {
  if (context.opset() < 9 && node.get_int("spatial", 1) == 0) {
    return unsupported("spatial=0 (statistics per element) was removed from ONNX").hint("Re-export the model with opset 9 or newer.");
  }
  node.erase("spatial");
  node.erase("is_test");
  return trim_outputs(node, context, 1, "but training outputs were removed from ONNX; export the model for inference");
}

// Opset 18 had one scale and bias a group, opset 21 has one a channel.
Status lift_group_normalization(Node& node, RewriteContext& context) {
  const graph::Type& type = context.type_of(node.input(0));
  const std::int64_t groups = node.get_int("num_groups", 0);
  if (type.rank() < 2 || !type.dims[1].known() || groups < 1 || type.dims[1].size % groups != 0) {
    return unsupported("the number of channels is not known, or is no multiple of num_groups");
  }
  const std::int64_t channels = type.dims[1].size;
  for (std::size_t i = 1; i <= 2; ++i) {
    const char* part = i == 1 ? "scale" : "bias";
    const ValueId column = context.emit_before(make_node(node, (std::string(part) + "_column").c_str(), "Reshape",
                                                         {node.input(i), context.add_ints(node, "column_shape", {groups, 1})}, {}));
    const ValueId wide = context.emit_before(make_node(node, (std::string(part) + "_wide").c_str(), "Expand",
                                                       {column, context.add_ints(node, "wide_shape", {groups, channels / groups})}, {}));
    set_input(node, i, context.emit_before(make_node(node, (std::string(part) + "_flat").c_str(), "Reshape",
                                                     {wide, context.add_ints(node, "flat_shape", {channels})}, {})));
  }
  return {};
}

// Before 13 softmax worked over all dimensions from `axis` (default 1) on, taken as one.
Status lift_softmax(Node& node, RewriteContext& context) {
  const std::int64_t axis = node.get_int("axis", 1);
  const graph::Type type = context.type_of(node.input(0));
  node.set("axis", std::int64_t{-1});
  if (axis == -1) return {};
  if (type.ranked) {
    // Kept for the way back: an old opset says the axis from the front.
    graph::Type& declared = context.graph().value(node.input(0)).type;
    if (declared.kind == graph::TypeKind::kUnknown) declared = type;
    const std::int64_t rank = type.rank();
    const std::int64_t first = axis < 0 ? axis + rank : axis;
    if (first < 0 || first > rank) return corrupt(fmt::format("the axis {} is outside the rank {}", axis, rank));
    // One dimension that may exceed 1 makes both readings agree.
    std::int64_t wide = rank - 1;
    int count = 0;
    for (std::int64_t d = first; d < rank; ++d) {
      if (type.dims[d].known() && type.dims[d].size == 1) continue;
      wide = d;
      ++count;
    }
    if (count <= 1 && first < rank) {
      node.set("axis", wide == rank - 1 ? std::int64_t{-1} : wide);
      return {};
    }
  }
  Node flatten = make_node(node, "flatten", "Flatten", {node.input(0)}, {});
  flatten.set("axis", axis);
  const ValueId shape = context.emit_before(make_node(node, "shape", "Shape", {node.input(0)}, {}));
  if (node.inputs.empty() || node.outputs.empty()) return corrupt("has no input or no output");
  node.inputs[0] = context.emit_before(std::move(flatten));
  const ValueId out = node.outputs[0];
  const ValueId inner = context.redirect_output(node, 0);
  context.emit_after(make_node(node, "reshape", "Reshape", {inner, shape}, {out}));
  return {};
}

// ---- forms before opset 7 and changed defaults ------------------------------------------------------------------------

// Opset 1 to 6: b is matched to a's dimensions from `axis` on, not from the last.
Status lift_broadcast(Node& node, RewriteContext& context) {
  const bool broadcast = node.get_int("broadcast", 0) != 0;
  const bool has_axis = node.has("axis");
  const std::int64_t axis = node.get_int("axis", 0);
  node.erase("broadcast");
  node.erase("axis");
  node.erase("consumed_inputs");
  if (!broadcast || !has_axis) return {};
  const graph::Type& a = context.type_of(node.input(0));
  const graph::Type& b = context.type_of(node.input(1));
  if (!a.ranked || !b.ranked) return unsupported(fmt::format("broadcasting along axis {} needs the ranks of both inputs", axis)).hint("Convert the model to opset 7 or newer.");
  const std::int64_t first = axis < 0 ? axis + a.rank() : axis;
  const std::int64_t trailing = a.rank() - first - b.rank();
  if (first < 0 || trailing < 0) return corrupt(fmt::format("the axis {} does not fit the ranks {} and {}", axis, a.rank(), b.rank()));
  if (trailing == 0) return {};
  std::vector<std::int64_t> axes;
  for (std::int64_t i = 0; i < trailing; ++i) axes.push_back(b.rank() + i);
  node.inputs[1] = context.emit_before(make_node(node, "unsqueeze", "Unsqueeze", {node.input(1), context.add_ints(node, "axes", axes)}, {}));
  return {};
}

Status drop_consumed_inputs(Node& node, RewriteContext&) {
  node.erase("consumed_inputs");
  return {};
}

// Opset 1 to 6: one slope a channel, channels being dimension 1 whatever follows.
Status lift_prelu(Node& node, RewriteContext& context) {
  const graph::Type& x = context.type_of(node.input(0));
  const graph::Type& slope = context.type_of(node.input(1));
  if (slope.rank() != 1 || slope.dims[0].size == 1) return {};
  if (!x.ranked) return unsupported("slopes per channel need the rank of the input; convert the model to opset 7 or newer");
  std::vector<std::int64_t> axes;
  for (int i = 1; i + 1 < x.rank(); ++i) axes.push_back(i);
  if (axes.empty()) return {};
  node.inputs[1] = context.emit_before(make_node(node, "slopes", "Unsqueeze", {node.input(1), context.add_ints(node, "axes", axes)}, {}));
  return {};
}

Status lift_gemm(Node& node, RewriteContext&) {
  node.erase("broadcast");
  return {};
}

Status concat_axis(Node& node, RewriteContext&) {
  if (!node.has("axis")) node.set("axis", std::int64_t{1});
  return {};
}

Status refuse_tile(Node&, RewriteContext&) { return unsupported("this form of Tile was removed from ONNX").hint("Convert the model to opset 7 or newer."); }
Status refuse_scan(Node&, RewriteContext&) { return unsupported("Scan of opset 8 (with a batch axis) was removed from ONNX").hint("Re-export the model with opset 9 or newer."); }

Status recurrent_output_sequence(Node& node, RewriteContext&) {
  node.erase("output_sequence");
  return {};
}

Status roi_align_coordinates(Node& node, RewriteContext&) {
  node.set("coordinate_transformation_mode", std::string("output_half_pixel"));
  return {};
}

Status grid_sample_modes(Node& node, RewriteContext&) {
  const std::string mode = node.get_string("mode", "bilinear");
  node.set("mode", mode == "bilinear" ? std::string("linear") : mode == "bicubic" ? std::string("cubic") : mode);
  return {};
}

Status dft_axis(Node& node, RewriteContext& context) {
  const std::int64_t axis = node.get_int("axis", 1);
  node.erase("axis");
  set_input(node, 2, context.graph().add_constant(node.name + "_axis", Tensor::scalar(axis)));
  return {};
}

// In order of application where an operator has several.
constexpr int kAlways = 1000;
const NormaliseRule kRules[] = {
    {"Constant", kAlways, fold_constant},
    {"Squeeze", 13, axes_to_input},
    {"Unsqueeze", 13, lift_unsqueeze},
    {"ReduceSum", 13, axes_to_input},
    {"ReduceL1", 18, axes_to_input},
    {"ReduceL2", 18, axes_to_input},
    {"ReduceLogSum", 18, axes_to_input},
    {"ReduceLogSumExp", 18, axes_to_input},
    {"ReduceMax", 18, axes_to_input},
    {"ReduceMean", 18, axes_to_input},
    {"ReduceMin", 18, axes_to_input},
    {"ReduceProd", 18, axes_to_input},
    {"ReduceSumSquare", 18, axes_to_input},
    {"Split", 13, lift_split},
    {"Split", 18, count_split},
    {"Slice", 10, lift_slice},
    {"Reshape", 5, lift_reshape},
    {"Pad", 11, lift_pad},
    {"Pad", 11, lift_pad_value, RuleStage::kTyped},
    {"Clip", 11, lift_clip, RuleStage::kTyped},
    {"Dropout", 12, lift_dropout},
    {"TopK", 10, lift_topk},
    {"Cast", 6, lift_cast},
    {"Scatter", kAlways, rename_scatter},
    {"Resize", 11, lift_resize10},
    {"Upsample", kAlways, lift_upsample},
    {"Resize", 13, omit_empty_resize_inputs},
    {"BatchNormalization", 14, lift_batch_normalization},
    {"GroupNormalization", 21, lift_group_normalization, RuleStage::kTyped},
    {"Softmax", 13, lift_softmax, RuleStage::kTyped},
    {"LogSoftmax", 13, lift_softmax, RuleStage::kTyped},
    {"Hardmax", 13, lift_softmax, RuleStage::kTyped},
    {"Add", 7, lift_broadcast, RuleStage::kTyped},
    {"Sub", 7, lift_broadcast, RuleStage::kTyped},
    {"Mul", 7, lift_broadcast, RuleStage::kTyped},
    {"Div", 7, lift_broadcast, RuleStage::kTyped},
    {"Pow", 7, lift_broadcast, RuleStage::kTyped},
    {"And", 7, lift_broadcast, RuleStage::kTyped},
    {"Or", 7, lift_broadcast, RuleStage::kTyped},
    {"Xor", 7, lift_broadcast, RuleStage::kTyped},
    {"Equal", 7, lift_broadcast, RuleStage::kTyped},
    {"Greater", 7, lift_broadcast, RuleStage::kTyped},
    {"Less", 7, lift_broadcast, RuleStage::kTyped},
    {"PRelu", 7, lift_prelu, RuleStage::kTyped},
    {"Gemm", 7, lift_gemm},
    {"Concat", 4, concat_axis},
    {"Tile", 6, refuse_tile},
    {"Scan", 9, refuse_scan},
    {"RNN", 7, recurrent_output_sequence},
    {"LSTM", 7, recurrent_output_sequence},
    {"GRU", 7, recurrent_output_sequence},
    {"RoiAlign", 16, roi_align_coordinates},
    {"GridSample", 20, grid_sample_modes},
    {"DFT", 20, dft_axis},
    {"Abs", 6, drop_consumed_inputs},
    {"BatchNormalization", 6, drop_consumed_inputs},
    {"Ceil", 6, drop_consumed_inputs},
    {"Clip", 6, drop_consumed_inputs},
    {"Dropout", 6, drop_consumed_inputs},
    {"Elu", 6, drop_consumed_inputs},
    {"Exp", 6, drop_consumed_inputs},
    {"Floor", 6, drop_consumed_inputs},
    {"HardSigmoid", 6, drop_consumed_inputs},
    {"InstanceNormalization", 6, drop_consumed_inputs},
    {"LeakyRelu", 6, drop_consumed_inputs},
    {"Log", 6, drop_consumed_inputs},
    {"Max", 6, drop_consumed_inputs},
    {"Mean", 6, drop_consumed_inputs},
    {"Min", 6, drop_consumed_inputs},
    {"Neg", 6, drop_consumed_inputs},
    {"PRelu", 6, drop_consumed_inputs},
    {"Reciprocal", 6, drop_consumed_inputs},
    {"Relu", 6, drop_consumed_inputs},
    {"Selu", 6, drop_consumed_inputs},
    {"Sigmoid", 6, drop_consumed_inputs},
    {"Sqrt", 6, drop_consumed_inputs},
    {"Sum", 6, drop_consumed_inputs},
    {"Tanh", 6, drop_consumed_inputs},
};

}  // namespace

std::span<const NormaliseRule> normalise_rules() { return kRules; }

}  // namespace narrow::formats::onnx
