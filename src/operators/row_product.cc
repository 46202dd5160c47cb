#include "operators/row_product.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "kernels/gemm/gemm.h"
#include "operators/attention_heads.h"
#include "operators/float_io.h"
#include "operators/type_rules.h"

namespace narrow::operators {
namespace {

constexpr std::int64_t kTiles = 8, kPart = 256;

}  // namespace

Status multiply_rows(const graph::Node& node, RunContext& context, const StoredRows& weights, bool transposed, const float* bias,
                     const encodings::InputRounding& rounding) {
  const Tensor& a = context.input(0);
  const std::int64_t inner = transposed ? weights.columns : weights.rows, outer = transposed ? weights.rows : weights.columns;
  if (a.rank() < 1 || a.shape().back() != inner) return bad_input(node, fmt::format("A has shape {}, expected […, {}]", to_string(a.shape()), inner));
  Shape shape = a.shape();
  shape.back() = outer;
  NARROW_TRY(FloatOutput y, FloatOutput::create(context, 0, a.dtype(), shape));
  if (y.size() == 0) return {};
  NARROW_TRY(const FloatInput x, FloatInput::open(a, "A"));
  const std::int64_t m = a.size() / inner;
  const float* from = x.data();
  std::vector<float> rounded;
  if (rounding.rounds()) {
    NARROW_TRY(rounded, make_floats(node, a.size()));
    context.pool().parallel_for(static_cast<std::size_t>(m), [&](std::size_t row, int) {
      const std::int64_t at = static_cast<std::int64_t>(row) * inner;
      encodings::round_inputs(rounding, x.data() + at, 1, inner, rounded.data() + at);
    });
    from = rounded.data();
  }
  for (std::int64_t i = 0; i < m; ++i) {
    if (bias == nullptr) std::fill_n(y.data() + i * outer, outer, 0.0f);
    else std::copy_n(bias, outer, y.data() + i * outer);
  }
  const int threads = std::max(1, context.pool().threads());
  if (weights.direct != nullptr && (!transposed || m < kPart)) {
    NARROW_RETURN_IF_ERROR(kernels::gemm_f32(false, transposed, m, outer, inner, 1, from, inner, weights.direct, weights.columns, 1, y.data(), outer, threads));
    y.store();
    return {};
  }
  // More rows of A reuse each row of weights more often, which pays for a tile beyond the nearest cache.
  const std::int64_t wanted = m < 8 ? 16 : m < 64 ? 64 : 256;
  const std::int64_t tile = std::min(weights.rows, std::clamp<std::int64_t>((1 << 22) / weights.columns, 1, wanted));
  const std::int64_t tiles = (weights.rows + tile - 1) / tile;
  if (!transposed) {  // every tile adds to all of the output: one after another
    NARROW_TRY(std::vector<float> rows, make_floats(node, tile * weights.columns));
    for (std::int64_t t = 0; t < tiles; ++t) {
      const std::int64_t first = t * tile, count = std::min(tile, weights.rows - first);
      weights.make(first, count, rows.data());
      NARROW_RETURN_IF_ERROR(kernels::gemm_f32(false, false, m, outer, count, 1, from + first, inner, rows.data(), outer, 1, y.data(), outer, threads));
    }
    y.store();
    return {};
  }
  // Few tiles and many rows of A: the rows are shared out as well, so that the product itself needs no threads.
  const std::int64_t part = tiles < kTiles && m > kPart ? kPart : m, parts = (m + part - 1) / part;
  std::vector<std::vector<float>> rows(static_cast<std::size_t>(threads));
  std::vector<Status> done(static_cast<std::size_t>(tiles * parts));
  context.pool().parallel_for(done.size(), [&](std::size_t task, int worker) {
    const std::int64_t t = static_cast<std::int64_t>(task) / parts, begin = static_cast<std::int64_t>(task) % parts * part;
    const std::int64_t first = t * tile, count = std::min(tile, weights.rows - first);
    const float* made = weights.direct;
    if (made != nullptr) {
      made += first * weights.columns;
    } else {
      std::vector<float>& own = rows[static_cast<std::size_t>(worker)];
      if (own.empty()) {
        Result<std::vector<float>> memory = make_floats(node, tile * weights.columns);
        if (!memory.ok()) {
          done[task] = std::move(memory).error();
          return;
        }
        own = *std::move(memory);
      }
      weights.make(first, count, own.data());
      made = own.data();
    }
    done[task] = kernels::gemm_f32(false, true, std::min(part, m - begin), count, inner, 1, from + begin * inner, inner, made, inner, 1, y.data() + begin * outer + first, outer,
                                   tiles * parts == 1 ? threads : 1);
  });
  for (Status& status : done) NARROW_RETURN_IF_ERROR(std::move(status));
  y.store();
  return {};
}

}  // namespace narrow::operators
