// StringStringEntryProto: the key and value pairs of metadata and of external data.
#pragma once

#include <string>

#include "narrow/result.h"
#include "wire/protobuf.h"

namespace narrow::formats::onnx {

// `what` names the message in errors. Errors: corrupt.
Status read_entry(const wire::ProtoField& message, const char* what, std::string& key, std::string& value);

}  // namespace narrow::formats::onnx
