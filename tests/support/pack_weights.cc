// pack_weights OUT.safetensors: random weights in every layout that checkpoints store few bits in, each as layer "<layout>_<n>"
// with the f32 values that a reader must find ("<layer>.expected") and its bits and group size ("<layer>.about").
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <random>

#include "encodings/bnb4.h"
#include "formats/quantized_weights/quantized_weights.h"
#include "formats/safetensors/writer.h"

namespace {

using namespace narrow;
using namespace narrow::formats;

std::mt19937 g_random(1);

OrderedMatrix random_matrix(std::int64_t rows, std::int64_t columns, std::int64_t group, int bits, bool symmetric, bool ordered, encodings::ScaleType type) {
  OrderedMatrix w;
  w.matrix = {.rows = rows, .columns = columns, .bits = bits, .group_size = group, .scale_type = type};
  w.matrix.codes.resize(static_cast<std::size_t>(rows * w.matrix.row_bytes()));
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t k = 0; k < columns; ++k) encodings::write_code(w.matrix.codes.data() + i * w.matrix.row_bytes(), bits, k, static_cast<int>(g_random() % (1u << bits)));
  }
  for (std::int64_t i = 0; i < rows * w.matrix.groups(); ++i) {
    const float scale = std::exp(static_cast<float>(g_random() % 1000) / 200.0f - 6.0f);
    w.matrix.scales.push_back(type == encodings::ScaleType::kF16 ? base::to_float(base::to_float16(scale)) : (scale * 127.0f) / 127.0f);
    if (!symmetric) w.matrix.zeros.push_back(static_cast<std::uint8_t>(1 + g_random() % ((1u << bits) - 1)));
  }
  if (ordered) {
    w.order.resize(static_cast<std::size_t>(columns));
    std::iota(w.order.begin(), w.order.end(), 0);
    std::shuffle(w.order.begin(), w.order.end(), g_random);
  }
  return w;
}

Tensor expected_of(const OrderedMatrix& w) {
  const std::int64_t rows = w.matrix.rows, columns = w.matrix.columns;
  std::vector<float> values(static_cast<std::size_t>(rows * columns));
  dequantize_rows(w.matrix, 0, rows, values.data());
  Tensor out = *Tensor::create(DType::kF32, {rows, columns});
  for (std::int64_t i = 0; i < rows * columns; ++i) {
    const std::int64_t j = i % columns;
    out.mutable_data<float>()[static_cast<std::size_t>(i - j + (w.order.empty() ? j : w.order[static_cast<std::size_t>(j)]))] = values[static_cast<std::size_t>(i)];
  }
  return out;
}

Result<std::vector<WeightTensor>> pack_all() {
  std::vector<WeightTensor> all;
  const auto add = [&](const std::string& layer, std::vector<WeightTensor> tensors, Tensor expected, std::int64_t bits, std::int64_t group) {
    for (WeightTensor& t : tensors) all.push_back({layer + "." + t.suffix, std::move(t.tensor)});
    all.push_back({layer + ".expected", std::move(expected)});
    all.push_back({layer + ".about", Tensor::from<std::int64_t>({2}, {bits, group})});
  };
  int number = 0;
  for (const WeightLayout& layout : weight_layouts()) {
    for (const int bits : {2, 3, 4, 8}) {
      for (const bool symmetric : {true, false}) {
        for (const bool ordered : {false, true}) {
          for (const std::int64_t group : {32, 128, 256}) {
            const auto type = layout.name == "llm-int8" ? encodings::ScaleType::kF32 : encodings::ScaleType::kF16;
            if (!layout.check({.rows = 96, .columns = 256, .bits = bits, .group_size = group, .scale_type = type, .symmetric = symmetric, .ordered = ordered}).ok()) continue;
            const OrderedMatrix w = random_matrix(96, 256, group, bits, symmetric, ordered, type);
            NARROW_TRY(std::vector<WeightTensor> tensors, layout.pack(w, nullptr));
            add(std::string(layout.name) + "_" + std::to_string(number++), std::move(tensors), expected_of(w), bits, group);
          }
        }
      }
    }
  }
  for (const auto type : {encodings::CodebookMatrix::Type::kNf4, encodings::CodebookMatrix::Type::kFp4}) {
    for (const bool nested : {false, true}) {
      encodings::CodebookMatrix m{.rows = 96, .columns = 256, .type = type};
      encodings::CodebookMatrix::Nested second{.absmax = {0.7f, 1.3f}, .offset = 1.5f};
      for (std::int64_t i = 0; i < m.rows * m.columns / 2; ++i) m.codes.push_back(static_cast<std::uint8_t>(g_random()));
      for (std::int64_t i = 0; i < m.blocks(); ++i) {
        second.codes.push_back(static_cast<std::uint8_t>(g_random()));
        m.absmax.push_back(nested ? encodings::dynamic_map()[second.codes.back()] * second.absmax[static_cast<std::size_t>(i / 256)] + second.offset : static_cast<float>(g_random() % 100) / 7.0f);
      }
      if (nested) m.nested.push_back(second);
      NARROW_TRY(std::vector<WeightTensor> tensors, pack_bitsandbytes(m, DType::kF32));
      Tensor expected = *Tensor::create(DType::kF32, {m.rows, m.columns});
      dequantize_rows(m, 0, m.rows, expected.mutable_data<float>().data());
      add("bitsandbytes_" + std::to_string(number++), std::move(tensors), std::move(expected), 4, m.block);
    }
  }
  return all;
}

Status write(const std::string& path) {
  NARROW_TRY(const std::vector<WeightTensor> all, pack_all());
  std::vector<TensorSpec> specs;
  for (const WeightTensor& t : all) specs.push_back({t.suffix, t.tensor.dtype(), t.tensor.shape()});
  NARROW_TRY(safetensors::FileWriter writer, safetensors::FileWriter::create(path, specs));
  for (std::size_t i = 0; i < all.size(); ++i) NARROW_RETURN_IF_ERROR(writer.write(i, all[i].tensor));
  return writer.finish();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const Status status = write(argv[1]);
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.error().to_string().c_str());
  return status.ok() ? 0 : 1;
}
