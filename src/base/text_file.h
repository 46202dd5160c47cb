// A whole file as text.
#pragma once

#include <string>

#include "narrow/result.h"

namespace narrow::base {

// Errors: MappedFile::open's.
Result<std::string> read_text_file(const std::string& path);

}  // namespace narrow::base
