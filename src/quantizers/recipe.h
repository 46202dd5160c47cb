// A recipe says how a model is to be quantized: defaults, then rules by node name pattern and operator type, last match
// wins. Written and read as TOML; what ran is embedded in the output's metadata under "narrow.recipe".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "narrow/result.h"
#include "tensor/dtype.h"

namespace narrow::quantizers {

struct Rule {
  std::string name_pattern = "*";             // glob over node names
  std::string op_type = "*";                  // glob over operator types
  std::optional<bool> quantize;               // false: stays float
  std::optional<bool> per_channel;
  std::optional<bool> symmetric_activations;
  std::optional<DType> activation_type;
  std::optional<std::string> observer;
  std::optional<std::string> method;          // language models: of these Linears
  std::optional<std::uint64_t> bits, group_size;
  std::optional<bool> symmetric_weights;
  std::optional<std::string> float_weights;   // static: f32 | f16 | s8, as what a layer that stays float stores its weights
};

// Weights of few bits (weight-only, GPTQ, AWQ, NF4, …).
struct WeightRecipe {
  std::uint64_t bits = 4;
  std::uint64_t group_size = 128;             // columns that share a scale; 0: all of a row
  bool symmetric = false;
  bool smooth = false;                        // scale the inputs as AWQ does before codes are chosen
  bool double_quantization = true;            // nf4, fp4
  std::string scale_type = "auto";            // f16 | bf16 | f32; auto: what the written format expects
  double damping = 0.1;                       // GPTQ: of the mean of the Hessian's diagonal
  double bits_per_weight = 0;                 // language models: chosen layer by layer, scales and zero points included; 0: bits
  std::string activations = "auto";           // what Linears read, in 8 bits: none | dynamic | static; auto: as the method has it
  double smoothing = 0;                       // SmoothQuant's strength, above 0 to 1; 0: searched for each layer
  bool operator==(const WeightRecipe&) const = default;
};

struct Recipe {
  std::string method = "static";              // a row of quantizers.cc
  std::string target = "onnxruntime";
  std::string form = "qdq";                   // qdq | qoperator
  std::string observer = "min_max";
  double percentile = 99.999;
  bool per_channel = true;
  std::optional<bool> symmetric_activations;  // default: the target's
  std::optional<DType> activation_type;       // default: the target's
  bool keep_io_float = true;                  // fp16/bf16: inputs and outputs stay f32
  bool reduce_range = false;                  // 7-bit weights: x86 without VNNI saturates u8 x s8 sums at 16 bits
  bool bias_correction = true;                // static: biases take back the mean shift that rounded weights cause
  bool compress_weights = false;              // dynamic: layers without an integer form keep their weights as s8 all the same
  // static: techniques that change the float model first, its meaning kept, and how weights are rounded.
  bool equalization = false;                  // cross-layer equalization and high-bias absorption
  double smoothing = 0;                       // SmoothQuant's alpha; 0: none
  double split_channels = 0;                  // share of the channels of a layer's input that are halved and doubled
  std::string rounding = "nearest";           // nearest | gptq | adaptive
  bool keep_first_last = false;               // the first and the last layer with weights stay float
  // mixed: noise power at the outputs over their signal power that is allowed, and what layers in float cost.
  double noise_budget = 0.01;
  std::string prefer = "latency";             // latency | size
  WeightRecipe weights;
  std::uint64_t samples = 0;                  // calibration size, 0: all (language models: 128 sequences)
  std::uint64_t context = 0;                  // language models: tokens of a sequence, 0: 2048 or the model's maximum
  std::uint64_t seed = 0;
  std::string preprocess;                     // as given to the data set
  std::vector<Rule> rules;
};

// Errors: corrupt (with line), invalid_argument naming an unknown key and its nearest neighbours.
Result<Recipe> parse_recipe(const std::string& toml, const std::string& where);
std::string to_toml(const Recipe& recipe);

}  // namespace narrow::quantizers
