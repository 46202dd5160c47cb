#include "narrow/catalog.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "calibration/observers/observer.h"
#include "datasets/dataset_kinds.h"
#include "datasets/preprocess.h"
#include "formats/format.h"
#include "language/architectures/architectures.h"
#include "language/exports/exports.h"
#include "language/quantize/plan.h"
#include "operators/operator.h"
#include "quantizers/quantizer.h"
#include "targets/target.h"
#include "tokenizers/tokenizer.h"

namespace narrow {
namespace {

using Entries = std::vector<CatalogEntry>;

template <typename Rows>
Entries entries_of(const Rows& rows) {
  Entries entries;
  for (const auto& row : rows) entries.push_back({std::string(row.name), std::string(row.summary)});
  return entries;
}

std::string_view role_name(operators::QuantRole role) {
  switch (role) {
    case operators::QuantRole::kCompute: return "quantized for itself";
    case operators::QuantRole::kFollow: return "quantized with its neighbours";
    case operators::QuantRole::kTransport: return "moves codes unchanged";
    case operators::QuantRole::kActivation: return "folded into the range before it";
    case operators::QuantRole::kNone: break;
  }
  return "stays float";
}

Entries list_operators() {
  Entries entries;
  for (const auto& family : operators::operator_families()) {
    for (const operators::Operator& op : family) {
      const std::string name = op.domain.empty() ? std::string(op.name) : fmt::format("{}.{}", op.domain, op.name);
      entries.push_back({name, fmt::format("{}{}", op.prepare == nullptr && op.run == nullptr ? "typed, not run; " : "",
                                           role_name(op.quant.role))});
    }
  }
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return entries;
}

struct Topic {
  std::string_view name;
  Entries (*list)();
};

Entries list_architectures() {
  Entries entries;
  for (const language::Architecture& row : language::architectures()) entries.push_back({std::string(row.model_type), ""});
  return entries;
}

Entries list_language_formats() {
  Entries entries;
  for (const language::ExportFormat* format : language::export_formats()) entries.push_back({std::string(format->name), std::string(format->summary)});
  return entries;
}

constexpr Topic kTopics[] = {
    {"formats", [] { return entries_of(formats::formats()); }},
    {"methods", [] { return entries_of(quantizers::quantizers()); }},
    {"language-methods", [] { return entries_of(language::language_methods()); }},
    {"language-formats", list_language_formats},
    {"architectures", list_architectures},
    {"targets", [] { return entries_of(targets::targets()); }},
    {"operators", list_operators},
    {"observers", [] { return entries_of(calibration::observers()); }},
    {"datasets", [] { return entries_of(datasets::dataset_kinds()); }},
    {"tokenizers", [] { return entries_of(tokenizers::tokenizer_kinds()); }},
    {"presets", [] { return entries_of(datasets::preset_summaries()); }},
};

}  // namespace

std::vector<std::string_view> catalog_topics() {
  std::vector<std::string_view> names;
  for (const Topic& topic : kTopics) names.push_back(topic.name);
  return names;
}

Result<std::vector<CatalogEntry>> catalog(const std::string& name) {
  for (const Topic& topic : kTopics) {
    if (topic.name == name) return topic.list();
  }
  const auto names = catalog_topics();
  return invalid_argument(fmt::format("there is no list of '{}'{}", name, base::did_you_mean(name, names)));
}

}  // namespace narrow
