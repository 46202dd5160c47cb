#include "language/quantize/block_quantizer.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/memory.h"
#include "language/quantize/fold.h"
#include "quantizers/matrix/matrix.h"
#include "quantizers/matrix/scales.h"

namespace narrow::language {
namespace {

using quantizers::InputStatistics;

std::vector<std::string> first_of_groups(const LinearLevel& level) {
  std::vector<std::string> names;
  for (const LinearGroup& group : level) names.push_back(group.front());
  return names;
}

bool same_sizes(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Tensor& x, const Tensor& y) { return x.shape() == y.shape(); });
}

Result<InputStatistics> statistics_of(const BlockPass& pass, const std::string& linear, base::ThreadPool& pool) {
  const std::vector<Tensor>& inputs = pass.inputs(linear);
  InputStatistics statistics(inputs.front().shape().back());
  for (std::size_t chunk = 0; chunk < inputs.size(); ++chunk) {
    NARROW_RETURN_IF_ERROR(statistics.add(inputs[chunk].data<float>().data(), inputs[chunk].size() / statistics.columns, pool));
    pass.rest(static_cast<std::int64_t>(chunk));
  }
  return statistics;
}

// Evenly spaced tokens of what a group of Linears reads.
std::vector<float> sample_inputs(const std::vector<Tensor>& inputs) {
  constexpr std::int64_t kMostTokens = 512;
  const std::int64_t columns = inputs.front().shape().back();
  std::int64_t tokens = 0;
  for (const Tensor& part : inputs) tokens += part.size() / columns;
  const std::int64_t taken = std::min(tokens, kMostTokens);
  std::vector<float> sample;
  sample.reserve(static_cast<std::size_t>(taken * columns));
  std::int64_t before = 0, next = 0;
  for (const Tensor& part : inputs) {
    const std::int64_t count = part.size() / columns;
    for (; next < taken && next * tokens / taken < before + count; ++next) {
      const float* row = part.data<float>().data() + (next * tokens / taken - before) * columns;
      sample.insert(sample.end(), row, row + columns);
    }
    before += count;
  }
  return sample;
}

// The weights of a group as floats.
struct GroupWeights {
  std::vector<std::vector<float>> values;
  std::vector<quantizers::WeightView> views;
};
Result<GroupWeights> read_group(const LinearGroup& group, const WeightSource& source) {
  GroupWeights weights;
  for (const std::string& name : group) {
    NARROW_TRY(const StoredWeight stored, source.matrix(name));
    weights.values.emplace_back(static_cast<std::size_t>(stored.rows() * stored.columns()));
    to_float_rows(stored, 0, stored.rows(), weights.values.back().data());
    weights.views.push_back({weights.values.back().data(), stored.rows()});
  }
  return weights;
}

}  // namespace

Result<BlockResult> BlockQuantizer::quantize(std::int64_t layer, std::shared_ptr<const WeightSource> weights, HiddenStates& float_states, HiddenStates& states) {
  const std::vector<LinearLevel> levels = linears_of(spec_, layer);
  const auto scaled = std::make_shared<OverlayWeights>(weights);  // the float model, inputs scaled
  NARROW_TRY(const LanguageMethod* method, find_language_method(recipe_.method));
  const bool smooths = recipe_.weights.smooth || method->smooths;
  // By the weights as they are stored: scaled ones give the same but for rounding, and a resumed run has only these.
  HiddenStates next;
  if (smooths) {
    NARROW_TRY(next, float_states.copy());
    NARROW_RETURN_IF_ERROR(smooth(layer, levels, next, *scaled));
  }

  BlockPass float_pass(spec_, layer, float_states, pool_.threads()), pass(spec_, layer, states, pool_.threads());
  OverlayWeights current(scaled);  // the quantized model so far
  BlockResult result;
  for (const LinearLevel& level : levels) {
    const bool last = &level == &levels.back();
    NARROW_RETURN_IF_ERROR(float_pass.aim(*scaled, first_of_groups(level), last && !smooths));
    NARROW_RETURN_IF_ERROR(pass.aim(current, first_of_groups(level)));
    std::optional<GroupStatistics> seen;
    const bool one_group = level.size() == 1;  // otherwise the statistics of all groups would take more than their inputs
    for (std::int64_t chunk = 0; chunk < states.chunks(); ++chunk) {
      NARROW_RETURN_IF_ERROR(float_pass.step(chunk));
      NARROW_RETURN_IF_ERROR(pass.step(chunk));
      if (!one_group) continue;
      NARROW_RETURN_IF_ERROR(add_chunk(level.front(), current, float_pass, pass, chunk, true, seen));
      if (last) float_pass.drop(chunk);
    }
    for (const LinearGroup& group : level) {
      if (!one_group) {
        seen.reset();
        // An expert may get other tokens in the two models, then they say nothing.
        const bool comparable = same_sizes(pass.inputs(group.front()), float_pass.inputs(group.front()));
        for (std::int64_t chunk = 0; chunk < states.chunks(); ++chunk) {
          NARROW_RETURN_IF_ERROR(add_chunk(group, current, float_pass, pass, chunk, comparable, seen));
          float_pass.rest(chunk);
          pass.rest(chunk);
        }
      }
      NARROW_TRY(const SampledInputs rounded, round_inputs_of(group, pass.inputs(group.front()), seen->statistics(), current));
      for (std::size_t i = 0; i < group.size(); ++i) {
        const std::string& name = group[i];
        NARROW_TRY(const StoredWeight stored, current.matrix(name));
        NARROW_TRY(QuantizedLinear made, quantize_linear(name, stored, recipe_, &seen->statistics(), pool_, seen->residual(i), &rounded.inputs));
        if (made.weight.quantized()) {
          current.set_matrix(name, made.weight);
          result.matrices[name] = std::move(made.weight);
        }
        result.linears.push_back(std::move(made.outcome));
      }
    }
    seen.reset();
    base::return_freed_memory();
  }
  NARROW_RETURN_IF_ERROR(pass.finish(current, states));
  if (smooths) float_states = std::move(next);
  // What was scaled and then not quantized has to be written too.
  for (const auto& [module, weight] : scaled->matrices()) result.matrices.try_emplace(module, weight);
  result.tensors = scaled->tensors();
  return result;
}

Status BlockQuantizer::add_chunk(const LinearGroup& group, const WeightSource& weights, const BlockPass& float_pass, const BlockPass& pass, std::int64_t chunk, bool comparable,
                                 std::optional<GroupStatistics>& seen) const {
  const auto at = static_cast<std::size_t>(chunk);
  const std::vector<Tensor>* residuals = group.size() == 1 && comparable ? pass.residuals(group.front()) : nullptr;
  const std::vector<Tensor>* float_residuals = residuals != nullptr ? float_pass.residuals(group.front()) : nullptr;
  const Tensor& inputs = pass.inputs(group.front())[at];
  if (!seen) {
    const std::int64_t columns = inputs.shape().back();
    NARROW_TRY(GroupStatistics made, GroupStatistics::create(group, weights, columns, inputs.size() / columns * static_cast<std::int64_t>(pass.inputs(group.front()).size()), comparable, residuals != nullptr, pool_));
    seen.emplace(std::move(made));
  }
  return seen->add(inputs, comparable ? &float_pass.inputs(group.front())[at] : nullptr, residuals != nullptr ? &(*residuals)[at] : nullptr,
                   float_residuals != nullptr ? &(*float_residuals)[at] : nullptr);
}

Result<BlockQuantizer::SampledInputs> BlockQuantizer::round_inputs_of(const LinearGroup& group, const std::vector<Tensor>& inputs, const InputStatistics& statistics, const WeightSource& weights) const {
  using Kind = encodings::InputRounding::Kind;
  SampledInputs found;
  const LinearPlan plan = plan_of(recipe_, group.front());
  if (!plan.quantize || plan.inputs == Kind::kNone) return found;
  found.inputs.rounding.kind = plan.inputs;
  found.values = sample_inputs(inputs);
  found.inputs.sample = {found.values.data(), static_cast<std::int64_t>(found.values.size()) / statistics.columns, statistics.columns};
  if (plan.inputs == Kind::kToken) return found;
  const float largest = *std::max_element(statistics.max_abs.begin(), statistics.max_abs.end());
  if (!(largest > 0)) {
    return invalid_argument(fmt::format("'{}' reads nothing but zeros of the calibration data: there is no range to round its inputs in", group.front()))
        .hint("Give more calibration data, or round inputs token by token: --activations dynamic.");
  }
  NARROW_TRY(const GroupWeights own, read_group(group, weights));
  NARROW_TRY(found.inputs.rounding, quantizers::choose_tensor_rounding(own.views, found.inputs.sample, largest, scale_type_of(recipe_)));
  return found;
}

// Group by group, each on the float model as the groups before have left it.
Status BlockQuantizer::smooth(std::int64_t layer, const std::vector<LinearLevel>& levels, HiddenStates& states, OverlayWeights& scaled) {
  const std::shared_ptr<const WeightSource> stored = scaled.base();
  BlockPass pass(spec_, layer, states, pool_.threads());
  for (const LinearLevel& level : levels) {
    NARROW_RETURN_IF_ERROR(pass.reach(*stored, first_of_groups(level)));
    for (const LinearGroup& group : level) {
      NARROW_TRY(const graph::Graph block, build_block(spec_, scaled, layer, {}));
      const FoldPlace place = find_fold_place(block, group, spec_);
      const LinearPlan plan = plan_of(recipe_, group.front());
      if (!place.found() || !plan.quantize) continue;
      NARROW_TRY(const InputStatistics statistics, statistics_of(pass, group.front(), pool_));
      if (statistics.tokens == 0) continue;
      NARROW_TRY(const GroupWeights weights, read_group(group, scaled));
      auto found = [&]() -> Result<std::vector<float>> {
        if (plan.inputs == encodings::InputRounding::Kind::kNone) return quantizers::search_awq_scales(weights.views, statistics, matrix_options(plan, recipe_, statistics.columns), pool_);
        if (recipe_.weights.smoothing > 0) return quantizers::smoothing_scales(weights.views, statistics, recipe_.weights.smoothing);
        const std::vector<float> sample = sample_inputs(pass.inputs(group.front()));
        return quantizers::search_smoothing_scales(weights.views, statistics, {sample.data(), static_cast<std::int64_t>(sample.size()) / statistics.columns, statistics.columns}, plan.inputs, pool_);
      }();
      if (!found.ok()) return std::move(found).context(fmt::format("'{}'", group.front())).error();
      tie_factors(place, *found);
      if (std::all_of(found->begin(), found->end(), [](float factor) { return factor == 1; })) continue;
      NARROW_RETURN_IF_ERROR(fold_factors(place, group, *found, scaled));
    }
  }
  return pass.finish(*stored, states);
}

Status advance(const Spec& spec, std::int64_t layer, const WeightSource& weights, HiddenStates& states, int threads) {
  return BlockPass(spec, layer, states, threads).finish(weights, states);
}

}  // namespace narrow::language
