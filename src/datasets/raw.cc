// Headerless little-endian f32: one sample after the other, each as large as the model's only input.
#include <fmt/format.h>

#include "base/checked.h"
#include "base/mapped_file.h"
#include "datasets/dataset_kinds.h"
#include "datasets/labels.h"
#include "datasets/npy_tensor.h"

namespace narrow::datasets {
namespace {

class Raw : public Dataset {
 public:
  Raw(std::shared_ptr<const base::MappedFile> file, InputSpec input, Shape shape, std::uint64_t sample_bytes,
      std::vector<std::int64_t> labels)
      : file_(std::move(file)), input_(std::move(input)), shape_(std::move(shape)), sample_bytes_(sample_bytes), labels_(std::move(labels)) {}

  std::size_t size() const override { return file_->bytes().size() / sample_bytes_; }
  bool labelled() const override { return !labels_.empty(); }
  std::string describe() const override { return fmt::format("{} samples, raw f32, {}", size(), base_name(file_->path())); }

  Result<Sample> read(std::size_t index) const override {
    Sample sample;
    sample.name = fmt::format("{} sample {}", file_->path(), index);
    const Tensor stored = Tensor::from_shared(DType::kF32, shape_, file_, file_->bytes().data() + index * sample_bytes_);
    NARROW_TRY(Tensor tensor, convert_elements(stored, input_.type.dtype, sample.name));
    sample.inputs.emplace_back(input_.name, std::move(tensor));
    if (!labels_.empty()) sample.label = labels_[index];
    return sample;
  }

 private:
  std::shared_ptr<const base::MappedFile> file_;
  InputSpec input_;
  Shape shape_;
  std::uint64_t sample_bytes_;
  std::vector<std::int64_t> labels_;
};

}  // namespace

bool is_raw(const Probe& probe, const OpenRequest&) {
  return !probe.directory && ends_with_any(probe.path, {".raw", ".bin", ".f32"});
}

Result<std::unique_ptr<Dataset>> open_raw(const OpenRequest& request, const Probe&) {
  if (request.inputs.size() != 1) {
    return unsupported(fmt::format("raw data feeds a model with one input; this one has {}", request.inputs.size()))
        .hint("Give the inputs as .npz archives with an array per input name.");
  }
  const InputSpec& input = request.inputs[0];
  graph::Type type = input.type;
  if (type.rank() > 0 && !type.dims[0].known()) type.dims[0] = graph::Dim(1);
  const auto shape = type.static_shape();
  const auto count = shape ? base::checked_product(*shape) : std::nullopt;
  const auto bytes = count ? storage_bytes(DType::kF32, *count) : std::nullopt;
  if (!bytes || *bytes == 0 || !is_float(input.type.dtype)) {
    return unsupported(fmt::format("input '{}' is {}: raw data needs a float input of known size", input.name, graph::to_string(input.type)))
        .hint("Give the inputs as .npy, which states its shape.");
  }
  NARROW_TRY(auto file, base::MappedFile::open(request.path));
  if (file->bytes().empty() || file->bytes().size() % *bytes != 0) {
    return corrupt(fmt::format("{}: {} bytes are not whole samples of {} bytes (f32 {})", request.path, file->bytes().size(), *bytes,
                               narrow::to_string(*shape)));
  }
  std::vector<std::int64_t> labels;
  if (!request.labels.empty()) {
    NARROW_TRY(labels, read_label_column(request.labels, file->bytes().size() / *bytes));
  }
  return std::unique_ptr<Dataset>(std::make_unique<Raw>(std::move(file), input, *shape, *bytes, std::move(labels)));
}

}  // namespace narrow::datasets
