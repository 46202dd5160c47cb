// MNIST's idx container, plain and gzip.
#include <cstdlib>

#include "datasets/idx.h"
#include "wire/inflate.h"

namespace {

void check(narrow::datasets::ByteSpan bytes) {
  const auto array = narrow::datasets::parse_idx(bytes, "fuzz.idx");
  if (!array.ok()) return;
  std::uint64_t count = 1;
  for (std::int64_t dim : array->shape) count *= static_cast<std::uint64_t>(dim);
  if (count != array->data.size() || array->data.size() > bytes.size()) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::uint64_t kLimit = 1 << 20;
  check({data, size});
  const auto unpacked = narrow::wire::gunzip({data, size}, kLimit, "fuzz.gz");
  if (!unpacked.ok()) return 0;
  if (unpacked->size() > kLimit) std::abort();
  check(*unpacked);
  return 0;
}
