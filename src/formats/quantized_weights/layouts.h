// The rows of the table, and what they share.
#pragma once

#include "formats/quantized_weights/quantized_weights.h"

namespace narrow::formats {

extern const WeightLayout kGptq, kGptqV2, kAwq, kPackQuantized, kIntQuantized, kLlmInt8;

// The tensor, of one of the types. Errors: not_found, corrupt (type, rank); all name the suffix.
Result<Tensor> need_tensor(const WeightSource& source, std::string_view suffix, std::initializer_list<DType> types, int rank);

// corrupt unless the tensor has that shape.
Status expect_shape(const Tensor& tensor, std::string_view suffix, const Shape& shape);

DType dtype_of(encodings::ScaleType type);
// Errors: corrupt (another type; a scale that is not finite). Values in the tensor's order.
Result<encodings::ScaleType> scale_type_of(DType dtype);
Result<std::vector<float>> read_scales(const Tensor& tensor, std::string_view suffix);

// `count` values of `scales`, spaced `stride`, as the type; and [rows, columns] turned into [columns, rows].
Tensor scales_tensor(const encodings::GroupedMatrix& matrix, bool transposed);

// The word that is `column` of row `row` becomes the word that is `row` of row `column`.
void transpose_words(const std::uint8_t* from, std::int64_t rows, std::int64_t columns, std::int64_t row_bytes, std::uint32_t* to, base::ThreadPool* pool);
void transpose_words_back(const std::uint32_t* from, std::int64_t rows, std::int64_t columns, std::uint8_t* to, std::int64_t row_bytes, base::ThreadPool* pool);

// body(first, last) over parts of [0, count), on the pool's threads if there is one.
void in_parts(std::int64_t count, std::int64_t least, base::ThreadPool* pool, const std::function<void(std::int64_t first, std::int64_t last)>& body);

// For each input the group that it is in, and back: the inputs in the order of their groups. `columns` of them, groups of
// `group_size` but the last. Errors: corrupt (a group out of range), unsupported (groups of other sizes).
Tensor group_index(const OrderedMatrix& weight);
Result<std::vector<std::int32_t>> order_of(const Tensor& group_index, std::int64_t group_size, std::string_view suffix);

// Codes of `bits` bits of row `from` moved within a row: to[i] = from[order[i]] (or the other way round).
void gather_codes(const std::uint8_t* from, int bits, std::span<const std::int32_t> order, std::uint8_t* to);
void scatter_codes(const std::uint8_t* from, int bits, std::span<const std::int32_t> order, std::uint8_t* to);

// An empty matrix of the shape, its vectors sized. Errors: corrupt (overflow), resource_exhausted.
Result<encodings::GroupedMatrix> make_matrix(const WeightShape& shape);

}  // namespace narrow::formats
