#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include <fmt/format.h>

#include "base/text.h"
#include "datasets/dataset_kinds.h"
#include "wire/npy.h"
#include "wire/zip.h"

namespace narrow::datasets {
namespace {

constexpr std::size_t kMaxNames = 10'000'000;

bool any_name(const Probe& probe, std::initializer_list<std::string_view> endings) {
  return std::any_of(probe.names.begin(), probe.names.end(), [&](const std::string& n) { return ends_with_any(n, endings); });
}

bool is_npy_file(const Probe& probe, const OpenRequest&) { return !probe.directory && wire::is_npy(probe.head); }
bool is_npz_file(const Probe& probe, const OpenRequest&) { return !probe.directory && wire::is_zip(probe.head); }
bool is_npz_folder(const Probe& probe, const OpenRequest&) { return probe.directory && any_name(probe, {".npz"}); }
bool is_image_folder(const Probe& probe, const OpenRequest&) { return probe.directory || ends_with_any(probe.path, {".tsv"}); }

}  // namespace

std::span<const DatasetKind> dataset_kinds() {
  // The first that matches opens it.
  static constexpr DatasetKind kKinds[] = {
      {"npy", "a .npy array, samples along axis 0", is_npy_file, open_npy},
      {"npz", "a .npz archive with an array per model input; labels in an array 'labels' or 'y'", is_npz_file, open_npz},
      {"mnist", "MNIST idx files, plain or .gz; labels in the file beside it", is_mnist, open_mnist},
      {"cifar", "CIFAR-10 or CIFAR-100 binary batches", is_cifar, open_cifar},
      {"npz_folder", "a folder of .npz archives, one sample each", is_npz_folder, open_npz_folder},
      {"text_pairs", "pairs of sentences with scores in .tsv or .csv, for a model that reads token ids; needs --tokenizer", is_text_pairs, open_text_pairs},
      {"text_lines", "plain text, a sample a line (.txt), for a model that reads token ids; needs --tokenizer", is_text_lines, open_text_lines},
      {"image_folder", "a folder of JPEG, PNG or PNM pictures: labels.tsv, class subfolders, or unlabelled", is_image_folder, open_image_folder},
      {"raw", "headerless little-endian f32 of the input's size, sample after sample (.raw, .bin, .f32)", is_raw, open_raw},
  };
  return kKinds;
}

bool ends_with_any(std::string_view name, std::initializer_list<std::string_view> endings) {
  std::string lower(name);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  return std::any_of(endings.begin(), endings.end(), [&](std::string_view e) { return lower.ends_with(e); });
}

std::string base_name(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  return std::string(path.substr(path.rfind('/') + 1));
}

Result<Probe> probe_path(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    const std::string message = fmt::format("cannot open the data '{}': {}", path, std::strerror(errno));
    if (errno == ENOENT || errno == ENOTDIR) return not_found(message).hint("Check the path.");
    return io_error(message);
  }
  Probe probe{path, S_ISDIR(info.st_mode), {}, {}, static_cast<std::uint64_t>(info.st_size)};
  if (probe.directory) {
    std::error_code error;
    for (auto it = std::filesystem::directory_iterator(path, error); !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
      probe.names.push_back(it->path().filename().string());
      if (probe.names.size() > kMaxNames) return resource_exhausted(fmt::format("'{}' holds more than {} files", path, kMaxNames));
    }
    if (error) return io_error(fmt::format("cannot list the folder '{}': {}", path, error.message()));
    std::sort(probe.names.begin(), probe.names.end());
    return probe;
  }
  if (!S_ISREG(info.st_mode)) return io_error(fmt::format("cannot read the data '{}': neither a file nor a folder", path));
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return io_error(fmt::format("cannot open the data '{}': {}", path, std::strerror(errno)));
  probe.head.resize(64);
  const ssize_t n = ::read(fd, probe.head.data(), probe.head.size());
  const int code = errno;
  ::close(fd);
  if (n < 0) return io_error(fmt::format("cannot read the data '{}': {}", path, std::strerror(code)));
  probe.head.resize(static_cast<std::size_t>(n));
  return probe;
}

Result<std::unique_ptr<Dataset>> open_dataset(const std::string& path, const OpenOptions& options) {
  OpenRequest request{path, options.inputs, {}, !options.preprocess.empty(), options.labels, options.tokenizer};
  NARROW_TRY(request.preprocess, parse_preprocess(options.preprocess));
  if (options.inputs.empty()) return invalid_argument("the model has no inputs to feed");
  NARROW_TRY(const Probe probe, probe_path(path));
  for (const DatasetKind& kind : dataset_kinds()) {
    if (!kind.matches(probe, request)) continue;
    NARROW_TRY(auto dataset, kind.open(request, probe));
    if (dataset->size() == 0) return invalid_argument(fmt::format("the data '{}' holds no samples", path));
    return dataset;
  }
  std::string accepted;
  for (const DatasetKind& kind : dataset_kinds()) accepted += fmt::format("{}{} ({})", accepted.empty() ? "" : "; ", kind.name, kind.summary);
  return unsupported(fmt::format("the data '{}' ({} bytes) is of no known kind; accepted are {}", path, probe.size, accepted));
}

}  // namespace narrow::datasets
