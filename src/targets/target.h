// What a runtime accepts and fuses, as data. Where QDQ pairs go is a consequence of this table.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "graph/graph.h"
#include "narrow/result.h"
#include "operators/operator.h"

namespace narrow::targets {

struct ActivationRule {
  DType storage_type = DType::kU8;
  bool symmetric = false;      // zero point 0 only
};

enum class BiasRule { kInt32, kFloat };

// Where the target looks for QuantizeLinear/DequantizeLinear.
enum class Placement {
  kEveryEdge,   // around each integer operator, on inputs and outputs alike
  kInputs,      // on the inputs of integer operators; what only moves codes passes them on
};

struct OperatorRule {
  std::string_view op_type;          // ai.onnx
  bool needs_quantized_output;       // the target computes in integers only with Q on the output too
  bool per_channel_weights = true;
  int per_channel_rank = 0;          // the only weight rank that may be per channel; 0: any
  bool shortcut_only = false;        // of two inputs only the one that no layer makes for this node is quantized
  bool on_codes = false;             // not fused between Q and DQ, but runs on integers when written on them
  // Why this particular node has no integer kernel after all; empty when it has one.
  std::string_view (*refuses)(const graph::Graph&, const graph::Node&) = nullptr;
};

struct Target {
  std::string_view name;             // "onnxruntime"
  std::string_view summary;
  ActivationRule activation;
  DType weight_type = DType::kS8;
  bool restricted_weights = true;    // [-127, 127]
  BiasRule bias = BiasRule::kInt32;
  bool folds_activation = true;      // Relu/Clip after a quantized layer may be dropped into the output's range
  Placement placement = Placement::kEveryEdge;
  bool dynamic_lstm = false;         // runs com.microsoft.DynamicQuantizeLSTM
  bool dynamic_matmul = false;       // runs DynamicQuantizeLinear + MatMulInteger in integers
  bool qoperator_form = false;       // reads QLinearConv and the com.microsoft operators
  std::span<const OperatorRule> operators;   // what runs in integers; everything else stays float
  // The rule for an operator, or null when the target has no integer kernel for it.
  const OperatorRule* find(std::string_view op_type) const;
};

std::span<const Target> targets();   // onnxruntime, tensorrt, openvino
// Errors: invalid_argument with the names nearest to `name`.
Result<const Target*> find_target(std::string_view name);

// Conditions that several tables use.
std::string_view refuses_unless_nearest(const graph::Graph& graph, const graph::Node& node);
std::string_view refuses_unless_zero_padding(const graph::Graph& graph, const graph::Node& node);
std::string_view refuses_gating_mul(const graph::Graph& graph, const graph::Node& node);

}  // namespace narrow::targets
