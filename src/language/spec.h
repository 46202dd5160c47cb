// What config.json says about a language model, decoder or encoder, in one vocabulary for all families.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "narrow/result.h"

namespace narrow::language {

enum class NormKind : std::uint8_t { kRms, kLayer };
enum class Activation : std::uint8_t { kSilu, kGelu, kGeluTanh, kRelu };

// Rotary position embedding (Su et al. 2021, arXiv:2104.09864) and how its angles are stretched for longer contexts.
struct Rope {
  enum class Scaling : std::uint8_t { kNone, kLinear, kLlama3, kYarn, kLongRope };

  double theta = 10000;
  std::int64_t dims = 0;         // rotated numbers of a head; 0: no rotary embedding
  Scaling scaling = Scaling::kNone;
  double factor = 1;
  double low_frequency = 1, high_frequency = 4;      // llama3
  double beta_fast = 32, beta_slow = 1;              // yarn
  double attention_factor = 1;                       // yarn, longrope: multiplies cosines and sines
  std::int64_t original_positions = 0;               // llama3, yarn, longrope
  std::vector<double> short_factors, long_factors;   // longrope: one a frequency
};

struct Experts {
  std::int64_t count = 0, chosen = 0;   // count 0: no mixture
  bool normalize = true;                // the chosen weights sum to 1
  bool shared = false;                  // one more expert sees every token
};

// One weight's name: `{}` stands for the layer, a second `{}` for the expert. Empty: the family has none.
struct Names {
  std::string embedding, positions, final_norm, head;
  std::string attention_norm, post_attention_norm, mlp_norm, post_mlp_norm;
  std::string q, k, v, qkv, o, q_norm, k_norm;
  std::string gate, up, gate_up, down;
  std::string router, expert_gate, expert_up, expert_down;             // of a mixture
  std::string embedding_norm, token_types, relative_bias;              // of an encoder
  std::string head_dense, head_norm, head_bias;                        // of its masked-language head
  std::string shared_router, shared_gate, shared_up, shared_down;      // of the expert that sees every token
};

// How one fused matrix holds query, key and value.
enum class QkvOrder : std::uint8_t { kConcatenated, kByHead };  // [q | k | v] · for each head its q, k, v

struct Spec {
  std::string family;                   // "llama", as config.json's model_type
  std::int64_t vocabulary = 0, hidden = 0, layers = 0, heads = 0, key_heads = 0, head_size = 0, intermediate = 0;
  std::int64_t max_positions = 0;
  NormKind norm = NormKind::kRms;
  double norm_epsilon = 1e-5;
  bool norm_plus_one = false;           // the stored weight is one less than the factor (Gemma)
  bool norm_has_weight = true;          // OLMo: none
  bool qk_norm_whole = false;           // q_norm and k_norm go over all heads at once (OLMo 2), else over each
  Activation activation = Activation::kSilu;
  bool gated_mlp = true;                // down(act(gate) * up), else down(act(up))
  bool parallel_residual = false;       // attention and mlp both read the block's input (NeoX)
  bool stored_transposed = false;       // weights are [in, out] (GPT-2)
  QkvOrder qkv_order = QkvOrder::kConcatenated;
  bool tied_head = false;
  double embedding_scale = 1;
  double attention_scale = 0;           // 0: 1 / sqrt(head_size)
  double attention_softcap = 0, logit_softcap = 0;  // 0: none
  double clip_qkv = 0;                  // 0: none (OLMo)
  std::vector<std::int64_t> windows;    // per layer: keys that a query sees, itself included; 0: all before it
  Rope rope, local_rope;                // local_rope for layers with a window, where the family has two (Gemma 3)
  bool has_local_rope = false;
  // Encoders (BERT): every token sees all, norms stand behind what is added; see encoder.h.
  bool encoder = false;
  std::int64_t token_types = 0;         // rows of their table; 0: none
  std::int64_t position_rows = 0;       // of the table of positions, and which of them the first token takes
  std::int64_t position_offset = 0;     // not 0: padding has no position
  std::int64_t relative_buckets = 0;    // MPNet: of biases by distance; 0: none
  Activation head_activation = Activation::kGelu;
  Experts experts;
  std::vector<bool> sparse_layers;      // per layer, when only some are mixtures
  Names names;
  bool known = true;                    // false: no graph can be built, only `by_name` be rounded
  std::vector<std::string> by_name;     // of a family that is not known: what look like Linears

  std::int64_t window(std::int64_t layer) const { return windows.empty() ? 0 : windows[static_cast<std::size_t>(layer)]; }
  bool sparse(std::int64_t layer) const {
    return experts.count != 0 && (sparse_layers.empty() || sparse_layers[static_cast<std::size_t>(layer)]);
  }
  const Rope& rope_of(std::int64_t layer) const { return has_local_rope && window(layer) != 0 ? local_rope : rope; }
};

// Fills the first `{}` of a name with the layer, the second with the expert.
std::string layer_name(const std::string& pattern, std::int64_t layer, std::int64_t expert = -1);

// How fast each pair of numbers rotates, dims / 2 of them, for texts of up to so many positions.
std::vector<double> rope_frequencies(const Rope& rope, std::int64_t positions);

// cos and sin of every position and frequency, [positions, dims / 2].
struct Angles {
  std::vector<float> cosines, sines;
};
Angles make_angles(const Rope& rope, std::int64_t positions);

}  // namespace narrow::language
