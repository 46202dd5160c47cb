// Causes that lie in what the models are fed: calibration data, and the live data itself.
#pragma once

#include <memory>

#include "datasets/dataset.h"
#include "diagnosis/causes.h"
#include "evaluation/sweep.h"

namespace narrow::diagnosis {

// Says why calibration ranges do not fit, where `findings` holds that they do not: another preprocessing, found by trying
// which explains the model's ranges best, or too few samples.
Status name_calibration(const Evidence& evidence, std::shared_ptr<const datasets::Dataset> data, const evaluation::SweepOptions& options,
                        Findings& findings);

// With labels: whether the float model itself does better on inputs changed in one of the usual ways.
Status find_wrong_inputs(const Evidence& evidence, std::shared_ptr<const datasets::Dataset> data, const evaluation::SweepOptions& options,
                         Findings& findings);

}  // namespace narrow::diagnosis
