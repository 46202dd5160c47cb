// A llama2.c checkpoint: refused, or every tensor that it promises is there.
#include <cstdlib>

#include "formats/llama2c/llama2c.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace narrow::formats;
  const auto checkpoint = llama2c::Checkpoint::read(nullptr, {data, size}, "fuzz.bin");
  if (!checkpoint.ok()) {
    if (checkpoint.error().to_string().empty()) std::abort();
    return 0;
  }
  for (const std::string& name : checkpoint->names()) {
    const auto tensor = checkpoint->tensor(name);
    if (!tensor.ok() || tensor->bytes() > 4 * size) std::abort();
  }
  if (checkpoint->config_json().empty()) std::abort();
  return 0;
}
