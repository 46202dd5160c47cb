// Tensors whose bytes lie in other files. Paths come from the model, so each is confined before it is opened.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "narrow/result.h"

namespace narrow::formats::onnx {

class ExternalData {
 public:
  // `folder` is the model's own ("" when the model did not come from a file: every location is refused).
  ExternalData(std::string folder, std::vector<std::string> allowed_roots)
      : folder_(std::move(folder)), allowed_roots_(std::move(allowed_roots)) {}

  // The mapped file behind a location. Relative, without "..", inside the folder or an allowed root once symbolic links
  // are resolved. Errors: corrupt (a location that leaves those), not_found, io. `tensor` names the reader.
  Result<std::shared_ptr<const base::MappedFile>> open(const std::string& location, const std::string& tensor);

  std::vector<std::string> paths() const;  // of the files opened

 private:
  std::string folder_;
  std::vector<std::string> allowed_roots_;
  std::map<std::string, std::shared_ptr<const base::MappedFile>> open_;  // by location
};

// A decimal number without sign, spaces or exponent. Errors: corrupt. `what` names it.
Result<std::uint64_t> parse_decimal(std::string_view text, const std::string& what);

}  // namespace narrow::formats::onnx
