// Decides, before any calibration, what of a prepared float graph computes in integers and why the rest does not.
//
// The plan is made twice: without ranges, to learn which values to calibrate, and with them, which can only take
// quantization away (a Concat of values whose ranges lie far apart, a layer that would compute on noise).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "calibration/statistics.h"
#include "graph/graph.h"
#include "narrow/result.h"
#include "operators/operator.h"
#include "quantizers/recipe.h"
#include "targets/target.h"

namespace narrow::quantizers::static_int8 {

struct NodePlan {
  const operators::Operator* op = nullptr;
  const targets::OperatorRule* rule = nullptr;
  operators::QuantRole role = operators::QuantRole::kNone;
  bool quantized = false;
  bool folded = false;           // Relu or Clip: dropped, its range becomes that of the layer before it
  int folds = -1;                // the node that was folded into this one
  bool per_channel = true;
  std::string reason;            // why it is not quantized
};

struct ValuePlan {
  bool quantized = false;        // gets Q and DQ
  bool replaces = false;         // every reader takes the dequantized value (see passes::ActivationQdq)
  bool on_grid = false;          // already holds dequantized codes: moved there by a transport
  DType storage_type = DType::kU8;
  bool symmetric = false;
  std::string observer;
  int group = -1;                // values of one group share scale and zero point
};

struct Plan {
  const targets::Target* target = nullptr;
  std::vector<NodePlan> nodes;   // by node index
  std::vector<ValuePlan> values; // by value id
  std::vector<std::string> calibrated(const graph::Graph& graph) const;  // names of values whose statistics are needed
};

using Ranges = std::map<graph::ValueId, calibration::Range>;

// What calibration saw of the values that the first plan asked for.
struct Observed {
  Ranges ranges;
  std::map<graph::ValueId, double> power;  // mean square
};

// `observed` null: before calibration. Errors: invalid_argument (a rule asks for what the target cannot).
Result<Plan> make_plan(const graph::Graph& graph, const targets::Target& target, const Recipe& recipe,
                       const Observed* observed);

// plan.cc's steps in order, each in its own file.
void refuse_noise(const graph::Graph& graph, const Recipe& recipe, const Observed& observed, Plan& plan);  // precision.cc
void refuse_before_log(const graph::Graph& graph, Plan& plan);                 // precision.cc
void refuse_islands(const graph::Graph& graph, Plan& plan);                    // islands.cc
void place_values(const graph::Graph& graph, const Recipe& recipe, Plan& plan);  // placement.cc
void share_parameters(const graph::Graph& graph, const Ranges* ranges, Plan& plan);  // placement.cc

// The node that makes each value once folded activations are gone: the layer for what a folded Relu wrote. -1: none.
std::vector<int> effective_makers(const graph::Graph& graph, const Plan& plan);
// What the node writes, seen the same way.
std::vector<graph::ValueId> effective_outputs(const graph::Graph& graph, const Plan& plan, int node);

// What a Relu or Clip with constant bounds lets through; Clip with computed bounds lets nothing through (low > high).
std::pair<float, float> activation_bounds(const graph::Graph& graph, const graph::Node& node);

// True when input i of the node carries data that is quantized with the node (not an index, shape, weight or bias).
bool is_data_input(const graph::Graph& graph, const graph::Node& node, const NodePlan& plan, std::size_t i);
// True when input i is quantized as a constant weight of this layer.
bool is_weight_input(const graph::Graph& graph, const NodePlan& plan, const graph::Node& node, std::size_t i);

}  // namespace narrow::quantizers::static_int8
