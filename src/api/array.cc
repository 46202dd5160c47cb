#include "narrow/array.h"

#include <fmt/format.h>

#include "api/model_impl.h"
#include "base/atomic_file.h"
#include "base/checked.h"
#include "base/mapped_file.h"
#include "datasets/npy_tensor.h"

namespace narrow {

Result<Tensor> to_tensor(const Array& array) {
  const std::optional<DType> dtype = parse_dtype(array.element_type);
  if (!dtype || bits_of(*dtype) == 0) {
    return invalid_argument(fmt::format("'{}' is not an element type, expected one such as 'f32' or 's64'", array.element_type));
  }
  NARROW_TRY(Tensor tensor, Tensor::create(*dtype, array.shape));
  if (tensor.bytes() != array.bytes.size()) {
    return invalid_argument(fmt::format("an array of {}{} needs {} bytes, found {}", array.element_type,
                                        to_string(array.shape), tensor.bytes(), array.bytes.size()));
  }
  if (!array.bytes.empty()) std::memcpy(tensor.mutable_raw(), array.bytes.data(), array.bytes.size());
  return tensor;
}

Array to_array(const Tensor& tensor) {
  Array array{std::string(to_string(tensor.dtype())), tensor.shape(), {}};
  if (bits_of(tensor.dtype()) != 0) array.bytes.assign(tensor.byte_span().begin(), tensor.byte_span().end());
  return array;
}

std::int64_t Array::size() const { return base::checked_product(shape).value_or(0); }

std::vector<double> Array::to_double() const {
  std::vector<double> values;
  const Result<Tensor> tensor = to_tensor(*this);
  if (!tensor.ok()) return values;
  values.reserve(static_cast<std::size_t>(tensor->size()));
  for (std::int64_t i = 0; i < tensor->size(); ++i) values.push_back(tensor->at_as_double(i));
  return values;
}

Result<Array> Array::load_npy(const std::string& path) {
  NARROW_TRY(const std::shared_ptr<const base::MappedFile> file, base::MappedFile::open(path));
  NARROW_TRY(const Tensor tensor, datasets::tensor_from_npy(file->bytes(), path, file));
  return to_array(tensor);
}

Status Array::save_npy(const std::string& path) const {
  if (element_type == to_string(DType::kString)) {
    return unsupported(fmt::format("'{}' is not written: an array of strings has no .npy form that narrow writes", path));
  }
  auto tensor = to_tensor(*this);
  if (!tensor.ok()) return std::move(tensor).error().context(fmt::format("while writing '{}'", path));
  auto bytes = datasets::npy_bytes(*tensor);
  if (!bytes.ok()) return std::move(bytes).error().context(fmt::format("while writing '{}'", path));
  return base::write_file(path, *bytes);
}

}  // namespace narrow
