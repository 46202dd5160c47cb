// config.json of a language model: refused, or sizes that a graph can be planned for.
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

#include "language/architectures/architectures.h"
#include "language/decoder.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace narrow;
  const auto document = wire::parse_json({reinterpret_cast<const char*>(data), size}, "fuzz.json");
  if (!document.ok()) return 0;
  const auto spec = language::read_spec(wire::Fields(*document, "fuzz.json"));
  if (!spec.ok()) {
    if (spec.error().to_string().empty()) std::abort();
    return 0;
  }
  if (spec->layers < 1 || spec->heads < 1 || spec->key_heads < 1 || spec->head_size < 1 || spec->heads % spec->key_heads != 0 || spec->vocabulary < 1) std::abort();
  if (!spec->windows.empty() && static_cast<std::int64_t>(spec->windows.size()) != spec->layers) std::abort();
  for (const std::int64_t layer : {std::int64_t{0}, spec->layers - 1}) {
    if (language::linears_of(*spec, layer).size() != 4) std::abort();
    const language::Rope& rope = spec->rope_of(layer);
    if (rope.dims != 0 && rope.dims < 1 << 12) language::make_angles(rope, 3);
  }
  return 0;
}
