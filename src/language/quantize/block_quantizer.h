// Quantizes the Linears of one block, level by level, on what the block reads in the float model and in the model so far.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "language/quantize/block_pass.h"
#include "language/quantize/group_statistics.h"
#include "language/quantize/overlay.h"
#include "language/quantize/linear_quantizer.h"
#include "language/quantize/plan.h"
#include "quantizers/matrix/matrix.h"

namespace narrow::language {

// What came of one block.
struct BlockResult {
  std::map<std::string, StoredWeight> matrices;  // quantized ones, and float ones that were scaled
  std::map<std::string, Tensor> tensors;         // norms and biases that were scaled, f32
  std::vector<LinearOutcome> linears;
};

class BlockQuantizer {
 public:
  BlockQuantizer(const Spec& spec, const quantizers::Recipe& recipe, base::ThreadPool& pool) : spec_(spec), recipe_(recipe), pool_(pool) {}

  // `float_states` and `states` hold what the block reads, in the float model and in the quantized one; both are moved on to
  // what it gives. Errors: invalid_argument (NaN in a weight, naming it), and what running reports.
  Result<BlockResult> quantize(std::int64_t layer, std::shared_ptr<const WeightSource> weights, HiddenStates& float_states, HiddenStates& states);

 private:
  struct SampledInputs {
    RoundedInputs inputs;
    std::vector<float> values;  // of the sample
  };
  // How the recipe has the inputs of a group rounded; nothing where it leaves them.
  Result<SampledInputs> round_inputs_of(const LinearGroup& group, const std::vector<Tensor>& inputs, const quantizers::InputStatistics& statistics, const WeightSource& weights) const;
  // Moves `states` through the float block and folds factors into `scaled` on the way.
  Status smooth(std::int64_t layer, const std::vector<LinearLevel>& levels, HiddenStates& states, OverlayWeights& scaled);
  // Adds what a group reads of one chunk to `seen`, which the first chunk creates.
  Status add_chunk(const LinearGroup& group, const WeightSource& weights, const BlockPass& float_pass, const BlockPass& pass, std::int64_t chunk, bool comparable,
                   std::optional<GroupStatistics>& seen) const;

  const Spec& spec_;
  const quantizers::Recipe& recipe_;
  base::ThreadPool& pool_;
};

// Moves `states` through a block that is quantized already.
Status advance(const Spec& spec, std::int64_t layer, const WeightSource& weights, HiddenStates& states, int threads);

}  // namespace narrow::language
