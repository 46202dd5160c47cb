#include "formats/onnx/tensor_reader.h"

#include <fmt/format.h>

#include <cstring>
#include <optional>

#include "base/checked.h"
#include "base/mapped_file.h"
#include "formats/onnx/entry.h"
#include "formats/onnx/schema.h"
#include "formats/onnx/types.h"

namespace narrow::formats::onnx {
namespace {

using wire::ProtoField;
using wire::ProtoReader;
using wire::WireType;

constexpr std::int64_t kMaxRank = 64;

// The typed storage fields.
enum class Storage { kNone, kFloat, kInt32, kString, kInt64, kDouble, kUint64 };

std::optional<Storage> storage_of_field(std::uint32_t number) {
  switch (number) {
    case tensor_field::kFloatData: return Storage::kFloat;
    case tensor_field::kInt32Data: return Storage::kInt32;
    case tensor_field::kStringData: return Storage::kString;
    case tensor_field::kInt64Data: return Storage::kInt64;
    case tensor_field::kDoubleData: return Storage::kDouble;
    case tensor_field::kUint64Data: return Storage::kUint64;
    default: return std::nullopt;
  }
}

Storage storage_of_type(DType dtype) {
  switch (dtype) {
    case DType::kF32: case DType::kC64: return Storage::kFloat;
    case DType::kF64: case DType::kC128: return Storage::kDouble;
    case DType::kS64: return Storage::kInt64;
    case DType::kU64: case DType::kU32: return Storage::kUint64;
    case DType::kString: return Storage::kString;
    case DType::kUndefined: return Storage::kNone;
    default: return Storage::kInt32;
  }
}

WireType element_of(Storage storage) {
  return storage == Storage::kFloat ? WireType::kFixed32 : storage == Storage::kDouble ? WireType::kFixed64 : WireType::kVarint;
}

// Bytes of the tensor that one element of the typed field carries, low bytes first.
std::size_t bytes_per_entry(DType dtype) {
  switch (dtype) {
    case DType::kC64: return 4;
    case DType::kC128: return 8;
    default: return bits_of(dtype) < 8 ? 1 : static_cast<std::size_t>(bits_of(dtype)) / 8;
  }
}

bool aligned(const void* data, DType dtype) {
  const std::size_t width = dtype == DType::kC64 ? 4 : dtype == DType::kC128 ? 8 : std::max(1, bits_of(dtype) / 8);
  return reinterpret_cast<std::uintptr_t>(data) % width == 0;
}

struct Header {
  std::string name, doc;
  Shape dims;
  std::int64_t data_type = 0;
  ProtoField raw;
  bool has_raw = false;
  bool external = false;
  bool segmented = false;
  std::string location, offset, length;
  bool has_offset = false, has_length = false;
  Storage storage = Storage::kNone;  // the non-empty typed field
  bool several = false;
  std::uint64_t entries = 0;
};

Status read_external_entry(const ProtoField& message, Header& header) {
  std::string key, value;
  NARROW_RETURN_IF_ERROR(read_entry(message, "external_data entry", key, value));
  if (key == "location") {
    header.location = value;
  } else if (key == "offset") {
    header.offset = value;
    header.has_offset = true;
  } else if (key == "length") {
    header.length = value;
    header.has_length = true;
  }
  return {};  // checksum and unknown keys say nothing that is needed to read
}

Result<Header> read_header(const ProtoField& message) {
  Header header;
  ProtoReader reader(message);
  ProtoField field;
  while (true) {
    NARROW_TRY(const bool more, reader.next(field));
    if (!more) break;
    switch (field.number) {
      case tensor_field::kDims: NARROW_RETURN_IF_ERROR(wire::append_varints(field, header.dims, "TensorProto.dims")); break;
      case tensor_field::kDataType:
        NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kVarint, "TensorProto.data_type"));
        header.data_type = field.as_int();
        break;
      case tensor_field::kSegment: header.segmented = true; break;
      case tensor_field::kName:
        NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kBytes, "TensorProto.name"));
        header.name = field.text();
        break;
      case tensor_field::kDoc:
        NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kBytes, "TensorProto.doc_string"));
        header.doc = field.text();
        break;
      case tensor_field::kRawData:
        NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kBytes, "TensorProto.raw_data"));
        header.raw = field;
        header.has_raw = true;
        break;
      case tensor_field::kExternalData:
        NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kBytes, "TensorProto.external_data"));
        NARROW_RETURN_IF_ERROR(read_external_entry(field, header));
        break;
      case tensor_field::kDataLocation:
        NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kVarint, "TensorProto.data_location"));
        header.external = field.value == 1;
        break;
      default: {
        const auto storage = storage_of_field(field.number);
        if (!storage) break;
        std::uint64_t count = 1;
        if (*storage == Storage::kString) {
          NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kBytes, "TensorProto.string_data"));
        } else {
          NARROW_TRY(count, wire::count_elements(field, element_of(*storage), "TensorProto typed data"));
        }
        if (count == 0) break;
        header.several = header.several || (header.storage != Storage::kNone && header.storage != *storage);
        header.storage = *storage;
        header.entries += count;
      }
    }
  }
  return header;
}

// Bytes other than 0 and 1 would be undefined behaviour in a C++ bool.
bool has_odd_bools(wire::ByteSpan bytes) {
  for (std::uint8_t byte : bytes) {
    if (byte > 1) return true;
  }
  return false;
}

Result<Tensor> from_raw(const Header& header, DType dtype, wire::ByteSpan raw, const std::shared_ptr<const void>& owner) {
  if (aligned(raw.data(), dtype) && !(dtype == DType::kBool && has_odd_bools(raw))) {
    return Tensor::from_shared(dtype, header.dims, owner, raw.data());
  }
  NARROW_TRY(Tensor tensor, Tensor::create(dtype, header.dims));
  auto* out = static_cast<std::uint8_t*>(tensor.mutable_raw());
  if (!raw.empty()) std::memcpy(out, raw.data(), raw.size());
  if (dtype == DType::kBool) {
    for (std::size_t i = 0; i < raw.size(); ++i) out[i] = raw[i] != 0;
  }
  constexpr std::size_t kWorthReleasing = 1 << 18;  // bytes: not both the file's pages and the copy
  if (raw.size() >= kWorthReleasing) base::MappedFile::release_if_mapped(raw);
  return tensor;
}

Result<Tensor> from_external(const Header& header, DType dtype, std::uint64_t bytes, const TensorSource& source) {
  const auto where = [&](const char* what) { return fmt::format("tensor '{}': external data {}", header.name, what); };
  if (header.has_raw && !header.raw.bytes.empty()) return corrupt(fmt::format("tensor '{}' is stored both in the model and outside it", header.name));
  if (header.location.empty()) return corrupt(where("has no location"));
  if (source.external == nullptr) return unsupported(where("cannot be read here"));
  std::uint64_t offset = 0, length = bytes;
  if (header.has_offset) { NARROW_TRY(offset, parse_decimal(header.offset, where("offset"))); }
  if (header.has_length) { NARROW_TRY(length, parse_decimal(header.length, where("length"))); }
  if (length != bytes) {
    return corrupt(fmt::format("{} is {}, but {}{} needs {} bytes", where("length"), length,
                               narrow::to_string(dtype), narrow::to_string(header.dims), bytes));
  }
  NARROW_TRY(const auto file, source.external->open(header.location, header.name));
  const auto end = base::checked_add(offset, length);
  if (!end || *end > file->bytes().size()) {
    return corrupt(fmt::format("tensor '{}' needs bytes {} to {} of '{}', which has {}", header.name, offset,
                               end ? fmt::format("{}", *end) : "overflow", file->path(), file->bytes().size()))
        .hint("The data file is cut off or belongs to another model.");
  }
  return from_raw(header, dtype, file->bytes().subspan(offset, length), file);
}

Result<Tensor> from_typed(const Header& header, DType dtype, const ProtoField& message) {
  NARROW_TRY(Tensor tensor, Tensor::create(dtype, header.dims));
  auto* out = static_cast<std::uint8_t*>(tensor.mutable_raw());
  const std::size_t width = bytes_per_entry(dtype);
  ProtoReader reader(message);
  ProtoField field;
  while (true) {
    NARROW_TRY(const bool more, reader.next(field));
    if (!more) break;
    if (storage_of_field(field.number) != header.storage) continue;
    wire::for_each_element(field, element_of(header.storage), [&](std::uint64_t value) {
      if (dtype == DType::kBool) value = value != 0;
      for (std::size_t i = 0; i < width; ++i) *out++ = static_cast<std::uint8_t>(value >> (8 * i));
    });
  }
  return tensor;
}

Result<Tensor> from_strings(const Header& header, std::int64_t count, const ProtoField& message) {
  if (header.entries != static_cast<std::uint64_t>(count)) {
    return corrupt(fmt::format("tensor '{}' has {} strings, but its shape {} needs {}", header.name, header.entries,
                               narrow::to_string(header.dims), count));
  }
  std::vector<std::string> strings;
  ProtoReader reader(message);
  ProtoField field;
  while (true) {
    NARROW_TRY(const bool more, reader.next(field));
    if (!more) break;
    if (field.number == tensor_field::kStringData) strings.emplace_back(field.text());
  }
  return Tensor::from_strings(header.dims, std::move(strings));
}

Result<Tensor> read_body(const Header& header, const ProtoField& message, const TensorSource& source) {
  const auto dtype = dtype_from_onnx(header.data_type);
  if (!dtype) {
    if (header.data_type == 0) return corrupt(fmt::format("tensor '{}' has no element type", header.name));
    return unsupported(fmt::format("tensor '{}' has the element type {}, which is not known", header.name, header.data_type));
  }
  if (header.segmented) return unsupported(fmt::format("tensor '{}' is stored in segments, which no exporter writes", header.name));
  if (static_cast<std::int64_t>(header.dims.size()) > kMaxRank) {
    return corrupt(fmt::format("tensor '{}' has {} dimensions, at most {} are read", header.name, header.dims.size(), kMaxRank));
  }
  const auto count = base::checked_product(header.dims);
  const auto bytes = count ? storage_bytes(*dtype, *count) : std::nullopt;
  if (!bytes) {
    return corrupt(fmt::format("tensor '{}' has the impossible shape {}: a dimension is negative or the size overflows",
                               header.name, narrow::to_string(header.dims)));
  }
  const bool raw = header.has_raw && !header.raw.bytes.empty();
  if (header.several || (raw && header.storage != Storage::kNone)) {
    return corrupt(fmt::format("tensor '{}' stores its data in more than one field", header.name));
  }
  if (*dtype == DType::kString) {
    if (raw || header.external) return corrupt(fmt::format("tensor '{}' holds strings, which cannot be raw or external data", header.name));
    return from_strings(header, *count, message);
  }
  if (header.external) return from_external(header, *dtype, *bytes, source);
  if (header.storage == Storage::kNone) {
    if (header.raw.bytes.size() != *bytes) {
      return corrupt(fmt::format("tensor '{}' holds {} bytes, but {}{} needs {}", header.name, header.raw.bytes.size(),
                                 narrow::to_string(*dtype), narrow::to_string(header.dims), *bytes));
    }
    return from_raw(header, *dtype, header.raw.bytes, source.owner);
  }
  if (header.storage != storage_of_type(*dtype)) {
    return corrupt(fmt::format("tensor '{}' stores {} elements in a field of another type", header.name, narrow::to_string(*dtype)));
  }
  const std::uint64_t entries = *bytes / bytes_per_entry(*dtype);
  if (header.entries != entries) {
    return corrupt(fmt::format("tensor '{}' holds {} entries, but {}{} needs {}", header.name, header.entries,
                               narrow::to_string(*dtype), narrow::to_string(header.dims), entries));
  }
  return from_typed(header, *dtype, message);
}

}  // namespace

Result<NamedTensor> read_tensor(const ProtoField& message, const TensorSource& source) {
  NARROW_TRY(Header header, read_header(message));
  NARROW_TRY(Tensor tensor, read_body(header, message, source));
  return NamedTensor{std::move(header.name), std::move(header.doc), std::move(tensor)};
}

Result<NamedTensor> read_sparse_tensor(const ProtoField& message, const TensorSource& source) {
  std::optional<NamedTensor> values, indices;
  Shape dims;
  ProtoReader reader(message);
  ProtoField field;
  while (true) {
    NARROW_TRY(const bool more, reader.next(field));
    if (!more) break;
    if (field.number == sparse_field::kDims) {
      NARROW_RETURN_IF_ERROR(wire::append_varints(field, dims, "SparseTensorProto.dims"));
    } else if (field.number == sparse_field::kValues || field.number == sparse_field::kIndices) {
      NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kBytes, "SparseTensorProto"));
      NARROW_TRY(NamedTensor tensor, read_tensor(field, source));
      (field.number == sparse_field::kValues ? values : indices) = std::move(tensor);
    }
  }
  if (!values || !indices) return corrupt("a sparse tensor lacks its values or indices");
  const auto fail = [&](const std::string& why) { return corrupt(fmt::format("sparse tensor '{}' {}", values->name, why)); };
  const std::int64_t stored = values->tensor.size();
  const auto rank = static_cast<std::int64_t>(dims.size());
  const auto count = base::checked_product(dims);
  if (!count || rank == 0 || rank > kMaxRank) return fail(fmt::format("has the impossible shape {}", narrow::to_string(dims)));
  const Shape& listed = indices->tensor.shape();
  const bool linear = listed.size() == 1 && listed[0] == stored;
  const bool coordinates = listed.size() == 2 && listed[0] == stored && listed[1] == rank;
  const DType dtype = values->tensor.dtype();
  if (values->tensor.rank() != 1 || indices->tensor.dtype() != DType::kS64 || !(linear || coordinates)) {
    return fail(fmt::format("has {} values and indices of shape {}", stored, narrow::to_string(listed)));
  }
  if (dtype == DType::kString || bits_of(dtype) < 8) return unsupported(fmt::format("sparse tensor '{}' has elements of type {}", values->name, narrow::to_string(dtype)));
  const auto bytes = storage_bytes(dtype, *count);
  constexpr std::uint64_t kAlwaysDense = std::uint64_t{64} << 20;
  if (!bytes || (*bytes > kAlwaysDense && *bytes / 1024 > message.bytes.size())) {
    return resource_exhausted(fmt::format("sparse tensor '{}' of shape {} is too large to store densely", values->name, narrow::to_string(dims)));
  }
  NARROW_TRY(Tensor dense, Tensor::create(dtype, dims));
  const std::size_t width = static_cast<std::size_t>(bits_of(dtype)) / 8;
  const auto* index = indices->tensor.data<std::int64_t>().data();
  const auto* from = static_cast<const std::uint8_t*>(values->tensor.raw());
  auto* to = static_cast<std::uint8_t*>(dense.mutable_raw());
  for (std::int64_t i = 0; i < stored; ++i) {
    std::int64_t position = linear ? index[i] : 0;
    for (std::int64_t d = 0; coordinates && d < rank; ++d) {
      const std::int64_t c = index[i * rank + d];
      if (c < 0 || c >= dims[d]) return fail(fmt::format("has the index {} in dimension {} of {}", c, d, dims[d]));
      position = position * dims[d] + c;
    }
    if (position < 0 || position >= *count) return fail(fmt::format("has the index {} of {}", position, *count));
    std::memcpy(to + static_cast<std::size_t>(position) * width, from + static_cast<std::size_t>(i) * width, width);
  }
  return NamedTensor{std::move(values->name), std::move(values->doc), std::move(dense)};
}

}  // namespace narrow::formats::onnx
