// Whether an output is what a case expects, by the rules of ONNX's own backend tests.
#pragma once

#include <string>

#include "tensor/runtime_value.h"

namespace narrow::conformance {

// Empty when they agree, else what differs first. Element type and shape must be equal; integers, bools and strings
// exactly so, 8 and 4 bit floats too; |found - expected| <= 1e-7 + r |expected| for others, where r is 1e-3, and two units
// in the last place for f16 and bf16. NaN equals NaN.
std::string difference(const Tensor& expected, const Tensor& found);
// Sequences element by element; an empty optional equals only another.
std::string difference(const RuntimeValue& expected, const RuntimeValue& found);

}  // namespace narrow::conformance
