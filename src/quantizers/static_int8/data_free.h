// Statistics without data (Nagel et al. 2019, section 5): what BatchNormalization learned says which means and deviations its
// outputs have, and those of values behind it follow. Ranges are the mean and six deviations of the widest channel; means of
// channels are what bias correction needs.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "calibration/statistics.h"
#include "graph/graph.h"
#include "narrow/result.h"
#include "quantizers/equalization/equalization.h"

namespace narrow::quantizers::static_int8 {

// `graph` is prepared, BatchNormalization folded; `known` are batch_norm_moments() of the graph before. The model's inputs are taken
// as normalised: mean 0, deviation 1. The table has no histograms. Errors: unsupported, naming the first of `values` whose statistics
// do not follow.
Result<calibration::CalibrationTable> statistics_without_data(const graph::Graph& graph, const std::vector<std::string>& values,
                                                              const std::map<std::string, ChannelMoments>& known);

}  // namespace narrow::quantizers::static_int8
