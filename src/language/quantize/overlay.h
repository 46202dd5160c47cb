// Weights of which some are replaced.
#pragma once

#include <map>
#include <memory>

#include "language/weights.h"

namespace narrow::language {

class OverlayWeights final : public WeightSource {
 public:
  explicit OverlayWeights(std::shared_ptr<const WeightSource> base) : base_(std::move(base)) {}

  void set_matrix(const std::string& module, StoredWeight weight) { matrices_[module] = std::move(weight); }
  void set_tensor(const std::string& name, Tensor tensor) { tensors_[name] = std::move(tensor); }
  const std::shared_ptr<const WeightSource>& base() const { return base_; }
  const std::map<std::string, StoredWeight>& matrices() const { return matrices_; }
  const std::map<std::string, Tensor>& tensors() const { return tensors_; }

  bool has(const std::string& name) const override { return tensors_.contains(name) || base_->has(name); }
  Result<Tensor> tensor(const std::string& name) const override {
    const auto own = tensors_.find(name);
    return own != tensors_.end() ? Result<Tensor>(own->second) : base_->tensor(name);
  }
  bool has_matrix(const std::string& module) const override { return matrices_.contains(module) || base_->has_matrix(module); }
  Result<StoredWeight> matrix(const std::string& module) const override {
    const auto own = matrices_.find(module);
    return own != matrices_.end() ? Result<StoredWeight>(own->second) : base_->matrix(module);
  }
  void release(const std::string& prefix) const override { base_->release(prefix); }

 private:
  std::shared_ptr<const WeightSource> base_;
  std::map<std::string, StoredWeight> matrices_;
  std::map<std::string, Tensor> tensors_;
};

}  // namespace narrow::language
