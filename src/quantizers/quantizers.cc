#include <fmt/format.h>

#include "base/text.h"
#include "quantizers/dynamic_int8/dynamic_int8.h"
#include "quantizers/float16/float16.h"
#include "quantizers/mixed_precision/mixed_precision.h"
#include "quantizers/quantizer.h"
#include "quantizers/static_int8/static_int8.h"
#include "quantizers/weight_only/weight_only.h"

namespace narrow::quantizers {
namespace {

// The table: one row a method, each in the folder of its name.
constexpr Quantizer kQuantizers[] = {
    {"static", "INT8 weights and activations, ranges from calibration data", true, quantize_static},
    {"mixed", "static, and in float those layers that cost the outputs most: within a budget of noise at least latency or size", true, quantize_mixed},
    {"dynamic", "INT8 weights, activations quantized in each run: MatMul, Gemm, LSTM", false, quantize_dynamic},
    {"weight-only", "weights of 2 to 8 bits in groups, float arithmetic: MatMul, Gemm", false, quantize_weight_only},
    {"fp16", "half precision weights and arithmetic", false, quantize_fp16},
    {"bf16", "bfloat16 weights, f32 arithmetic", false, quantize_bf16},
};

}  // namespace

std::span<const Quantizer> quantizers() { return kQuantizers; }

Result<const Quantizer*> find_quantizer(std::string_view name) {
  std::vector<std::string_view> names;
  for (const Quantizer& row : kQuantizers) {
    if (row.name == name) return &row;
    names.push_back(row.name);
  }
  return invalid_argument(fmt::format("there is no method '{}'{}", base::escape_controls(name), base::did_you_mean(name, names)))
      .hint(fmt::format("methods: {}", fmt::join(names, ", ")));
}

}  // namespace narrow::quantizers
