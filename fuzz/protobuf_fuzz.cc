// The wire reader on arbitrary bytes: every field, descending into those that look like messages. What was read is
// written again and must read the same.
#include <cstdlib>

#include "wire/protobuf.h"

namespace {

using namespace narrow::wire;

constexpr int kMaxDepth = 8;

bool same(const ProtoField& a, const ProtoField& b) {
  return a.number == b.number && a.type == b.type && a.value == b.value && a.text() == b.text();
}

void walk(ByteSpan bytes, int depth) {
  ProtoReader reader(bytes);
  ProtoField field;
  std::vector<ProtoField> fields;
  ProtoMessage copy;
  bool rewritable = true;
  while (true) {
    const auto more = reader.next(field);
    if (!more.ok()) return;
    if (!*more) break;
    fields.push_back(field);
    switch (field.type) {
      case WireType::kVarint: copy.add_int(field.number, field.as_int()); break;
      case WireType::kBytes: copy.add_view(field.number, field.bytes); break;
      default: rewritable = false; break;
    }
    std::vector<std::int64_t> numbers;
    std::vector<float> floats;
    (void)append_varints(field, numbers, "field");
    (void)append_floats(field, floats, "field");
    if (field.type == WireType::kBytes && depth < kMaxDepth) walk(field.bytes, depth + 1);
  }
  if (!rewritable) return;
  const std::string text = copy.to_string();
  if (text.size() != copy.size()) std::abort();
  ProtoReader again({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
  for (const ProtoField& expected : fields) {
    const auto more = again.next(field);
    if (!more.ok() || !*more || !same(field, expected)) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  walk({data, size}, 0);
  return 0;
}
