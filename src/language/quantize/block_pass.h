// Calibration tokens on their way through one block, stopped in front of its Linears.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "language/decoder.h"
#include "runtime/session.h"
#include "tensor/tensor.h"

namespace narrow::language {

// The hidden numbers of all calibration tokens, [sequences, length, hidden] f32.
struct HiddenStates {
  std::int64_t sequences = 0, length = 0, hidden = 0;
  std::vector<float> values;

  std::int64_t tokens() const { return sequences * length; }
  float* sequence(std::int64_t i) { return values.data() + i * length * hidden; }
  const float* sequence(std::int64_t i) const { return values.data() + i * length * hidden; }
  // Sequences that are run at a time, and how many times that makes.
  std::int64_t chunk() const;
  std::int64_t chunks() const { return (sequences + chunk() - 1) / chunk(); }
};

// The embedding of `sequences`, each of the same length.
Result<HiddenStates> embed_sequences(const Spec& spec, const WeightSource& weights, const std::vector<std::vector<std::int64_t>>& sequences, int threads);

// What has been computed is kept, so that reaching every Linear in turn costs one pass through the block.
class BlockPass {
 public:
  BlockPass(const Spec& spec, std::int64_t layer, const HiddenStates& states, int threads) : spec_(spec), layer_(layer), states_(states), threads_(threads) {}

  // Computes what these Linears read, with the weights as they are now; Linears in front of them must not change any more.
  Status reach(const WeightSource& weights, const std::vector<std::string>& linears);
  // What a Linear that was reached reads: [tokens, width], one a chunk of sequences.
  const std::vector<Tensor>& inputs(const std::string& linear) const { return values(value_of_.at(linear)); }
  // What the output of a Linear that was reached is added to, one a chunk; null where it is not added to the residual stream
  // as it is.
  const std::vector<Tensor>* residuals(const std::string& linear) const;
  // Divides the columns of what a Linear reads, when factors have moved into its weight.
  void divide_inputs(const std::string& linear, std::span<const float> factors);
  // What the block gives, over `states` of the same sizes (it may be those that the pass began with).
  Status finish(const WeightSource& weights, HiddenStates& states);

 private:
  const std::vector<Tensor>& values(const std::string& name) const;
  Result<graph::Graph> build(const WeightSource& weights) const;
  Tensor hidden_of(std::int64_t chunk) const;
  Result<std::vector<Tensor>> run(runtime::Session& session, std::int64_t chunk) const;

  const Spec& spec_;
  std::int64_t layer_;
  const HiddenStates& states_;
  int threads_;
  std::map<std::string, std::string> value_of_;         // by Linear
  std::map<std::string, std::string> residual_of_;
  std::vector<Tensor> hidden_;                          // the block's own input, views of the states
  std::map<std::string, std::vector<Tensor>> kept_;     // by value, one tensor a chunk
};

}  // namespace narrow::language
