// Weights as a recipe makes them: read from a journal of finished blocks, or rounded when asked for.
#pragma once

#include <memory>
#include <mutex>

#include "language/checkpoint.h"
#include "language/quantize/block_quantizer.h"
#include "language/quantize/journal.h"

namespace narrow::language {

// Blocks come from the journal, one at a time in memory; the rest is the checkpoint's.
class JournalWeights final : public WeightSource {
 public:
  JournalWeights(std::shared_ptr<const WeightSource> base, const Spec& spec, const Journal& journal) : base_(std::move(base)), spec_(spec), journal_(journal) {}

  bool has(const std::string& name) const override { return base_->has(name); }
  Result<Tensor> tensor(const std::string& name) const override;
  bool has_matrix(const std::string& module) const override { return base_->has_matrix(module); }
  Result<StoredWeight> matrix(const std::string& module) const override;
  void release(const std::string& prefix) const override { base_->release(prefix); }

 private:
  Result<std::shared_ptr<const BlockResult>> block_of(const std::string& name) const;  // null when no block has it

  std::shared_ptr<const WeightSource> base_;
  const Spec& spec_;
  const Journal& journal_;
  mutable std::mutex mutex_;
  mutable std::int64_t layer_ = -1;
  mutable std::shared_ptr<const BlockResult> block_;
};

// Each Linear is quantized when it is asked for, by a method that needs no data. What came of it is kept in `outcomes`.
class LazyWeights final : public WeightSource {
 public:
  LazyWeights(std::shared_ptr<const WeightSource> base, const Spec& spec, const quantizers::Recipe& recipe);

  bool has(const std::string& name) const override { return base_->has(name); }
  Result<Tensor> tensor(const std::string& name) const override { return base_->tensor(name); }
  bool has_matrix(const std::string& module) const override { return base_->has_matrix(module); }
  Result<StoredWeight> matrix(const std::string& module) const override;
  Result<MatrixForm> form(const std::string& module) const override;
  void release(const std::string& prefix) const override { base_->release(prefix); }

  std::vector<LinearOutcome> outcomes() const;  // in the order of the layers

 private:
  std::shared_ptr<const WeightSource> base_;
  const quantizers::Recipe& recipe_;
  std::vector<std::string> linears_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, LinearOutcome> outcomes_;
};

// Which layer a tensor's name belongs to, -1 for none.
std::int64_t layer_of(const Spec& spec, const std::string& name);

}  // namespace narrow::language
