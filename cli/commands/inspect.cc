#include <fmt/format.h>

#include <map>

#include "../language.h"
#include "../parser.h"
#include "../table.h"
#include "narrow/json.h"
#include "narrow/model.h"
#include "narrow/text.h"

namespace narrow::cli {
namespace {

constexpr std::size_t kMaxNotes = 12;

std::string describe_opsets(const ModelInfo& info) {
  std::string text;
  for (const auto& [domain, version] : info.opsets) {
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", domain.empty() ? "ai.onnx" : domain, version);
  }
  return text;
}

void print_tensors(const char* title, const std::vector<TensorInfo>& tensors) {
  Table table({"", ""});
  for (const TensorInfo& tensor : tensors) table.add({tensor.name, tensor.type});
  print(fmt::format("{}\n{}", title, table.render()));
}

void print_plan(const std::vector<LayerPlan>& plan, const std::string& target, bool all) {
  std::uint64_t parameters = 0, quantizable = 0;
  std::size_t layers = 0;
  std::map<std::pair<std::string, std::string>, std::vector<const LayerPlan*>> reasons;
  for (const LayerPlan& layer : plan) {
    parameters += layer.parameters;
    if (layer.quantizable) {
      quantizable += layer.parameters;
      ++layers;
    } else {
      reasons[{layer.op_type, layer.reason}].push_back(&layer);
    }
  }
  print(fmt::format("\nfor target {}: {} of {} could be quantized", target, layers, plural(plan.size(), "layer")));
  if (parameters != 0) {
    print(fmt::format(", {:.1f} % of the parameters", 100.0 * static_cast<double>(quantizable) / static_cast<double>(parameters)));
  }
  print("\n");
  Table table({"stays float", ">layers", ">parameters", "why"});
  for (const auto& [key, group] : reasons) {
    if (all) {
      for (const LayerPlan* layer : group) {
        table.add({fmt::format("{} ({})", layer->node, layer->op_type), "1", count_text(static_cast<double>(layer->parameters)), key.second});
      }
      continue;
    }
    double sum = 0;
    for (const LayerPlan* layer : group) sum += static_cast<double>(layer->parameters);
    table.add({key.first, std::to_string(group.size()), count_text(sum), key.second});
  }
  if (!table.empty()) print(table.render());
}

void print_info(const ModelInfo& info) {
  print(fmt::format("{}: {}, IR {}, opset {}{}\n", escape_controls(info.path), info.format, info.ir_version,
                    escape_controls(describe_opsets(info)),
                    info.producer.empty() ? "" : fmt::format(", made by {}", escape_controls(info.producer))));
  print(fmt::format("{}, {} parameters, {} multiply-adds, {}{}\n\n", human_bytes(info.size_bytes),
                    count_text(static_cast<double>(info.parameters)), count_text(static_cast<double>(info.multiply_adds)),
                    plural(info.nodes, "node"), info.quantized ? ", already quantized" : ""));
  print_tensors("inputs", info.inputs);
  print_tensors("outputs", info.outputs);

  Table operators({"operators", ">count"});
  for (const OperatorCount& op : info.operators) {
    operators.add({(op.domain.empty() ? "" : op.domain + ".") + op.op_type, std::to_string(op.count)});
  }
  print("\n" + operators.render());
  Table sizes({"bytes", ">size", ">tensors"});
  for (const SizeClass& s : info.sizes) {
    sizes.add({s.name, human_bytes(s.bytes), s.tensors == 0 ? "" : std::to_string(s.tensors)});
  }
  print("\n" + sizes.render());
}

}  // namespace

int inspect_command(const Arguments& arguments) {
  Parser parser("inspect", "Shows what a model consists of and what could be quantized for a target, and what not and why.");
  std::string path, target = "onnxruntime";
  bool layers = false;
  Common common;
  parser.require(parser.app().add_option("MODEL", path, "The model to read"), "MODEL");
  parser.app().add_option("--target", target, "The runtime to plan for (default: onnxruntime); see `narrow list targets`");
  parser.app().add_flag("--layers", layers, "List every layer that stays float, not groups of them");
  add_common(parser, common);
  parser.examples("  narrow inspect model.onnx\n  narrow inspect model.onnx --target tensorrt --json");
  if (const auto code = parser.parse(arguments)) return *code;
  if (LanguageModel::recognises(path)) return inspect_language_command(path, common);

  const auto model = Model::load(path);
  if (!model.ok()) return fail(model.error());
  const ModelInfo info = model->info();
  const auto plan = model->plan_for(target);
  if (!plan.ok()) return fail(plan.error());
  if (common.json) {
    print(to_json(info, *plan, target));
    return kOk;
  }
  print_info(info);
  if (!info.quantized) print_plan(*plan, target, layers);
  if (!info.recipe.empty()) print(fmt::format("\nrecipe that made it\n{}\n", info.recipe));
  for (std::size_t i = 0; i < info.notes.size() && !common.quiet; ++i) {
    if (i == kMaxNotes) {
      print(fmt::format("note: and {} more; --json has all\n", info.notes.size() - i));
      break;
    }
    print(fmt::format("{}note: {}\n", i == 0 ? "\n" : "", escape_controls(info.notes[i])));
  }
  return kOk;
}

}  // namespace narrow::cli
