// Looks at a few samples before they are trusted with calibration: bad numbers, a range that does not fit what the
// preprocessing says, too few or near-identical samples.
#pragma once

#include <string>
#include <vector>

#include "datasets/dataset.h"
#include "datasets/preprocess.h"
#include "narrow/result.h"

namespace narrow::datasets {

struct DataWarning {
  std::string kind;     // "few_samples", "constant_input", "range", "similar_samples"
  std::string message;  // one sentence that names samples and figures, and what to do
};

struct DataCareOptions {
  std::size_t samples = 32;     // at most so many are read, spread over the set
  std::size_t few = 32;         // fewer in the set than this is worth a warning
  Preprocess preprocess;        // as the data set was opened with; pictures are checked against it
};

// Errors: what reading a sample reports; invalid_argument naming the sample and input that holds a NaN or an infinity.
Result<std::vector<DataWarning>> check_data(const Dataset& data, const DataCareOptions& options);

}  // namespace narrow::datasets
