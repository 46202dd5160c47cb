// Scaling what some Linears read, without changing what the block computes: the factors move into what produces it.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "language/decoder.h"
#include "language/quantize/overlay.h"

namespace narrow::language {

// Where factors on the input of a group of Linears can be taken up, found by following the data: a norm's weight, or the
// rows of the Linear in front (through a product with a gate, through attention for values, through a Split).
struct FoldPlace {
  std::string tensor;          // a norm's weight, or empty
  double plus = 0;             // what the graph adds to it
  std::string bias;            // the norm's bias, or empty
  std::string linear;          // a Linear whose rows take the factors, or empty
  std::int64_t first_row = 0;  // where they start
  std::int64_t head_size = 0;  // attention: factors are shared by the query heads of one key head
  std::int64_t queries_a_key = 1;

  bool found() const { return !tensor.empty() || !linear.empty(); }
};

// Nothing is found where another reader would see the change.
FoldPlace find_fold_place(const graph::Graph& block, const LinearGroup& group, const Spec& spec);

// Makes factors fit the place: where heads share rows, the geometric mean of those that share.
void tie_factors(const FoldPlace& place, std::span<float> factors);

// Divides what is produced by `factors` and multiplies the columns of the group's weights by them; all become f32 tensors of
// `weights`. Errors: what reading weights reports.
Status fold_factors(const FoldPlace& place, const LinearGroup& group, std::span<const float> factors, OverlayWeights& weights);

}  // namespace narrow::language
