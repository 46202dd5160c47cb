// CIFAR binary batches: records of 1 label byte (CIFAR-10) or 2 (CIFAR-100: coarse, fine) and 3 planes of 32 x 32 bytes.
#include <algorithm>

#include <fmt/format.h>

#include "base/mapped_file.h"
#include "datasets/dataset_kinds.h"
#include "datasets/image_input.h"
#include "datasets/labels.h"

namespace narrow::datasets {
namespace {

constexpr int kSide = 32;
constexpr std::size_t kPlane = kSide * kSide, kPixels = 3 * kPlane;
constexpr std::size_t kRecord10 = 1 + kPixels, kRecord100 = 2 + kPixels;

bool is_batch_size(std::uint64_t size) { return size != 0 && (size % kRecord10 == 0 || size % kRecord100 == 0); }

class Cifar : public Dataset {
 public:
  struct Batch {
    std::shared_ptr<const base::MappedFile> file;
    std::string name;
    std::size_t first, count;
  };
  Cifar(std::vector<Batch> batches, std::size_t record, std::vector<std::int64_t> labels, ImageInput input)
      : batches_(std::move(batches)), record_(record), labels_(std::move(labels)), input_(std::move(input)) {}

  std::size_t size() const override { return batches_.back().first + batches_.back().count; }
  bool pictures() const override { return true; }
  bool labelled() const override { return true; }
  std::string describe() const override {
    return fmt::format("{} images, CIFAR-{} binary, {}", size(), record_ == kRecord10 ? 10 : 100,
                       batches_.size() == 1 ? batches_[0].name : fmt::format("{} files", batches_.size()));
  }

  Result<Sample> read(std::size_t index) const override {
    const auto batch = std::prev(std::upper_bound(batches_.begin(), batches_.end(), index,
                                                  [](std::size_t i, const Batch& b) { return i < b.first; }));
    const std::size_t at = index - batch->first;
    const std::uint8_t* record = batch->file->bytes().data() + at * record_;
    const std::uint8_t* planes = record + record_ - kPixels;
    Image image{kSide, kSide, 3, std::vector<std::uint8_t>(kPixels)};
    for (std::size_t i = 0; i < kPlane; ++i) {
      for (std::size_t c = 0; c < 3; ++c) image.pixels[3 * i + c] = planes[c * kPlane + i];
    }
    const std::int64_t label = labels_.empty() ? record[record_ - kPixels - 1] : labels_[index];
    return image_sample(input_, std::move(image), label, fmt::format("{} record {}", batch->name, at));
  }

 private:
  std::vector<Batch> batches_;
  std::size_t record_;
  std::vector<std::int64_t> labels_;  // empty: the records' own
  ImageInput input_;
};

}  // namespace

bool is_cifar(const Probe& probe, const OpenRequest& request) {
  if (probe.directory) {
    return std::any_of(probe.names.begin(), probe.names.end(), [](const std::string& n) { return ends_with_any(n, {".bin"}); }) &&
           std::none_of(probe.names.begin(), probe.names.end(), has_image_extension);
  }
  if (!ends_with_any(probe.path, {".bin"}) || !is_batch_size(probe.size)) return false;
  // Raw floats have the same ending: only a model that takes pictures reads CIFAR.
  return request.inputs.size() == 1 && ImageInput::create(request.inputs, request.preprocess).ok();
}

Result<std::unique_ptr<Dataset>> open_cifar(const OpenRequest& request, const Probe& probe) {
  NARROW_TRY(ImageInput input, ImageInput::create(request.inputs, request.preprocess));
  std::vector<std::string> paths;
  if (!probe.directory) paths.push_back(request.path);
  for (const std::string& name : probe.names) {
    if (ends_with_any(name, {".bin"})) paths.push_back(request.path + "/" + name);
  }
  std::vector<Cifar::Batch> batches;
  std::size_t record = 0, total = 0;
  for (const std::string& path : paths) {
    NARROW_TRY(auto file, base::MappedFile::open(path));
    const std::size_t size = file->bytes().size();
    if (!is_batch_size(size)) {
      return corrupt(fmt::format("{}: {} bytes are not whole CIFAR records of {} or {} bytes", path, size, kRecord10, kRecord100));
    }
    const std::size_t this_record = size % kRecord10 == 0 ? kRecord10 : kRecord100;
    if (record != 0 && this_record != record) {
      return corrupt(fmt::format("{}: CIFAR-10 and CIFAR-100 batches are mixed in this folder", path));
    }
    record = this_record;
    batches.push_back({std::move(file), base_name(path), total, size / record});
    total += size / record;
  }
  std::vector<std::int64_t> labels;
  if (!request.labels.empty()) {
    NARROW_TRY(labels, read_label_column(request.labels, total));
  }
  return std::unique_ptr<Dataset>(std::make_unique<Cifar>(std::move(batches), record, std::move(labels), std::move(input)));
}

}  // namespace narrow::datasets
