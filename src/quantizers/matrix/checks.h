// What every method checks of its inputs. Private to this folder.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "narrow/result.h"
#include "quantizers/matrix/matrix.h"

namespace narrow::quantizers {

// invalid_argument naming the first NaN or infinity of `values`, rows of `columns`.
Status check_finite(std::span<const float> values, std::int64_t columns, std::string_view what);

// The sizes agree, none is zero, and all weights are finite.
Status check_weight(std::span<const float> weight, std::int64_t rows, std::int64_t columns);

// They are of `columns`, and finite.
Status check_statistics(const InputStatistics& statistics, std::int64_t columns);

Status check_options(const MatrixOptions& options);

}  // namespace narrow::quantizers
