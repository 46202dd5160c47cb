// Pad: constant, reflect, edge and wrap; negative pads cut.
#include <array>
#include <cstring>

#include "base/checked.h"
#include "operators/elementwise.h"
#include "operators/families.h"
#include "operators/strided_copy.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using graph::TypeKind;

enum class Mode { kConstant, kReflect, kEdge, kWrap };

Result<Mode> mode_of(const Node& node) {
  const std::string mode = node.get_string("mode", "constant");
  if (mode == "constant") return Mode::kConstant;
  if (mode == "reflect") return Mode::kReflect;
  if (mode == "edge") return Mode::kEdge;
  if (mode == "wrap") return Mode::kWrap;
  return corrupt(fmt::format("{}: mode is '{}', expected constant, reflect, edge or wrap", where(node), mode));
}

struct Pads {
  std::vector<std::int64_t> before, after;  // per axis of the input
};

Result<Pads> spread(const Node& node, std::span<const std::int64_t> pads, const std::vector<std::int64_t>* axes, int rank) {
  std::vector<int> order;
  if (axes != nullptr) {
    NARROW_TRY(order, normalize_axes(node, *axes, rank));
  } else {
    for (int i = 0; i < rank; ++i) order.push_back(i);
  }
  if (pads.size() != order.size() * 2) {
    return corrupt(fmt::format("{}: pads has {} numbers, expected {} (a beginning and an end for {} axes)", where(node),
                               pads.size(), order.size() * 2, order.size()));
  }
  Pads out{std::vector<std::int64_t>(static_cast<std::size_t>(rank), 0), std::vector<std::int64_t>(static_cast<std::size_t>(rank), 0)};
  for (std::size_t i = 0; i < order.size(); ++i) {
    out.before[order[i]] = pads[i];
    out.after[order[i]] = pads[i + order.size()];
  }
  return out;
}

Result<std::int64_t> padded_size(const Node& node, std::int64_t size, std::int64_t before, std::int64_t after, int axis,
                                 Mode mode) {
  const auto first = base::checked_add(size, before);
  const auto sum = first ? base::checked_add(*first, after) : std::nullopt;
  if (!sum || *sum < 0) {
    return corrupt(fmt::format("{}: pads {} and {} leave no valid size for axis {} of size {}", where(node), before, after,
                               axis, size));
  }
  if (mode != Mode::kConstant && size == 0 && *sum > 0) {
    return corrupt(fmt::format("{}: axis {} has no elements to repeat", where(node), axis));
  }
  return *sum;
}

Status infer_pad(InferContext& context) {
  const Node& node = context.node();
  NARROW_RETURN_IF_ERROR(check_dtype(context, 1, set_of({DType::kS64})));
  NARROW_RETURN_IF_ERROR(check_dtype(context, 3, kIndexTypes));
  NARROW_TRY([[maybe_unused]] const DType dtype, common_dtype(context, std::array<std::size_t, 2>{0, 2}));
  NARROW_TRY(const Mode mode, mode_of(node));
  const Type& x = context.input(0);
  if (x.kind != TypeKind::kTensor) return {};
  Type out = x;
  const auto pads = known_integers(context, 1), axes = known_integers(context, 3);
  if (x.ranked && pads && (axes || !context.has_input(3))) {
    NARROW_TRY(const Pads all, spread(node, *pads, axes ? &*axes : nullptr, x.rank()));
    for (int d = 0; d < x.rank(); ++d) {
      if (all.before[d] == 0 && all.after[d] == 0) continue;
      if (!x.dims[d].known()) {
        out.dims[d] = Dim();
        continue;
      }
      NARROW_TRY(out.dims[d].size, padded_size(node, x.dims[d].size, all.before[d], all.after[d], d, mode));
    }
  } else if (x.ranked) {
    out.dims.assign(x.dims.size(), Dim());
  }
  context.set_output(0, out);
  return {};
}

// Where output position i takes its element from along an axis, or -1 for the constant.
std::int64_t source_of(std::int64_t i, std::int64_t before, std::int64_t size, Mode mode) {
  std::int64_t at = i - before;
  if (at >= 0 && at < size) return at;
  switch (mode) {
    case Mode::kConstant: return -1;
    case Mode::kEdge: return at < 0 ? 0 : size - 1;
    case Mode::kWrap: return ((at % size) + size) % size;
    case Mode::kReflect: {
      if (size == 1) return 0;
      const std::int64_t period = 2 * (size - 1);
      at = ((at % period) + period) % period;
      return at < size ? at : period - at;
    }
  }
  return -1;
}

// Pads axis by axis: each axis of the output is cut into runs that step evenly through the input, so that the copy of
// the middle is one run and a border of one element another.
struct Piece {
  std::int64_t to, from, step, count;
};

std::vector<Piece> pieces_of(std::int64_t out, std::int64_t before, std::int64_t size, Mode mode) {
  std::vector<Piece> pieces;
  // The constant's part is filled beforehand: only the kept middle is a piece.
  const std::int64_t low = mode == Mode::kConstant ? std::max<std::int64_t>(0, before) : 0;
  const std::int64_t high = mode == Mode::kConstant ? std::min(out, before + size) : out;
  for (std::int64_t i = low; i < high;) {
    const std::int64_t from = source_of(i, before, size, mode);
    if (i >= before && from == i - before) {
      const std::int64_t count = std::min(high - i, size - from);
      pieces.push_back({i, from, 1, count});
      i += count;
      continue;
    }
    if (!pieces.empty()) {
      Piece& last = pieces.back();
      const bool border = last.to >= before + size || last.to < before;
      const std::int64_t step = from - (last.from + last.step * (last.count - 1));
      if (border && (last.count == 1 || step == last.step)) {
        last.step = step;
        ++last.count;
        ++i;
        continue;
      }
    }
    pieces.push_back({i, from, 1, 1});
    ++i;
  }
  return pieces;
}

Status run_pad(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  NARROW_TRY(const Mode mode, mode_of(node));
  if (context.input(1).dtype() != DType::kS64) return dtype_error(node, context.input(1).dtype());
  std::vector<std::int64_t> axes;
  if (context.has_input(3)) {
    if (!contains(kIndexTypes, context.input(3).dtype())) return dtype_error(node, context.input(3).dtype());
    axes = context.input(3).to_int64();
  }
  NARROW_TRY(const Pads pads, spread(node, context.input(1).to_int64(), context.has_input(3) ? &axes : nullptr, x.rank()));
  const Tensor* value = context.has_input(2) ? &context.input(2) : nullptr;
  if (value != nullptr && (value->dtype() != x.dtype() || value->size() != 1)) {
    return corrupt(fmt::format("{}: the constant is {} of shape {}, expected one {}", where(node),
                               to_string(value->dtype()), to_string(value->shape()), to_string(x.dtype())));
  }
  Shape shape;
  for (int d = 0; d < x.rank(); ++d) {
    NARROW_TRY(const std::int64_t size, padded_size(node, x.shape()[d], pads.before[d], pads.after[d], d, mode));
    shape.push_back(size);
  }
  NARROW_TRY(MovedOutput out, MovedOutput::create(context, 0, x.dtype(), shape));
  if (mode == Mode::kConstant) out.fill(value);
  const auto from = strides_of(x.shape()), to = strides_of(shape);
  std::vector<std::vector<Piece>> pieces;
  std::int64_t combinations = 1;
  for (int d = 0; d < x.rank(); ++d) {
    pieces.push_back(pieces_of(shape[d], pads.before[d], x.shape()[d], mode));
    combinations *= static_cast<std::int64_t>(pieces.back().size());
  }
  for (std::int64_t c = 0; c < combinations; ++c) {
    std::int64_t rest = c, source = 0, target = 0;
    std::vector<StridedAxis> copy;
    for (int d = 0; d < x.rank(); ++d) {
      const Piece& piece = pieces[d][rest % static_cast<std::int64_t>(pieces[d].size())];
      rest /= static_cast<std::int64_t>(pieces[d].size());
      source += piece.from * from[d];
      target += piece.to * to[d];
      copy.push_back({piece.count, piece.step * from[d], to[d]});
    }
    out.copy(x, source, target, std::move(copy));
  }
  out.finish();
  return {};
}

const std::array kOperators = {
    // Codes move unchanged only where the constant has a code: the quantizer checks input 2 before it relies on this.
    Operator{.name = "Pad", .since = 24, .min_inputs = 2, .max_inputs = 4, .infer = infer_pad, .run = run_pad,
             .quant = kTransportRule},
    Operator{.name = "Pad", .domain = "com.microsoft", .min_inputs = 2, .max_inputs = 3, .infer = infer_pad, .run = run_pad},
};

}  // namespace

std::span<const Operator> pad_operators() { return kOperators; }

}  // namespace narrow::operators
