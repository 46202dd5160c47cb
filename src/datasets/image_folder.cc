// A folder of pictures. labels.tsv (or another given) lists them with their classes; without one, two or more subfolders
// with pictures are classes numbered in name order; otherwise the pictures are unlabelled.
#include <algorithm>
#include <filesystem>
#include <set>

#include <fmt/format.h>

#include "base/mapped_file.h"
#include "base/text.h"
#include "datasets/dataset_kinds.h"
#include "datasets/image_input.h"
#include "datasets/labels.h"

namespace narrow::datasets {
namespace {

constexpr int kMaxDepth = 16;
constexpr std::size_t kMaxFiles = 10'000'000;

struct Item {
  std::string path;  // relative to the folder
  std::optional<std::int64_t> label;
};

class ImageFolder : public Dataset {
 public:
  ImageFolder(std::string folder, std::vector<Item> items, ImageInput input, std::string how)
      : folder_(std::move(folder)), items_(std::move(items)), input_(std::move(input)), how_(std::move(how)) {}

  std::size_t size() const override { return items_.size(); }
  bool pictures() const override { return true; }
  bool labelled() const override { return !items_.empty() && items_[0].label.has_value(); }
  std::string describe() const override { return fmt::format("{} images, {} folder, {}", items_.size(), base_name(folder_), how_); }

  Result<Sample> read(std::size_t index) const override {
    const Item& item = items_[index];
    const std::string path = folder_ + "/" + item.path;
    NARROW_TRY(const auto file, base::MappedFile::open(path));
    NARROW_TRY(Image image, decode_image(file->bytes(), path));
    return image_sample(input_, std::move(image), item.label, path);
  }

 private:
  std::string folder_;
  std::vector<Item> items_;
  ImageInput input_;
  std::string how_;
};

// The pictures below `folder`/`prefix`, sorted. Symbolic links to folders are not followed, so there are no loops.
Status list_images(const std::string& folder, const std::string& prefix, int depth, std::vector<std::string>& out) {
  if (depth > kMaxDepth) return unsupported(fmt::format("'{}/{}' is nested deeper than {} folders", folder, prefix, kMaxDepth));
  std::vector<std::pair<std::string, bool>> entries;
  std::error_code error;
  const std::string here = prefix.empty() ? folder : folder + "/" + prefix;
  for (auto it = std::filesystem::directory_iterator(here, error); !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    std::error_code ignored;
    const bool directory = it->is_directory(ignored) && !it->is_symlink(ignored);
    entries.emplace_back(it->path().filename().string(), directory);
  }
  if (error) return io_error(fmt::format("cannot list the folder '{}': {}", here, error.message()));
  std::sort(entries.begin(), entries.end());
  for (const auto& [name, directory] : entries) {
    if (name.starts_with('.')) continue;
    const std::string path = prefix.empty() ? name : prefix + "/" + name;
    if (directory) {
      NARROW_RETURN_IF_ERROR(list_images(folder, path, depth + 1, out));
    } else if (has_image_extension(name)) {
      out.push_back(path);
      if (out.size() > kMaxFiles) return resource_exhausted(fmt::format("'{}' holds more than {} pictures", folder, kMaxFiles));
    }
  }
  return {};
}

// Listed paths stay inside the folder.
bool escapes(std::string_view path) {
  if (path.starts_with('/')) return true;
  const std::vector<std::string_view> parts = base::split(path, '/');
  return std::find(parts.begin(), parts.end(), "..") != parts.end() || path.find('\0') != std::string_view::npos;
}

Result<std::vector<Item>> listed_items(const std::string& labels) {
  NARROW_TRY(const std::vector<LabelLine> lines, read_labels(labels));
  std::vector<Item> items;
  for (const LabelLine& line : lines) {
    if (line.path.empty()) {
      return corrupt(fmt::format("{}: class indices without paths; pictures need path<TAB>class index", labels));
    }
    if (escapes(line.path)) {
      return invalid_argument(fmt::format("{}: '{}' leaves the data folder", labels, base::escape_controls(line.path)))
          .hint("Paths are relative to the data folder, without '..'.");
    }
    items.push_back({line.path, line.label});
  }
  return items;
}

}  // namespace

Result<std::unique_ptr<Dataset>> open_image_folder(const OpenRequest& request, const Probe& probe) {
  NARROW_TRY(ImageInput input, ImageInput::create(request.inputs, request.preprocess));
  std::string folder = request.path, labels = request.labels;
  if (!probe.directory) {  // a labels.tsv itself
    const std::size_t slash = request.path.rfind('/');
    folder = slash == std::string::npos ? "." : request.path.substr(0, std::max<std::size_t>(slash, 1));
    if (labels.empty()) labels = request.path;
  } else if (labels.empty() && std::binary_search(probe.names.begin(), probe.names.end(), "labels.tsv")) {
    labels = folder + "/labels.tsv";
  }
  if (!labels.empty()) {
    NARROW_TRY(std::vector<Item> items, listed_items(labels));
    return std::unique_ptr<Dataset>(std::make_unique<ImageFolder>(std::move(folder), std::move(items), std::move(input), base_name(labels)));
  }
  std::vector<std::string> files;
  NARROW_RETURN_IF_ERROR(list_images(folder, "", 0, files));
  if (files.empty()) {
    return unsupported(fmt::format("the folder '{}' holds no JPEG, PNG or PNM pictures and no .npz archives", folder))
        .hint("Give a folder of pictures, of .npz archives, or a .npy, .npz, CIFAR or MNIST file.");
  }
  std::set<std::string> classes;
  bool loose = false;
  for (const std::string& file : files) {
    const std::size_t slash = file.find('/');
    if (slash == std::string::npos) loose = true;
    else classes.insert(file.substr(0, slash));
  }
  const bool labelled = !loose && classes.size() > 1;
  std::vector<Item> items;
  for (std::string& file : files) {
    std::optional<std::int64_t> label;
    if (labelled) label = std::distance(classes.begin(), classes.find(file.substr(0, file.find('/'))));
    items.push_back({std::move(file), label});
  }
  const std::string how = labelled ? fmt::format("{} class folders", classes.size()) : "unlabelled";
  return std::unique_ptr<Dataset>(std::make_unique<ImageFolder>(std::move(folder), std::move(items), std::move(input), how));
}

}  // namespace narrow::datasets
