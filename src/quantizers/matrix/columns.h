// Memory for tiles of rows stored by columns. Private to this folder.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/columns/columns.h"

namespace narrow::quantizers {

// Rows that one task of the pool takes: fixed, so that no sum depends on the number of threads.
inline constexpr std::int64_t kTileRows = kernels::kColumnRows;

// Columns of a tile of rows, aligned as the kernels want them, zero at first.
class Columns {
 public:
  explicit Columns(std::int64_t columns) : memory_(static_cast<std::size_t>(columns * kTileRows + 16)) {}
  kernels::TileColumn* data() {
    auto at = reinterpret_cast<std::uintptr_t>(memory_.data());
    return reinterpret_cast<kernels::TileColumn*>((at + 63) / 64 * 64);
  }
  float* operator[](std::int64_t column) { return data()[column]; }

 private:
  std::vector<float> memory_;
};

}  // namespace narrow::quantizers
