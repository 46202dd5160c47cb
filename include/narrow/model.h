// Model: a network read from a file, or made by quantize().
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "narrow/figures.h"
#include "narrow/result.h"

namespace narrow {

struct LoadOptions {
  // Folders that external tensor data may lie in, besides the model's own.
  std::vector<std::string> allowed_roots;
};

// Cheap to copy: copies share the same immutable model. Weights stay mapped from the file.
class Model {
 public:
  // Errors: not_found, io, corrupt, unsupported; all name the file.
  static Result<Model> load(const std::string& path, const LoadOptions& options = {});

  // Writes all or nothing, in the format that the path's extension names. Errors: invalid_argument when `path` is the file
  // the model was read from; unsupported (extension); io; resource_exhausted.
  Status save(const std::string& path) const;

  // Whether `path` may be written, before any work is done for it: it is not the file this model was read from, its folder
  // exists and is writable, and, for a model, its extension names a format. Errors: those of save().
  Status check_output(const std::string& path, bool is_model = true) const;

  ModelInfo info() const;

  // What `target` could run in integers and what not, layer by layer. Errors: invalid_argument (unknown target).
  Result<std::vector<LayerPlan>> plan_for(const std::string& target) const;

  struct Impl;
  explicit Model(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  const Impl& impl() const { return *impl_; }

 private:
  std::shared_ptr<const Impl> impl_;
};

}  // namespace narrow
