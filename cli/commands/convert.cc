#include <fmt/format.h>

#include "../language.h"
#include "../parser.h"
#include "../table.h"
#include "narrow/evaluate.h"
#include "narrow/json.h"
#include "narrow/model.h"
#include "narrow/text.h"

namespace narrow::cli {

int convert_command(const Arguments& arguments) {
  Parser parser("convert", "Reads a model and writes it again, in the format that the new name's extension says.");
  std::string input, output, format;
  Common common;
  parser.require(parser.app().add_option("IN", input, "The model to read"), "IN, the model to read,");
  parser.require(parser.app().add_option("OUT", output, "The file to write"), "OUT, the file to write,");
  parser.app().add_option("--format", format, "Language models: what is written; see `narrow list language-formats`");
  add_common(parser, common);
  parser.examples("  narrow convert old.onnx new.onnx      lifts an old operator set and packs the tensors\n"
                  "  narrow convert llama-awq llama.onnx --format onnx");
  if (const auto code = parser.parse(arguments)) return *code;
  if (LanguageModel::recognises(input)) return convert_language_command(input, output, format, common);

  const auto model = Model::load(input);
  if (!model.ok()) return fail(model.error());
  if (Status saved = model->save(output); !saved.ok()) return fail(saved.error());
  if (Status same = verify_written(output, *model); !same.ok()) return fail(same.error());
  const auto written = Model::load(output);
  if (!written.ok()) return fail(written.error());
  const ModelInfo before = model->info(), after = written->info();
  if (common.json) {
    print(to_json(after));
  } else if (!common.quiet) {
    print(fmt::format("{}: {} {}, {}\n", escape_controls(output), after.format, human_bytes(after.size_bytes),
                      before.size_bytes == after.size_bytes ? "the size it had"
                                                            : fmt::format("from {}", human_bytes(before.size_bytes))));
  }
  return kOk;
}

}  // namespace narrow::cli
