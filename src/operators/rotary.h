// The tables of cosines and sines that rotary position embedding reads.
#pragma once

#include "operators/float_io.h"
#include "operators/operator.h"

namespace narrow::operators {

struct Angles {
  FloatInput cosines, sines;
  std::int64_t rows = 0, half = 0;  // `rows` times `half` numbers each

  // Errors: invalid_argument, when the two differ in shape or are not of this rank.
  static Result<Angles> open(const graph::Node& node, const Tensor& cosines, const Tensor& sines, int rank);
};

}  // namespace narrow::operators
