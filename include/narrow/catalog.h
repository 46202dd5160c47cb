// What narrow knows, from the same tables it works by.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "narrow/result.h"

namespace narrow {

struct CatalogEntry {
  std::string name;
  std::string summary;
};

// "formats" "methods" "language-methods" "language-formats" "architectures" "targets" "operators" "observers" "datasets" "tokenizers" "presets".
std::vector<std::string_view> catalog_topics();
// Errors: invalid_argument with the nearest topics.
Result<std::vector<CatalogEntry>> catalog(const std::string& topic);

}  // namespace narrow
