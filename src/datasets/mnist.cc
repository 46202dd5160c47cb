// MNIST's idx files: magic 00 00 08 N, N big-endian sizes, bytes. Images have N = 3, labels N = 1.
#include <algorithm>

#include <fmt/format.h>

#include "base/checked.h"
#include "base/mapped_file.h"
#include "base/text.h"
#include "datasets/dataset_kinds.h"
#include "datasets/idx.h"
#include "datasets/image_input.h"
#include "datasets/labels.h"
#include "wire/inflate.h"

namespace narrow::datasets {
namespace {

constexpr std::uint64_t kMaxUnpacked = std::uint64_t{1} << 30;
constexpr std::string_view kImages = "images-idx3-ubyte", kImagesDot = "images.idx3-ubyte";

// A file's bytes, unpacked when it is gzip.
struct Bytes {
  std::shared_ptr<const base::MappedFile> file;
  std::vector<std::uint8_t> unpacked;
  ByteSpan span() const { return unpacked.empty() ? file->bytes() : ByteSpan(unpacked); }
};

Result<Bytes> load(const std::string& path) {
  Bytes bytes;
  NARROW_TRY(bytes.file, base::MappedFile::open(path));
  if (wire::is_gzip(bytes.file->bytes())) {
    NARROW_TRY(bytes.unpacked, wire::gunzip(bytes.file->bytes(), kMaxUnpacked, path));
    if (bytes.unpacked.empty()) return corrupt(fmt::format("{}: nothing in the gzip file", path));
  }
  return bytes;
}

class Mnist : public Dataset {
 public:
  Mnist(Bytes bytes, IdxArray images, std::string name, std::vector<std::int64_t> labels, ImageInput input)
      : bytes_(std::move(bytes)), images_(std::move(images)), name_(std::move(name)), labels_(std::move(labels)), input_(std::move(input)) {}

  std::size_t size() const override { return static_cast<std::size_t>(images_.shape[0]); }
  bool pictures() const override { return true; }
  bool labelled() const override { return !labels_.empty(); }
  std::string describe() const override {
    return fmt::format("{} images, MNIST idx, {}{}", size(), name_, labels_.empty() ? ", unlabelled" : "");
  }

  Result<Sample> read(std::size_t index) const override {
    Image image{static_cast<int>(images_.shape[2]), static_cast<int>(images_.shape[1]), 1, {}};
    const std::size_t pixels = static_cast<std::size_t>(image.width) * image.height;
    const auto picture = images_.data.subspan(index * pixels, pixels);
    image.pixels.assign(picture.begin(), picture.end());
    std::optional<std::int64_t> label;
    if (!labels_.empty()) label = labels_[index];
    return image_sample(input_, std::move(image), label, fmt::format("{} image {}", name_, index));
  }

 private:
  Bytes bytes_;
  IdxArray images_;  // views bytes_, whose buffers keep their address when moved
  std::string name_;
  std::vector<std::int64_t> labels_;
  ImageInput input_;
};

// images-idx3-ubyte -> labels-idx1-ubyte, plain or packed; "" when there is none.
std::string labels_beside(const std::string& path) {
  const std::size_t name_at = path.rfind('/') + 1;
  const std::size_t images = path.rfind("images"), idx = path.rfind("idx3");
  if (images == std::string::npos || images < name_at || idx == std::string::npos || idx < images) return "";
  std::string guess = path;
  guess.replace(idx, 4, "idx1").replace(images, 6, "labels");
  std::string plain = guess.ends_with(".gz") ? guess.substr(0, guess.size() - 3) : guess;
  for (const std::string& candidate : {guess, plain, plain + ".gz"}) {
    const auto probe = probe_path(candidate);
    if (probe.ok() && !probe->directory) return candidate;
  }
  return "";
}

Result<std::vector<std::int64_t>> idx_labels(const std::string& path, std::size_t count) {
  NARROW_TRY(const Bytes bytes, load(path));
  NARROW_TRY(const IdxArray array, parse_idx(bytes.span(), path));
  if (array.shape.size() != 1 || static_cast<std::size_t>(array.shape[0]) != count) {
    return corrupt(fmt::format("{}: labels of {} dimensions and size {}, expected {} labels", path, array.shape.size(), array.shape[0], count));
  }
  return std::vector<std::int64_t>(array.data.begin(), array.data.end());
}

}  // namespace

Result<IdxArray> parse_idx(ByteSpan bytes, const std::string& where) {
  if (bytes.size() < 4 || bytes[0] != 0 || bytes[1] != 0) return corrupt(fmt::format("{}: not an idx file", where));
  if (bytes[2] != 8) return unsupported(fmt::format("{}: idx element type {:#04x}, expected unsigned bytes (0x08)", where, bytes[2]));
  const std::size_t rank = bytes[3];
  if (rank < 1 || rank > 8) return corrupt(fmt::format("{}: idx rank {}, expected 1 to 8", where, rank));
  if (bytes.size() < 4 + 4 * rank) return corrupt(fmt::format("{}: the idx header is cut off", where));
  IdxArray array;
  for (std::size_t d = 0; d < rank; ++d) {
    const std::uint8_t* at = bytes.data() + 4 + 4 * d;
    array.shape.push_back(static_cast<std::int64_t>(at[0]) << 24 | at[1] << 16 | at[2] << 8 | at[3]);
  }
  array.data = bytes.subspan(4 + 4 * rank);
  const auto count = base::checked_product(array.shape);
  if (!count || static_cast<std::uint64_t>(*count) != array.data.size()) {
    return corrupt(fmt::format("{}: {} bytes of data do not fit the idx shape", where, array.data.size()));
  }
  return array;
}

bool is_mnist(const Probe& probe, const OpenRequest&) {
  if (probe.directory) {
    return std::any_of(probe.names.begin(), probe.names.end(), [](const std::string& n) {
      return n.find(kImages) != std::string::npos || n.find(kImagesDot) != std::string::npos;
    });
  }
  const std::vector<std::uint8_t>& h = probe.head;
  if (h.size() >= 16 && h[0] == 0 && h[1] == 0 && h[2] == 8 && h[3] == 3) return true;
  return wire::is_gzip(h) && base_name(probe.path).find("idx3") != std::string::npos;
}

Result<std::unique_ptr<Dataset>> open_mnist(const OpenRequest& request, const Probe& probe) {
  NARROW_TRY(ImageInput input, ImageInput::create(request.inputs, request.preprocess));
  std::string path = request.path;
  if (probe.directory) {
    std::vector<std::string> found;
    for (const std::string& name : probe.names) {
      if (name.find(kImages) != std::string::npos || name.find(kImagesDot) != std::string::npos) found.push_back(name);
    }
    if (found.size() != 1) {
      return invalid_argument(fmt::format("'{}' holds {} MNIST image files: {}", request.path, found.size(), base::join(found, ", ")))
          .hint("Pass one of the files.");
    }
    path += "/" + found[0];
  }
  NARROW_TRY(Bytes bytes, load(path));
  NARROW_TRY(IdxArray images, parse_idx(bytes.span(), path));
  if (images.shape.size() != 3) {
    return corrupt(fmt::format("{}: idx of {} dimensions, expected 3 (images, rows, columns)", path, images.shape.size()));
  }
  NARROW_RETURN_IF_ERROR(detail::check_size(static_cast<std::uint64_t>(images.shape[2]), static_cast<std::uint64_t>(images.shape[1]), path));
  const auto count = static_cast<std::size_t>(images.shape[0]);
  std::vector<std::int64_t> labels;
  if (!request.labels.empty()) {
    NARROW_TRY(const Probe given, probe_path(request.labels));
    const bool idx = wire::is_gzip(given.head) || (given.head.size() >= 8 && given.head[0] == 0 && given.head[2] == 8);
    NARROW_TRY(labels, idx ? idx_labels(request.labels, count) : read_label_column(request.labels, count));
  } else if (const std::string beside = labels_beside(path); !beside.empty()) {
    NARROW_TRY(labels, idx_labels(beside, count));
  }
  return std::unique_ptr<Dataset>(std::make_unique<Mnist>(std::move(bytes), std::move(images), base_name(path), std::move(labels), std::move(input)));
}

}  // namespace narrow::datasets
