#include "narrow/result.h"

#include "base/text.h"

namespace narrow {

std::string_view to_string(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument: return "invalid argument";
    case ErrorCode::kNotFound: return "not found";
    case ErrorCode::kIo: return "input/output error";
    case ErrorCode::kCorrupt: return "corrupt file";
    case ErrorCode::kUnsupported: return "unsupported";
    case ErrorCode::kResourceExhausted: return "out of resources";
    case ErrorCode::kInternal: return "internal error";
  }
  return "error";
}

std::string Error::to_string() const {
  std::string text(narrow::to_string(code_));
  text += ": " + base::escape_controls(message_);
  for (const std::string& frame : frames_) text += "\n  " + base::escape_controls(frame);
  if (!hint_.empty()) text += "\nhint: " + base::escape_controls(hint_);
  return text;
}

}  // namespace narrow
