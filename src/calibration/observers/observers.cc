#include <fmt/format.h>

#include <vector>

#include "base/text.h"
#include "calibration/observers/choose.h"

namespace narrow::calibration {

std::span<const Observer> observers() {
  static constexpr Observer kObservers[] = {
      {"min_max", "everything that was seen", false, choose_min_max},
      {"moving_average", "average of the samples' minima and maxima, recent samples weigh more", false, choose_moving_average},
      {"percentile", "all but the outermost share of the values", true, choose_percentile},
      {"entropy", "clips where the quantized distribution loses the least information (KL divergence)", true, choose_entropy},
      {"mse", "clips where the expected squared error is smallest, clipped values counting three times", true, choose_mse},
  };
  return kObservers;
}

Result<const Observer*> find_observer(std::string_view name) {
  std::vector<std::string_view> names;
  for (const Observer& observer : observers()) {
    if (observer.name == name) return &observer;
    names.push_back(observer.name);
  }
  return invalid_argument(fmt::format("unknown observer '{}'{}", base::escape_controls(name), base::did_you_mean(name, names)))
      .hint("Observers: min_max, moving_average, percentile, entropy, mse.");
}

}  // namespace narrow::calibration
