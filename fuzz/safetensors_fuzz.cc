// The header of a safetensors file: refused, or entries that tile the file and can be laid out again.
#include <cstdlib>

#include "formats/safetensors/header.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace narrow::formats;
  const auto header = safetensors::parse_header({data, size}, "fuzz.safetensors");
  if (!header.ok()) {
    if (header.error().to_string().empty()) std::abort();
    return 0;
  }
  std::uint64_t at = header->bytes;
  std::vector<TensorSpec> tensors;
  for (const safetensors::Entry& entry : header->entries) {
    if (entry.offset != at || entry.bytes != entry.tensor.bytes() || entry.bytes > size - at) std::abort();
    at += entry.bytes;
    tensors.push_back(entry.tensor);
  }
  if (at != size) std::abort();
  const auto layout = safetensors::make_layout(tensors, header->metadata);
  if (!layout.ok() || layout->file_bytes - layout->header.size() != size - header->bytes) std::abort();
  return 0;
}
