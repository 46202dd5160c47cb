// An ONNX file from anywhere: imported, its types inferred, exported again. What was exported must import again,
// with the same interface and the same weights.
#include <algorithm>
#include <cstdlib>

#include "formats/onnx/onnx.h"
#include "operators/infer.h"

namespace {

std::span<const std::uint8_t> as_bytes(const std::string& text) { return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}; }

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace onnx = narrow::formats::onnx;
  auto model = onnx::import_bytes({data, size}, "fuzz.onnx");
  if (!model.ok()) {
    (void)model.error().to_string();
    return 0;
  }
  const auto inference = narrow::operators::infer_types(model->graph);
  if (!inference.ok()) return 0;
  if (!narrow::graph::verify(model->graph, "fuzz.onnx").ok()) std::abort();
  const auto once = onnx::export_bytes(*model);
  if (!once.ok()) return 0;
  const auto again = onnx::import_bytes(as_bytes(*once), "again.onnx");
  if (!again.ok()) {
    __builtin_printf("%s\n", again.error().to_string().c_str());
    std::abort();
  }
  const narrow::graph::Graph &before = model->graph, &after = again->graph;
  if (before.inputs.size() != after.inputs.size() || before.outputs.size() != after.outputs.size()) std::abort();
  for (const narrow::graph::Value& value : after.values) {
    const narrow::graph::ValueId id = before.find_value(value.name);
    const narrow::Tensor* weight = id == narrow::graph::kNoValue ? nullptr : before.constant(id);
    if (weight == nullptr || !value.constant || weight->dtype() == narrow::DType::kString) continue;
    if (weight->shape() != value.constant->shape() || !std::ranges::equal(weight->byte_span(), value.constant->byte_span())) std::abort();
  }
  return 0;
}
