// The formats that are a Hugging Face folder: gptq, awq, compressed-tensors, bitsandbytes, and float.
#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "language/exports/safetensors_folder.h"

namespace narrow::language {
namespace {

using formats::TensorSpec;
using formats::WeightShape;
using formats::WeightTensor;
using nlohmann::json;
using Kind = MatrixForm::Kind;

encodings::ScaleType f16_scales(const Checkpoint&) { return encodings::ScaleType::kF16; }
encodings::ScaleType model_scales(const Checkpoint& model) {
  switch (plain_type(model)) {
    case DType::kF32: return encodings::ScaleType::kF32;
    case DType::kBF16: return encodings::ScaleType::kBF16;
    default: return encodings::ScaleType::kF16;
  }
}

WeightShape shape_of(const MatrixForm& form) { return {form.rows, form.columns, form.bits, form.group_size, form.scale_type, form.symmetric, form.ordered}; }

Error wrong_kind(std::string_view format, const MatrixForm& form) {
  const bool codebook = form.kind == Kind::kCodebook;
  return unsupported(fmt::format("the format {} cannot hold {} weights", format, codebook ? "NF4 or FP4" : "integer")).hint(codebook ? "Use --format bitsandbytes." : "Use --format compressed-tensors, gptq or awq.");
}

// ---- layouts of grouped matrices ----

Status check_layout(const char* name, const MatrixForm& form) {
  if (form.kind == Kind::kPlain) return {};
  if (form.kind != Kind::kGrouped) return wrong_kind(name, form);
  return formats::find_weight_layout(name)->check(shape_of(form));
}

Result<std::vector<TensorSpec>> layout_specs(const char* name, const std::string& module, const MatrixForm& form) {
  Status fits = check_layout(name, form);
  if (!fits.ok()) return std::move(fits).context(fmt::format("'{}'", module)).error();
  std::vector<TensorSpec> specs = formats::find_weight_layout(name)->specs(shape_of(form));
  for (TensorSpec& spec : specs) spec.name = module + "." + spec.name;
  return specs;
}

Result<std::vector<WeightTensor>> layout_pack(const char* name, const StoredWeight& weight) {
  return formats::find_weight_layout(name)->pack({*weight.grouped, weight.order}, nullptr);
}

std::int64_t written_group(const MatrixForm& form) { return form.group_size >= form.columns ? -1 : form.group_size; }

// The settings that most of the weights have.
MatrixForm usual_form(const std::vector<QuantizedName>& quantized) {
  std::map<std::tuple<int, std::int64_t, bool>, std::pair<int, const MatrixForm*>> counts;
  for (const QuantizedName& name : quantized) {
    auto& [count, form] = counts[{name.form.bits, written_group(name.form), name.form.symmetric}];
    ++count;
    form = &name.form;
  }
  const MatrixForm* best = &quantized.front().form;
  int most = 0;
  for (const auto& [key, entry] : counts) {
    if (entry.first > most) std::tie(most, best) = entry;
  }
  return *best;
}

bool same_settings(const MatrixForm& a, const MatrixForm& b) { return a.bits == b.bits && written_group(a) == written_group(b) && a.symmetric == b.symmetric; }

// A name as a regular expression that matches it alone.
std::string exactly(const std::string& name) {
  std::string pattern = "^";
  for (const char c : name) {
    if (c == '.') pattern += '\\';
    pattern += c;
  }
  return pattern + "$";
}

// ---- gptq ----

json gptq_config(const char* format, const std::vector<QuantizedName>& quantized, const std::vector<std::string>& kept) {
  const MatrixForm usual = usual_form(quantized);
  json dynamic = json::object();
  bool ordered = false;
  for (const QuantizedName& name : quantized) {
    ordered = ordered || name.form.ordered;
    if (!same_settings(name.form, usual)) dynamic["+:" + exactly(name.module)] = {{"bits", name.form.bits}, {"group_size", written_group(name.form)}, {"sym", name.form.symmetric}};
  }
  for (const std::string& name : kept) {
    if (name != "lm_head" && name != "embed_out") dynamic["-:" + exactly(name)] = json::object();
  }
  json config = {{"quant_method", "gptq"}, {"bits", usual.bits}, {"group_size", written_group(usual)}, {"desc_act", ordered}, {"sym", usual.symmetric}, {"lm_head", false},
                 {"checkpoint_format", format}, {"pack_dtype", "int32"}, {"true_sequential", true}, {"static_groups", !ordered}, {"meta", {{"quantizer", json::array({"narrow"})}}}};
  if (!dynamic.empty()) config["dynamic"] = std::move(dynamic);
  return config;
}

constexpr FolderFormat kGptqFolder = {
    [](const std::string& module, const MatrixForm& form, DType) { return layout_specs("gptq", module, form); },
    [](const StoredWeight& weight, DType) { return layout_pack("gptq", weight); },
    [](const std::vector<QuantizedName>& quantized, const std::vector<std::string>& kept) { return gptq_config("gptq", quantized, kept); }};

constexpr FolderFormat kGptqV2Folder = {
    [](const std::string& module, const MatrixForm& form, DType) { return layout_specs("gptq_v2", module, form); },
    [](const StoredWeight& weight, DType) { return layout_pack("gptq_v2", weight); },
    [](const std::vector<QuantizedName>& quantized, const std::vector<std::string>& kept) { return gptq_config("gptq_v2", quantized, kept); }};

// ---- awq ----

constexpr FolderFormat kAwqFolder = {
    [](const std::string& module, const MatrixForm& form, DType) { return layout_specs("awq", module, form); },
    [](const StoredWeight& weight, DType) { return layout_pack("awq", weight); },
    [](const std::vector<QuantizedName>& quantized, const std::vector<std::string>& kept) -> json {
      return {{"quant_method", "awq"}, {"version", "gemm"}, {"bits", 4}, {"group_size", usual_form(quantized).group_size}, {"zero_point", true},
              {"modules_to_not_convert", kept.empty() ? json(nullptr) : json(kept)}};
    }};

// ---- compressed-tensors ----

// int-quantized is for weights whose inputs are rounded too.
const char* compressed_layout(const MatrixForm& form) { return form.inputs.rounds() ? "int-quantized" : "pack-quantized"; }

bool same_scheme(const MatrixForm& a, const MatrixForm& b) { return same_settings(a, b) && a.inputs.kind == b.inputs.kind; }

json input_scheme(const encodings::InputRounding& inputs) {
  if (!inputs.rounds()) return nullptr;
  const bool token = inputs.kind == encodings::InputRounding::Kind::kToken;
  return {{"num_bits", 8}, {"type", "int"}, {"symmetric", true}, {"strategy", token ? "token" : "tensor"}, {"group_size", nullptr}, {"dynamic", token}, {"actorder", nullptr},
          {"block_structure", nullptr}, {"observer", token ? json(nullptr) : json("minmax")}, {"observer_kwargs", json::object()}};
}

json compressed_config(const std::vector<QuantizedName>& quantized, const std::vector<std::string>& kept) {
  const MatrixForm usual = usual_form(quantized);
  std::vector<std::pair<MatrixForm, std::vector<std::string>>> groups = {{usual, {"Linear"}}};
  std::set<std::string_view> layouts;
  for (const QuantizedName& name : quantized) {
    layouts.insert(compressed_layout(name.form));
    if (same_scheme(name.form, usual)) continue;
    auto group = std::find_if(groups.begin() + 1, groups.end(), [&](const auto& g) { return same_scheme(g.first, name.form); });
    if (group == groups.end()) group = groups.insert(groups.end(), {name.form, {}});
    group->second.push_back(name.module);
  }
  json described = json::object();
  for (std::size_t i = 0; i < groups.size(); ++i) {
    const auto& [form, targets] = groups[i];
    const bool channel = form.group_size >= form.columns;
    described[fmt::format("group_{}", i)] = {
        {"targets", targets},
        {"weights", {{"num_bits", form.bits}, {"type", "int"}, {"symmetric", form.symmetric}, {"strategy", channel ? "channel" : "group"}, {"group_size", channel ? json(nullptr) : json(form.group_size)},
                     {"dynamic", false}, {"actorder", nullptr}, {"block_structure", nullptr}, {"observer", "minmax"}, {"observer_kwargs", json::object()}}},
        {"input_activations", input_scheme(form.inputs)}, {"output_activations", nullptr}, {"format", compressed_layout(form)}};
  }
  return {{"quant_method", "compressed-tensors"}, {"format", layouts.size() > 1 ? "mixed-precision" : compressed_layout(usual)}, {"quantization_status", "compressed"}, {"config_groups", described},
          {"ignore", kept}, {"kv_cache_scheme", nullptr}, {"global_compression_ratio", nullptr}};
}

Status check_compressed(const MatrixForm& form) { return check_layout(form.kind == Kind::kGrouped ? compressed_layout(form) : "pack-quantized", form); }

// One scale a Linear, for inputs that share one.
constexpr const char* kInputScale = "input_scale";
bool has_input_scale(const encodings::InputRounding& inputs) { return inputs.kind == encodings::InputRounding::Kind::kTensor; }

DType dtype_of(encodings::ScaleType type) { return type == encodings::ScaleType::kF32 ? DType::kF32 : type == encodings::ScaleType::kBF16 ? DType::kBF16 : DType::kF16; }

constexpr FolderFormat kCompressedFolder = {
    [](const std::string& module, const MatrixForm& form, DType) -> Result<std::vector<TensorSpec>> {
      NARROW_TRY(std::vector<TensorSpec> specs, layout_specs(compressed_layout(form), module, form));
      if (has_input_scale(form.inputs)) specs.push_back({module + "." + kInputScale, dtype_of(form.scale_type), {1}});
      return specs;
    },
    [](const StoredWeight& weight, DType) -> Result<std::vector<WeightTensor>> {
      const MatrixForm form = form_of(weight);
      NARROW_TRY(std::vector<WeightTensor> tensors, layout_pack(compressed_layout(form), weight));
      if (!has_input_scale(form.inputs)) return tensors;
      if (form.inputs.zero != 0) return unsupported("inputs rounded about a zero point are not written here").hint("Quantize the float model again: its inputs are then rounded symmetrically.");
      NARROW_TRY(Tensor scale, as_type(Tensor::from<float>({1}, {form.inputs.scale}), dtype_of(form.scale_type)));
      tensors.push_back({kInputScale, std::move(scale)});
      return tensors;
    },
    compressed_config};

// ---- bitsandbytes ----

Status check_bitsandbytes(const MatrixForm& form) { return form.kind == Kind::kGrouped ? Status(wrong_kind("bitsandbytes", form)) : Status(); }

constexpr FolderFormat kBitsandbytesFolder = {
    [](const std::string& module, const MatrixForm& form, DType plain) -> Result<std::vector<TensorSpec>> {
      if (form.kind == Kind::kGrouped) return wrong_kind("bitsandbytes", form);
      std::vector<TensorSpec> specs = formats::bitsandbytes_specs(form.rows, form.columns, form.type, form.block, form.nested, plain);
      for (TensorSpec& spec : specs) spec.name = module + "." + spec.name;
      return specs;
    },
    [](const StoredWeight& weight, DType plain) { return formats::pack_bitsandbytes(*weight.codebook, plain); },
    [](const std::vector<QuantizedName>& quantized, const std::vector<std::string>& kept) -> json {
      const MatrixForm& form = quantized.front().form;
      return {{"quant_method", "bitsandbytes"}, {"load_in_4bit", true}, {"load_in_8bit", false}, {"_load_in_4bit", true}, {"_load_in_8bit", false},
              {"bnb_4bit_quant_type", form.type == encodings::CodebookMatrix::Type::kNf4 ? "nf4" : "fp4"}, {"bnb_4bit_use_double_quant", form.nested},
              {"bnb_4bit_compute_dtype", "float32"}, {"bnb_4bit_quant_storage", "uint8"}, {"llm_int8_threshold", 6.0}, {"llm_int8_skip_modules", kept},
              {"llm_int8_enable_fp32_cpu_offload", false}, {"llm_int8_has_fp16_weight", false}};
    }};

// LLM.int8: rows of s8, which the reader multiplies with inputs in s8 but for their outliers.
constexpr FolderFormat kInt8Folder = {
    [](const std::string& module, const MatrixForm& form, DType) { return layout_specs("llm-int8", module, form); },
    [](const StoredWeight& weight, DType) { return layout_pack("llm-int8", weight); },
    [](const std::vector<QuantizedName>&, const std::vector<std::string>& kept) -> json {
      return {{"quant_method", "bitsandbytes"}, {"load_in_4bit", false}, {"load_in_8bit", true}, {"_load_in_4bit", false}, {"_load_in_8bit", true}, {"llm_int8_threshold", 6.0},
              {"llm_int8_skip_modules", kept}, {"llm_int8_enable_fp32_cpu_offload", false}, {"llm_int8_has_fp16_weight", false}};
    }};

// ---- float ----

// The weights that the codes stand for, for readers that know no quantization.
constexpr FolderFormat kFloatFolder = {
    [](const std::string& module, const MatrixForm& form, DType plain) -> Result<std::vector<TensorSpec>> { return std::vector<TensorSpec>{{module + ".weight", plain, {form.rows, form.columns}}}; },
    [](const StoredWeight& weight, DType plain) -> Result<std::vector<WeightTensor>> {
      NARROW_TRY(Tensor values, Tensor::create(DType::kF32, {weight.rows(), weight.columns()}));
      to_float_rows(weight, 0, weight.rows(), values.mutable_data<float>().data());
      NARROW_TRY(Tensor out, as_type(values, plain));
      return std::vector<WeightTensor>{{"weight", std::move(out)}};
    },
    [](const std::vector<QuantizedName>&, const std::vector<std::string>&) { return json(nullptr); }};

}  // namespace

const ExportFormat kGptqExport = {.name = "gptq", .summary = "GPTQ v1 safetensors: transformers, vLLM, SGLang, exllama", .mixes = true, .scale_type = f16_scales,
                                  .check = [](const MatrixForm& form) { return check_layout("gptq", form); }, .write = [](const ExportRequest& r) { return write_folder(r, kGptqFolder); }};
const ExportFormat kGptqV2Export = {.name = "gptq_v2", .summary = "GPTQ v2: the same with zero points as they are; GPTQModel, recent vLLM", .mixes = true, .scale_type = f16_scales,
                                    .check = [](const MatrixForm& form) { return check_layout("gptq_v2", form); }, .write = [](const ExportRequest& r) { return write_folder(r, kGptqV2Folder); }};
const ExportFormat kAwqExport = {.name = "awq", .summary = "AWQ GEMM safetensors: transformers, vLLM", .scale_type = f16_scales,
                                 .check = [](const MatrixForm& form) { return check_layout("awq", form); }, .write = [](const ExportRequest& r) { return write_folder(r, kAwqFolder); }};
const ExportFormat kCompressedTensorsExport = {.name = "compressed-tensors", .summary = "compressed-tensors (pack-quantized, int-quantized): transformers, vLLM", .rounds_inputs = true, .mixes = true, .scale_type = model_scales,
                                               .check = check_compressed, .write = [](const ExportRequest& r) { return write_folder(r, kCompressedFolder); }};
const ExportFormat kBitsandbytesExport = {.name = "bitsandbytes", .summary = "bitsandbytes NF4 and FP4: transformers", .scale_type = f16_scales,
                                          .check = check_bitsandbytes, .write = [](const ExportRequest& r) { return write_folder(r, kBitsandbytesFolder); }};
const ExportFormat kBitsandbytesInt8Export = {.name = "bitsandbytes-int8", .summary = "bitsandbytes LLM.int8: transformers", .scale_type = [](const Checkpoint&) { return encodings::ScaleType::kF32; },
                                              .check = [](const MatrixForm& form) { return check_layout("llm-int8", form); }, .write = [](const ExportRequest& r) { return write_folder(r, kInt8Folder); }};
const ExportFormat kFloatExport = {.name = "float", .summary = "a float checkpoint of the rounded weights, for readers that know no quantization", .rounds_inputs = true, .mixes = true, .pads = [](int) { return true; }, .scale_type = model_scales,
                                   .check = [](const MatrixForm&) { return Status(); }, .write = [](const ExportRequest& r) { return write_folder(r, kFloatFolder); }};

}  // namespace narrow::language
