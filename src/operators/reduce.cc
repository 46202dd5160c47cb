// Reductions over axes. Sums of floats are kept in double (or in f32 lanes that are never longer than a run of the
// innermost dimension), so that they do not depend on how work is shared; integers wrap.
#include <array>
#include <cmath>
#include <limits>

#include "operators/elementwise.h"
#include "operators/families.h"
#include "operators/strided_copy.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using graph::TypeKind;

// ---- the functions --------------------------------------------------------------------------------------------------
// State: what is carried; start(); step(state, x); finish(state, count) in the type that is stored.

template <typename C>
using Wide = std::conditional_t<std::is_floating_point_v<C>, double, std::conditional_t<std::is_signed_v<C>, std::int64_t, std::uint64_t>>;

// a + b and a * b that wrap for integers.
template <typename W>
W plus(W a, W b) {
  if constexpr (std::is_integral_v<W>) return static_cast<W>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
  else return a + b;
}
template <typename W>
W times(W a, W b) {
  if constexpr (std::is_integral_v<W>) return static_cast<W>(static_cast<std::uint64_t>(a) * static_cast<std::uint64_t>(b));
  else return a * b;
}
template <typename W>
W magnitude(W a) { return a < 0 ? times(a, W(-1)) : a; }

template <typename C>
struct Sum {
  using State = Wide<C>;
  static State start() { return 0; }
  static State step(State s, C x) { return plus<State>(s, x); }
  static C finish(State s, std::int64_t) { return static_cast<C>(s); }
};
template <typename C>
struct Mean : Sum<C> {
  // Integers towards zero; the mean of nothing is NaN, and 0 for integers.
  static C finish(Wide<C> s, std::int64_t count) {
    if constexpr (std::is_integral_v<C>) return count == 0 ? C{0} : static_cast<C>(s / static_cast<Wide<C>>(count));
    else return static_cast<C>(s / static_cast<double>(count));
  }
};
template <typename C>
struct SumSquare : Sum<C> {
  static Wide<C> step(Wide<C> s, C x) { return plus<Wide<C>>(s, times<Wide<C>>(x, x)); }
};
template <typename C>
struct L1 : Sum<C> {
  static Wide<C> step(Wide<C> s, C x) { return plus<Wide<C>>(s, magnitude<Wide<C>>(x)); }
};
template <typename C>
struct L2 : SumSquare<C> {
  static C finish(Wide<C> s, std::int64_t) { return static_cast<C>(std::sqrt(static_cast<double>(s))); }
};
// The logarithm of an integer sum below 1 has no integer: the smallest one stands for minus infinity.
template <typename C>
C logarithm(double v) {
  const double log = std::log(v);
  if constexpr (std::is_integral_v<C>) return std::isfinite(log) ? static_cast<C>(log) : std::numeric_limits<C>::min();
  else return static_cast<C>(log);
}
template <typename C>
struct LogSum : Sum<C> {
  static C finish(Wide<C> s, std::int64_t) { return logarithm<C>(static_cast<double>(s)); }
};
// Relative to the largest so far, so that no exponential overflows.
template <typename C>
struct LogSumExp {
  struct State { double largest, sum; };
  static State start() { return {-std::numeric_limits<double>::infinity(), 0}; }
  static State step(State s, C x) {
    const double v = static_cast<double>(x);
    if (v == -std::numeric_limits<double>::infinity()) return s;
    if (v == std::numeric_limits<double>::infinity()) return {v, 1};
    if (s.largest == std::numeric_limits<double>::infinity()) return v != v ? State{v, v} : s;
    if (v <= s.largest) return {s.largest, s.sum + std::exp(v - s.largest)};
    return {v, s.sum * std::exp(s.largest - v) + 1};
  }
  static C finish(State s, std::int64_t) {
    if constexpr (std::is_integral_v<C>) return s.sum == 0 ? std::numeric_limits<C>::min() : static_cast<C>(s.largest + std::log(s.sum));
    else return static_cast<C>(s.sum == 0 ? s.largest : s.largest + std::log(s.sum));
  }
};
template <typename C>
struct Product {
  using State = Wide<C>;
  static State start() { return 1; }
  static State step(State s, C x) { return times<State>(s, x); }
  static C finish(State s, std::int64_t) { return static_cast<C>(s); }
};
// NaN wins; the largest of nothing is the smallest number there is.
template <typename C>
struct Max {
  using State = C;
  static State start() {
    if constexpr (std::is_floating_point_v<C>) return -std::numeric_limits<C>::infinity();
    else return std::numeric_limits<C>::lowest();
  }
  static State step(State s, C x) { return x > s || x != x ? x : s; }
  static C finish(State s, std::int64_t) { return s; }
};
template <typename C>
struct Min {
  using State = C;
  static State start() {
    if constexpr (std::is_floating_point_v<C>) return std::numeric_limits<C>::infinity();
    else return std::numeric_limits<C>::max();
  }
  static State step(State s, C x) { return x < s || x != x ? x : s; }
  static C finish(State s, std::int64_t) { return s; }
};

// ---- which elements go together -------------------------------------------------------------------------------------

// The input as alternating kept and reduced dimensions, neighbours of a kind joined.
struct Layout {
  Shape output;                       // with kept dims of size 1 where keepdims says so
  std::vector<StridedAxis> kept, reduced;  // from: stride in the input; to: stride in the output (kept)
  std::int64_t outputs = 1, count = 1;     // elements of the output; elements that make one of them
};

// Which axes a node reduces, from its second input. Empty and noop_with_empty_axes: none (nullopt).
Result<std::optional<std::vector<bool>>> reduced_axes(const Node& node, const std::vector<std::int64_t>& axes, int rank) {
  std::vector<bool> reduced(static_cast<std::size_t>(rank), axes.empty());
  if (axes.empty() && node.get_int("noop_with_empty_axes", 0) != 0) return std::optional<std::vector<bool>>();
  NARROW_TRY(const auto normal, normalize_axes(node, axes, rank));
  for (int a : normal) reduced[a] = true;
  return std::optional(std::move(reduced));
}

Layout layout_of(const Shape& shape, const std::vector<bool>& reduced, bool keep_dims) {
  Layout layout;
  const auto strides = strides_of(shape);
  for (std::size_t d = 0; d < shape.size(); ++d) {
    if (!reduced[d]) layout.output.push_back(shape[d]);
    else if (keep_dims) layout.output.push_back(1);
  }
  std::size_t previous_kind = 2;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    (reduced[d] ? layout.count : layout.outputs) *= shape[d];
    if (shape[d] == 1) continue;
    auto& list = reduced[d] ? layout.reduced : layout.kept;
    if (previous_kind == static_cast<std::size_t>(reduced[d])) {
      list.back().extent *= shape[d];
      list.back().from = strides[d];
    } else {
      list.push_back({shape[d], strides[d], 0});
    }
    previous_kind = reduced[d];
  }
  return layout;
}

std::int64_t offset_of(std::int64_t index, const std::vector<StridedAxis>& axes, std::size_t count) {
  std::int64_t offset = 0;
  for (std::size_t a = count; a-- > 0 && index != 0;) {
    offset += index % axes[a].extent * axes[a].from;
    index /= axes[a].extent;
  }
  return offset;
}

// Reduces a run of neighbours. Eight states side by side let the additions overlap; their order is fixed.
template <typename F, typename T>
typename F::State run_of(typename F::State state, const T* x, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) state = F::step(state, load(x[i]));
  return state;
}

template <typename F, typename T>
double lanes_of(double state, const T* x, std::int64_t n) {
  constexpr int kLanes = 8;
  std::int64_t i = 0;
  if (n >= 4 * kLanes) {
    double lanes[kLanes] = {};
    for (; i + kLanes <= n; i += kLanes) {
      for (int l = 0; l < kLanes; ++l) lanes[l] = F::step(lanes[l], load(x[i + l]));
    }
    for (int l = 0; l < kLanes; ++l) state += lanes[l];
  }
  return run_of<F>(state, x + i, n - i);
}

template <template <typename> class Function, typename T>
void reduce(const T* x, T* y, const Layout& layout, base::ThreadPool& pool) {
  using C = Compute<T>;
  using F = Function<C>;
  constexpr bool sums = std::is_base_of_v<Sum<C>, F> && std::is_floating_point_v<C>;
  const bool rows = !layout.reduced.empty() && layout.reduced.back().from == 1;
  if (rows || layout.kept.empty()) {
    // The innermost dimension is reduced: each output reads runs of neighbours.
    const std::int64_t run = layout.reduced.empty() ? 1 : layout.reduced.back().extent;
    const std::size_t outer_axes = layout.reduced.empty() ? 0 : layout.reduced.size() - 1;
    parallel_ranges(pool, layout.outputs, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t o = begin; o < end; ++o) {
        const T* from = x + offset_of(o, layout.kept, layout.kept.size());
        auto state = F::start();
        for (std::int64_t r = 0; r * run < layout.count; ++r) {
          const T* at = from + offset_of(r, layout.reduced, outer_axes);
          if constexpr (sums) state = lanes_of<F>(state, at, run);
          else state = run_of<F>(state, at, run);
        }
        y[o] = store<T>(F::finish(state, layout.count));
      }
    }, layout.count);
    return;
  }
  // The innermost dimension is kept: rows of outputs are carried together through the reduced ones.
  const std::int64_t width = layout.kept.back().extent;
  constexpr std::int64_t kBlock = 256;
  const std::int64_t blocks = (width + kBlock - 1) / kBlock;
  parallel_ranges(pool, layout.outputs / width * blocks, [&](std::int64_t begin, std::int64_t end) {
    typename F::State states[kBlock];
    for (std::int64_t b = begin; b < end; ++b) {
      const std::int64_t row = b / blocks, column = b % blocks * kBlock, n = std::min(kBlock, width - column);
      const T* from = x + offset_of(row, layout.kept, layout.kept.size() - 1) + column;
      for (std::int64_t i = 0; i < n; ++i) states[i] = F::start();
      for (std::int64_t r = 0; r < layout.count; ++r) {
        const T* at = from + offset_of(r, layout.reduced, layout.reduced.size());
        for (std::int64_t i = 0; i < n; ++i) states[i] = F::step(states[i], load(at[i]));
      }
      for (std::int64_t i = 0; i < n; ++i) y[row * width + column + i] = store<T>(F::finish(states[i], layout.count));
    }
  }, layout.count * std::min(width, kBlock));
}

// ---- rows -----------------------------------------------------------------------------------------------------------

template <DTypeSet allowed>
Status infer_reduce(InferContext& context) {
  const Node& node = context.node();
  NARROW_RETURN_IF_ERROR(check_dtype(context, 0, allowed));
  NARROW_RETURN_IF_ERROR(check_dtype(context, 1, set_of({DType::kS64})));
  const Type& x = context.input(0);
  if (x.kind != TypeKind::kTensor) return {};
  const auto axes = known_integers(context, 1);
  const bool keep = node.get_int("keepdims", 1) != 0;
  Type out = Type::tensor(x.dtype);
  if (x.ranked && (axes || !context.has_input(1))) {
    NARROW_TRY(const auto reduced, reduced_axes(node, axes.value_or(std::vector<std::int64_t>{}), x.rank()));
    out.ranked = true;
    for (int d = 0; d < x.rank(); ++d) {
      if (!reduced || !(*reduced)[d]) out.dims.push_back(x.dims[d]);
      else if (keep) out.dims.emplace_back(1);
    }
  } else if (x.ranked && keep) {
    out.ranked = true;
    out.dims.resize(x.dims.size());
  }
  context.set_output(0, out);
  return {};
}

template <template <typename> class Function, typename List>
Status run_reduce(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  if (!contains(set_of(List{}), x.dtype())) return dtype_error(node, x.dtype());
  std::vector<std::int64_t> axes;
  if (context.has_input(1)) {
    if (!contains(kIndexTypes, context.input(1).dtype())) return dtype_error(node, context.input(1).dtype());
    axes = context.input(1).to_int64();
  }
  NARROW_TRY(auto reduced, reduced_axes(node, axes, x.rank()));
  // Without axes the function is still applied to each element by itself (a sum of one, a square of one).
  if (!reduced) reduced.emplace(x.shape().size(), false);
  const Layout layout = layout_of(x.shape(), *reduced, node.get_int("keepdims", 1) != 0);
  NARROW_TRY(Tensor * y, context.output(0, x.dtype(), layout.output));
  if (y->size() == 0) return {};
  dispatch(List{}, x.dtype(), [&]<typename T>() { reduce<Function, T>(pointer<T>(x), pointer<T>(*y), layout, context.pool()); });
  return {};
}

// bool counts as 0 and 1 for the largest and smallest.
using OrderedList = Join<NumericList, BoolList>;

// The result is one of the inputs.
constexpr QuantRule kSelectRule = {.role = QuantRole::kTransport};

template <template <typename> class Function, typename List = NumericList>
constexpr Operator row(std::string_view name, int since, QuantRule quant = {}) {
  return {.name = name, .since = since, .max_inputs = 2, .infer = infer_reduce<set_of(List{})>,
          .run = run_reduce<Function, List>, .quant = quant};
}

const std::array kOperators = {
    row<Sum>("ReduceSum", 13), row<Mean>("ReduceMean", 18, kFollowRule), row<Max, OrderedList>("ReduceMax", 20, kSelectRule),
    row<Min, OrderedList>("ReduceMin", 20, kSelectRule), row<Product>("ReduceProd", 18), row<L1>("ReduceL1", 18),
    row<L2>("ReduceL2", 18), row<LogSum>("ReduceLogSum", 18), row<LogSumExp>("ReduceLogSumExp", 18),
    row<SumSquare>("ReduceSumSquare", 18),
};

}  // namespace

std::span<const Operator> reduce_operators() { return kOperators; }

}  // namespace narrow::operators
