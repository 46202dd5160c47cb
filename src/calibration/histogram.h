// A histogram whose range is not known beforehand: one pass, fixed memory, and the same result whatever the order of the
// values and however they were divided between histograms that are merged.
//
// Cells are [i, i + 1) * 2^e for whole i. The exponent e is the smallest for which the values seen so far span at most
// `max_cells` cells (and not below what f32 resolves); when it grows, neighbouring cells are added up exactly.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "calibration/statistics.h"

namespace narrow::calibration {

class AdaptiveHistogram {
 public:
  // Between max_cells / 2 and max_cells cells will be in use once values spread. Precondition: max_cells >= 2.
  explicit AdaptiveHistogram(int max_cells) : max_cells_(max_cells) {}

  // Precondition: every value is finite.
  void add(std::span<const float> values);
  void merge(const AdaptiveHistogram& other);

  bool empty() const { return counts_.empty(); }
  // Low and high are cell borders; the first and the last cell hold the smallest and the largest value seen. Empty when
  // nothing was added.
  Histogram result() const;

 private:
  friend class HistogramFiller;
  void extend(float min, float max);  // makes room; precondition: finite, min <= max

  int max_cells_;
  float min_ = 0, max_ = 0;
  int exponent_ = 0;
  std::int32_t first_ = 0;  // cell of counts_[0]
  std::vector<std::uint64_t> counts_;
};

// Counts many blocks of one tensor quickly, in tables of its own, and adds them to the histogram when it is destroyed.
class HistogramFiller {
 public:
  // `tables` is working memory that may be used again with other fillers; all zero before and after.
  HistogramFiller(AdaptiveHistogram& histogram, std::vector<std::uint32_t>& tables) : histogram_(histogram), tables_(tables) {}
  ~HistogramFiller() { flush(); }
  HistogramFiller(const HistogramFiller&) = delete;
  HistogramFiller& operator=(const HistogramFiller&) = delete;

  // Precondition: every value is finite and in [min, max]; values.size() < 2^30.
  void add(std::span<const float> values, float min, float max);

 private:
  void flush();

  AdaptiveHistogram& histogram_;
  std::vector<std::uint32_t>& tables_;
  std::uint64_t pending_ = 0;
};

}  // namespace narrow::calibration
