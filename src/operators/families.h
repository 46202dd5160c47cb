// The families of operators, one function a file. operators.cc makes the table of them.
#pragma once

#include <span>

#include "operators/operator.h"

namespace narrow::operators {

std::span<const Operator> identity_operators();

}  // namespace narrow::operators
