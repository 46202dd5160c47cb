// Causes that can be read off the two models.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "diagnosis/causes.h"

namespace narrow::diagnosis {
namespace {

std::uint64_t non_finite_in(const Tensor& tensor) {
  if (!is_float(tensor.dtype())) return 0;
  const std::vector<float> values = tensor.to_float();
  return static_cast<std::uint64_t>(std::count_if(values.begin(), values.end(), [](float x) { return !std::isfinite(x); }));
}

}  // namespace

void find_non_finite(const Evidence& evidence, Findings& findings) {
  for (std::size_t i = 0; i < evidence.pairing.activations.size(); ++i) {
    if (evidence.live[i].non_finite == 0) continue;
    Finding finding;
    finding.cause = "non_finite";
    finding.layers.push_back(layer_of(evidence.reference, evidence.reference_uses, evidence.pairing.activations[i].reference));
    finding.evidence = fmt::format("'{}' holds {} NaN or infinite values in the float model", evidence.pairing.activations[i].value, evidence.live[i].non_finite);
    finding.remedy = "the float model itself fails on this data: look at the input and at the layers before this one";
    findings.push_back(std::move(finding));
    return;  // those behind it follow from it
  }
  for (const graph::Graph* graph : {&evidence.reference, &evidence.quantized}) {
    for (const graph::Value& value : graph->values) {
      if (!value.constant) continue;
      const std::uint64_t count = non_finite_in(*value.constant);
      if (count == 0 || value.constant->size() == 1) continue;  // -inf alone is a mask or a padding
      Finding finding;
      finding.cause = "non_finite";
      finding.evidence = fmt::format("the constant '{}' of the {} model holds {} NaN or infinite values", value.name,
                                     graph == &evidence.reference ? "float" : "quantized", count);
      finding.remedy = "the weights are damaged: export the model again";
      findings.push_back(std::move(finding));
    }
  }
}

void find_refused(const Evidence& evidence, Findings& findings) {
  if (evidence.target == nullptr) return;
  const targets::Target& target = *evidence.target;
  Finding zero;
  for (const ActivationSite& site : evidence.pairing.activations) {
    if (target.activation.symmetric && site.zero_point != 0) zero.layers.push_back(layer_of(evidence.reference, evidence.reference_uses, site.reference));
  }
  for (const ConstantSite& site : evidence.pairing.weights) {
    if (site.zero_point_largest != 0 && is_signed_integer(target.weight_type)) zero.layers.push_back(site.layer);
  }
  if (!zero.layers.empty()) {
    zero.cause = "zero_point_refused";
    zero.evidence = fmt::format("{} wants zero point 0, and {} activations or weights have another, first '{}'", target.name, zero.layers.size(), zero.layers.front());
    zero.remedy = fmt::format("quantize for {}", target.name);
    zero.flag = fmt::format("--target {}", target.name);
    findings.push_back(std::move(zero));
  }
  // Pairs around an operator that the target runs in float: integers are made float and back for nothing.
  const graph::Uses uses(evidence.quantized);
  Finding islands;
  for (const graph::Node& node : evidence.quantized.nodes) {
    if (node.is("QuantizeLinear") || node.is("DequantizeLinear") || node.input(0) == graph::kNoValue || node.output(0) == graph::kNoValue) continue;
    const int before = uses.producer[static_cast<std::size_t>(node.input(0))];
    if (before < 0 || !evidence.quantized.nodes[static_cast<std::size_t>(before)].is("DequantizeLinear")) continue;
    const auto& readers = uses.readers[static_cast<std::size_t>(node.output(0))];
    const bool quantized_again = std::any_of(readers.begin(), readers.end(), [&](const graph::Uses::Use& use) {
      return evidence.quantized.nodes[static_cast<std::size_t>(use.node)].is("QuantizeLinear");
    });
    const targets::OperatorRule* rule = target.find(node.op_type);
    if (quantized_again && (rule == nullptr || (rule->refuses != nullptr && !rule->refuses(evidence.quantized, node).empty()))) islands.layers.push_back(node.name);
  }
  if (islands.layers.empty()) return;
  islands.cause = "not_fused";
  islands.evidence = fmt::format("{} operators stand between DequantizeLinear and QuantizeLinear that {} computes in float, first '{}'", islands.layers.size(),
                                 target.name, islands.layers.front());
  islands.remedy = fmt::format("they cost conversions and accuracy: quantize for {}, which leaves them in float", target.name);
  islands.flag = fmt::format("--target {}", target.name);
  findings.push_back(std::move(islands));
}

}  // namespace narrow::diagnosis
