// Distances between two tensors, accumulated in f64 over as many tensors as wanted.
#pragma once

#include <cstdint>
#include <span>

#include "narrow/figures.h"
#include "tensor/tensor.h"

namespace narrow::evaluation {

struct Difference {
  double signal = 0;          // sum of reference²
  double noise = 0;           // sum of (reference − other)²
  double dot = 0;             // sum of reference · other
  double energy = 0;          // sum of other²
  double max_error = 0;
  double low = 0, high = 0;   // range of the reference
  std::uint64_t elements = 0; // finite on both sides
  std::uint64_t non_finite = 0;  // of `other`

  void add(std::span<const float> reference, std::span<const float> other);
  void merge(const Difference& more);

  double sqnr_db() const;     // within ±200; 200 when there is no noise
  double cosine() const;      // 1 when both are zero, 0 when one is
};

// False when the shapes differ or a type is not numeric: then nothing was added.
bool add_tensors(Difference& difference, const Tensor& reference, const Tensor& other);

}  // namespace narrow::evaluation
