// Calibration tokens on their way through one block, stopped in front of its Linears.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "language/decoder.h"
#include "runtime/session.h"
#include "tensor/tensor.h"

namespace narrow::language {

// The hidden numbers of all calibration tokens, [sequences, length, hidden] f32.
struct HiddenStates {
  std::int64_t sequences = 0, length = 0, hidden = 0;
  std::vector<float> values;              // where nothing is spilled
  std::string spill_folder;               // "": all in memory; else they and what passes keep of them lie in temporary files there
  std::shared_ptr<void> spilled;

  HiddenStates() = default;
  HiddenStates(HiddenStates&&) = default;
  HiddenStates& operator=(HiddenStates&&) = default;
  HiddenStates(const HiddenStates& other) = delete;
  HiddenStates& operator=(const HiddenStates& other) = delete;
  Result<HiddenStates> copy() const;

  std::int64_t tokens() const { return sequences * length; }
  float* sequence(std::int64_t i) { return const_cast<float*>(std::as_const(*this).sequence(i)); }
  const float* sequence(std::int64_t i) const { return (spilled ? static_cast<const float*>(spilled.get()) : values.data()) + i * length * hidden; }
  // Room for the numbers of all tokens, if there is none yet. Errors: io (spilled).
  Status allocate();
  void clear();
  // Spilled: lets go of the memory of a chunk; touching it reads it again.
  void release(std::int64_t chunk) const;
  // Sequences that are run at a time, and how many times that makes.
  std::int64_t chunk() const;
  std::int64_t chunks() const { return (sequences + chunk() - 1) / chunk(); }
};

// The embedding of `sequences`, each of the same length; spilled where a folder is given.
Result<HiddenStates> embed_sequences(const Spec& spec, const WeightSource& weights, const std::vector<std::vector<std::int64_t>>& sequences, int threads, const std::string& spill_folder = "");

// Goes through the block once, Linear by Linear. What has been computed is kept as long as something after it reads it.
class BlockPass {
 public:
  // `states` is what the block reads. Once nothing needs it any more it is freed or, by `finishing`, overwritten.
  BlockPass(const Spec& spec, std::int64_t layer, HiddenStates& states, int threads) : spec_(spec), layer_(layer), states_(states), threads_(threads) {}

  // Makes these Linears' inputs what step() computes, with the weights as they are now; Linears in front of them must not change
  // any more. What earlier Linears read is gone then, unless what follows reads it too. `finishing`: step() goes on to what the
  // block gives, which replaces `states`.
  Status aim(const WeightSource& weights, const std::vector<std::string>& linears, bool finishing = false);
  // One chunk of sequences; each once.
  Status step(std::int64_t chunk);
  // All chunks.
  Status reach(const WeightSource& weights, const std::vector<std::string>& linears);

  // What a Linear that was reached reads, one a chunk: [tokens, width].
  const std::vector<Tensor>& inputs(const std::string& linear) const { return values(value_of_.at(linear)); }
  // What the output of a Linear that was reached is added to, one a chunk; null where it is not added to the residual stream
  // as it is.
  const std::vector<Tensor>* residuals(const std::string& linear) const;
  // Where states are spilled: lets go of the memory of what is kept of a chunk. It may be read again.
  void rest(std::int64_t chunk) const;
  // Frees what has been kept of a chunk, when the block is finished.
  void drop(std::int64_t chunk);
  // What the block gives, over `states` of the same sizes (it may be those that the pass began with).
  Status finish(const WeightSource& weights, HiddenStates& states);

 private:
  const std::vector<Tensor>& values(const std::string& name) const;
  Result<graph::Graph> build(const WeightSource& weights) const;
  Tensor hidden_of(std::int64_t chunk) const;
  Result<std::vector<Tensor>> run(std::int64_t chunk) const;

  const Spec& spec_;
  std::int64_t layer_;
  HiddenStates& states_;
  int threads_;
  std::unique_ptr<runtime::Session> session_;           // null: all that is wanted is there already
  std::vector<std::string> wanted_;                     // its outputs; when finishing, then what the block gives
  bool finishing_ = false;
  bool states_needed_ = true;                           // by what comes after these Linears
  std::map<std::string, std::string> value_of_;         // by Linear
  std::map<std::string, std::string> residual_of_;
  std::vector<std::string> spent_;                      // kept still, and read by nothing after step()
  std::vector<Tensor> hidden_;                          // the block's own input, views of the states
  std::map<std::string, std::vector<Tensor>> kept_;     // by value, one tensor a chunk
};

}  // namespace narrow::language
