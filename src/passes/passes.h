// Graph to graph transformations. Each keeps the meaning of the model (within float rounding) and its input and output
// names, and leaves the graph verified and in topological order.
#pragma once

#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "graph/graph.h"
#include "narrow/result.h"

namespace narrow::passes {

// Computes what depends on constants only; results larger than `max_growth` times their inputs stay nodes.
// Returns the number of nodes removed.
Result<int> fold_constants(graph::Graph& graph);

// Conv/ConvTranspose/Gemm (MatMul + Add) followed by BatchNormalization or by constant per-channel Mul/Add become one
// operator. The sole-reader rule holds: a value that anyone else reads is left alone.
Result<int> fold_batch_norm(graph::Graph& graph);

// Multiplies Gemm's alpha and beta into its constant weight and bias. Returns the number of constants rewritten.
Result<int> fold_gemm_factors(graph::Graph& graph);

// Splits com.microsoft's fused operators: FusedConv and FusedGemm into product, sum and activation; FusedMatMul by a constant
// into MatMul; Attention with constant weights into MatMul and MultiHeadAttention; EmbedLayerNormalization into Gathers and
// SkipLayerNormalization. What has no such parts (an activation
// unknown to ai.onnx, a state) stays. The product keeps the node's name, the last part its output. Precondition: types are
// inferred. Returns the number of nodes split.
enum class UnfuseScope { kAll, kConvolutions };
Result<int> unfuse(graph::Graph& graph, UnfuseScope scope);

// Removes Identity, Dropout, Reshape to the same shape, Transpose pairs that cancel, Cast to the same type, pads of 0.
Result<int> remove_no_ops(graph::Graph& graph);

// ---- for running: these leave operators of domain "narrow", which no exporter writes ----

using NameSet = std::unordered_set<std::string>;
using NameMap = std::unordered_map<std::string, std::string>;

// Conv with constant weights takes in the Relu, LeakyRelu, Clip, Sigmoid, Tanh, HardSwish or x * sigmoid(x) that follows
// it, and a residual Add before that. Values named in `keep` survive. Meant to be followed by assign_layout: row-major
// convolutions gain nothing from it. Returns the number of nodes fused.
Result<int> fuse_convolution(graph::Graph& graph, const NameSet& keep = {});

// GELU and Where(IsNaN(x), c, x) become one node each; MatMulInteger with its Cast, scales and bias becomes com.microsoft's
// MatMulIntegerToFloat. Returns the number of nodes fused.
Result<int> fuse_patterns(graph::Graph& graph);

// Lays the data of f32 convolutions, and of what lies between them, out channels-last. Returns, by name, which value
// holds the same numbers as a value of the model in the other order (it may be the only one left that does).
Result<NameMap> assign_layout(graph::Graph& graph);

// All that makes a float graph run fast: BatchNormalization folded, fuse_patterns, fuse_convolution, assign_layout. Returns what
// assign_layout returns.
Result<NameMap> optimize_for_running(graph::Graph& graph, const NameSet& keep = {});

}  // namespace narrow::passes
