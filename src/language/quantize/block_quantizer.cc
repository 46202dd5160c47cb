#include "language/quantize/block_quantizer.h"

#include <algorithm>

#include "language/quantize/fold.h"
#include "quantizers/matrix/matrix.h"

namespace narrow::language {
namespace {

using quantizers::InputStatistics;

std::vector<std::string> first_of_groups(const LinearLevel& level) {
  std::vector<std::string> names;
  for (const LinearGroup& group : level) names.push_back(group.front());
  return names;
}

Result<InputStatistics> statistics_of(const std::vector<Tensor>& inputs, base::ThreadPool& pool) {
  InputStatistics statistics(inputs.front().shape().back());
  for (const Tensor& chunk : inputs) {
    const std::int64_t width = chunk.shape().back();
    NARROW_RETURN_IF_ERROR(statistics.add(chunk.data<float>().data(), chunk.size() / width, pool));
  }
  return statistics;
}

}  // namespace

Result<BlockResult> BlockQuantizer::quantize(std::int64_t layer, std::shared_ptr<const WeightSource> weights, HiddenStates& float_states, HiddenStates& states) {
  const std::vector<LinearLevel> levels = linears_of(spec_, layer);
  const auto scaled = std::make_shared<OverlayWeights>(weights);  // the float model, inputs scaled
  BlockPass float_pass(spec_, layer, float_states, pool_.threads()), pass(spec_, layer, states, pool_.threads());
  for (const LinearLevel& level : levels) NARROW_RETURN_IF_ERROR(float_pass.reach(*scaled, first_of_groups(level)));
  NARROW_TRY(const LanguageMethod* method, find_language_method(recipe_.method));
  if (recipe_.weights.smooth || method->smooths) NARROW_RETURN_IF_ERROR(smooth(layer, levels, float_pass, *scaled));

  OverlayWeights current(scaled);  // the quantized model so far
  BlockResult result;
  for (const LinearLevel& level : levels) {
    NARROW_RETURN_IF_ERROR(pass.reach(current, first_of_groups(level)));
    for (const LinearGroup& group : level) {
      NARROW_TRY(const InputStatistics statistics, statistics_of(pass.inputs(group.front()), pool_));
      for (const std::string& name : group) {
        NARROW_TRY(const StoredWeight stored, current.matrix(name));
        NARROW_TRY(QuantizedLinear made, quantize_linear(name, stored, recipe_, &statistics, pool_));
        if (made.weight.quantized()) {
          current.set_matrix(name, made.weight);
          result.matrices[name] = std::move(made.weight);
        }
        result.linears.push_back(std::move(made.outcome));
      }
    }
  }
  NARROW_RETURN_IF_ERROR(float_pass.finish(*scaled, float_states));
  NARROW_RETURN_IF_ERROR(pass.finish(current, states));
  // What was scaled and then not quantized has to be written too.
  for (const auto& [module, weight] : scaled->matrices()) result.matrices.try_emplace(module, weight);
  result.tensors = scaled->tensors();
  return result;
}

Status BlockQuantizer::smooth(std::int64_t, const std::vector<LinearLevel>&, BlockPass&, OverlayWeights&) { return {}; }

Status advance(const Spec& spec, std::int64_t layer, const WeightSource& weights, HiddenStates& states, int threads) {
  return BlockPass(spec, layer, states, threads).finish(weights, states);
}

}  // namespace narrow::language
