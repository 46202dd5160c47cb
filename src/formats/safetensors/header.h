// The header of a safetensors file: a length, then JSON that says where each tensor lies in the bytes after it.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/tensor_spec.h"
#include "narrow/result.h"

namespace narrow::formats::safetensors {

struct Entry {
  TensorSpec tensor;
  std::uint64_t offset = 0;  // from the start of the file
  std::uint64_t bytes = 0;
};

struct Header {
  std::vector<Entry> entries;                   // in the order of their bytes
  std::map<std::string, std::string> metadata;  // "__metadata__"
  std::uint64_t bytes = 0;                      // where the tensors start
};

// What the format calls a type ("BF16"); empty when it has no name for it.
std::string_view dtype_name(DType dtype);

// Reads the header at the start of `file`, a whole file. Every rule of the format is checked: names once, known types,
// sizes that match shapes, tensors that cover the rest of the file without gap or overlap. `where` names the file.
// Errors: corrupt; unsupported (a type that has no counterpart here).
Result<Header> parse_header(std::span<const std::uint8_t> file, const std::string& where);

// Lays `tensors` out as the format's own writer does, the widest types first and then by name, so that every tensor is
// aligned to its type. Gives the header's text, padded to 8 bytes, and entries in the order of `tensors`.
// Errors: invalid_argument (a name twice, a type without name, an overflowing shape, a name that is not UTF-8).
struct Layout {
  std::string header;           // the length included: the file's first bytes
  std::vector<Entry> entries;
  std::uint64_t file_bytes = 0;
};
Result<Layout> make_layout(std::span<const TensorSpec> tensors, const std::map<std::string, std::string>& metadata);

}  // namespace narrow::formats::safetensors
