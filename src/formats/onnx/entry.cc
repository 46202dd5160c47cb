#include "formats/onnx/entry.h"

#include "formats/onnx/schema.h"

namespace narrow::formats::onnx {

Status read_entry(const wire::ProtoField& message, const char* what, std::string& key, std::string& value) {
  wire::ProtoReader reader(message);
  wire::ProtoField field;
  while (true) {
    NARROW_TRY(const bool more, reader.next(field));
    if (!more) return {};
    if (field.number != entry_field::kKey && field.number != entry_field::kValue) continue;
    NARROW_RETURN_IF_ERROR(wire::expect(field, wire::WireType::kBytes, what));
    (field.number == entry_field::kKey ? key : value) = field.text();
  }
}

}  // namespace narrow::formats::onnx
