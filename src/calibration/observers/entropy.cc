#include <algorithm>
#include <cmath>
#include <limits>

#include "calibration/observers/choose.h"

namespace narrow::calibration {
namespace {

constexpr std::size_t kCandidates = 256;
// What an emptied cell counts as, so that the divergence stays finite.
constexpr double kAlmostNone = 1e-4;

double xlogx(double x) { return x > 0 ? x * std::log(x) : 0; }

// Running sums over the cells: each candidate then costs a logarithm a level, not one a cell.
class Divergence {
 public:
  explicit Divergence(const std::vector<double>& counts) : counts_(counts), mass_{0}, filled_{0}, plogp_{0} {
    for (double c : counts) {
      mass_.push_back(mass_.back() + c);
      filled_.push_back(filled_.back() + (c > 0 ? 1 : 0));
      plogp_.push_back(plogp_.back() + xlogx(c));
    }
  }

  // KL divergence of the histogram clipped to the cells [start, end) (what is outside is moved to the border cells) from
  // its quantization to `levels` equal steps over [grid_start, grid_start + grid_cells), which contains them.
  double clipped(std::size_t start, std::size_t end, double grid_start, double grid_cells, std::int64_t levels) const {
    const double total = mass_.back(), inside = mass_[end] - mass_[start];
    if (!(inside > 0)) return std::numeric_limits<double>::infinity();
    const double left = mass_[start], right = total - mass_[end];  // outside
    const double first = counts_[start], last = counts_[end - 1];
    double plogp = plogp_[end] - plogp_[start] - xlogx(first) - xlogx(last) + xlogx(first + left) + xlogx(last + right);
    double filled_added_first = first == 0 && left > 0 ? 1 : 0, filled_added_last = last == 0 && right > 0 ? 1 : 0;
    if (end - start == 1) {
      plogp = xlogx(first + left + right);
      filled_added_first = first == 0 && left + right > 0 ? 1 : 0;
      filled_added_last = 0;
    }
    double cross = 0;
    std::size_t from = start;
    const double step = grid_cells / static_cast<double>(levels);
    for (auto level = static_cast<std::int64_t>((static_cast<double>(start) - grid_start) / step); from < end; ++level) {
      const double border = grid_start + static_cast<double>(level + 1) * step;
      const std::size_t to = level + 1 >= levels ? end : std::clamp<std::size_t>(static_cast<std::size_t>(std::max(0.0, std::floor(border))), from, end);
      if (to == from) continue;
      const double mass = mass_[to] - mass_[from];
      double p = mass, filled = filled_[to] - filled_[from];
      if (from == start) { p += left; filled += filled_added_first; }
      if (to == end) { p += right; filled += filled_added_last; }
      if (p > 0) cross += p * std::log(std::max(mass, kAlmostNone) / std::max(filled, 1.0));
      from = to;
    }
    return (plogp - cross) / total - std::log(total) + std::log(inside);
  }

 private:
  const std::vector<double>& counts_;
  std::vector<double> mass_, filled_, plogp_;  // below the start of each cell
};

}  // namespace

Range choose_entropy(const ValueStatistics& statistics, const ObserverOptions& options) {
  const std::int64_t levels = static_cast<std::int64_t>(options.grid.quant_max) - options.grid.quant_min + 1;
  if (statistics.histogram.counts.empty() || statistics.seen.min == statistics.seen.max) return statistics.seen;
  // Exact zeros (half of what a Relu gives) cost nothing on any grid; left in, their spike would decide everything.
  const Cumulative values(statistics, true);
  if (!(values.total().count > 0)) return statistics.seen;
  const Divergence divergence(values.counts());
  const auto cells = static_cast<double>(values.cells());
  const double zero = -values.low() / values.width();  // position of 0 in cells, may lie outside
  const double reach = std::max(zero, cells - zero);   // of the farther end
  const bool one_sided = zero <= 0 || zero >= cells;
  // Fewer cells than levels would quantize to itself.
  const double fewest = static_cast<double>(levels) / (options.grid.symmetric || !one_sided ? 2.0 : 1.0);
  if (fewest >= reach) return statistics.seen;
  const double stride = std::max(1.0, std::floor((reach - fewest) / static_cast<double>(kCandidates)));
  double best = std::numeric_limits<double>::infinity(), best_reach = reach;
  // From the widest inwards; a narrower range must be strictly better.
  for (double k = reach; k >= fewest; k -= stride) {
    const double start = std::clamp(std::ceil(zero - k), 0.0, cells), end = std::clamp(std::floor(zero + k), 0.0, cells);
    if (end - start < 1) break;
    const double grid_start = options.grid.symmetric ? zero - k : std::min(start, std::max(0.0, zero));
    const double grid_end = options.grid.symmetric ? zero + k : std::max(end, std::min(cells, zero));
    const double kl = divergence.clipped(static_cast<std::size_t>(start), static_cast<std::size_t>(end), grid_start, grid_end - grid_start, levels);
    if (kl < best) {
      best = kl;
      best_reach = k;
    }
  }
  const double limit = best_reach * values.width();
  const Range chosen = within_seen({static_cast<float>(-limit), static_cast<float>(limit)}, statistics);
  // Divergence counts values, not what losing them costs: it gladly cuts the rare large ones that a network leans on.
  // So a cut that raises the expected squared error is widened to where that error is least.
  if (expected_error(values, chosen.min, chosen.max, options.grid) <= expected_error(values, statistics.seen.min, statistics.seen.max, options.grid)) {
    return chosen;
  }
  const Range least = choose_mse(statistics, options);
  return {std::min(chosen.min, least.min), std::max(chosen.max, least.max)};
}

}  // namespace narrow::calibration
