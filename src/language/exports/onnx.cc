// ONNX with a cache of keys and values, weights of few bits as MatMulNBits and MatMulBnb4 or as DequantizeLinear.
#include <fmt/format.h>

#include <filesystem>

#include "formats/format.h"
#include "language/decoder.h"
#include "language/exports/exports.h"
#include "operators/infer.h"

namespace narrow::language {
namespace {

encodings::ScaleType f32_scales(const Checkpoint&) { return encodings::ScaleType::kF32; }

Status write_onnx(const ExportRequest& request, Form form) {
  graph::Model model;
  NARROW_TRY(model.graph, build_decoder(request.model->spec, *request.weights, {.form = form, .cached = !request.model->spec.encoder}));
  NARROW_TRY([[maybe_unused]] const auto inferred, operators::infer_types(model.graph));  // the file names the types of its outputs
  model.graph.name = request.model->spec.family;
  model.opsets = {{"", 24}, {"com.microsoft", 1}};
  model.producer_name = "narrow";
  if (!request.recipe.empty()) model.metadata["narrow.recipe"] = request.recipe;
  return formats::export_model(model, request.path);
}

}  // namespace

const ExportFormat kOnnxExport = {.name = "onnx", .summary = "ONNX with MatMulNBits or MatMulBnb4 and a key-value cache: ONNX Runtime", .extension = ".onnx", .mixes = true, .pads = [](int bits) { return bits == 3; }, .scale_type = f32_scales,
                                  .check = [](const MatrixForm&) { return Status(); }, .write = [](const ExportRequest& r) { return write_onnx(r, Form::kOnnx); }};
const ExportFormat kOnnxQdqExport = {.name = "onnx-qdq", .summary = "the same with int4 DequantizeLinear in front of MatMul", .extension = ".onnx", .mixes = true, .pads = [](int bits) { return bits < 4; },
                                     .scale_type = f32_scales, .check = [](const MatrixForm&) { return Status(); }, .write = [](const ExportRequest& r) { return write_onnx(r, Form::kOnnxQdq); }};

}  // namespace narrow::language
