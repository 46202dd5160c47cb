// Arrays that are a model's inputs already: .npy, .npz and folders of .npz.
#include <algorithm>

#include <fmt/format.h>

#include "base/mapped_file.h"
#include "base/text.h"
#include "datasets/dataset_kinds.h"
#include "datasets/image_input.h"
#include "datasets/labels.h"
#include "datasets/npy_tensor.h"
#include "wire/zip.h"

namespace narrow::datasets {
namespace {

// Compressed arrays are unpacked into memory whole, and a small file can claim a thousand times its size.
constexpr std::uint64_t kMaxUnpackedBytes = std::uint64_t{1} << 30;

// One input's array, cut into samples.
struct Series {
  InputSpec input;
  Tensor array;
  std::size_t count = 1;
  Shape sample_shape;
  bool shared = false;  // the whole array belongs to every sample

  Tensor slice(std::size_t index) const {
    if (shared) return array;
    const std::uint64_t bytes = array.bytes() / count;
    const auto* data = static_cast<const std::uint8_t*>(array.raw()) + index * bytes;
    // A copy of the tensor keeps its buffer alive.
    return Tensor::from_shared(array.dtype(), sample_shape, std::make_shared<const Tensor>(array), data);
  }
};

bool dims_fit(std::span<const graph::Dim> dims, std::span<const std::int64_t> shape) {
  if (dims.size() != shape.size()) return false;
  for (std::size_t i = 0; i < dims.size(); ++i) {
    if (dims[i].known() && dims[i].size != shape[i]) return false;
  }
  return true;
}

// Rank as the input's: samples along axis 0, as many rows each as the input's batch (1 when unknown). One rank more: the
// first axis counts samples. One rank less: a single sample without its batch dimension. Rank 0: the same for all.
Result<Series> make_series(const InputSpec& input, Tensor array, const std::string& where) {
  Series series{input, array, 1, array.shape(), false};
  const graph::Type& type = input.type;
  const auto misfit = [&](std::string_view expected) {
    return invalid_argument(fmt::format("{}: shape {} does not fit input '{}', which is {}: {}", where, narrow::to_string(array.shape()),
                                        input.name, graph::to_string(type), expected));
  };
  const auto rank = static_cast<std::size_t>(array.rank());
  if (rank == 0) {
    series.shared = true;
    if (type.ranked && type.rank() != 0) return misfit("expected an array");
    return series;
  }
  const std::int64_t rows = array.shape()[0];
  const std::span<const std::int64_t> inner(array.shape().data() + 1, rank - 1);
  if (!type.ranked) {
    series.count = static_cast<std::size_t>(rows);
    series.sample_shape[0] = 1;
    return series;
  }
  const std::span<const graph::Dim> dims(type.dims);
  if (dims.size() + 1 == rank && dims_fit(dims, inner)) {
    series.count = static_cast<std::size_t>(rows);
    series.sample_shape.assign(inner.begin(), inner.end());
    return series;
  }
  if (dims.size() == rank && dims_fit(dims.subspan(1), inner)) {
    const std::int64_t batch = dims[0].known() ? std::max<std::int64_t>(dims[0].size, 1) : 1;
    if (rows % batch != 0) return misfit(fmt::format("{} rows are not whole batches of {}", rows, batch));
    series.count = static_cast<std::size_t>(rows / batch);
    series.sample_shape[0] = batch;
    return series;
  }
  if (dims.size() == rank + 1 && (!dims[0].known() || dims[0].size == 1) && dims_fit(dims.subspan(1), array.shape())) {
    series.sample_shape.insert(series.sample_shape.begin(), 1);
    series.array = array.reshaped(series.sample_shape);
    return series;
  }
  return misfit("expected that shape with the samples along axis 0");
}

class Arrays : public Dataset {
 public:
  Arrays(std::string name, std::vector<Series> series, std::vector<std::int64_t> labels, std::size_t count)
      : name_(std::move(name)), series_(std::move(series)), labels_(std::move(labels)), count_(count) {}

  std::size_t size() const override { return count_; }
  bool labelled() const override { return !labels_.empty(); }
  std::string describe() const override { return fmt::format("{} samples, arrays, {}{}", count_, base_name(name_), labelled() ? ", labelled" : ""); }

  Result<Sample> read(std::size_t index) const override {
    Sample sample;
    sample.name = count_ == 1 ? name_ : fmt::format("{} sample {}", name_, index);
    for (const Series& series : series_) {
      NARROW_TRY(Tensor tensor, convert_elements(series.slice(series.count == 1 ? 0 : index), series.input.type.dtype,
                                                 fmt::format("{}, input '{}'", sample.name, series.input.name)));
      sample.inputs.emplace_back(series.input.name, std::move(tensor));
    }
    if (!labels_.empty()) sample.label = labels_[index];
    return sample;
  }

 private:
  std::string name_;
  std::vector<Series> series_;
  std::vector<std::int64_t> labels_;
  std::size_t count_;
};

Result<std::unique_ptr<Dataset>> make_arrays(const std::string& name, std::vector<Series> series, std::vector<std::int64_t> labels) {
  std::size_t count = 1;
  const Series* decider = nullptr;
  for (Series& s : series) {
    if (s.count == 0) return invalid_argument(fmt::format("{}: the array for input '{}' holds no samples", name, s.input.name));
    if (s.count == 1) continue;
    if (decider != nullptr && s.count != count) {
      return invalid_argument(fmt::format("{}: {} samples for input '{}' but {} for '{}'", name, count, decider->input.name, s.count, s.input.name));
    }
    count = s.count;
    decider = &s;
  }
  if (!labels.empty() && labels.size() != count) {
    return invalid_argument(fmt::format("{}: {} labels for {} samples", name, labels.size(), count));
  }
  return std::unique_ptr<Dataset>(std::make_unique<Arrays>(name, std::move(series), std::move(labels), count));
}

// u8 [N, H, W] or [N, H, W, C]: pictures that still want preprocessing.
class ImageArray : public Dataset {
 public:
  ImageArray(std::string name, Tensor array, std::vector<std::int64_t> labels, ImageInput input)
      : name_(std::move(name)), array_(std::move(array)), labels_(std::move(labels)), input_(std::move(input)) {}

  std::size_t size() const override { return static_cast<std::size_t>(array_.shape()[0]); }
  bool pictures() const override { return true; }
  bool labelled() const override { return !labels_.empty(); }
  std::string describe() const override { return fmt::format("{} images, u8 array, {}", size(), base_name(name_)); }

  Result<Sample> read(std::size_t index) const override {
    const Shape& shape = array_.shape();
    Image image{static_cast<int>(shape[2]), static_cast<int>(shape[1]), shape.size() == 4 ? static_cast<int>(shape[3]) : 1, {}};
    const std::size_t bytes = static_cast<std::size_t>(image.width) * image.height * image.channels;
    const auto pixels = array_.data<std::uint8_t>().subspan(index * bytes, bytes);
    image.pixels.assign(pixels.begin(), pixels.end());
    std::optional<std::int64_t> label;
    if (!labels_.empty()) label = labels_[index];
    return image_sample(input_, std::move(image), label, fmt::format("{} image {}", name_, index));
  }

 private:
  std::string name_;
  Tensor array_;
  std::vector<std::int64_t> labels_;
  ImageInput input_;
};

bool is_picture_array(const Tensor& array) {
  const Shape& s = array.shape();
  return array.dtype() == DType::kU8 && (s.size() == 3 || (s.size() == 4 && (s[3] == 1 || s[3] == 3)));
}

Error preprocess_needs_pictures(const std::string& where) {
  return invalid_argument(fmt::format("{}: --preprocess applies to pictures (u8 arrays of shape [N,H,W] or [N,H,W,3]); these arrays are taken as they are", where))
      .hint("Leave --preprocess out.");
}

struct Archive {
  std::vector<Series> series;
  std::vector<std::int64_t> labels;
};

// The arrays of an archive, matched to the inputs by name; the only array feeds the only input whatever its name.
Result<Archive> read_archive(const std::string& path, const std::vector<InputSpec>& inputs) {
  NARROW_TRY(const auto file, base::MappedFile::open(path));
  NARROW_TRY(const wire::ZipReader zip, wire::ZipReader::open(file->bytes(), path));
  const auto load = [&](const wire::ZipEntry& entry) -> Result<Tensor> {
    const std::string where = fmt::format("{}: '{}'", path, base::escape_controls(entry.name));
    NARROW_TRY(wire::ZipContent content, zip.read(entry, kMaxUnpackedBytes));
    if (content.owned.empty()) return tensor_from_npy(content.bytes, where, file);
    const auto owned = std::make_shared<const wire::ZipContent>(std::move(content));
    return tensor_from_npy(owned->bytes, where, owned);
  };
  std::vector<const wire::ZipEntry*> arrays;
  const wire::ZipEntry* labels = nullptr;
  std::vector<std::string> names;
  for (const wire::ZipEntry& entry : zip.entries()) {
    const bool is_label = entry.name == "labels.npy" || entry.name == "y.npy";
    const bool is_input = std::any_of(inputs.begin(), inputs.end(), [&](const InputSpec& i) { return entry.name == i.name + ".npy"; });
    if (is_label && !is_input) labels = &entry;
    else if (entry.name.ends_with(".npy")) arrays.push_back(&entry);
    names.push_back(base::escape_controls(entry.name));
  }
  Archive archive;
  for (const InputSpec& input : inputs) {
    const wire::ZipEntry* entry = zip.find(input.name + ".npy");
    if (entry == nullptr && inputs.size() == 1 && arrays.size() == 1) entry = arrays[0];
    if (entry == nullptr) {
      std::vector<std::string_view> near(names.begin(), names.end());
      return invalid_argument(fmt::format("{}: no array for input '{}'{}; it holds {}", path, input.name,
                                          base::did_you_mean(input.name + ".npy", near), base::join(names, ", ")))
          .hint("Save it with numpy.savez(file, **{input name: array}).");
    }
    NARROW_TRY(Tensor tensor, load(*entry));
    NARROW_TRY(Series series, make_series(input, std::move(tensor), fmt::format("{}: '{}'", path, base::escape_controls(entry->name))));
    archive.series.push_back(std::move(series));
  }
  if (labels != nullptr) {
    NARROW_TRY(const Tensor tensor, load(*labels));
    NARROW_TRY(archive.labels, label_values(tensor, fmt::format("{}: '{}'", path, labels->name)));
  }
  return archive;
}

class NpzFolder : public Dataset {
 public:
  NpzFolder(std::string folder, std::vector<std::string> names, std::vector<InputSpec> inputs, std::vector<std::int64_t> labels, bool own_labels)
      : folder_(std::move(folder)), names_(std::move(names)), inputs_(std::move(inputs)), labels_(std::move(labels)), own_labels_(own_labels) {}

  std::size_t size() const override { return names_.size(); }
  bool labelled() const override { return own_labels_ || !labels_.empty(); }
  std::string describe() const override { return fmt::format("{} .npz samples, {} folder", names_.size(), base_name(folder_)); }

  Result<Sample> read(std::size_t index) const override {
    Sample sample;
    sample.name = folder_ + "/" + names_[index];
    NARROW_TRY(const Archive archive, read_archive(sample.name, inputs_));
    for (const Series& series : archive.series) {
      if (series.count != 1) {
        return invalid_argument(fmt::format("{}: input '{}' holds {} samples; in a folder each archive is one", sample.name, series.input.name, series.count));
      }
      NARROW_TRY(Tensor tensor, convert_elements(series.slice(0), series.input.type.dtype, fmt::format("{}, input '{}'", sample.name, series.input.name)));
      sample.inputs.emplace_back(series.input.name, std::move(tensor));
    }
    if (!labels_.empty()) {
      sample.label = labels_[index];
    } else if (own_labels_) {
      if (archive.labels.size() != 1) return corrupt(fmt::format("{}: {} labels, expected 1", sample.name, archive.labels.size()));
      sample.label = archive.labels[0];
    }
    return sample;
  }

 private:
  std::string folder_;
  std::vector<std::string> names_;
  std::vector<InputSpec> inputs_;
  std::vector<std::int64_t> labels_;
  bool own_labels_;
};

}  // namespace

Result<std::unique_ptr<Dataset>> open_npy(const OpenRequest& request, const Probe&) {
  NARROW_TRY(const auto file, base::MappedFile::open(request.path));
  NARROW_TRY(Tensor array, tensor_from_npy(file->bytes(), request.path, file));
  std::vector<std::int64_t> labels;
  if (request.preprocess_given && is_picture_array(array)) {
    const Shape& shape = array.shape();
    NARROW_RETURN_IF_ERROR(detail::check_size(static_cast<std::uint64_t>(shape[2]), static_cast<std::uint64_t>(shape[1]), request.path));
    NARROW_TRY(ImageInput input, ImageInput::create(request.inputs, request.preprocess));
    if (!request.labels.empty()) {
      NARROW_TRY(labels, read_label_column(request.labels, static_cast<std::size_t>(shape[0])));
    }
    return std::unique_ptr<Dataset>(std::make_unique<ImageArray>(request.path, std::move(array), std::move(labels), std::move(input)));
  }
  if (request.preprocess != Preprocess{}) return preprocess_needs_pictures(request.path);
  if (request.inputs.size() != 1) {
    return unsupported(fmt::format("{}: one array, but the model has {} inputs", request.path, request.inputs.size()))
        .hint("Give a .npz archive with an array per input name.");
  }
  NARROW_TRY(Series series, make_series(request.inputs[0], std::move(array), request.path));
  if (!request.labels.empty()) {
    NARROW_TRY(labels, read_label_column(request.labels, series.count));
  }
  std::vector<Series> all;
  all.push_back(std::move(series));
  return make_arrays(request.path, std::move(all), std::move(labels));
}

Result<std::unique_ptr<Dataset>> open_npz(const OpenRequest& request, const Probe&) {
  if (request.preprocess != Preprocess{}) return preprocess_needs_pictures(request.path);
  NARROW_TRY(Archive archive, read_archive(request.path, request.inputs));
  if (!request.labels.empty()) {
    std::size_t count = 1;
    for (const Series& s : archive.series) count = std::max(count, s.count);
    NARROW_TRY(archive.labels, read_label_column(request.labels, count));
  }
  return make_arrays(request.path, std::move(archive.series), std::move(archive.labels));
}

Result<std::unique_ptr<Dataset>> open_npz_folder(const OpenRequest& request, const Probe& probe) {
  if (request.preprocess != Preprocess{}) return preprocess_needs_pictures(request.path);
  std::vector<std::string> names;
  std::copy_if(probe.names.begin(), probe.names.end(), std::back_inserter(names), [](const std::string& n) { return ends_with_any(n, {".npz"}); });
  std::vector<std::int64_t> labels;
  bool own_labels = false;
  if (!request.labels.empty()) {
    NARROW_TRY(labels, read_label_column(request.labels, names.size()));
  } else {
    NARROW_TRY(const Archive first, read_archive(request.path + "/" + names[0], request.inputs));
    own_labels = !first.labels.empty();
  }
  return std::unique_ptr<Dataset>(std::make_unique<NpzFolder>(request.path, std::move(names), request.inputs, std::move(labels), own_labels));
}

}  // namespace narrow::datasets
