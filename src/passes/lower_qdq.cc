#include "passes/lower_qdq.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <string_view>

#include "operators/infer.h"
#include "passes/edit.h"
#include "passes/lookup_table.h"

namespace narrow::passes {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::Uses;
using graph::ValueId;

// Codes with constant parameters.
struct Coded {
  ValueId codes = kNoValue, scale = kNoValue, zero_point = kNoValue;
  DType dtype = DType::kUndefined;
  float step = 1;         // per tensor only
  std::int32_t zero = 0;
};

// Where a float result ends: the QuantizeLinear that rounds it, and the Relu or Clip passed on the way.
struct Ending {
  Coded codes;
  int quantize = -1;
  std::int64_t q_min = 0, q_max = 0;
  bool clamps = false;
};

bool is_quantize(const Node& node) { return node.op_type == "QuantizeLinear" && (node.domain.empty() || node.domain == "com.microsoft"); }
bool is_dequantize(const Node& node) { return node.op_type == "DequantizeLinear" && (node.domain.empty() || node.domain == "com.microsoft"); }
bool is_code(DType dtype) { return dtype == DType::kU8 || dtype == DType::kS8; }

// Operators that only move codes, in whatever type.
constexpr std::string_view kTransports[] = {"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Gather", "Expand", "Tile", "DepthToSpace", "SpaceToDepth"};

class Lowering {
 public:
  explicit Lowering(Graph& graph) : graph_(graph), uses_(graph) {}

  void run() {
    const std::size_t count = graph_.nodes.size();
    for (std::size_t n = 0; n < count; ++n) lower(n);
  }

 private:
  void lower(std::size_t n) {
    const Node& node = graph_.nodes[n];
    if (!node.domain.empty() || node.outputs.size() != 1 || node.outputs[0] == kNoValue) return;
    if (node.op_type == "Conv") return lower_conv(n);
    if (node.op_type == "Gemm") return lower_gemm(n);
    if (node.op_type == "MatMul") return lower_matmul(n);
    const std::optional<Ending> end = ending(node.outputs[0]);
    if (!end) return;
    if (node.op_type == "Add" || node.op_type == "Mul") {
      if (lower_binary(n, *end)) return;
    } else if (node.op_type == "Concat") {
      return lower_concat(n, *end);
    } else if (node.op_type == "AveragePool" || node.op_type == "GlobalAveragePool") {
      return lower_average(n, *end);
    } else if (node.op_type == "MaxPool" || std::find(std::begin(kTransports), std::end(kTransports), node.op_type) != std::end(kTransports) ||
               (node.op_type == "Resize" && node.get_string("mode", "nearest") == "nearest")) {
      return lower_transport(n, *end);
    }
    lower_function(n);
  }

  // ---- what surrounds a node ----------------------------------------------------------------------------------------

  std::optional<Coded> parameters(const Node& node, ValueId codes) const {
    const Tensor* scale = graph_.constant(node.input(1));
    const Tensor* zero = graph_.constant(node.input(2));
    if (scale == nullptr || scale->dtype() != DType::kF32 || node.get_int("block_size", 0) != 0) return std::nullopt;
    if (node.input(2) != kNoValue && zero == nullptr) return std::nullopt;
    Coded coded;
    coded.codes = codes;
    coded.scale = node.input(1);
    coded.zero_point = node.input(2);
    coded.dtype = zero != nullptr ? zero->dtype() : graph_.value(codes).type.dtype;
    if (scale->size() == 1) {
      coded.step = scale->data<float>()[0];
      coded.zero = zero == nullptr ? 0 : static_cast<std::int32_t>(zero->at_as_double(0));
      if (!std::isfinite(coded.step) || coded.step <= 0) return std::nullopt;
    }
    return coded;
  }

  const Node* dequantizer(ValueId id) const {
    if (id == kNoValue || uses_.producer[id] < 0) return nullptr;
    const Node& node = graph_.nodes[uses_.producer[id]];
    return is_dequantize(node) ? &node : nullptr;
  }

  // An activation: 8-bit codes with one scale.
  std::optional<Coded> activation(ValueId id) const {
    const Node* node = dequantizer(id);
    if (node == nullptr) return std::nullopt;
    const std::optional<Coded> coded = parameters(*node, node->input(0));
    if (!coded || !is_code(coded->dtype) || graph_.constant(coded->scale)->size() != 1) return std::nullopt;
    return coded;
  }

  // A constant weight: 8-bit codes, one scale or one for each index of `axis`.
  std::optional<Coded> weight(ValueId id, std::int64_t axis) const {
    const Node* node = dequantizer(id);
    if (node == nullptr) return std::nullopt;
    const Tensor* codes = graph_.constant(node->input(0));
    const std::optional<Coded> coded = parameters(*node, node->input(0));
    if (codes == nullptr || !coded || !is_code(codes->dtype())) return std::nullopt;
    const Tensor* scale = graph_.constant(coded->scale);
    if (scale->size() == 1) return coded;
    std::int64_t own = node->get_int("axis", 1);
    if (own < 0) own += codes->rank();
    return own == axis && scale->size() == codes->shape()[static_cast<std::size_t>(axis)] ? coded : std::nullopt;
  }

  int sole_reader(ValueId id) const {
    if (uses_.is_output[id] || uses_.readers[id].size() != 1 || uses_.readers[id][0].input != 0) return -1;
    return uses_.readers[id][0].node;
  }

  std::optional<float> scalar(ValueId id, float absent) const {
    if (id == kNoValue) return absent;
    const Tensor* constant = graph_.constant(id);
    if (constant == nullptr || constant->size() != 1 || constant->dtype() != DType::kF32) return std::nullopt;
    return constant->data<float>()[0];
  }

  // The QuantizeLinear that alone reads `id`, directly or behind one Relu or Clip.
  std::optional<Ending> ending(ValueId id) {
    int reader = sole_reader(id);
    if (reader < 0) return std::nullopt;
    float low = -INFINITY, high = INFINITY;
    const Node& first = graph_.nodes[static_cast<std::size_t>(reader)];
    if (first.is("Relu") || first.is("Clip")) {
      if (first.is("Relu")) {
        low = 0;
      } else {
        const auto min = scalar(first.input(1), -INFINITY), max = scalar(first.input(2), INFINITY);
        if (!min || !max || !(*min <= *max)) return std::nullopt;
        low = *min;
        high = *max;
      }
      reader = sole_reader(first.outputs[0]);
      if (reader < 0) return std::nullopt;
    }
    const Node& node = graph_.nodes[static_cast<std::size_t>(reader)];
    if (!is_quantize(node) || node.outputs.empty()) return std::nullopt;
    std::optional<Coded> coded = parameters(node, node.outputs[0]);
    if (!coded || graph_.constant(coded->scale)->size() != 1) return std::nullopt;
    if (coded->zero_point == kNoValue) {
      if (node.get_int("output_dtype", 0) != 0) return std::nullopt;
      coded->zero_point = graph_.add_constant("zero_point", Tensor::scalar<std::uint8_t>(0));
      coded->dtype = DType::kU8;
    }
    if (!is_code(coded->dtype)) return std::nullopt;
    Ending end;
    end.codes = *coded;
    end.quantize = reader;
    const IntegerRange range = integer_range(coded->dtype);
    // Rounding is monotonic: clamping the code to the bound's own code equals clamping the real number.
    const auto bound = [&](float real, std::int64_t open) {
      if (std::isinf(real)) return open;
      return static_cast<std::int64_t>(std::clamp(std::nearbyint(real / coded->step) + static_cast<float>(coded->zero),
                                                  static_cast<float>(range.min), static_cast<float>(range.max)));
    };
    end.q_min = bound(low, range.min);
    end.q_max = bound(high, range.max);
    end.clamps = end.q_min > range.min || end.q_max < range.max;
    return end;
  }

  // ---- editing ------------------------------------------------------------------------------------------------------

  // The node writes the codes itself; the QuantizeLinear is emptied.
  void finish(std::size_t n, const Ending& end) {
    Node& node = graph_.nodes[n];
    node.outputs[0] = end.codes.codes;
    if (end.clamps) {
      node.set("q_min", end.q_min);
      node.set("q_max", end.q_max);
    }
    Node& quantize = graph_.nodes[static_cast<std::size_t>(end.quantize)];
    quantize.inputs.clear();
    quantize.outputs.clear();
  }

  // The bias of a product as s32 with scale a_step * w_scale, or as f32; nothing when it is not constant.
  // kNoValue: there is none.
  std::optional<ValueId> bias(ValueId id, const Coded& a, const Coded& w, std::int64_t count) {
    if (id == kNoValue) return kNoValue;
    if (const Tensor* direct = graph_.constant(id)) {
      if (direct->dtype() != DType::kF32 || direct->size() != count) return std::nullopt;
      return direct->rank() == 1 ? id : graph_.add_constant(graph_.value(id).name, direct->reshaped({count}));
    }
    const Node* node = dequantizer(id);
    if (node == nullptr) return std::nullopt;
    const Tensor* codes = graph_.constant(node->input(0));
    const Tensor* scale = graph_.constant(node->input(1));
    const Tensor* zero = graph_.constant(node->input(2));
    if (codes == nullptr || scale == nullptr || codes->dtype() != DType::kS32 || codes->size() != count || scale->dtype() != DType::kF32) return std::nullopt;
    if ((node->input(2) != kNoValue && zero == nullptr) || (scale->size() != 1 && scale->size() != count)) return std::nullopt;
    const auto w_scale = graph_.constant(w.scale)->data<float>();
    bool shares = true, plain = true;
    for (std::int64_t i = 0; i < count; ++i) {
      const float own = scale->data<float>()[scale->size() == 1 ? 0 : i], product = a.step * w_scale[w_scale.size() == 1 ? 0 : static_cast<std::size_t>(i)];
      shares = shares && std::fabs(own - product) <= 1e-6f * product;
    }
    if (zero != nullptr) {
      for (std::int64_t i = 0; i < zero->size(); ++i) plain = plain && zero->at_as_double(i) == 0;
    }
    if (shares && plain && codes->rank() == 1) return node->input(0);
    std::vector<float> reals;
    for (std::int64_t i = 0; i < count; ++i) {
      const double z = zero == nullptr ? 0 : zero->at_as_double(zero->size() == 1 ? 0 : i);
      reals.push_back(static_cast<float>(codes->at_as_double(i) - z) * scale->data<float>()[scale->size() == 1 ? 0 : i]);
    }
    return graph_.add_constant(graph_.value(id).name, Tensor::from<float>({count}, std::span<const float>(reals)));
  }

  // Turns a product into `op`, its inputs in QLinearConv's order; without an ending the output stays f32.
  void make_product(std::size_t n, std::string_view op, std::string_view domain, const Coded& a, const Coded& w, ValueId b, const std::optional<Ending>& end) {
    Node& node = graph_.nodes[n];
    node.op_type = op;
    node.domain = domain;
    node.inputs = {a.codes, a.scale, a.zero_point, w.codes, w.scale, w.zero_point};
    const ValueId y_scale = end ? end->codes.scale : kNoValue, y_zero = end ? end->codes.zero_point : kNoValue;
    if (op == "QGemm") node.inputs.insert(node.inputs.end(), {b, y_scale, y_zero});
    else node.inputs.insert(node.inputs.end(), {y_scale, y_zero, b});
    while (node.inputs.back() == kNoValue) node.inputs.pop_back();
    if (end) finish(n, *end);
  }

  // ---- one operator each --------------------------------------------------------------------------------------------

  void lower_conv(std::size_t n) {
    const Node& node = graph_.nodes[n];
    const auto a = activation(node.input(0));
    const auto w = weight(node.input(1), 0);
    if (!a || !w) return;
    const Shape& shape = graph_.constant(w->codes)->shape();
    if (shape.size() < 3 || shape.size() > 5) return;
    const auto b = bias(node.input(2), *a, *w, shape[0]);
    if (!b) return;
    graph_.nodes[n].set("channels_last", std::int64_t{0});
    make_product(n, "QConv", "narrow", *a, *w, *b, ending(node.outputs[0]));
  }

  void lower_gemm(std::size_t n) {
    const Node& node = graph_.nodes[n];
    const bool transposed = node.get_int("transB", 0) != 0;
    const auto a = activation(node.input(0));
    const auto w = weight(node.input(1), transposed ? 0 : 1);
    if (!a || !w || node.get_float("alpha", 1) != 1 || (node.input(2) != kNoValue && node.get_float("beta", 1) != 1)) return;
    const Shape& shape = graph_.constant(w->codes)->shape();
    if (shape.size() != 2) return;
    const auto b = bias(node.input(2), *a, *w, shape[transposed ? 0 : 1]);
    if (!b) return;
    graph_.nodes[n].erase("beta");
    make_product(n, "QGemm", "com.microsoft", *a, *w, *b, ending(node.outputs[0]));
  }

  void lower_matmul(std::size_t n) {
    const Node& node = graph_.nodes[n];
    const auto a = activation(node.input(0));
    if (!a) return;
    const Node* right = dequantizer(node.input(1));
    const Tensor* codes = right == nullptr ? nullptr : graph_.constant(right->input(0));
    if (codes == nullptr || codes->rank() != 2) {
      const auto b = activation(node.input(1));
      if (!b) return;
      return make_product(n, "QMatMul", "narrow", *a, *b, kNoValue, ending(node.outputs[0]));
    }
    const auto w = weight(node.input(1), 1);
    if (!w) return;
    // A constant vector added right after is the bias.
    const int next = sole_reader_any(node.outputs[0]);
    if (next >= 0 && graph_.nodes[static_cast<std::size_t>(next)].is("Add")) {
      Node& add = graph_.nodes[static_cast<std::size_t>(next)];
      const ValueId other = add.input(0) == node.outputs[0] ? add.input(1) : add.input(0);
      const Tensor* vector = graph_.constant(other);
      const bool is_vector = vector != nullptr && vector->rank() == 1;
      const auto b = is_vector || dequantizer(other) != nullptr ? bias(other, *a, *w, codes->shape()[1]) : std::nullopt;
      if (b && *b != kNoValue) {
        const std::optional<Ending> end = ending(add.outputs[0]);
        graph_.nodes[n].outputs[0] = add.outputs[0];
        add.inputs.clear();
        add.outputs.clear();
        return make_product(n, "QMatMul", "narrow", *a, *w, *b, end);
      }
    }
    make_product(n, "QMatMul", "narrow", *a, *w, kNoValue, ending(node.outputs[0]));
  }

  int sole_reader_any(ValueId id) const {
    if (uses_.is_output[id] || uses_.readers[id].size() != 1 || uses_.readers[id][0].input < 0) return -1;
    return uses_.readers[id][0].node;
  }

  bool lower_binary(std::size_t n, const Ending& end) {
    Node& node = graph_.nodes[n];
    const auto a = activation(node.input(0)), b = activation(node.input(1));
    if (!a || !b) return false;
    node.op_type = node.op_type == "Add" ? "QLinearAdd" : "QLinearMul";
    node.domain = "com.microsoft";
    node.inputs = {a->codes, a->scale, a->zero_point, b->codes, b->scale, b->zero_point, end.codes.scale, end.codes.zero_point};
    finish(n, end);
    return true;
  }

  void lower_concat(std::size_t n, const Ending& end) {
    Node& node = graph_.nodes[n];
    if (end.clamps) return;
    std::vector<ValueId> inputs = {end.codes.scale, end.codes.zero_point};
    for (ValueId id : node.inputs) {
      const auto part = activation(id);
      if (!part) return;
      inputs.insert(inputs.end(), {part->codes, part->scale, part->zero_point});
    }
    node.op_type = "QLinearConcat";
    node.domain = "com.microsoft";
    node.inputs = std::move(inputs);
    finish(n, end);
  }

  void lower_average(std::size_t n, const Ending& end) {
    Node& node = graph_.nodes[n];
    const auto a = activation(node.input(0));
    if (!a || end.clamps) return;
    node.op_type = node.op_type == "AveragePool" ? "QLinearAveragePool" : "QLinearGlobalAveragePool";
    node.domain = "com.microsoft";
    node.inputs = {a->codes, a->scale, a->zero_point, end.codes.scale, end.codes.zero_point};
    finish(n, end);
  }

  void lower_transport(std::size_t n, const Ending& end) {
    Node& node = graph_.nodes[n];
    const auto a = activation(node.input(0));
    if (!a || end.clamps || a->dtype != end.codes.dtype || a->step != end.codes.step || a->zero != end.codes.zero) return;
    if (node.op_type == "MaxPool") {
      node.op_type = "QMaxPool";
      node.domain = "narrow";
      node.set("channels_last", std::int64_t{0});
    }
    node.inputs[0] = a->codes;
    finish(n, end);
  }

  // Element-wise float work between one set of codes and another is a table of 256 answers.
  void lower_function(std::size_t n) {
    const Node& node = graph_.nodes[n];
    const int reader = sole_reader(node.outputs[0]);
    if (reader < 0 || !is_quantize(graph_.nodes[static_cast<std::size_t>(reader)])) return;
    const Node& quantize = graph_.nodes[static_cast<std::size_t>(reader)];
    const auto table = tabulate(graph_, uses_, quantize);
    if (!table) return;
    const ValueId constant = graph_.add_constant(node.name + "_table", table->codes);
    Node& changed = graph_.nodes[n];
    changed.op_type = "Lookup";
    changed.domain = "narrow";
    changed.attributes.clear();
    changed.inputs = {table->source, constant};
    changed.outputs[0] = quantize.outputs[0];
    Node& emptied = graph_.nodes[static_cast<std::size_t>(reader)];
    emptied.inputs.clear();
    emptied.outputs.clear();
  }

  Graph& graph_;
  const Uses uses_;  // of the graph as it came: DequantizeLinear nodes stay until the end
};

}  // namespace

Status lower_qdq(Graph& graph) {
  NARROW_TRY(const operators::Inference inference, operators::infer_types(graph));
  (void)inference;
  Lowering(graph).run();
  remove_emptied(graph);
  NARROW_RETURN_IF_ERROR(graph::sort_topologically(graph));
  graph::remove_dead(graph);
  fuse_tables(graph);
  remove_emptied(graph);
  NARROW_RETURN_IF_ERROR(graph::sort_topologically(graph));
  NARROW_RETURN_IF_ERROR(assign_channels_last(graph));
  return graph::verify(graph, "the graph on integers");
}

}  // namespace narrow::passes
