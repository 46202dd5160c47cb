// How a tensor's numbers are quantized: real = (q - zero_point) * scale, round half to even, saturating.
#pragma once

#include <cstdint>
#include <vector>

#include "tensor/dtype.h"

namespace narrow {

enum class GranularityKind : std::uint8_t { kPerTensor, kPerChannel, kPerGroup, kPerBlock, kPerToken };

// Which elements share one scale. `axis` is never negative.
struct Granularity {
  GranularityKind kind = GranularityKind::kPerTensor;
  int axis = 0;
  std::int64_t group_size = 0;  // per_group: along axis; per_block: rows
  std::int64_t columns = 0;     // per_block only

  static Granularity per_tensor() { return {}; }
  static Granularity per_channel(int axis) { return {GranularityKind::kPerChannel, axis, 0, 0}; }
  static Granularity per_group(int axis, std::int64_t size) { return {GranularityKind::kPerGroup, axis, size, 0}; }
  bool operator==(const Granularity&) const = default;
};

struct QuantType {
  DType storage_type = DType::kUndefined;
  DType expressed_type = DType::kF32;
  Granularity granularity;
  bool symmetric = false;
  // The allowed codes; narrower than the type when the range is restricted (weights: [-127, 127]).
  std::int32_t quant_min = 0;
  std::int32_t quant_max = 0;
  bool operator==(const QuantType&) const = default;
};

// Scales (> 0, finite) and zero points, one per sharing set in row-major order of the granularity.
struct QuantParams {
  std::vector<float> scale;
  std::vector<std::int32_t> zero_point;
  bool operator==(const QuantParams&) const = default;
};

}  // namespace narrow
