#include "base/text_file.h"

#include "base/mapped_file.h"

namespace narrow::base {

Result<std::string> read_text_file(const std::string& path) {
  NARROW_TRY(const auto file, MappedFile::open(path));
  return std::string(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size());
}

}  // namespace narrow::base
