#include "operators/strided_copy.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/checked.h"
#include "operators/dispatch.h"

namespace narrow::operators {
namespace {

using Wide = std::array<std::uint64_t, 2>;

// Side of the square that a transposing copy works on: both sides of it stay in the first-level cache.
constexpr std::int64_t kTile = 32;

// Drops loops of one pass and joins neighbours that step as one.
std::vector<StridedAxis> simplify(const std::vector<StridedAxis>& axes) {
  std::vector<StridedAxis> out;
  for (const StridedAxis& axis : axes) {
    if (axis.extent == 1) continue;
    if (!out.empty() && out.back().from == axis.from * axis.extent && out.back().to == axis.to * axis.extent) {
      out.back() = {out.back().extent * axis.extent, axis.from, axis.to};
    } else {
      out.push_back(axis);
    }
  }
  return out;
}

template <typename Word>
void copy_run(const Word* from, Word* to, const StridedAxis& axis) {
  if constexpr (std::is_trivially_copyable_v<Word>) {
    if (axis.from == 1 && axis.to == 1) {
      std::memcpy(to, from, static_cast<std::size_t>(axis.extent) * sizeof(Word));
      return;
    }
  }
  for (std::int64_t i = 0; i < axis.extent; ++i) to[i * axis.to] = from[i * axis.from];
}

template <typename Word>
void copy_square(const Word* from, Word* to, const StridedAxis& rows, const StridedAxis& columns) {
  for (std::int64_t r0 = 0; r0 < rows.extent; r0 += kTile) {
    const std::int64_t r1 = std::min(rows.extent, r0 + kTile);
    for (std::int64_t c0 = 0; c0 < columns.extent; c0 += kTile) {
      const std::int64_t c1 = std::min(columns.extent, c0 + kTile);
      for (std::int64_t r = r0; r < r1; ++r) {
        for (std::int64_t c = c0; c < c1; ++c) to[r * rows.to + c * columns.to] = from[r * rows.from + c * columns.from];
      }
    }
  }
}

template <typename Word>
void copy_words(const Word* from, Word* to, const std::vector<StridedAxis>& given, base::ThreadPool& pool) {
  for (const StridedAxis& axis : given) {
    if (axis.extent <= 0) return;
  }
  std::vector<StridedAxis> axes = simplify(given);
  if (axes.empty()) axes.push_back({1, 1, 1});
  const StridedAxis inner = axes.back();
  axes.pop_back();
  // When neighbours in the source are not neighbours in the destination, copy squares of the two axes.
  StridedAxis rows{1, 0, 0};
  if (inner.to == 1 && inner.from != 1 && inner.from != 0) {
    const auto contiguous = std::find_if(axes.begin(), axes.end(), [](const StridedAxis& a) { return a.from == 1; });
    if (contiguous != axes.end()) {
      rows = *contiguous;
      axes.erase(contiguous);
    }
  }
  // Runs of a few words: a call and a division for each would take longer than the words.
  constexpr std::int64_t kShortRun = 8, kManyRuns = 1 << 16;
  if (rows.extent == 1 && inner.extent <= kShortRun && !axes.empty() && axes.back().extent <= kManyRuns) {
    rows = axes.back();
    axes.pop_back();
  }
  // A transposition of one matrix is shared out by its rows.
  constexpr std::int64_t kBands = 16;
  if (axes.empty() && rows.extent >= kBands * kTile && pool.threads() > 1) {
    const std::int64_t band = (rows.extent / kBands + kTile - 1) / kTile * kTile;
    parallel_ranges(pool, (rows.extent + band - 1) / band, [&](std::int64_t begin, std::int64_t end) {
      const std::int64_t first = begin * band, last = std::min(rows.extent, end * band);
      copy_square(from + first * rows.from, to + first * rows.to, StridedAxis{last - first, rows.from, rows.to}, inner);
    }, band * inner.extent);
    return;
  }
  std::int64_t outer = 1;
  for (const StridedAxis& axis : axes) outer *= axis.extent;
  parallel_ranges(pool, outer, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t index = begin; index < end; ++index) {
      std::int64_t source = 0, target = 0, rest = index;
      for (std::size_t a = axes.size(); a-- > 0 && rest != 0;) {
        const std::int64_t at = rest % axes[a].extent;
        rest /= axes[a].extent;
        source += at * axes[a].from;
        target += at * axes[a].to;
      }
      if (rows.extent == 1) copy_run(from + source, to + target, inner);
      else copy_square(from + source, to + target, rows, inner);
    }
  }, inner.extent * rows.extent);
}

void copy_bytes(const void* from, std::int64_t from_offset, void* to, std::int64_t to_offset, std::size_t bytes,
                const std::vector<StridedAxis>& axes, base::ThreadPool& pool) {
  const auto go = [&]<typename Word>(Word) {
    copy_words(static_cast<const Word*>(from) + from_offset, static_cast<Word*>(to) + to_offset, axes, pool);
  };
  switch (bytes) {
    case 1: go(std::uint8_t{}); break;
    case 2: go(std::uint16_t{}); break;
    case 4: go(std::uint32_t{}); break;
    case 8: go(std::uint64_t{}); break;
    case 16: go(Wide{}); break;
  }
}

}  // namespace

std::vector<std::int64_t> strides_of(const Shape& shape) {
  std::vector<std::int64_t> strides(shape.size(), 1);
  for (std::size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

bool is_packed(DType dtype) { return bits_of(dtype) > 0 && bits_of(dtype) < 8; }

std::vector<std::uint8_t> unpack_codes(const Tensor& tensor) {
  const int bits = bits_of(tensor.dtype()), per_byte = 8 / bits;
  const std::uint8_t* bytes = pointer<std::uint8_t>(tensor);
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(tensor.size()));
  for (std::size_t i = 0; i < codes.size(); ++i) {
    codes[i] = static_cast<std::uint8_t>((bytes[i / per_byte] >> (bits * (i % per_byte))) & ((1 << bits) - 1));
  }
  return codes;
}

void pack_codes(const std::vector<std::uint8_t>& codes, Tensor& tensor) {
  const int bits = bits_of(tensor.dtype()), per_byte = 8 / bits;
  std::uint8_t* bytes = pointer<std::uint8_t>(tensor);
  if (tensor.bytes() != 0) std::memset(bytes, 0, tensor.bytes());
  for (std::size_t i = 0; i < codes.size(); ++i) {
    bytes[i / per_byte] |= static_cast<std::uint8_t>((codes[i] & ((1 << bits) - 1)) << (bits * (i % per_byte)));
  }
}

MovedOutput::MovedOutput(RunContext& context, std::size_t index, DType dtype, Shape shape, Tensor* tensor)
    : context_(&context), index_(index), dtype_(dtype), shape_(std::move(shape)), tensor_(tensor),
      size_(*base::checked_product(shape_)) {
  if (dtype_ == DType::kString) strings_.resize(static_cast<std::size_t>(size_));
  if (is_packed(dtype_)) unpacked_.resize(static_cast<std::size_t>(size_));
}

Result<MovedOutput> MovedOutput::create(RunContext& context, std::size_t index, DType dtype, const Shape& shape) {
  const auto size = base::checked_product(shape);
  // A string takes no bytes by its type, so its number is limited here.
  if (!size || (dtype == DType::kString && *size > (std::int64_t{1} << 28))) {
    return resource_exhausted(fmt::format("an output of shape {} is too large", to_string(shape)));
  }
  Tensor* tensor = nullptr;
  if (dtype != DType::kString) {
    NARROW_TRY(tensor, context.output(index, dtype, shape));
  }
  return MovedOutput(context, index, dtype, shape, tensor);
}

void MovedOutput::copy(const Tensor& source, std::int64_t from, std::int64_t to, std::vector<StridedAxis> axes) {
  base::ThreadPool& pool = context_->pool();
  if (dtype_ == DType::kString) {
    copy_words(source.strings().data() + from, strings_.data() + to, axes, pool);
  } else if (is_packed(dtype_)) {
    const std::vector<std::uint8_t> codes = unpack_codes(source);
    copy_words(codes.data() + from, unpacked_.data() + to, axes, pool);
  } else {
    copy_bytes(source.raw(), from, tensor_->mutable_raw(), to, static_cast<std::size_t>(bits_of(dtype_)) / 8, axes, pool);
  }
}

void MovedOutput::fill(const Tensor* value) {
  if (value != nullptr) {
    copy(*value, 0, 0, {{size_, 0, 1}});
  } else if (dtype_ != DType::kString && !is_packed(dtype_) && tensor_->bytes() != 0) {
    std::memset(tensor_->mutable_raw(), 0, tensor_->bytes());
  }
}

void MovedOutput::finish() {
  if (dtype_ == DType::kString) context_->set_output(index_, Tensor::from_strings(shape_, std::move(strings_)));
  else if (is_packed(dtype_)) pack_codes(unpacked_, *tensor_);
}

}  // namespace narrow::operators
