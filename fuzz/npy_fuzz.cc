// .npy bytes: either an error, or a tensor that writes and reads back to the same.
#include <cstdlib>

#include "datasets/npy_tensor.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto tensor = narrow::datasets::tensor_from_npy({data, size}, "fuzz.npy", nullptr);
  if (!tensor.ok()) {
    if (tensor.error().to_string().empty()) std::abort();
    return 0;
  }
  const auto bytes = narrow::datasets::npy_bytes(*tensor);
  if (!bytes.ok()) std::abort();
  const auto again = narrow::datasets::tensor_from_npy({reinterpret_cast<const std::uint8_t*>(bytes->data()), bytes->size()}, "again.npy", nullptr);
  if (!again.ok() || again->shape() != tensor->shape() || again->dtype() != tensor->dtype()) std::abort();
  const auto a = tensor->byte_span(), b = again->byte_span();
  if (!std::equal(a.begin(), a.end(), b.begin(), b.end())) std::abort();
  return 0;
}
