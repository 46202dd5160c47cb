#include "formats/onnx/lower_rules.h"

#include <fmt/format.h>

#include <algorithm>

#include "formats/onnx/rewrite.h"

namespace narrow::formats::onnx {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::ValueId;

const graph::Type& type_of(const Graph& graph, ValueId id) {
  static const graph::Type kUnknown;
  return id == kNoValue ? kUnknown : graph.value(id).type;
}

// The input is a constant of this graph, so that an attribute can say it. A graph input that is also an initializer may be
// overridden and is none.
bool is_constant(const Node& node, const Graph& graph, std::size_t i) {
  const ValueId id = node.input(i);
  return graph.constant(id) != nullptr && std::find(graph.inputs.begin(), graph.inputs.end(), id) == graph.inputs.end();
}

// Absent, or constant integers.
bool is_fixed(const Node& node, const Graph& graph, std::size_t i) {
  if (node.input(i) == kNoValue) return true;
  if (!is_constant(node, graph, i)) return false;
  const DType dtype = graph.constant(node.input(i))->dtype();
  return is_integer(dtype) || dtype == DType::kBool;
}

template <std::size_t... I>
bool inputs_fixed(const Node& node, const Graph& graph) { return (is_fixed(node, graph, I) && ...); }

std::vector<std::int64_t> ints(const Node& node, const Graph& graph, std::size_t i) {
  const Tensor* tensor = graph.constant(node.input(i));
  return tensor == nullptr || !is_integer(tensor->dtype()) ? std::vector<std::int64_t>{} : tensor->to_int64();
}

void input_to_ints(Node& node, LowerContext& context, std::size_t i, const char* attribute) {
  if (node.input(i) == kNoValue) return;
  node.set(attribute, ints(node, context.graph, i));
  set_input(node, i, kNoValue);
}

bool is_float_or_unknown(const Graph& graph, ValueId id) {
  const graph::Type& type = type_of(graph, id);
  return type.kind != graph::TypeKind::kTensor || type.dtype == DType::kUndefined || is_float(type.dtype);
}

bool is_real_constant(const Node& node, const Graph& graph, std::size_t i) {
  if (node.input(i) == kNoValue) return true;
  const Tensor* t = graph.constant(node.input(i));
  return is_constant(node, graph, i) && t->size() == 1 && is_float(t->dtype());
}

// ---- axes and other lists that were attributes ------------------------------------------------------------------------

bool axes_fixed(const Node& node, const Graph& graph) { return is_fixed(node, graph, 1); }

bool reduce_axes_fixed(const Node& node, const Graph& graph) {
  return axes_fixed(node, graph) && node.get_int("noop_with_empty_axes", 0) == 0;
}

void axes_to_attribute(Node& node, LowerContext& context) {
  node.erase("noop_with_empty_axes");
  if (ints(node, context.graph, 1).empty()) {
    set_input(node, 1, kNoValue);  // absent: all axes
  } else {
    input_to_ints(node, context, 1, "axes");
  }
}

bool split_is_even(const Node& node, const Graph& graph) {
  if (node.input(1) != kNoValue) return true;
  const graph::Type& type = type_of(graph, node.input(0));
  std::int64_t axis = node.get_int("axis", 0);
  if (axis < 0 && type.ranked) axis += type.rank();
  if (!type.ranked || axis < 0 || axis >= type.rank() || !type.dims[axis].known()) return true;  // decided when it runs, in every opset
  return type.dims[axis].size % static_cast<std::int64_t>(std::max<std::size_t>(node.outputs.size(), 1)) == 0;
}

void drop_num_outputs(Node& node, LowerContext&) { node.erase("num_outputs"); }
void split_to_attribute(Node& node, LowerContext& context) { input_to_ints(node, context, 1, "split"); }

bool slice_fixed(const Node& node, const Graph& graph) {
  const std::vector<std::int64_t> steps = ints(node, graph, 4);
  return inputs_fixed<1, 2, 3, 4>(node, graph) && std::all_of(steps.begin(), steps.end(), [](std::int64_t s) { return s == 1; });
}

void slice_to_attributes(Node& node, LowerContext& context) {
  input_to_ints(node, context, 4, "steps");
  node.erase("steps");
  input_to_ints(node, context, 3, "axes");
  input_to_ints(node, context, 2, "ends");
  input_to_ints(node, context, 1, "starts");
}

bool pad_without_axes(const Node& node, const Graph&) { return node.input(3) == kNoValue; }
bool pad_without_wrap(const Node& node, const Graph&) { return node.get_string("mode", "constant") != "wrap"; }

bool pad_fixed(const Node& node, const Graph& graph) {
  return is_fixed(node, graph, 1) && is_real_constant(node, graph, 2) && is_float_or_unknown(graph, node.input(0));
}

void pad_to_attributes(Node& node, LowerContext& context) {
  if (const Tensor* value = context.graph.constant(node.input(2))) node.set("value", static_cast<float>(value->at_as_double(0)));
  set_input(node, 2, kNoValue);
  input_to_ints(node, context, 1, "pads");
}

bool clip_of_floats(const Node& node, const Graph& graph) { return is_float_or_unknown(graph, node.input(0)); }

bool clip_fixed(const Node& node, const Graph& graph) {
  return is_real_constant(node, graph, 1) && is_real_constant(node, graph, 2) && clip_of_floats(node, graph);
}

void clip_to_attributes(Node& node, LowerContext& context) {
  for (std::size_t i = 2; i >= 1; --i) {
    const Tensor* bound = context.graph.constant(node.input(i));
    if (bound != nullptr) node.set(i == 1 ? "min" : "max", static_cast<float>(bound->at_as_double(0)));
    set_input(node, i, kNoValue);
  }
}

bool dropout_fixed(const Node& node, const Graph& graph) {
  const Tensor* training = graph.constant(node.input(2));
  return is_real_constant(node, graph, 1) && is_fixed(node, graph, 2) &&
         (training == nullptr || (training->size() == 1 && training->at_as_double(0) == 0));
}

bool dropout_without_mask(const Node& node, const Graph&) { return node.output(1) == kNoValue; }

void dropout_to_attribute(Node& node, LowerContext& context) {
  const Tensor* ratio = context.graph.constant(node.input(1));
  if (ratio != nullptr) node.set("ratio", static_cast<float>(ratio->at_as_double(0)));
  node.erase("seed");
  node.inputs.resize(1);
}

bool topk_plain(const Node& node, const Graph&) { return node.get_int("largest", 1) == 1 && node.get_int("sorted", 1) == 1; }
void topk_drop_order(Node& node, LowerContext&) {
  node.erase("largest");
  node.erase("sorted");
}
bool topk_fixed(const Node& node, const Graph& graph) { return is_fixed(node, graph, 1) && ints(node, graph, 1).size() == 1; }
void topk_to_attribute(Node& node, LowerContext& context) {
  node.set("k", ints(node, context.graph, 1)[0]);
  set_input(node, 1, kNoValue);
}

// ---- Resize ---------------------------------------------------------------------------------------------------------

bool resize_without_axes(const Node& node, const Graph&) {
  return !node.has("axes") && node.get_int("antialias", 0) == 0 &&
         node.get_string("keep_aspect_ratio_policy", "stretch") == "stretch";
}
bool resize_coordinates_before_19(const Node& node, const Graph&) {
  return node.get_string("coordinate_transformation_mode", "half_pixel") != "half_pixel_symmetric";
}
void resize_drop_axes(Node& node, LowerContext&) {
  node.erase("antialias");
  node.erase("keep_aspect_ratio_policy");
}

// Opset 11 has no omitted roi and scales: empty tensors stand for none.
void resize_fill_inputs(Node& node, LowerContext& context) {
  if (context.opset < 11) return;
  for (std::size_t i = 1; i <= 2; ++i) {
    if (node.input(i) != kNoValue) continue;
    const char* part = i == 1 ? "roi" : "scales";
    set_input(node, i, context.graph.add_constant(fmt::format("{}_{}", node.name, part), Tensor::from<float>({0}, {})));
  }
}

std::vector<float> resize_scales(const Node& node, const Graph& graph) {
  const Tensor* scales = graph.constant(node.input(2));
  return scales == nullptr || scales->dtype() != DType::kF32 ? std::vector<float>{} : scales->to_float();
}

bool resize_only_grows(const Node& node, const Graph& graph) {
  const std::vector<float> scales = resize_scales(node, graph);
  return std::all_of(scales.begin(), scales.end(), [](float s) { return s >= 1.0f; });
}

// Opset 10 rounds nearest coordinates down, but up when the image shrinks.
bool resize_as_opset_10(const Node& node, const Graph& graph) {
  const std::string mode = node.get_string("mode", "nearest");
  const std::string rounding = node.get_string("nearest_mode", "round_prefer_floor");
  const std::vector<float> scales = resize_scales(node, graph);
  const bool shrinks = !scales.empty() && std::all_of(scales.begin(), scales.end(), [](float s) { return s <= 1.0f; });
  return (mode == "nearest" || mode == "linear") && node.input(3) == kNoValue && node.input(2) != kNoValue &&
         node.get_string("coordinate_transformation_mode", "half_pixel") == "asymmetric" &&
         (mode == "linear" || (rounding == "floor" && resize_only_grows(node, graph)) || (rounding == "ceil" && shrinks));
}

void resize_to_opset_10(Node& node, LowerContext&) {
  node.inputs = {node.inputs[0], node.inputs[2]};
  std::erase_if(node.attributes, [](const graph::Attribute& a) { return a.name != "mode"; });
}

void resize_to_upsample(Node& node, LowerContext&) { node.op_type = "Upsample"; }

bool resize_scales_fixed(const Node& node, const Graph& graph) { return is_constant(node, graph, 2); }
void upsample_to_attribute(Node& node, LowerContext& context) {
  node.set("scales", context.graph.constant(node.input(1))->to_float());
  node.inputs.resize(1);
}

// ---- softmax --------------------------------------------------------------------------------------------------------

// Before 13 all dimensions from `axis` on counted as one; -1 exists since 11.
bool softmax_flattens_alike(const Node& node, const Graph& graph) {
  const std::int64_t axis = node.get_int("axis", -1);
  const graph::Type& type = type_of(graph, node.input(0));
  if (!type.ranked) return axis == -1;
  const std::int64_t first = axis < 0 ? axis + type.rank() : axis;
  if (first < 0 || first >= type.rank()) return false;
  return std::all_of(type.dims.begin() + first + 1, type.dims.end(), [](const graph::Dim& d) { return d.size == 1; });
}

bool rank_known(const Node& node, const Graph& graph) {
  return type_of(graph, node.input(0)).ranked || node.get_int("axis", -1) >= 0;
}

void softmax_explicit_axis(Node& node, LowerContext& context) {
  const std::int64_t axis = node.get_int("axis", -1);
  const graph::Type& type = type_of(context.graph, node.input(0));
  node.set("axis", axis < 0 && type.ranked ? axis + type.rank() : axis);
}

// ---- attributes that appeared later ---------------------------------------------------------------------------------

bool never(const Node&, const Graph&) { return false; }

bool scatter_overwrites(const Node& node, const Graph&) { return node.get_string("reduction", "none") == "none"; }
bool scatter_sums(const Node& node, const Graph&) {
  const std::string how = node.get_string("reduction", "none");
  return how == "none" || how == "add" || how == "mul";
}
void drop_reduction(Node& node, LowerContext&) { node.erase("reduction"); }
void rename_to_scatter(Node& node, LowerContext&) { node.op_type = "Scatter"; }

bool roi_align_old(const Node& node, const Graph&) { return node.get_string("coordinate_transformation_mode", "half_pixel") == "output_half_pixel"; }
void roi_align_drop_mode(Node& node, LowerContext&) { node.erase("coordinate_transformation_mode"); }

void grid_sample_old_modes(Node& node, LowerContext&) {
  const std::string mode = node.get_string("mode", "linear");
  node.set("mode", mode == "linear" ? std::string("bilinear") : mode == "cubic" ? std::string("bicubic") : mode);
}

bool dft_axis_fixed(const Node& node, const Graph& graph) {
  const std::vector<std::int64_t> axis = ints(node, graph, 2);
  return is_constant(node, graph, 2) && axis.size() == 1 && axis[0] >= 0;
}
void dft_axis_to_attribute(Node& node, LowerContext& context) {
  node.set("axis", ints(node, context.graph, 2)[0]);
  set_input(node, 2, kNoValue);
}

bool dilations_are_one(const Node& node, const Graph&) {
  const std::vector<std::int64_t> dilations = node.get_ints("dilations");
  return std::all_of(dilations.begin(), dilations.end(), [](std::int64_t d) { return d == 1; });
}
bool pool_before_10(const Node& node, const Graph& graph) { return node.get_int("ceil_mode", 0) == 0 && dilations_are_one(node, graph); }
void pool_drop_new(Node& node, LowerContext&) {
  node.erase("ceil_mode");
  node.erase("dilations");
}
void pool_drop_dilations(Node& node, LowerContext&) { node.erase("dilations"); }
bool max_pool_before_8(const Node& node, const Graph&) { return node.output(1) == kNoValue && node.get_int("storage_order", 0) == 0; }
void max_pool_drop_order(Node& node, LowerContext&) { node.erase("storage_order"); }
bool first_input_float(const Node& node, const Graph& graph) { return is_float_or_unknown(graph, node.input(0)); }

bool shifts_unsigned(const Node& node, const Graph& graph) { return node.input(0) == kNoValue || !is_signed_integer(graph.value(node.input(0)).type.dtype); }
bool mod_of_integers(const Node& node, const Graph& graph) {
  return node.get_int("fmod", 0) != 0 || node.input(0) == kNoValue || !is_float(graph.value(node.input(0)).type.dtype);
}
bool depth_first(const Node& node, const Graph&) { return node.get_string("mode", "DCR") == "DCR"; }
void drop_mode(Node& node, LowerContext&) { node.erase("mode"); }

bool has_bias(const Node& node, const Graph&) { return node.input(2) != kNoValue; }
bool first_index(const Node& node, const Graph&) { return node.get_int("select_last_index", 0) == 0; }
void drop_select_last(Node& node, LowerContext&) { node.erase("select_last_index"); }
bool is_inference(const Node& node, const Graph&) { return node.get_int("training_mode", 0) == 0 && node.outputs.size() == 1; }
void drop_training_mode(Node& node, LowerContext&) { node.erase("training_mode"); }
bool zero_copies(const Node& node, const Graph&) { return node.get_int("allowzero", 0) == 0; }
void drop_allowzero(Node& node, LowerContext&) { node.erase("allowzero"); }
bool whole_shape(const Node& node, const Graph&) { return node.get_int("start", 0) == 0 && !node.has("end"); }
void drop_start(Node& node, LowerContext&) { node.erase("start"); }
bool saturates(const Node& node, const Graph&) { return node.get_int("saturate", 1) == 1; }
void drop_saturate(Node& node, LowerContext&) { node.erase("saturate"); }
bool rounds_up(const Node& node, const Graph&) { return node.get_string("round_mode", "up") == "up"; }
void drop_round_mode(Node& node, LowerContext&) { node.erase("round_mode"); }
bool batch_second(const Node& node, const Graph&) { return node.get_int("layout", 0) == 0; }
void drop_layout(Node& node, LowerContext&) { node.erase("layout"); }

bool scale_is_scalar(const Node& node, const Graph& graph) { return type_of(graph, node.input(1)).rank() == 0; }
bool scale_is_plain(const Node& node, const Graph& graph) {
  const int rank = type_of(graph, node.input(1)).rank();
  return node.get_int("block_size", 0) == 0 && node.get_int("output_dtype", 0) == 0 && rank <= 1;
}
bool no_precision(const Node& node, const Graph&) { return node.get_int("precision", 0) == 0; }
void drop_precision(Node& node, LowerContext&) { node.erase("precision"); }
void drop_block(Node& node, LowerContext&) {
  node.erase("block_size");
  node.erase("output_dtype");
}
bool scale_is_f32(const Node& node, const Graph& graph) {
  const graph::Type& type = type_of(graph, node.input(1));
  return type.dtype == DType::kF32 || type.dtype == DType::kUndefined;
}
bool codes_are_bytes(const Node& node, const Graph& graph) {
  const auto wide = [&](ValueId id) {
    const DType dtype = type_of(graph, id).dtype;
    return is_integer(dtype) && bits_of(dtype) != 8 && dtype != DType::kS32;
  };
  return !wide(node.input(0)) && !wide(node.input(2)) && !wide(node.output(0));
}
void quantize_per_tensor(Node& node, LowerContext&) {
  node.erase("axis");
  node.erase("saturate");
}

// Newest change first within an operator.
const LowerRule kRules[] = {
    {"Cast", 24, rounds_up, drop_round_mode},
    {"Cast", 19, saturates, drop_saturate},
    {"GroupNormalization", 21, never, nullptr},
    {"GridSample", 20, nullptr, grid_sample_old_modes},
    {"DFT", 20, dft_axis_fixed, dft_axis_to_attribute},
    {"BitShift", 28, shifts_unsigned, nullptr},
    {"Mod", 28, mod_of_integers, nullptr},
    {"SpaceToDepth", 28, depth_first, drop_mode},
    {"ReduceL1", 18, reduce_axes_fixed, axes_to_attribute},
    {"ReduceL2", 18, reduce_axes_fixed, axes_to_attribute},
    {"ReduceLogSum", 18, reduce_axes_fixed, axes_to_attribute},
    {"ReduceLogSumExp", 18, reduce_axes_fixed, axes_to_attribute},
    {"ReduceMax", 18, reduce_axes_fixed, axes_to_attribute},
    {"ReduceMean", 18, reduce_axes_fixed, axes_to_attribute},
    {"ReduceMin", 18, reduce_axes_fixed, axes_to_attribute},
    {"ReduceProd", 18, reduce_axes_fixed, axes_to_attribute},
    {"ReduceSumSquare", 18, reduce_axes_fixed, axes_to_attribute},
    {"ReduceSum", 13, reduce_axes_fixed, axes_to_attribute},
    {"Squeeze", 13, axes_fixed, axes_to_attribute},
    {"Unsqueeze", 13, axes_fixed, axes_to_attribute},
    {"Split", 18, split_is_even, drop_num_outputs},
    {"Split", 13, axes_fixed, split_to_attribute},
    {"Slice", 10, slice_fixed, slice_to_attributes},
    {"Pad", 19, pad_without_wrap, nullptr},
    {"Pad", 18, pad_without_axes, nullptr},
    {"Pad", 11, pad_fixed, pad_to_attributes},
    {"Clip", 12, clip_of_floats, nullptr},
    {"Clip", 11, clip_fixed, clip_to_attributes},
    {"Dropout", 12, dropout_fixed, dropout_to_attribute},
    {"Dropout", 10, dropout_without_mask, nullptr},
    {"TopK", 11, topk_plain, topk_drop_order},
    {"TopK", 10, topk_fixed, topk_to_attribute},
    {"Resize", 19, resize_coordinates_before_19, nullptr},
    {"Resize", 18, resize_without_axes, resize_drop_axes},
    {"Resize", 13, nullptr, resize_fill_inputs},
    {"Resize", 11, resize_as_opset_10, resize_to_opset_10},
    {"Resize", 10, resize_only_grows, resize_to_upsample},
    {"Resize", 9, resize_scales_fixed, nullptr},
    {"Upsample", 9, nullptr, upsample_to_attribute},
    {"Softmax", 13, softmax_flattens_alike, softmax_explicit_axis},
    {"Softmax", 11, rank_known, nullptr},
    {"LogSoftmax", 13, softmax_flattens_alike, softmax_explicit_axis},
    {"LogSoftmax", 11, rank_known, nullptr},
    {"Hardmax", 13, softmax_flattens_alike, softmax_explicit_axis},
    {"Hardmax", 11, rank_known, nullptr},
    {"ScatterElements", 18, scatter_sums, nullptr},
    {"ScatterElements", 16, scatter_overwrites, drop_reduction},
    {"ScatterElements", 11, nullptr, rename_to_scatter},
    {"ScatterND", 18, scatter_sums, nullptr},
    {"ScatterND", 16, scatter_overwrites, drop_reduction},
    {"RoiAlign", 16, roi_align_old, roi_align_drop_mode},
    {"AveragePool", 19, dilations_are_one, pool_drop_dilations},
    {"AveragePool", 10, pool_before_10, pool_drop_new},
    {"MaxPool", 12, first_input_float, nullptr},
    {"MaxPool", 10, pool_before_10, pool_drop_new},
    {"MaxPool", 8, max_pool_before_8, max_pool_drop_order},
    {"LpPool", 18, pool_before_10, pool_drop_new},
    {"Gemm", 11, has_bias, nullptr},
    {"ArgMax", 12, first_index, drop_select_last},
    {"ArgMin", 12, first_index, drop_select_last},
    {"BatchNormalization", 14, is_inference, drop_training_mode},
    {"Reshape", 14, zero_copies, drop_allowzero},
    {"Shape", 15, whole_shape, drop_start},
    {"RNN", 14, batch_second, drop_layout},
    {"LSTM", 14, batch_second, drop_layout},
    {"GRU", 14, batch_second, drop_layout},
    {"Relu", 14, first_input_float, nullptr},
    {"Max", 12, first_input_float, nullptr},
    {"Min", 12, first_input_float, nullptr},
    {"Greater", 9, first_input_float, nullptr},
    {"Less", 9, first_input_float, nullptr},
    {"QuantizeLinear", 23, no_precision, drop_precision},
    {"QuantizeLinear", 21, scale_is_plain, drop_block},
    {"QuantizeLinear", 21, codes_are_bytes, nullptr},
    {"QuantizeLinear", 19, scale_is_f32, nullptr},
    {"QuantizeLinear", 13, scale_is_scalar, quantize_per_tensor},
    {"DequantizeLinear", 23, no_precision, drop_precision},
    {"DequantizeLinear", 21, scale_is_plain, drop_block},
    {"DequantizeLinear", 21, codes_are_bytes, nullptr},
    {"DequantizeLinear", 19, scale_is_f32, nullptr},
    {"DequantizeLinear", 13, scale_is_scalar, quantize_per_tensor},
};

}  // namespace

std::span<const LowerRule> lower_rules() { return kRules; }

}  // namespace narrow::formats::onnx
