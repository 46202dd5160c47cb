// ZIP archives and the arrays in them: every entry either fails or has the bytes that its size and checksum promise.
#include <cstdlib>

#include "datasets/npy_tensor.h"
#include "wire/zip.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto zip = narrow::wire::ZipReader::open({data, size}, "fuzz.npz");
  if (!zip.ok()) return 0;
  for (const narrow::wire::ZipEntry& entry : zip->entries()) {
    const auto content = zip->read(entry, std::uint64_t{1} << 22);
    if (!content.ok()) continue;
    if (content->bytes.size() != entry.size || narrow::wire::crc32_of(content->bytes) != entry.crc) std::abort();
    const auto tensor = narrow::datasets::tensor_from_npy(content->bytes, entry.name, nullptr);
    if (tensor.ok() && tensor->bytes() > content->bytes.size()) std::abort();
  }
  return 0;
}
