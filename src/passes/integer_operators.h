// The operators that compute on codes between DequantizeLinear and QuantizeLinear, and how their inputs are laid out.
#pragma once

#include <string_view>

namespace narrow::passes {

inline constexpr std::string_view kMicrosoft = "com.microsoft";

enum class IntegerForm { kConv, kMatMul, kGemm, kUnary, kBinary, kVariadic };

struct IntegerOperator {
  std::string_view op_type;         // ai.onnx, on floats
  IntegerForm form;
  std::string_view integer_type, domain;
};

inline constexpr IntegerOperator kIntegerOperators[] = {
    {"Conv", IntegerForm::kConv, "QLinearConv", ""},
    {"MatMul", IntegerForm::kMatMul, "QLinearMatMul", ""},
    {"Gemm", IntegerForm::kGemm, "QGemm", kMicrosoft},
    {"Add", IntegerForm::kBinary, "QLinearAdd", kMicrosoft},
    {"Mul", IntegerForm::kBinary, "QLinearMul", kMicrosoft},
    {"AveragePool", IntegerForm::kUnary, "QLinearAveragePool", kMicrosoft},
    {"GlobalAveragePool", IntegerForm::kUnary, "QLinearGlobalAveragePool", kMicrosoft},
    {"Sigmoid", IntegerForm::kUnary, "QLinearSigmoid", kMicrosoft},
    {"LeakyRelu", IntegerForm::kUnary, "QLinearLeakyRelu", kMicrosoft},
    {"Softmax", IntegerForm::kUnary, "QLinearSoftmax", kMicrosoft},
    {"Concat", IntegerForm::kVariadic, "QLinearConcat", kMicrosoft},
};

}  // namespace narrow::passes
