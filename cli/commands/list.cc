#include <fmt/format.h>

#include "../parser.h"
#include "../table.h"
#include "narrow/catalog.h"
#include "narrow/json.h"

namespace narrow::cli {

int list_command(const Arguments& arguments) {
  Parser parser("list", "What narrow knows. Without a topic: the topics.");
  std::string topic;
  Common common;
  parser.app().add_option("TOPIC", topic, "formats, methods, targets, operators, observers, datasets, tokenizers or presets");
  add_common(parser, common);
  parser.examples("  narrow list methods\n  narrow list operators --json");
  if (const auto code = parser.parse(arguments)) return *code;

  if (topic.empty()) {
    for (const std::string_view name : catalog_topics()) print(fmt::format("{}\n", name));
    return kOk;
  }
  const auto entries = catalog(topic);
  if (!entries.ok()) return fail(entries.error());
  if (common.json) {
    print(to_json(*entries));
    return kOk;
  }
  Table table({"", ""});
  for (const CatalogEntry& entry : *entries) table.add({entry.name, entry.summary});
  print(table.render());
  return kOk;
}

}  // namespace narrow::cli
