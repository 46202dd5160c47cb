#include "quantizers/matrix/checks.h"

#include <fmt/format.h>

#include <cmath>

#include "base/checked.h"

namespace narrow::quantizers {

Status check_finite(std::span<const float> values, std::int64_t columns, std::string_view what) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) {
      const auto at = static_cast<std::int64_t>(i);
      return invalid_argument(fmt::format("{} holds {} at [{}, {}]: expected finite numbers", what, values[i], at / columns, at % columns))
          .hint("the file may be damaged, or an earlier layer overflowed; the float model gives the same");
    }
  }
  return {};
}

Status check_weight(std::span<const float> weight, std::int64_t rows, std::int64_t columns) {
  const std::int64_t shape[] = {rows, columns};
  const auto size = base::checked_product(shape);
  if (!size || *size == 0 || static_cast<std::size_t>(*size) != weight.size()) {
    return invalid_argument(fmt::format("a weight of {} elements: expected {} rows of {} columns", weight.size(), rows, columns));
  }
  return check_finite(weight, columns, "the weight");
}

Status check_options(const MatrixOptions& options) {
  if (options.bits != 2 && options.bits != 3 && options.bits != 4 && options.bits != 8) {
    return invalid_argument(fmt::format("weights of {} bits: expected 2, 3, 4 or 8", options.bits));
  }
  if (options.group_size < 0) return invalid_argument(fmt::format("a group of {} columns: expected 1 or more, or 0 for a whole row", options.group_size));
  if (!(options.compensation >= 0 && options.compensation <= 1)) return invalid_argument(fmt::format("compensation of {}: expected 0 to 1", options.compensation));
  if (options.refine < 0) return invalid_argument(fmt::format("{} sweeps of refinement: expected 0 or more", options.refine));
  if (!(options.damping >= 0) || !std::isfinite(options.damping)) return invalid_argument(fmt::format("damping of {}: expected 0 or more", options.damping));
  return {};
}

Status check_statistics(const InputStatistics& statistics, std::int64_t columns) {
  if (statistics.columns != columns || statistics.hessian.size() != static_cast<std::size_t>(columns * columns)) {
    return invalid_argument(fmt::format("statistics of {} columns for a weight of {} columns", statistics.columns, columns));
  }
  return check_finite(statistics.hessian, columns, "the Hessian of the layer's inputs");
}

}  // namespace narrow::quantizers
