// ONNX Runtime 1.32, CPU execution provider. Each row was checked by giving the runtime one DequantizeLinear → operator
// → QuantizeLinear graph and reading the graph it optimised to: listed operators became one integer kernel, the others
// (Tanh, HardSwish, Sub, Div, ReduceMean, Pad, SpaceToDepth, ConvTranspose, GlobalMaxPool, linear Resize, …) stayed
// DequantizeLinear → float → QuantizeLinear. tests/peer/onnxruntime_fusion_peer.py repeats the check.
//
// u8 activations: with s8 activations SqueezeNet 1.1 takes 10.6 ms against 3.3 ms on AVX-512 VNNI, whose dot product
// instruction multiplies u8 by s8. Both give the same accuracy.
#include "targets/tables.h"

namespace narrow::targets {
namespace {

constexpr OperatorRule kOperators[] = {
    {.op_type = "Conv", .needs_quantized_output = true},
    // Without Q behind them these become QGemm and MatMulIntegerToFloat with a float result.
    {.op_type = "Gemm", .needs_quantized_output = false},
    // Per-channel scales of a weight with batch dimensions keep MatMul in float.
    {.op_type = "MatMul", .needs_quantized_output = false, .per_channel_rank = 2},
    // com.microsoft.QLinear* of the same name.
    {.op_type = "Add", .needs_quantized_output = true},
    {.op_type = "Mul", .needs_quantized_output = true},
    {.op_type = "Sigmoid", .needs_quantized_output = true},
    {.op_type = "Softmax", .needs_quantized_output = true},
    {.op_type = "LeakyRelu", .needs_quantized_output = true},
    {.op_type = "AveragePool", .needs_quantized_output = true},
    {.op_type = "GlobalAveragePool", .needs_quantized_output = true},
    {.op_type = "Concat", .needs_quantized_output = true},
    // Same parameters in and out: Q and DQ are dropped and the operator moves bytes.
    {.op_type = "MaxPool", .needs_quantized_output = true},
    {.op_type = "Reshape", .needs_quantized_output = true},
    {.op_type = "Transpose", .needs_quantized_output = true},
    {.op_type = "Flatten", .needs_quantized_output = true},
    {.op_type = "Squeeze", .needs_quantized_output = true},
    {.op_type = "Unsqueeze", .needs_quantized_output = true},
    {.op_type = "Slice", .needs_quantized_output = true},
    {.op_type = "Split", .needs_quantized_output = true},
    {.op_type = "Gather", .needs_quantized_output = true},
    {.op_type = "Expand", .needs_quantized_output = true},
    {.op_type = "Tile", .needs_quantized_output = true},
    {.op_type = "DepthToSpace", .needs_quantized_output = true},
    {.op_type = "ReduceMax", .needs_quantized_output = true},
    {.op_type = "ReduceMin", .needs_quantized_output = true},
    {.op_type = "Resize", .needs_quantized_output = true, .refuses = refuses_unless_nearest},
    {.op_type = "Pad", .needs_quantized_output = true, .on_codes = true, .refuses = refuses_unless_zero_padding},
};

}  // namespace

const Target kOnnxRuntime = {
    .name = "onnxruntime",
    .summary = "ONNX Runtime on a CPU: u8 activations, s8 weights, Q and DQ around every integer operator",
    .activation = {DType::kU8, false},
    .dynamic_lstm = true,
    .dynamic_matmul = true,
    .qoperator_form = true,
    .operators = kOperators,
};

}  // namespace narrow::targets
