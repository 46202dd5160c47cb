#include "language/quantize/quantized_weights.h"

#include <algorithm>
#include <charconv>

namespace narrow::language {

std::int64_t layer_of(const Spec& spec, const std::string& name) {
  const std::string& pattern = spec.names.o;  // every family has it
  const std::size_t at = pattern.find("{}");
  std::string_view rest = name;
  // A checkpoint without its head has names without the first part.
  for (const std::string_view prefix : {std::string_view(pattern).substr(0, at), std::string_view(pattern).substr(pattern.find('.') + 1, at - pattern.find('.') - 1)}) {
    if (!rest.starts_with(prefix)) continue;
    std::int64_t layer = -1;
    const std::string_view digits = rest.substr(prefix.size());
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), layer);
    if (error == std::errc() && end != digits.data() + digits.size() && *end == '.' && layer >= 0 && layer < spec.layers) return layer;
  }
  return -1;
}

Result<std::shared_ptr<const BlockResult>> JournalWeights::block_of(const std::string& name) const {
  const std::int64_t layer = layer_of(spec_, name);
  if (layer < 0) return std::shared_ptr<const BlockResult>();
  const std::lock_guard lock(mutex_);
  if (layer != layer_) {
    NARROW_TRY(BlockResult read, journal_.read(layer));
    block_ = std::make_shared<const BlockResult>(std::move(read));
    layer_ = layer;
  }
  return block_;
}

Result<Tensor> JournalWeights::tensor(const std::string& name) const {
  NARROW_TRY(const auto block, block_of(name));
  if (block != nullptr) {
    if (const auto own = block->tensors.find(name); own != block->tensors.end()) return own->second;
  }
  return base_->tensor(name);
}

Result<StoredWeight> JournalWeights::matrix(const std::string& module) const {
  NARROW_TRY(const auto block, block_of(module));
  if (block != nullptr) {
    if (const auto own = block->matrices.find(module); own != block->matrices.end()) return own->second;
  }
  return base_->matrix(module);
}

LazyWeights::LazyWeights(std::shared_ptr<const WeightSource> base, const Spec& spec, const quantizers::Recipe& recipe) : base_(std::move(base)), recipe_(recipe), linears_(all_linears(spec)) {
  std::sort(linears_.begin(), linears_.end());
}

Result<StoredWeight> LazyWeights::matrix(const std::string& module) const {
  NARROW_TRY(const StoredWeight stored, base_->matrix(module));
  if (!std::binary_search(linears_.begin(), linears_.end(), module)) return stored;
  base::ThreadPool alone(1);  // callers ask for several matrices at once
  NARROW_TRY(QuantizedLinear made, quantize_linear(module, stored, recipe_, nullptr, alone));
  const std::lock_guard lock(mutex_);
  outcomes_[module] = std::move(made.outcome);
  return std::move(made.weight);
}

Result<MatrixForm> LazyWeights::form(const std::string& module) const {
  NARROW_TRY(const MatrixForm stored, base_->form(module));
  if (!std::binary_search(linears_.begin(), linears_.end(), module)) return stored;
  return planned_form(module, stored, recipe_);
}

std::vector<LinearOutcome> LazyWeights::outcomes() const {
  const std::lock_guard lock(mutex_);
  std::vector<LinearOutcome> list;
  for (const auto& [name, outcome] : outcomes_) list.push_back(outcome);
  return list;
}

}  // namespace narrow::language
