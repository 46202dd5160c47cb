// Arithmetic on tiles of kColumnRows rows of a matrix stored by columns, [column][row]: what choosing the codes of a weight
// matrix spends its time on. Rows go their own ways, so a vector holds one column of several rows.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace narrow::kernels {

inline constexpr std::int64_t kColumnRows = 64;
using TileColumn = float[kColumnRows];

// How well a grid fits one group of each row: sums over the group's columns, of importance h, weight w and the nearest
// c = code - zero.
struct GridFit {
  alignas(64) float error[kColumnRows];   // h (w - c scale)²
  alignas(64) float along[kColumnRows];   // h c w
  alignas(64) float square[kColumnRows];  // h c²
};

// Tiles are aligned to 64 bytes. low = -zero and high = largest code - zero, of each row.
struct ColumnKernels {
  // to[j][r] += change[r] * row[j] for j < width.
  void (*spread)(TileColumn* to, const float* change, const float* row, std::int64_t width);
  // to[i] += change * row[i] for i < count; no alignment needed.
  void (*add)(float* to, float change, const float* row, std::int64_t count);
  // `importance` [count] may be null: all ones.
  void (*fit)(const TileColumn* weight, const float* importance, std::int64_t count, const float* scale, const float* low,
              const float* high, GridFit* fit);
  // steps = the nearest to wanted / scale in [low, high]; error = weight - steps * scale.
  void (*round)(const float* wanted, const float* weight, const float* scale, const float* low, const float* high, float* steps,
                float* error);
  // steps = the nearest to steps + gradient * inverse / scale in [low, high]; change = what that takes off, in weights.
  // False when no step changed.
  bool (*descend)(const float* gradient, float inverse, const float* scale, const float* low, const float* high, float* steps,
                  float* change);
};

extern const ColumnKernels kColumnsReference, kColumnsAvx2, kColumnsAvx512;
const ColumnKernels& column_kernels(base::Isa isa);  // for tests; others use the one below
const ColumnKernels& column_kernels();               // of base::effective_isa()

}  // namespace narrow::kernels
