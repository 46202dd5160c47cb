#include "language/gguf/export.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <filesystem>
#include <mutex>

#include "base/checked.h"
#include "encodings/packed_codes.h"
#include "formats/gguf/gguf.h"
#include "formats/rotary_order.h"
#include "language/gguf/hyperparameters.h"
#include "language/gguf/mixture.h"
#include "language/gguf/vocabulary.h"

namespace narrow::language {
namespace {

using encodings::GgmlType;
using encodings::GroupedMatrix;
using formats::gguf::FileWriter;
using formats::gguf::TensorPlan;

constexpr std::int64_t kChunkValues = 1 << 18;  // decoded at once by a thread

bool all_finite(const float* values, std::int64_t count) {
  std::int32_t most = 0;  // without the sign, bits are in the order of magnitudes; infinity and NaN come last
  for (std::int64_t i = 0; i < count; ++i) most = std::max(most, std::bit_cast<std::int32_t>(values[i]) & 0x7FFFFFFF);
  return most < 0x7F800000;
}

// One tensor of the output and where it comes from.
struct Piece {
  GgufName name;
  bool bias = false;
  std::string tensor(std::int64_t expert) const { return layer_name(name.module, expert) + (bias ? ".bias" : ".weight"); }
};

class Exporter {
 public:
  explicit Exporter(const GgufRequest& request) : request_(request), spec_(request.model->spec) {}

  Status run() {
    NARROW_TRY(const GgufMixture* mixture, find_gguf_mixture(request_.type));
    mixture_ = mixture;
    NARROW_RETURN_IF_ERROR(plan());
    NARROW_TRY(const wire::GgufMetadata metadata, describe());
    NARROW_TRY(FileWriter writer, FileWriter::create(request_.path, metadata, plans_));
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      if (request_.progress) request_.progress("writing", i, pieces_.size());
      NARROW_RETURN_IF_ERROR(write(writer, i).context(fmt::format("while writing the tensor '{}'", plans_[i].name)));
    }
    for (std::size_t i = 0; i < factors_.size(); ++i) {
      const auto& values = factors_[i].factors;
      NARROW_RETURN_IF_ERROR(writer.write(pieces_.size() + i, 0, {reinterpret_cast<const std::uint8_t*>(values.data()), values.size() * sizeof(float)}));
    }
    return writer.finish();
  }

 private:
  bool importance_given() const { return static_cast<bool>(request_.importance); }

  Status plan() {
    NARROW_TRY(const std::vector<GgufName> names, gguf_names(spec_));
    for (const GgufName& name : names) {
      for (const bool bias : {false, true}) {
        Piece piece{name, bias};
        const std::string first = piece.tensor(0);
        const bool matrix = !bias && request_.weights->has_matrix(layer_name(name.module, 0));
        if (!matrix && !request_.weights->has(first)) {
          if (bias) continue;
          return not_found(fmt::format("the checkpoint has no tensor '{}'", first)).hint("It is incomplete, or its config.json is another model's.");
        }
        NARROW_TRY(Shape shape, shape_of(piece, first));
        if (name.experts > 0) shape.insert(shape.begin(), name.experts);
        if (name.one_row && shape.size() == 2 && shape[0] == 1) shape.erase(shape.begin());
        plans_.push_back({name.name + (bias ? ".bias" : ".weight"), gguf_tensor_type(*mixture_, spec_, name, shape, importance_given()), std::move(shape)});
        pieces_.push_back(std::move(piece));
      }
    }
    factors_ = gguf_rope_factors(spec_);
    for (const GgufFactors& f : factors_) plans_.push_back({f.name, GgmlType::kF32, {static_cast<std::int64_t>(f.factors.size())}});
    return {};
  }

  Result<Shape> shape_of(const Piece& piece, const std::string& name) const {
    const std::string module = layer_name(piece.name.module, 0);
    if (!piece.bias && piece.name.part != GgufPart::kNorm && request_.weights->has_matrix(module)) {
      NARROW_TRY(const MatrixForm form, request_.weights->form(module));
      return Shape{form.rows, form.columns};
    }
    NARROW_TRY(const Tensor tensor, request_.weights->tensor(name));
    return tensor.shape();
  }

  Result<wire::GgufMetadata> describe() const {
    wire::GgufMetadata m;
    NARROW_RETURN_IF_ERROR(set_gguf_hyperparameters(spec_, m));
    const std::string arch = *m.text("general.architecture");
    const std::filesystem::path path = request_.model->path;
    m.set("general.type", wire::GgufValue::text("model"));
    m.set("general.name", wire::GgufValue::text((path.has_filename() ? path : path.parent_path()).stem().string()));
    m.set("general.file_type", wire::GgufValue::u32(mixture_->file_type));
    m.set("general.quantization_version", wire::GgufValue::u32(2));
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      if (pieces_[i].name.name.ends_with(".ffn_gate_exps") && arch != "llama") m.set(arch + ".expert_feed_forward_length", wire::GgufValue::u32(static_cast<std::uint32_t>(plans_[i].shape[1])));
      if (pieces_[i].name.name.ends_with(".ffn_gate_shexp")) m.set(arch + ".expert_shared_feed_forward_length", wire::GgufValue::u32(static_cast<std::uint32_t>(plans_[i].shape[0])));
    }
    NARROW_RETURN_IF_ERROR(set_gguf_vocabulary(request_.model->path, request_.model->config_json, spec_.vocabulary, m));
    if (!request_.recipe.empty()) m.set("narrow.recipe", wire::GgufValue::text(request_.recipe));
    if (importance_given()) m.set("quantize.imatrix.entries_count", wire::GgufValue::u32(static_cast<std::uint32_t>(pieces_.size())));
    return m;
  }

  Status write(FileWriter& writer, std::size_t index) {
    const Piece& piece = pieces_[index];
    const std::int64_t experts = std::max<std::int64_t>(piece.name.experts, 1);
    const std::uint64_t each = writer.entries()[index].bytes / static_cast<std::uint64_t>(experts);
    for (std::int64_t expert = 0; expert < experts; ++expert) {
      const std::string module = layer_name(piece.name.module, expert);
      StoredWeight weight;
      if (!piece.bias && piece.name.part != GgufPart::kNorm && request_.weights->has_matrix(module)) {
        NARROW_TRY(weight, request_.weights->matrix(module));
      } else {
        NARROW_TRY(const Tensor tensor, request_.weights->tensor(piece.tensor(expert)));
        // As one row; the rows of a bias are its values.
        weight.plain = piece.name.head != 0 ? tensor.reshaped({tensor.size(), 1}) : tensor.reshaped({1, tensor.size()});
      }
      NARROW_RETURN_IF_ERROR(write_rows(writer, index, each * static_cast<std::uint64_t>(expert), weight, module));
    }
    request_.weights->release(piece.name.layer >= 0 ? layer_name("model.layers.{}.", piece.name.layer) : piece.name.module + ".");
    return {};
  }

  Status write_rows(FileWriter& writer, std::size_t index, std::uint64_t start, const StoredWeight& weight, const std::string& module) {
    const Piece& piece = pieces_[index];
    const encodings::GgmlBlocks& type = *writer.entries()[index].type;
    const std::int64_t rows = weight.rows(), columns = weight.columns(), head = piece.name.head;
    if (static_cast<std::uint64_t>(rows * columns / type.elements) * static_cast<std::uint64_t>(type.bytes) > writer.entries()[index].bytes - start || rows * columns % type.elements != 0) {
      return corrupt(fmt::format("'{}' has shape [{},{}], the others of its kind another", module, rows, columns));
    }
    std::vector<float> importance;
    if (importance_given() && type.elements > 1) {
      importance = request_.importance(module);
      if (!importance.empty() && static_cast<std::int64_t>(importance.size()) != columns) {
        return internal_error(fmt::format("'{}' has {} inputs, its importance {}", module, columns, importance.size()));
      }
    }
    const bool exact = keeps_codes(weight, type);
    const std::int64_t chunk = std::max<std::int64_t>(1, kChunkValues / columns), chunks = base::ceil_div(rows, chunk);
    const auto row_bytes = static_cast<std::size_t>(columns / type.elements * type.bytes);
    std::mutex mutex;
    Status outcome;
    const auto body = [&](std::size_t i, int) {
      const std::int64_t first = static_cast<std::int64_t>(i) * chunk, count = std::min(chunk, rows - first);
      std::vector<float> values(static_cast<std::size_t>(exact ? 0 : count * columns));
      std::vector<std::uint8_t> bytes(row_bytes * static_cast<std::size_t>(count));
      Status status;
      for (std::int64_t r = 0; r < count && status.ok(); ++r) {
        const std::int64_t from = head != 0 ? formats::half_split_row(first + r, head) : first + r;
        std::uint8_t* to = bytes.data() + row_bytes * static_cast<std::size_t>(r);
        if (exact) {
          copy_codes(*weight.grouped, from, type, to);
          continue;
        }
        float* row = values.data() + r * columns;
        to_float_rows(weight, from, 1, row);
        if (piece.name.plus_one && !piece.bias) std::for_each(row, row + columns, [](float& v) { v += 1.0f; });
        if (!all_finite(row, columns)) {
          const auto* bad = std::find_if(row, row + columns, [](float v) { return !std::isfinite(v); });
          status = invalid_argument(fmt::format("the weight of '{}' is {} at row {}, column {}", module, *bad, from, bad - row)).hint("Mend the checkpoint: a weight that is not finite cannot be encoded.");
          break;
        }
        type.quantize(row, importance.empty() ? nullptr : importance.data(), columns, to);
      }
      if (status.ok()) status = writer.write(index, start + row_bytes * static_cast<std::uint64_t>(first), bytes);
      if (status.ok()) return;
      const std::lock_guard lock(mutex);
      if (outcome.ok()) outcome = std::move(status);
    };
    if (request_.pool != nullptr) {
      request_.pool->parallel_for(static_cast<std::size_t>(chunks), body);
    } else {
      for (std::int64_t i = 0; i < chunks; ++i) body(static_cast<std::size_t>(i), 0);
    }
    return outcome;
  }

  static bool keeps_codes(const StoredWeight& weight, const encodings::GgmlBlocks& type) {
    if (!weight.grouped || !weight.order.empty()) return false;
    const GroupedMatrix& m = *weight.grouped;
    return m.symmetric() && m.group_size == 32 && m.columns % 32 == 0 && m.scale_type == encodings::ScaleType::kF16 &&
           ((type.type == GgmlType::kQ4_0 && m.bits == 4) || (type.type == GgmlType::kQ8_0 && m.bits == 8));
  }

  static void copy_codes(const GroupedMatrix& m, std::int64_t row, const encodings::GgmlBlocks& type, std::uint8_t* to) {
    const std::uint8_t* codes = m.codes.data() + row * m.row_bytes();
    for (std::int64_t g = 0; g < m.groups(); ++g, to += type.bytes) {
      const base::Float16 scale = base::to_float16(m.scales[static_cast<std::size_t>(row * m.groups() + g)]);
      to[0] = static_cast<std::uint8_t>(scale.bits & 0xFF);
      to[1] = static_cast<std::uint8_t>(scale.bits >> 8);
      for (std::int64_t j = 0; j < 32; ++j) {
        const int code = encodings::read_code(codes, m.bits, g * 32 + j);
        if (m.bits == 8) to[2 + j] = static_cast<std::uint8_t>(code - 128);
        else to[2 + j % 16] = static_cast<std::uint8_t>(j < 16 ? code : to[2 + j % 16] | code << 4);
      }
    }
  }

  const GgufRequest& request_;
  const Spec& spec_;
  const GgufMixture* mixture_ = nullptr;
  std::vector<Piece> pieces_;
  std::vector<TensorPlan> plans_;
  std::vector<GgufFactors> factors_;
};

}  // namespace

Status write_gguf(const GgufRequest& request) { return Exporter(request).run(); }

}  // namespace narrow::language
