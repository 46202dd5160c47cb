#include "formats/quantized_weights/layouts.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <new>

namespace narrow::formats {

using encodings::GroupedMatrix;
using encodings::ScaleType;

WeightShape shape_of(const GroupedMatrix& matrix) {
  return {.rows = matrix.rows, .columns = matrix.columns, .bits = matrix.bits, .group_size = matrix.group_size, .scale_type = matrix.scale_type, .symmetric = matrix.symmetric()};
}

std::span<const WeightLayout> weight_layouts() {
  static const std::array kLayouts = {kGptq, kGptqV2, kAwq, kPackQuantized, kIntQuantized, kLlmInt8};
  return kLayouts;
}

const WeightLayout* find_weight_layout(std::string_view name) {
  for (const WeightLayout& layout : weight_layouts()) {
    if (layout.name == name) return &layout;
  }
  return nullptr;
}

Result<Tensor> need_tensor(const WeightSource& source, std::string_view suffix, std::initializer_list<DType> types, int rank) {
  NARROW_TRY(std::optional<Tensor> tensor, source(suffix));
  if (!tensor) return not_found(fmt::format("there is no tensor '{}'", suffix)).hint("Either the checkpoint is incomplete, or its configuration names another quantization method.");
  if (std::find(types.begin(), types.end(), tensor->dtype()) == types.end()) {
    return corrupt(fmt::format("'{}' is of type {}, expected {}", suffix, to_string(tensor->dtype()), to_string(*types.begin())));
  }
  if (tensor->rank() != rank) return corrupt(fmt::format("'{}' has shape {}, expected {} dimensions", suffix, to_string(tensor->shape()), rank));
  return *std::move(tensor);
}

Status expect_shape(const Tensor& tensor, std::string_view suffix, const Shape& shape) {
  if (tensor.shape() == shape) return {};
  return corrupt(fmt::format("'{}' has shape {}, expected {}", suffix, to_string(tensor.shape()), to_string(shape)))
      .hint("The bits or the group size of the checkpoint's configuration may be those of another model.");
}

DType dtype_of(ScaleType type) { return type == ScaleType::kF32 ? DType::kF32 : type == ScaleType::kF16 ? DType::kF16 : DType::kBF16; }

Result<ScaleType> scale_type_of(DType dtype) {
  if (dtype == DType::kF32) return ScaleType::kF32;
  if (dtype == DType::kF16) return ScaleType::kF16;
  if (dtype == DType::kBF16) return ScaleType::kBF16;
  return corrupt(fmt::format("scales are of type {}, expected f16, bf16 or f32", to_string(dtype)));
}

Result<std::vector<float>> read_scales(const Tensor& tensor, std::string_view suffix) {
  std::vector<float> scales = tensor.to_float();
  for (std::size_t i = 0; i < scales.size(); ++i) {
    if (!std::isfinite(scales[i])) return corrupt(fmt::format("'{}' holds {} at {}", suffix, scales[i], i));
  }
  return scales;
}

Tensor scales_tensor(const GroupedMatrix& matrix, bool transposed) {
  const std::int64_t rows = matrix.rows, groups = matrix.groups();
  Tensor tensor = *Tensor::create(dtype_of(matrix.scale_type), transposed ? Shape{groups, rows} : Shape{rows, groups});
  const auto fill = [&]<typename T>(T* out, auto convert) {
    if (!transposed) {
      for (std::size_t i = 0; i < matrix.scales.size(); ++i) out[i] = convert(matrix.scales[i]);
      return;
    }
    for (std::int64_t g = 0; g < groups; ++g) {
      for (std::int64_t n = 0; n < rows; ++n) out[g * rows + n] = convert(matrix.scales[static_cast<std::size_t>(n * groups + g)]);
    }
  };
  switch (matrix.scale_type) {
    case ScaleType::kF32: fill(tensor.mutable_data<float>().data(), [](float v) { return v; }); break;
    case ScaleType::kF16: fill(tensor.mutable_data<base::Float16>().data(), [](float v) { return base::to_float16(v); }); break;
    case ScaleType::kBF16: fill(tensor.mutable_data<base::BFloat16>().data(), [](float v) { return base::to_bfloat16(v); }); break;
  }
  return tensor;
}

void in_parts(std::int64_t count, std::int64_t least, base::ThreadPool* pool, const std::function<void(std::int64_t, std::int64_t)>& body) {
  const std::int64_t parts = pool == nullptr ? 1 : std::clamp<std::int64_t>(count / std::max<std::int64_t>(least, 1), 1, pool->threads() * 4);
  if (parts == 1) return body(0, count);
  pool->parallel_for(static_cast<std::size_t>(parts), [&](std::size_t part, int) {
    const auto p = static_cast<std::int64_t>(part);
    body(count * p / parts, count * (p + 1) / parts);
  });
}

namespace {

constexpr std::int64_t kTile = 16;  // words: a cache line

std::uint32_t load_word(const std::uint8_t* bytes) {
  std::uint32_t word;
  std::memcpy(&word, bytes, 4);
  return word;
}

}  // namespace

void transpose_words(const std::uint8_t* from, std::int64_t rows, std::int64_t columns, std::int64_t row_bytes, std::uint32_t* to, base::ThreadPool* pool) {
  in_parts(base::ceil_div(rows, kTile), 4, pool, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t tile = first; tile < last; ++tile) {
      const std::int64_t row0 = tile * kTile, row1 = std::min(rows, row0 + kTile);
      for (std::int64_t c0 = 0; c0 < columns; c0 += kTile) {
        const std::int64_t c1 = std::min(columns, c0 + kTile);
        for (std::int64_t c = c0; c < c1; ++c) {
          for (std::int64_t r = row0; r < row1; ++r) to[c * rows + r] = load_word(from + r * row_bytes + c * 4);
        }
      }
    }
  });
}

void transpose_words_back(const std::uint32_t* from, std::int64_t rows, std::int64_t columns, std::uint8_t* to, std::int64_t row_bytes, base::ThreadPool* pool) {
  in_parts(base::ceil_div(rows, kTile), 4, pool, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t tile = first; tile < last; ++tile) {
      const std::int64_t row0 = tile * kTile, row1 = std::min(rows, row0 + kTile);
      for (std::int64_t c0 = 0; c0 < columns; c0 += kTile) {
        const std::int64_t c1 = std::min(columns, c0 + kTile);
        for (std::int64_t r = row0; r < row1; ++r) {
          for (std::int64_t c = c0; c < c1; ++c) std::memcpy(to + r * row_bytes + c * 4, from + c * rows + r, 4);
        }
      }
    }
  });
}

Tensor group_index(const OrderedMatrix& weight) {
  Tensor tensor = *Tensor::create(DType::kS32, {weight.matrix.columns});
  const auto out = tensor.mutable_data<std::int32_t>();
  for (std::int64_t j = 0; j < weight.matrix.columns; ++j) {
    const std::int64_t input = weight.order.empty() ? j : weight.order[static_cast<std::size_t>(j)];
    out[static_cast<std::size_t>(input)] = static_cast<std::int32_t>(j / weight.matrix.group_size);
  }
  return tensor;
}

Result<std::vector<std::int32_t>> order_of(const Tensor& group_index, std::int64_t group_size, std::string_view suffix) {
  const auto groups_of = group_index.data<std::int32_t>();
  const auto columns = static_cast<std::int64_t>(groups_of.size());
  const std::int64_t groups = base::ceil_div(columns, group_size);
  std::vector<std::int64_t> filled(static_cast<std::size_t>(groups));
  std::vector<std::int32_t> order(groups_of.size());
  bool natural = true;
  for (std::int64_t input = 0; input < columns; ++input) {
    const std::int64_t g = groups_of[static_cast<std::size_t>(input)];
    if (g < 0 || g >= groups) return corrupt(fmt::format("'{}' puts input {} into group {} of {}", suffix, input, g, groups));
    const std::int64_t place = g * group_size + filled[static_cast<std::size_t>(g)]++;
    if (place >= std::min(columns, (g + 1) * group_size)) {
      return unsupported(fmt::format("'{}' puts more than {} inputs into group {}", suffix, std::min(columns - g * group_size, group_size), g))
          .hint("Only groups of one size are read; the checkpoint's group size may be another one.");
    }
    order[static_cast<std::size_t>(place)] = static_cast<std::int32_t>(input);
    natural = natural && place == input;
  }
  if (natural) order.clear();
  return order;
}

void gather_codes(const std::uint8_t* from, int bits, std::span<const std::int32_t> order, std::uint8_t* to) {
  for (std::size_t i = 0; i < order.size(); ++i) encodings::write_code(to, bits, static_cast<std::int64_t>(i), encodings::read_code(from, bits, order[i]));
}

void scatter_codes(const std::uint8_t* from, int bits, std::span<const std::int32_t> order, std::uint8_t* to) {
  for (std::size_t i = 0; i < order.size(); ++i) encodings::write_code(to, bits, order[i], encodings::read_code(from, bits, static_cast<std::int64_t>(i)));
}

Result<GroupedMatrix> make_matrix(const WeightShape& shape) {
  GroupedMatrix matrix{.rows = shape.rows, .columns = shape.columns, .bits = shape.bits,
                       .group_size = shape.group_size == -1 ? std::max<std::int64_t>(shape.columns, 1) : shape.group_size, .scale_type = shape.scale_type};
  const auto count = base::checked_product(std::array{shape.rows, shape.columns, std::int64_t{8}});
  if (!count || shape.rows <= 0 || shape.columns <= 0 || shape.columns > std::numeric_limits<std::int32_t>::max()) {
    return corrupt(fmt::format("a weight of {} rows and {} columns", shape.rows, shape.columns));
  }
  if (shape.bits != 2 && shape.bits != 3 && shape.bits != 4 && shape.bits != 8) {
    return unsupported(fmt::format("weights of {} bits", shape.bits)).hint("2, 3, 4 and 8 bits are read.");
  }
  if (matrix.group_size <= 0) return corrupt(fmt::format("a group size of {}", shape.group_size));
  try {
    matrix.codes.resize(static_cast<std::size_t>(matrix.rows * matrix.row_bytes()));
  } catch (const std::bad_alloc&) {
    return resource_exhausted(fmt::format("out of memory: a weight of [{},{}] in {} bits", shape.rows, shape.columns, shape.bits));
  }
  return matrix;
}

}  // namespace narrow::formats
