#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "../parser.h"
#include "../table.h"
#include "narrow/array.h"
#include "narrow/data.h"
#include "narrow/json.h"
#include "narrow/kernel_text.h"
#include "narrow/run.h"
#include "narrow/text.h"

namespace narrow::cli {
namespace {

Result<std::vector<NamedArray>> read_inputs(const std::vector<std::string>& given, const ModelInfo& info) {
  std::vector<NamedArray> inputs;
  for (const std::string& text : given) {
    // A single file needs no name when the model has one input; a path may hold '=' itself.
    if (info.inputs.size() == 1 && (text.find('=') == std::string::npos || std::filesystem::exists(text))) {
      NARROW_TRY(Array array, Array::load_npy(text));
      inputs.push_back({info.inputs[0].name, std::move(array)});
      continue;
    }
    auto assignment = parse_assignment(text, "--input");
    if (!assignment.ok()) {
      return std::move(assignment).error().hint(fmt::format("The model has {} inputs: write --input NAME=FILE.npy for each.", info.inputs.size()));
    }
    NARROW_TRY(Array array, Array::load_npy(assignment->second));
    inputs.push_back({assignment->first, std::move(array)});
  }
  return inputs;
}

// Names of outputs may hold anything; a file name may not.
std::string file_name(const std::string& output) {
  std::string name;
  for (const char c : output) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
    name += plain ? c : '_';
  }
  if (name.empty() || name[0] == '.') name.insert(0, "output_");
  return name + ".npy";
}

Status write_outputs(const std::vector<NamedArray>& outputs, const std::vector<std::string>& files,
                     const std::string& folder) {
  for (const std::string& text : files) {
    NARROW_TRY(const auto assignment, parse_assignment(text, "--output"));
    const auto found = std::find_if(outputs.begin(), outputs.end(), [&](const auto& o) { return o.name == assignment.first; });
    if (found == outputs.end()) {
      std::vector<std::string_view> names;
      for (const NamedArray& output : outputs) names.push_back(output.name);
      return invalid_argument(fmt::format("the model has no output '{}'{}", assignment.first, did_you_mean(assignment.first, names)));
    }
    NARROW_RETURN_IF_ERROR(found->array.save_npy(assignment.second));
  }
  if (folder.empty()) return {};
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return io_error(fmt::format("cannot make the folder '{}': {}", folder, error.message()));
  for (const NamedArray& output : outputs) {
    NARROW_RETURN_IF_ERROR(output.array.save_npy((std::filesystem::path(folder) / file_name(output.name)).string()));
  }
  return {};
}

std::string shape_text(const Array& array) {
  std::string text = array.element_type + "[";
  for (std::size_t i = 0; i < array.shape.size(); ++i) text += fmt::format("{}{}", i == 0 ? "" : ",", array.shape[i]);
  return text + "]";
}

void print_outputs(const std::vector<NamedArray>& outputs) {
  Table table({"output", "type", ">min", ">max", ">mean", "first values"});
  for (const NamedArray& output : outputs) {
    const std::vector<double> values = output.array.to_double();
    if (values.empty()) {
      table.add({output.name, shape_text(output.array)});
      continue;
    }
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    double sum = 0;
    for (const double v : values) sum += v;
    std::string first;
    for (std::size_t i = 0; i < std::min<std::size_t>(values.size(), 4); ++i) first += fmt::format("{}{:.5g}", i == 0 ? "" : " ", values[i]);
    if (values.size() > 4) first += " …";
    table.add({output.name, shape_text(output.array), fmt::format("{:.5g}", *low), fmt::format("{:.5g}", *high),
               fmt::format("{:.5g}", sum / static_cast<double>(values.size())), first});
  }
  print(table.render());
}

}  // namespace

int run_command(const Arguments& arguments) {
  Parser parser("run", "Runs a model on inputs from .npy files and says what came out.");
  std::string path, folder;
  std::vector<std::string> given, files;
  bool profile = false;
  Common common;
  parser.require(parser.app().add_option("MODEL", path, "The model to run"), "MODEL");
  parser.require(parser.app().add_option("--input", given, "NAME=FILE.npy, repeated; FILE.npy alone when the model has one input")->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll),
                 "--input");
  parser.app().add_option("--output", files, "NAME=FILE.npy, repeated: write this output")->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  parser.app().add_option("--output-dir", folder, "Write every output to this folder as NAME.npy");
  parser.app().add_flag("--profile", profile, "Show which kernel each node ran and how long it took");
  add_common(parser, common);
  parser.examples("  narrow run model.onnx --input image.npy\n"
                  "  narrow run model.onnx --input x=x.npy --input state=s.npy --output-dir out");
  if (const auto code = parser.parse(arguments)) return *code;

  const auto model = Model::load(path);
  if (!model.ok()) return fail(model.error());
  const auto inputs = read_inputs(given, model->info());
  if (!inputs.ok()) return fail(inputs.error());
  auto session = Session::create(*model, {common.threads, profile});
  if (!session.ok()) return fail(session.error());
  const auto outputs = session->run(*inputs);
  if (!outputs.ok()) return fail(outputs.error());
  if (Status written = write_outputs(*outputs, files, folder); !written.ok()) return fail(written.error());
  if (common.json) print(to_json(*outputs));
  else if (!common.quiet) print_outputs(*outputs);
  if (profile && !common.json) {
    Table table({"node", "operator", "kernel", ">ms"});
    for (const KernelTime& k : session->profile()) table.add({k.node, k.op_type, kernel_and_reason(k).first, fmt::format("{:.3f}", k.ms_per_run)});
    print("\n" + table.render());
  }
  return kOk;
}

}  // namespace narrow::cli
