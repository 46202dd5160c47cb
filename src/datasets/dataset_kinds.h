// The kinds of data that open_dataset knows; the table is in datasets.cc.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "datasets/dataset.h"
#include "datasets/image.h"
#include "datasets/preprocess.h"
#include "narrow/result.h"

namespace narrow::datasets {

// What a path looks like from outside.
struct Probe {
  std::string path;
  bool directory = false;
  std::vector<std::string> names;  // of a directory's entries, sorted
  std::vector<std::uint8_t> head;  // a file's first bytes (at most 64)
  std::uint64_t size = 0;          // of the file
};

struct OpenRequest {
  std::string path;
  std::vector<InputSpec> inputs;
  Preprocess preprocess;
  bool preprocess_given = false;
  std::string labels;
  std::string tokenizer;
};

struct DatasetKind {
  std::string_view name, summary;
  bool (*matches)(const Probe& probe, const OpenRequest& request);
  Result<std::unique_ptr<Dataset>> (*open)(const OpenRequest& request, const Probe& probe);
};

std::span<const DatasetKind> dataset_kinds();

// Errors: not_found, io.
Result<Probe> probe_path(const std::string& path);

bool ends_with_any(std::string_view name, std::initializer_list<std::string_view> endings);  // any case
std::string base_name(std::string_view path);

// A picture with its label, for the kinds that keep them as bare pixels (CIFAR, MNIST).
struct LabelledImage {
  Image image;
  std::optional<std::int64_t> label;
};

Result<std::unique_ptr<Dataset>> open_image_folder(const OpenRequest& request, const Probe& probe);
Result<std::unique_ptr<Dataset>> open_cifar(const OpenRequest& request, const Probe& probe);
Result<std::unique_ptr<Dataset>> open_mnist(const OpenRequest& request, const Probe& probe);
Result<std::unique_ptr<Dataset>> open_npy(const OpenRequest& request, const Probe& probe);
Result<std::unique_ptr<Dataset>> open_npz(const OpenRequest& request, const Probe& probe);
Result<std::unique_ptr<Dataset>> open_npz_folder(const OpenRequest& request, const Probe& probe);
Result<std::unique_ptr<Dataset>> open_text_pairs(const OpenRequest& request, const Probe& probe);
Result<std::unique_ptr<Dataset>> open_text_lines(const OpenRequest& request, const Probe& probe);
Result<std::unique_ptr<Dataset>> open_raw(const OpenRequest& request, const Probe& probe);

bool is_cifar(const Probe& probe, const OpenRequest& request);
bool is_mnist(const Probe& probe, const OpenRequest& request);
bool is_text_pairs(const Probe& probe, const OpenRequest& request);
bool is_text_lines(const Probe& probe, const OpenRequest& request);
bool is_raw(const Probe& probe, const OpenRequest& request);

}  // namespace narrow::datasets
