// TensorRT 10, explicit quantization (developer guide, "Working with Quantized Types"): s8 with zero point 0 only, float
// bias, Q/DQ on the inputs of what computes; Q/DQ between a convolution and its activation or residual Add would split
// the fused kernel. The engine moves Q across pooling, reshaping and concatenation by itself.
#include "targets/tables.h"

namespace narrow::targets {
namespace {

constexpr OperatorRule kOperators[] = {
    {.op_type = "Conv", .needs_quantized_output = false},
    {.op_type = "ConvTranspose", .needs_quantized_output = false},
    {.op_type = "Gemm", .needs_quantized_output = false},
    {.op_type = "MatMul", .needs_quantized_output = false, .per_channel_rank = 2},
    // The shortcut of a residual sum is quantized so that Conv + Add + Relu is one integer kernel.
    {.op_type = "Add", .needs_quantized_output = false, .shortcut_only = true},
    {.op_type = "AveragePool", .needs_quantized_output = false},
    {.op_type = "GlobalAveragePool", .needs_quantized_output = false},
};

}  // namespace

const Target kTensorRt = {
    .name = "tensorrt",
    .summary = "NVIDIA TensorRT: s8 activations and weights with zero point 0, float bias",
    .activation = {DType::kS8, true},
    .bias = BiasRule::kFloat,
    .folds_activation = false,
    .placement = Placement::kInputs,
    .operators = kOperators,
};

}  // namespace narrow::targets
