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

}  // namespace narrow::quantizers
