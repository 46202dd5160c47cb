// A GGUF file: refused, or every tensor decodes (or says that its type cannot be) and the head can be written again.
#include <cstdlib>

#include "formats/gguf/gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace narrow;
  const auto head = wire::parse_gguf_head({data, size}, "fuzz.gguf");
  if (head.ok()) {
    const auto bytes = wire::gguf_head_bytes(head->metadata, head->tensors);
    if (!bytes.ok()) std::abort();
    const auto again = wire::parse_gguf_head({reinterpret_cast<const std::uint8_t*>(bytes->data()), bytes->size()}, "again.gguf");
    if (!again.ok() || again->tensors.size() != head->tensors.size() || again->metadata.pairs().size() != head->metadata.pairs().size()) std::abort();
    for (const auto& [key, value] : head->metadata.pairs()) {
      (void)head->metadata.whole(key).ok();
      (void)head->metadata.reals(key).ok();
      (void)head->metadata.wholes(key).ok();
      (void)head->metadata.texts(key).ok();
    }
  }
  const auto file = formats::gguf::File::read(nullptr, {data, size}, "fuzz.gguf");
  if (!file.ok()) {
    if (file.error().to_string().empty()) std::abort();
    return 0;
  }
  if (!head.ok()) std::abort();
  for (const auto& entry : file->entries()) {
    const auto tensor = file->tensor(entry.name);
    if (tensor.ok() && tensor->shape() != entry.shape) std::abort();
    if (tensor.ok()) (void)tensor->to_float();
  }
  return 0;
}
