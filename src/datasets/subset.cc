// Parts of data sets.
#include <algorithm>

#include <fmt/format.h>

#include "datasets/dataset.h"

namespace narrow::datasets {
namespace {

class Subset : public Dataset {
 public:
  Subset(std::shared_ptr<const Dataset> whole, std::vector<std::size_t> indices) : whole_(std::move(whole)), indices_(std::move(indices)) {}
  std::size_t size() const override { return indices_.size(); }
  bool labelled() const override { return whole_->labelled(); }
  bool pictures() const override { return whole_->pictures(); }
  std::size_t samples_together() const override { return whole_->samples_together(); }
  std::string describe() const override {
    return size() == whole_->size() ? whole_->describe() : fmt::format("{} of {}", size() / samples_together(), whole_->describe());
  }
  Result<Sample> read(std::size_t index) const override { return whole_->read(indices_[index]); }

 private:
  std::shared_ptr<const Dataset> whole_;
  std::vector<std::size_t> indices_;
};

// Groups of samples that belong together are spread, not single samples.
std::vector<std::size_t> spread(const Dataset& whole, std::size_t count) {
  const std::size_t together = whole.samples_together();
  if (count % together != 0) count += together - count % together;
  if (count == 0 || count > whole.size()) count = whole.size();
  std::vector<std::size_t> indices;
  for (std::size_t i = 0; i < count; ++i) {
    const auto group = static_cast<unsigned __int128>(i / together) * (whole.size() / together) / (count / together);
    indices.push_back(static_cast<std::size_t>(group) * together + i % together);
  }
  return indices;
}

}  // namespace

std::unique_ptr<Dataset> take_samples(std::shared_ptr<const Dataset> whole, std::size_t count) {
  std::vector<std::size_t> indices = spread(*whole, count);
  return std::make_unique<Subset>(std::move(whole), std::move(indices));
}

std::unique_ptr<Dataset> leave_samples(std::shared_ptr<const Dataset> whole, std::size_t count) {
  const std::vector<std::size_t> taken = spread(*whole, count);
  std::vector<bool> left(whole->size(), true);
  for (std::size_t i : taken) left[i] = false;
  std::vector<std::size_t> indices;
  for (std::size_t i = 0; i < left.size(); ++i) {
    if (left[i]) indices.push_back(i);
  }
  return std::make_unique<Subset>(std::move(whole), std::move(indices));
}

std::unique_ptr<Dataset> select_samples(std::shared_ptr<const Dataset> whole, std::vector<std::size_t> indices) {
  return std::make_unique<Subset>(std::move(whole), std::move(indices));
}

}  // namespace narrow::datasets
