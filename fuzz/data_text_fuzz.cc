// What users write about data: --preprocess texts (which must round-trip), labels.tsv, and tables of sentence pairs.
#include <cmath>
#include <cstdlib>
#include <string_view>

#include "datasets/labels.h"
#include "datasets/preprocess.h"
#include "datasets/text_table.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto preprocess = narrow::datasets::parse_preprocess(text);
  if (preprocess.ok()) {
    const auto again = narrow::datasets::parse_preprocess(narrow::datasets::to_string(*preprocess));
    if (!again.ok() || *again != *preprocess) std::abort();
  }
  const auto lines = narrow::datasets::parse_labels(text, "fuzz.tsv");
  if (lines.ok()) {
    for (const auto& line : *lines) {
      if (line.path.empty() && !line.label) std::abort();
      if (line.label && *line.label < 0) std::abort();
    }
  }
  const auto pairs = narrow::datasets::parse_scored_pairs(text, "fuzz.csv");
  if (pairs.ok()) {
    for (const auto& pair : *pairs) {
      if (!std::isfinite(pair.score) || pair.line == 0) std::abort();
    }
  } else if (pairs.error().to_string().empty()) {
    std::abort();
  }
  return 0;
}
