#include "quantizers/static_int8/parameters.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/text.h"
#include "passes/edit.h"
#include "quantizers/rules.h"
#include "quantizers/weights.h"

namespace narrow::quantizers::static_int8 {
namespace {

using encodings::AffineGrid;
using encodings::AffineParams;
using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::Uses;
using graph::ValueId;
using operators::QuantRole;

// A bias of a channel without weights has no scale to follow; this many steps resolve it.
constexpr double kDeadChannelSteps = 1 << 24;

struct WeightJob {
  ValueId value;
  int axis;                       // -1: per tensor
  std::vector<int> nodes;         // the layers that read it
  QuantParams params;
};

class Maker {
 public:
  Maker(const Graph& graph, const Plan& plan, const Recipe& recipe, const Ranges& ranges, const std::map<ValueId, RoundedWeight>& rounded,
        std::vector<std::string>& notes)
      : graph_(graph), plan_(plan), recipe_(recipe), ranges_(ranges), rounded_(rounded), notes_(notes), uses_(graph),
        grid_(weight_grid(*plan.target, recipe)), params_(graph.values.size()) {}

  passes::QdqPlan run() {
    activations();
    constant_operands();
    weights();
    return std::move(out_);
  }

 private:
  struct GroupRange {
    calibration::Range range;
    bool any = false;
  };

  void activations() {
    const std::vector<int> makers = effective_makers(graph_, plan_);
    std::map<int, GroupRange> groups;
    for (std::size_t v = 0; v < graph_.values.size(); ++v) {
      const ValuePlan& value = plan_.values[v];
      if (value.group < 0) continue;
      const int maker = makers[v];
      GroupRange& group = groups[value.group];
      // What a transport writes it has read: its observed range says nothing new.
      if (maker >= 0 && plan_.nodes[maker].quantized && plan_.nodes[maker].role == QuantRole::kTransport) continue;
      calibration::Range range;
      const auto fixed = maker >= 0 && plan_.nodes[maker].op != nullptr ? plan_.nodes[maker].op->quant.fixed_output : std::nullopt;
      const auto it = ranges_.find(static_cast<ValueId>(v));
      if (fixed) range = {fixed->first, fixed->second};
      else if (it != ranges_.end()) range = it->second;
      else continue;
      group.range = group.any ? calibration::Range{std::min(group.range.min, range.min), std::max(group.range.max, range.max)} : range;
      group.any = true;
    }
    for (std::size_t v = 0; v < graph_.values.size(); ++v) {
      const ValuePlan& value = plan_.values[v];
      if (value.group < 0) continue;
      const AffineGrid grid = activation_grid(value.storage_type, value.symmetric);
      const GroupRange& group = groups[value.group];
      params_[v] = encodings::affine_params(group.range.min, group.range.max, grid);
      if (!value.quantized) continue;
      passes::ActivationQdq qdq;
      qdq.value = static_cast<ValueId>(v);
      qdq.type = weight_type(value.storage_type, -1, grid);
      qdq.params = {{params_[v].scale}, {params_[v].zero_point}};
      qdq.replaces = value.replaces;
      if (!value.replaces) qdq.readers = quantized_readers(static_cast<ValueId>(v));
      out_.activations.push_back(std::move(qdq));
    }
  }

  std::vector<passes::Reader> quantized_readers(ValueId id) const {
    std::vector<passes::Reader> readers;
    for (const Uses::Use& use : uses_.readers[id]) {
      if (use.input < 0 || !plan_.nodes[use.node].quantized || plan_.nodes[use.node].folded) continue;
      if (is_data_input(graph_, graph_.nodes[use.node], plan_.nodes[use.node], static_cast<std::size_t>(use.input))) {
        readers.push_back({use.node, use.input});
      }
    }
    return readers;
  }

  // Constants that an integer operator reads as data: the other side of Add and Mul, a constant left side of MatMul.
  void constant_operands() {
    for (std::size_t v = 0; v < graph_.values.size(); ++v) {
      const auto id = static_cast<ValueId>(v);
      if (!graph_.values[v].constant || !plan_.values[v].quantized) continue;
      const std::vector<passes::Reader> readers = quantized_readers(id);
      if (readers.empty()) continue;
      const Node& first = graph_.nodes[readers[0].node];
      const ActivationChoice choice = activation_choice(recipe_, *plan_.target, first.name, first.op_type);
      const AffineGrid grid = activation_grid(choice.storage_type, choice.symmetric);
      const QuantParams params = weight_params(extremes(*graph_.constant(id), -1), grid);
      out_.constants.push_back({id, weight_type(choice.storage_type, -1, grid), params,
                                quantize_weight(*graph_.constant(id), -1, params, grid, choice.storage_type), readers});
    }
  }

  void weights() {
    std::map<std::pair<ValueId, int>, WeightJob> jobs;
    for (std::size_t n = 0; n < graph_.nodes.size(); ++n) {
      const Node& node = graph_.nodes[n];
      const NodePlan& own = plan_.nodes[n];
      if (!own.quantized || own.role != QuantRole::kCompute || own.op->quant.weight_input < 0) continue;
      const auto input = static_cast<std::size_t>(own.op->quant.weight_input);
      if (!is_weight_input(graph_, own, node, input)) continue;
      const int axis = channel_axis(node, own, *graph_.constant(node.inputs[input]));
      WeightJob& job = jobs[{node.inputs[input], axis}];
      job.value = node.inputs[input];
      job.axis = axis;
      job.nodes.push_back(static_cast<int>(n));
    }
    std::map<ValueId, bool> float_readers_taken;
    for (auto& [key, job] : jobs) {
      job.params = weight_params(extremes(*graph_.constant(job.value), job.axis), grid_);
      const auto rounded = rounded_.find(job.value);
      const bool chosen = rounded != rounded_.end() && rounded->second.scale.size() == job.params.scale.size();
      if (chosen) job.params.scale = rounded->second.scale;
      if (plan_.target->bias == targets::BiasRule::kInt32) {
        for (int n : job.nodes) fit_bias(n, job);
      }
      passes::ConstantQdq qdq;
      qdq.value = job.value;
      qdq.type = weight_type(plan_.target->weight_type, job.axis, grid_);
      qdq.params = job.params;
      // A scale that the bias enlarged no longer fits the codes chosen for it.
      if (chosen && job.params.scale == rounded->second.scale) qdq.codes = rounded->second.codes;
      else qdq.codes = quantize_weight(*graph_.constant(job.value), job.axis, job.params, grid_, plan_.target->weight_type);
      for (int n : job.nodes) qdq.readers.push_back({n, plan_.nodes[n].op->quant.weight_input});
      // Whoever else reads the tensor (a tied embedding) reads the same codes: no float copy stays behind.
      if (!float_readers_taken[job.value]) {
        float_readers_taken[job.value] = true;
        for (const Uses::Use& use : uses_.readers[job.value]) {
          if (use.input >= 0 && !plan_.nodes[use.node].quantized) qdq.readers.push_back({use.node, use.input});
        }
      }
      out_.constants.push_back(std::move(qdq));
      if (plan_.target->bias == targets::BiasRule::kInt32) {
        for (int n : job.nodes) add_bias(n, job);
      }
    }
  }

  int channel_axis(const Node& node, const NodePlan& own, const Tensor& weight) const {
    if (!own.per_channel || !own.rule->per_channel_weights || own.op->quant.weight_axis == nullptr) return -1;
    if (own.rule->per_channel_rank != 0 && weight.rank() != own.rule->per_channel_rank) return -1;
    // Axis 1 of a grouped ConvTranspose mixes output channels of different groups under one scale.
    if (node.op_type == "ConvTranspose" && node.get_int("group", 1) != 1) return -1;
    const int axis = own.op->quant.weight_axis(node, weight.rank());
    return axis >= 0 && axis < weight.rank() ? axis : -1;
  }

  float input_scale(int n) const {
    const ValueId x = graph_.nodes[n].inputs[0];
    return params_[x].scale;
  }

  const Tensor* bias_of(int n) const {
    const int input = plan_.nodes[n].op->quant.bias_input;
    return input < 0 ? nullptr : graph_.constant(graph_.nodes[n].input(static_cast<std::size_t>(input)));
  }

  // Enlarges weight scales until every bias fits s32 with scale s_x * s_w, and the product is a normal number.
  void fit_bias(int n, WeightJob& job) {
    const Tensor* bias = bias_of(n);
    if (bias == nullptr) return;
    const double x = input_scale(n);
    const std::span<const float> values = bias->data<float>();
    const std::size_t channels = job.params.scale.size();
    std::size_t enlarged = 0;
    const Extremes range = extremes(*graph_.constant(job.value), job.axis);
    for (std::size_t c = 0; c < channels; ++c) {
      double largest = 0;
      if (channels == 1 || values.size() == 1) {
        for (float b : values) largest = std::max(largest, std::abs(static_cast<double>(b)));
      } else if (c < values.size()) {
        largest = std::abs(static_cast<double>(values[c]));
      }
      float& scale = job.params.scale[c];
      if (range.min[c] == 0 && range.max[c] == 0 && largest > 0) {
        scale = static_cast<float>(std::max(largest / (x * kDeadChannelSteps), static_cast<double>(std::numeric_limits<float>::min())));
      }
      const double least = std::max(largest / kLargestBias * (1 + 1e-6), static_cast<double>(std::numeric_limits<float>::min())) / x;
      if (scale < least) {
        scale = static_cast<float>(std::min(least, static_cast<double>(std::numeric_limits<float>::max())));
        ++enlarged;
      }
    }
    if (enlarged > 0) {
      notes_.push_back(fmt::format("node '{}': {} weight scale(s) enlarged so that the bias fits 32 bits", base::escape_controls(graph_.nodes[n].name), enlarged));
    }
  }

  void add_bias(int n, const WeightJob& job) {
    const Tensor* bias = bias_of(n);
    if (bias == nullptr) return;
    const std::span<const float> values = bias->data<float>();
    const bool per_channel = job.axis >= 0;
    const std::size_t count = per_channel && values.size() == 1 ? job.params.scale.size() : values.size();
    QuantParams params;
    std::vector<std::int32_t> codes(count);
    for (std::size_t c = 0; c < count; ++c) {
      const float scale = input_scale(n) * job.params.scale[per_channel ? c : 0];
      if (per_channel || c == 0) {
        params.scale.push_back(scale);
        params.zero_point.push_back(0);
      }
      codes[c] = bias_code(values[values.size() == 1 ? 0 : c], scale);
    }
    QuantType type;
    type.storage_type = DType::kS32;
    type.symmetric = true;
    type.granularity = per_channel ? Granularity::per_channel(0) : Granularity::per_tensor();
    type.quant_min = std::numeric_limits<std::int32_t>::min();
    type.quant_max = std::numeric_limits<std::int32_t>::max();
    const int input = plan_.nodes[n].op->quant.bias_input;
    out_.constants.push_back({graph_.nodes[n].inputs[input], type, std::move(params),
                              Tensor::from<std::int32_t>({static_cast<std::int64_t>(count)}, std::span<const std::int32_t>(codes)),
                              {{n, input}}});
  }

  const Graph& graph_;
  const Plan& plan_;
  const Recipe& recipe_;
  const Ranges& ranges_;
  const std::map<ValueId, RoundedWeight>& rounded_;
  std::vector<std::string>& notes_;
  const Uses uses_;
  const AffineGrid grid_;
  std::vector<AffineParams> params_;
  passes::QdqPlan out_;
};

}  // namespace

AffineGrid activation_grid(DType storage_type, bool symmetric) {
  if (storage_type == DType::kU8) return {0, 255, symmetric};
  return {symmetric ? -127 : -128, 127, symmetric};
}

AffineGrid weight_grid(const targets::Target& target, const Recipe& recipe) {
  if (recipe.reduce_range) return {-64, 64, true};
  return {target.restricted_weights ? -127 : -128, 127, true};
}

passes::QdqPlan make_parameters(const Graph& graph, const Plan& plan, const Recipe& recipe, const Ranges& ranges,
                                const std::map<ValueId, RoundedWeight>& rounded, std::vector<std::string>& notes) {
  return Maker(graph, plan, recipe, ranges, rounded, notes).run();
}

}  // namespace narrow::quantizers::static_int8
