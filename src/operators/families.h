// The families of operators, one function a file. operators.cc makes the table of them.
#pragma once

#include <span>

#include "operators/operator.h"

namespace narrow::operators {

std::span<const Operator> convolution_operators();
std::span<const Operator> identity_operators();
std::span<const Operator> matmul_operators();
std::span<const Operator> normalization_operators();
std::span<const Operator> pooling_operators();
std::span<const Operator> recurrent_operators();
std::span<const Operator> resize_operators();
std::span<const Operator> softmax_operators();
std::span<const Operator> quantize_operators();
std::span<const Operator> integer_pooling_operators();
std::span<const Operator> integer_elementwise_operators();
std::span<const Operator> integer_matmul_operators();
std::span<const Operator> integer_conv_operators();

}  // namespace narrow::operators
