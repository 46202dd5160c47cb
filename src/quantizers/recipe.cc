#include "quantizers/recipe.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <span>
#include <string_view>

#include <toml++/toml.h>

#include "base/text.h"

namespace narrow::quantizers {
namespace {

// One key of a table: how it is read. A reader returns an empty string, or what it expected.
template <typename Target>
struct Key {
  std::string_view name;
  std::string (*read)(const toml::node& node, Target& into);
};

std::string read_text(const toml::node& node, std::string& into) {
  const auto value = node.value_exact<std::string>();
  if (!value) return "a string";
  into = *value;
  return "";
}
std::string read_flag(const toml::node& node, bool& into) {
  const auto value = node.value_exact<bool>();
  if (!value) return "true or false";
  into = *value;
  return "";
}
std::string read_flag(const toml::node& node, std::optional<bool>& into) {
  bool value = false;
  std::string expected = read_flag(node, value);
  if (expected.empty()) into = value;
  return expected;
}
std::string read_count(const toml::node& node, std::uint64_t& into) {
  const auto value = node.value_exact<std::int64_t>();
  if (!value || *value < 0) return "a whole number, not negative";
  into = static_cast<std::uint64_t>(*value);
  return "";
}
std::string read_count(const toml::node& node, std::optional<std::uint64_t>& into) {
  std::uint64_t value = 0;
  std::string expected = read_count(node, value);
  if (expected.empty()) into = value;
  return expected;
}
std::string read_dtype(const toml::node& node, std::optional<DType>& into) {
  const auto value = node.value_exact<std::string>();
  const std::optional<DType> dtype = value ? parse_dtype(*value) : std::nullopt;
  if (!dtype) return "an element type such as \"u8\" or \"s8\"";
  into = dtype;
  return "";
}
std::string read_text(const toml::node& node, std::optional<std::string>& into) {
  std::string value;
  std::string expected = read_text(node, value);
  if (expected.empty()) into = value;
  return expected;
}

std::string read_choice(const toml::node& node, std::string& into, std::initializer_list<std::string_view> names) {
  std::string expected = read_text(node, into);
  if (!expected.empty() || std::find(names.begin(), names.end(), into) != names.end()) return expected;
  for (std::string_view name : names) expected += fmt::format("{}\"{}\"", expected.empty() ? "" : ", ", name);
  return "one of " + expected;
}
std::string read_share(const toml::node& node, double& into) {
  const auto value = node.value<double>();
  if (!value || !(*value >= 0 && *value <= 1)) return "a number from 0 to 1";
  into = *value;
  return "";
}

constexpr Key<Recipe> kRecipeKeys[] = {
    {"method", [](const toml::node& n, Recipe& r) { return read_text(n, r.method); }},
    {"target", [](const toml::node& n, Recipe& r) { return read_text(n, r.target); }},
    {"form", [](const toml::node& n, Recipe& r) { return read_text(n, r.form); }},
    {"observer", [](const toml::node& n, Recipe& r) { return read_text(n, r.observer); }},
    {"percentile",
     [](const toml::node& n, Recipe& r) -> std::string {
       const auto value = n.value<double>();
       if (!value || !(*value > 0 && *value <= 100)) return "a number above 0, at most 100";
       r.percentile = *value;
       return "";
     }},
    {"per_channel", [](const toml::node& n, Recipe& r) { return read_flag(n, r.per_channel); }},
    {"symmetric_activations", [](const toml::node& n, Recipe& r) { return read_flag(n, r.symmetric_activations); }},
    {"activation_type", [](const toml::node& n, Recipe& r) { return read_dtype(n, r.activation_type); }},
    {"keep_io_float", [](const toml::node& n, Recipe& r) { return read_flag(n, r.keep_io_float); }},
    {"reduce_range", [](const toml::node& n, Recipe& r) { return read_flag(n, r.reduce_range); }},
    {"bias_correction", [](const toml::node& n, Recipe& r) { return read_flag(n, r.bias_correction); }},
    {"compress_weights", [](const toml::node& n, Recipe& r) { return read_flag(n, r.compress_weights); }},
    {"equalization", [](const toml::node& n, Recipe& r) { return read_flag(n, r.equalization); }},
    {"smoothing", [](const toml::node& n, Recipe& r) { return read_share(n, r.smoothing); }},
    {"split_channels", [](const toml::node& n, Recipe& r) { return read_share(n, r.split_channels); }},
    {"rounding", [](const toml::node& n, Recipe& r) { return read_choice(n, r.rounding, {"nearest", "gptq", "adaptive"}); }},
    {"keep_first_last", [](const toml::node& n, Recipe& r) { return read_flag(n, r.keep_first_last); }},
    {"noise_budget", [](const toml::node& n, Recipe& r) { return read_share(n, r.noise_budget); }},
    {"prefer", [](const toml::node& n, Recipe& r) { return read_choice(n, r.prefer, {"latency", "size"}); }},
    {"bits", [](const toml::node& n, Recipe& r) { return read_count(n, r.weights.bits); }},
    {"group_size", [](const toml::node& n, Recipe& r) { return read_count(n, r.weights.group_size); }},
    {"symmetric_weights", [](const toml::node& n, Recipe& r) { return read_flag(n, r.weights.symmetric); }},
    {"smooth", [](const toml::node& n, Recipe& r) { return read_flag(n, r.weights.smooth); }},
    {"double_quantization", [](const toml::node& n, Recipe& r) { return read_flag(n, r.weights.double_quantization); }},
    {"scale_type",
     [](const toml::node& n, Recipe& r) -> std::string {
       const std::string expected = read_text(n, r.weights.scale_type);
       if (!expected.empty()) return expected;
       constexpr std::string_view kTypes[] = {"auto", "f16", "bf16", "f32"};
       return std::find(std::begin(kTypes), std::end(kTypes), r.weights.scale_type) != std::end(kTypes) ? "" : "\"auto\", \"f16\", \"bf16\" or \"f32\"";
     }},
    {"damping",
     [](const toml::node& n, Recipe& r) -> std::string {
       const auto value = n.value<double>();
       if (!value || !(*value > 0 && *value <= 1)) return "a number above 0, at most 1";
       r.weights.damping = *value;
       return "";
     }},
    {"bits_per_weight",
     [](const toml::node& n, Recipe& r) -> std::string {
       const auto value = n.value<double>();
       if (!value || !(*value >= 0 && *value <= 16)) return "a number from 0 to 16";
       r.weights.bits_per_weight = *value;
       return "";
     }},
    {"activations",
     [](const toml::node& n, Recipe& r) -> std::string {
       const std::string expected = read_text(n, r.weights.activations);
       if (!expected.empty()) return expected;
       constexpr std::string_view kKinds[] = {"auto", "none", "dynamic", "static"};
       return std::find(std::begin(kKinds), std::end(kKinds), r.weights.activations) != std::end(kKinds) ? "" : "\"auto\", \"none\", \"dynamic\" or \"static\"";
     }},
    {"smoothing",
     [](const toml::node& n, Recipe& r) -> std::string {
       const auto value = n.value<double>();
       if (!value || !(*value >= 0 && *value <= 1)) return "a number from 0 to 1";
       r.weights.smoothing = *value;
       return "";
     }},
    {"samples", [](const toml::node& n, Recipe& r) { return read_count(n, r.samples); }},
    {"context", [](const toml::node& n, Recipe& r) { return read_count(n, r.context); }},
    {"seed", [](const toml::node& n, Recipe& r) { return read_count(n, r.seed); }},
    {"preprocess", [](const toml::node& n, Recipe& r) { return read_text(n, r.preprocess); }},
};

constexpr Key<Rule> kRuleKeys[] = {
    {"name", [](const toml::node& n, Rule& r) { return read_text(n, r.name_pattern); }},
    {"op_type", [](const toml::node& n, Rule& r) { return read_text(n, r.op_type); }},
    {"quantize", [](const toml::node& n, Rule& r) { return read_flag(n, r.quantize); }},
    {"per_channel", [](const toml::node& n, Rule& r) { return read_flag(n, r.per_channel); }},
    {"symmetric_activations", [](const toml::node& n, Rule& r) { return read_flag(n, r.symmetric_activations); }},
    {"activation_type", [](const toml::node& n, Rule& r) { return read_dtype(n, r.activation_type); }},
    {"observer", [](const toml::node& n, Rule& r) { return read_text(n, r.observer); }},
    {"method", [](const toml::node& n, Rule& r) { return read_text(n, r.method); }},
    {"bits", [](const toml::node& n, Rule& r) { return read_count(n, r.bits); }},
    {"group_size", [](const toml::node& n, Rule& r) { return read_count(n, r.group_size); }},
    {"symmetric_weights", [](const toml::node& n, Rule& r) { return read_flag(n, r.symmetric_weights); }},
    {"float_weights",
     [](const toml::node& n, Rule& r) {
       std::string value;
       std::string expected = read_choice(n, value, {"f32", "f16", "s8"});
       if (expected.empty()) r.float_weights = value;
       return expected;
     }},
};

std::string position(const std::string& where, const toml::node& node) {
  return fmt::format("{}:{}", base::escape_controls(where), node.source().begin.line);
}

template <typename Target>
Status read_table(const toml::table& table, std::span<const Key<Target>> keys, const std::string& where,
                  std::string_view also, Target& into) {
  for (const auto& [key, node] : table) {
    if (key.str() == also) continue;
    std::vector<std::string_view> names;
    const Key<Target>* found = nullptr;
    for (const Key<Target>& row : keys) {
      names.push_back(row.name);
      if (row.name == key.str()) found = &row;
    }
    if (found == nullptr) {
      return invalid_argument(fmt::format("{}: there is no key '{}'{}", position(where, node), base::escape_controls(key.str()),
                                          base::did_you_mean(key.str(), names)))
          .hint(fmt::format("keys: {}", fmt::join(names, ", ")));
    }
    const std::string expected = found->read(node, into);
    if (!expected.empty()) return invalid_argument(fmt::format("{}: '{}' should be {}", position(where, node), found->name, expected));
  }
  return {};
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') (out += '\\') += c;
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) out += fmt::format("\\u{:04X}", static_cast<unsigned char>(c));
    else out += c;
  }
  return out + '"';
}

}  // namespace

Result<Recipe> parse_recipe(const std::string& text, const std::string& where) {
  toml::table table;
  try {
    table = toml::parse(text);
  } catch (const toml::parse_error& error) {
    return corrupt(fmt::format("{}:{}: {}", base::escape_controls(where), error.source().begin.line,
                               base::escape_controls(std::string(error.description()))));
  }
  Recipe recipe;
  NARROW_RETURN_IF_ERROR(read_table<Recipe>(table, kRecipeKeys, where, "rule", recipe));
  if (const toml::node* node = table.get("rule")) {
    const toml::array* rules = node->as_array();
    if (rules == nullptr) return invalid_argument(fmt::format("{}: 'rule' should be an array of tables: [[rule]]", position(where, *node)));
    for (const toml::node& entry : *rules) {
      const toml::table* row = entry.as_table();
      if (row == nullptr) return invalid_argument(fmt::format("{}: each rule should be a table: [[rule]]", position(where, entry)));
      Rule rule;
      NARROW_RETURN_IF_ERROR(read_table<Rule>(*row, kRuleKeys, where, "", rule));
      recipe.rules.push_back(std::move(rule));
    }
  }
  return recipe;
}

namespace {

// Only where something differs from the defaults: most recipes are not of weights alone.
std::string weights_to_toml(const WeightRecipe& weights) {
  if (weights == WeightRecipe{}) return "";
  return fmt::format("bits = {}\ngroup_size = {}\nsymmetric_weights = {}\nsmooth = {}\ndouble_quantization = {}\nscale_type = {}\ndamping = {}\nactivations = {}\nsmoothing = {:.4g}\n", weights.bits,
                     weights.group_size, weights.symmetric, weights.smooth, weights.double_quantization, quoted(weights.scale_type), weights.damping, quoted(weights.activations), weights.smoothing) +
         (weights.bits_per_weight == 0 ? "" : fmt::format("bits_per_weight = {}\n", weights.bits_per_weight));
}

// Likewise.
std::string techniques_to_toml(const Recipe& recipe) {
  const Recipe plain;
  std::string out;
  if (recipe.equalization) out += "equalization = true\n";
  if (recipe.smoothing != 0) out += fmt::format("smoothing = {}\n", recipe.smoothing);
  if (recipe.split_channels != 0) out += fmt::format("split_channels = {}\n", recipe.split_channels);
  if (recipe.rounding != plain.rounding) out += fmt::format("rounding = {}\n", quoted(recipe.rounding));
  if (recipe.keep_first_last) out += "keep_first_last = true\n";
  if (recipe.method == "mixed") out += fmt::format("noise_budget = {}\nprefer = {}\n", recipe.noise_budget, quoted(recipe.prefer));
  return out;
}

}  // namespace

std::string to_toml(const Recipe& recipe) {
  std::string out;
  out += fmt::format("method = {}\ntarget = {}\nform = {}\nobserver = {}\npercentile = {}\nper_channel = {}\n",
                     quoted(recipe.method), quoted(recipe.target), quoted(recipe.form), quoted(recipe.observer),
                     std::floor(recipe.percentile) == recipe.percentile ? fmt::format("{:.1f}", recipe.percentile) : fmt::format("{}", recipe.percentile),
                     recipe.per_channel);
  if (recipe.symmetric_activations) out += fmt::format("symmetric_activations = {}\n", *recipe.symmetric_activations);
  if (recipe.activation_type) out += fmt::format("activation_type = \"{}\"\n", to_string(*recipe.activation_type));
  out += fmt::format("keep_io_float = {}\nreduce_range = {}\nbias_correction = {}\ncompress_weights = {}\nsamples = {}\nseed = {}\n",
                     recipe.keep_io_float, recipe.reduce_range, recipe.bias_correction, recipe.compress_weights, recipe.samples, recipe.seed);
  out += techniques_to_toml(recipe);
  out += weights_to_toml(recipe.weights);
  if (recipe.context != 0) out += fmt::format("context = {}\n", recipe.context);
  if (!recipe.preprocess.empty()) out += fmt::format("preprocess = {}\n", quoted(recipe.preprocess));
  for (const Rule& rule : recipe.rules) {
    out += fmt::format("\n[[rule]]\nname = {}\nop_type = {}\n", quoted(rule.name_pattern), quoted(rule.op_type));
    if (rule.quantize) out += fmt::format("quantize = {}\n", *rule.quantize);
    if (rule.per_channel) out += fmt::format("per_channel = {}\n", *rule.per_channel);
    if (rule.symmetric_activations) out += fmt::format("symmetric_activations = {}\n", *rule.symmetric_activations);
    if (rule.activation_type) out += fmt::format("activation_type = \"{}\"\n", to_string(*rule.activation_type));
    if (rule.observer) out += fmt::format("observer = {}\n", quoted(*rule.observer));
    if (rule.method) out += fmt::format("method = {}\n", quoted(*rule.method));
    if (rule.bits) out += fmt::format("bits = {}\n", *rule.bits);
    if (rule.group_size) out += fmt::format("group_size = {}\n", *rule.group_size);
    if (rule.symmetric_weights) out += fmt::format("symmetric_weights = {}\n", *rule.symmetric_weights);
    if (rule.float_weights) out += fmt::format("float_weights = {}\n", quoted(*rule.float_weights));
  }
  return out;
}

}  // namespace narrow::quantizers
