// OpenVINO 2026, CPU plugin. QuantizeLinear + DequantizeLinear become FakeQuantize, from which the low precision
// transformations make u8 x s8 kernels. A result needs no Q: it leaves the kernel in the type its reader wants, with the
// activation (Relu, Swish, …) computed in float behind the integer product.
#include "targets/tables.h"

namespace narrow::targets {
namespace {

constexpr OperatorRule kOperators[] = {
    {.op_type = "Conv", .needs_quantized_output = false},
    {.op_type = "ConvTranspose", .needs_quantized_output = false},
    {.op_type = "Gemm", .needs_quantized_output = false},
    {.op_type = "MatMul", .needs_quantized_output = false, .per_channel_rank = 2},
    {.op_type = "Add", .needs_quantized_output = false},
    {.op_type = "Mul", .needs_quantized_output = false, .refuses = refuses_gating_mul},
    {.op_type = "AveragePool", .needs_quantized_output = false},
    {.op_type = "GlobalAveragePool", .needs_quantized_output = false},
    {.op_type = "Concat", .needs_quantized_output = false},
    {.op_type = "MaxPool", .needs_quantized_output = false},
    {.op_type = "Reshape", .needs_quantized_output = false},
    {.op_type = "Transpose", .needs_quantized_output = false},
    {.op_type = "Flatten", .needs_quantized_output = false},
    {.op_type = "Squeeze", .needs_quantized_output = false},
    {.op_type = "Unsqueeze", .needs_quantized_output = false},
    {.op_type = "Split", .needs_quantized_output = false},
    {.op_type = "Slice", .needs_quantized_output = false},
    {.op_type = "DepthToSpace", .needs_quantized_output = false},
    {.op_type = "Resize", .needs_quantized_output = false, .refuses = refuses_unless_nearest},
};

}  // namespace

const Target kOpenVino = {
    .name = "openvino",
    .summary = "OpenVINO on a CPU: u8 activations, s8 weights, Q and DQ on the inputs of integer operators",
    .activation = {DType::kU8, false},
    .placement = Placement::kInputs,
    .operators = kOperators,
};

}  // namespace narrow::targets
