#include "language/quantized_checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "base/text.h"
#include "formats/quantized_weights/quantized_weights.h"

namespace narrow::language {
namespace {

using formats::WeightShape;

// Settings that hold for modules whose names contain, or end in, one of `targets`; none: for all.
struct Override {
  std::vector<std::string> targets;
  WeightShape shape;
  encodings::InputRounding inputs;  // a scale, where there is one, is the module's own
};

struct Settings {
  std::string layout;        // a row of weight_layouts(), or "bitsandbytes"
  std::vector<std::string> markers;  // tensors that tell a quantized module: "qweight"
  WeightShape usual;
  encodings::InputRounding inputs;
  std::vector<Override> overrides;
};

class QuantizedWeights final : public WeightSource {
 public:
  QuantizedWeights(std::shared_ptr<const WeightSource> plain, Settings settings) : plain_(std::move(plain)), settings_(std::move(settings)) {}

  bool has(const std::string& name) const override { return plain_->has(name); }
  Result<Tensor> tensor(const std::string& name) const override { return plain_->tensor(name); }
  bool has_matrix(const std::string& module) const override { return plain_->has_matrix(module) || is_quantized(module); }
  void release(const std::string& prefix) const override { plain_->release(prefix); }

  Result<StoredWeight> matrix(const std::string& module) const override {
    if (!is_quantized(module)) return plain_->matrix(module);
    const formats::WeightSource source = [&](std::string_view suffix) -> Result<std::optional<Tensor>> {
      const std::string name = fmt::format("{}.{}", module, suffix);
      if (!plain_->has(name)) return std::optional<Tensor>();
      NARROW_TRY(Tensor tensor, plain_->tensor(name));
      return std::optional<Tensor>(std::move(tensor));
    };
    auto weight = unpack(module, source);
    if (!weight.ok()) return std::move(weight).context(fmt::format("'{}'", module)).error();
    return weight;
  }

 private:
  bool is_quantized(const std::string& module) const {
    return std::any_of(settings_.markers.begin(), settings_.markers.end(), [&](const std::string& marker) { return plain_->has(module + "." + marker); });
  }

  std::pair<WeightShape, encodings::InputRounding> settings_of(const std::string& module) const {
    for (const Override& entry : settings_.overrides) {
      for (const std::string& target : entry.targets) {
        if (target == module || (target.starts_with("re:") && module.find(target.substr(3)) != std::string::npos)) return {entry.shape, entry.inputs};
      }
    }
    return {settings_.usual, settings_.inputs};
  }

  // With the scale and zero point that the checkpoint keeps beside the weight.
  Result<encodings::InputRounding> rounding_of(const std::string& module, encodings::InputRounding rounding) const {
    if (rounding.kind != encodings::InputRounding::Kind::kTensor) return rounding;
    NARROW_TRY(const Tensor scale, plain_->tensor(module + ".input_scale"));
    if (scale.size() != 1 || !is_float(scale.dtype())) return corrupt(fmt::format("'input_scale' is {}{}, expected one number", to_string(scale.dtype()), to_string(scale.shape())));
    rounding.scale = scale.to_float()[0];
    if (!(rounding.scale > 0) || !std::isfinite(rounding.scale)) return corrupt(fmt::format("'input_scale' is {}, expected a positive number", rounding.scale));
    if (!plain_->has(module + ".input_zero_point")) return rounding;
    NARROW_TRY(const Tensor zero, plain_->tensor(module + ".input_zero_point"));
    if (zero.size() != 1 || zero.dtype() != DType::kS8) return corrupt(fmt::format("'input_zero_point' is {}{}, expected one s8", to_string(zero.dtype()), to_string(zero.shape())));
    rounding.zero = zero.data<std::int8_t>()[0];
    return rounding;
  }

  Result<StoredWeight> unpack(const std::string& module, const formats::WeightSource& source) const {
    StoredWeight weight;
    if (settings_.layout == "bitsandbytes") {
      NARROW_TRY(encodings::CodebookMatrix matrix, formats::unpack_bitsandbytes(source));
      weight.codebook = std::make_shared<const encodings::CodebookMatrix>(std::move(matrix));
      return weight;
    }
    const auto [shape, inputs] = settings_of(module);
    NARROW_TRY(weight.inputs, rounding_of(module, inputs));
    const char* layout = settings_.layout.c_str();
    if (settings_.layout == "pack-quantized" && plain_->has(module + ".weight")) layout = "int-quantized";
    NARROW_TRY(formats::OrderedMatrix matrix, formats::find_weight_layout(layout)->unpack(shape, source, nullptr));
    weight.grouped = std::make_shared<const encodings::GroupedMatrix>(std::move(matrix.matrix));
    weight.order = std::move(matrix.order);
    return weight;
  }

  std::shared_ptr<const WeightSource> plain_;
  Settings settings_;
};

Result<Settings> read_gptq(const wire::Fields& fields) {
  Settings settings;
  NARROW_TRY(const std::string format, fields.text_or("checkpoint_format", "gptq"));
  if (format != "gptq" && format != "gptq_v2") return unsupported(fmt::format("{}: checkpoint_format '{}' is not known here, known are gptq and gptq_v2", fields.where(), format));
  settings.layout = format;
  settings.markers = {"qweight"};
  NARROW_TRY(const std::int64_t bits, fields.whole("bits"));
  settings.usual.bits = static_cast<int>(bits);
  const std::optional<wire::Fields> group = fields.find("group_size");
  settings.usual.group_size = group && group->value().is_number_integer() ? group->value().get<std::int64_t>() : -1;
  NARROW_TRY(settings.usual.symmetric, fields.flag_or("sym", false));
  if (const auto dynamic = fields.find("dynamic"); dynamic && dynamic->value_is_object()) {
    for (const auto& [pattern, change] : dynamic->value().items()) {
      if (pattern.starts_with("-:") || !change.is_object()) continue;
      // "^model\.layers\.0\.mlp$": the dots that stand for themselves.
      std::string name = pattern.starts_with("+:") ? pattern.substr(2) : pattern;
      std::string plain;
      for (const char c : name) {
        if (c != '\\' && c != '^' && c != '$') plain += c;
      }
      Override entry{{plain}, settings.usual};
      const wire::Fields own(change, fields.where() + ".dynamic");
      NARROW_TRY(const std::int64_t own_bits, own.whole_or("bits", bits));
      entry.shape.bits = static_cast<int>(own_bits);
      if (change.contains("group_size") && change["group_size"].is_number_integer()) entry.shape.group_size = change["group_size"].get<std::int64_t>();
      NARROW_TRY(entry.shape.symmetric, own.flag_or("sym", settings.usual.symmetric));
      settings.overrides.push_back(std::move(entry));
    }
  }
  return settings;
}

Result<Settings> read_awq(const wire::Fields& fields) {
  Settings settings;
  NARROW_TRY(const std::string version, fields.text_or("version", "gemm"));
  if (version != "gemm" && version != "GEMM") return unsupported(fmt::format("{}: AWQ version '{}' is not known here, known is gemm", fields.where(), version));
  settings.layout = "awq";
  settings.markers = {"qweight"};
  NARROW_TRY(settings.usual.group_size, fields.whole_or("group_size", 128));
  settings.usual.symmetric = false;
  return settings;
}

Result<WeightShape> read_scheme(const wire::Fields& group) {
  NARROW_TRY(const wire::Fields weights, group.object("weights"));
  NARROW_TRY(const std::string type, weights.text_or("type", "int"));
  if (type != "int") return unsupported(fmt::format("{}: weights of type '{}' are not known here, known is int", weights.where(), type));
  WeightShape shape;
  NARROW_TRY(const std::int64_t bits, weights.whole("num_bits"));
  shape.bits = static_cast<int>(bits);
  NARROW_TRY(const std::string strategy, weights.text_or("strategy", "group"));
  shape.group_size = -1;
  if (strategy == "group") {
    NARROW_TRY(shape.group_size, weights.whole("group_size"));
  }
  NARROW_TRY(shape.symmetric, weights.flag_or("symmetric", true));
  return shape;
}

// How the group has inputs rounded, but for the scale.
Result<encodings::InputRounding> read_inputs(const wire::Fields& group) {
  using Kind = encodings::InputRounding::Kind;
  encodings::InputRounding rounding;
  const std::optional<wire::Fields> scheme = group.find("input_activations");
  if (!scheme) return rounding;
  NARROW_TRY(const std::string type, scheme->text_or("type", "int"));
  NARROW_TRY(const std::int64_t bits, scheme->whole_or("num_bits", 8));
  NARROW_TRY(const std::string strategy, scheme->text_or("strategy", "tensor"));
  NARROW_TRY(const bool dynamic, scheme->flag_or("dynamic", false));
  NARROW_TRY(const bool symmetric, scheme->flag_or("symmetric", true));
  if (type == "int" && bits == 8 && dynamic && symmetric && strategy == "token") rounding.kind = Kind::kToken;
  else if (type == "int" && bits == 8 && !dynamic && strategy == "tensor") rounding.kind = Kind::kTensor;
  else {
    return unsupported(fmt::format("{}: inputs rounded to {} bits of type '{}' by '{}'{}{} are not known here; known are 8-bit integers, dynamic and symmetric by token or static by tensor",
                                   scheme->where(), bits, type, strategy, dynamic ? ", dynamic" : "", symmetric ? "" : ", asymmetric"));
  }
  return rounding;
}

Result<Settings> read_compressed(const wire::Fields& fields) {
  Settings settings;
  NARROW_TRY(const std::string format, fields.text("format"));
  if (format != "pack-quantized" && format != "int-quantized" && format != "mixed-precision") {
    return unsupported(fmt::format("{}: the format '{}' is not known here, known are pack-quantized, int-quantized and mixed-precision", fields.where(), format));
  }
  settings.layout = "pack-quantized";  // each module tells by its tensors which of the two it has
  settings.markers = {"weight_packed", "weight_scale"};
  NARROW_TRY(const wire::Fields groups, fields.object("config_groups"));
  bool first = true;
  for (const auto& [name, group] : groups.value().items()) {
    const wire::Fields entry(group, fmt::format("{}.{}", groups.where(), name));
    NARROW_TRY(const WeightShape shape, read_scheme(entry));
    NARROW_TRY(const std::vector<wire::Fields> targets, entry.list("targets"));
    Override override;
    override.shape = shape;
    NARROW_TRY(override.inputs, read_inputs(entry));
    for (const wire::Fields& target : targets) {
      NARROW_TRY(std::string text, target.as_text());
      override.targets.push_back(std::move(text));
    }
    if (first) {
      settings.usual = shape;
      settings.inputs = override.inputs;
    }
    first = false;
    settings.overrides.push_back(std::move(override));
  }
  if (first) return corrupt(fmt::format("{}: no groups", groups.where()));
  return settings;
}

Result<Settings> read_bitsandbytes(const wire::Fields& fields) {
  NARROW_TRY(const bool four, fields.flag_or("load_in_4bit", false));
  Settings settings;
  settings.layout = four ? "bitsandbytes" : "llm-int8";
  settings.markers = {four ? "weight.quant_map" : "SCB"};
  settings.usual = {.bits = 8, .group_size = -1, .symmetric = true};
  return settings;
}

}  // namespace

Result<std::shared_ptr<const WeightSource>> open_quantized(std::shared_ptr<const WeightSource> plain, const wire::Fields& fields) {
  NARROW_TRY(const std::string method, fields.text("quant_method"));
  Result<Settings> settings = method == "gptq"                 ? read_gptq(fields)
                              : method == "awq"                ? read_awq(fields)
                              : method == "compressed-tensors" ? read_compressed(fields)
                              : method == "bitsandbytes"       ? read_bitsandbytes(fields)
                                                               : Result<Settings>(unsupported(fmt::format("{}: quant_method '{}' is not known here, known are gptq, awq, compressed-tensors, bitsandbytes", fields.where(), method)));
  if (!settings.ok()) return std::move(settings).error();
  return std::shared_ptr<const WeightSource>(std::make_shared<QuantizedWeights>(std::move(plain), *std::move(settings)));
}

}  // namespace narrow::language
