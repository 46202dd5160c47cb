// NF4 and FP4 of bitsandbytes, and the int8 rows of its LLM.int8: data-free, equal to its own codes.
#pragma once

#include <cstdint>
#include <span>

#include "base/thread_pool.h"
#include "encodings/grouped_matrix.h"
#include "narrow/result.h"

namespace narrow::quantizers {

struct CodebookOptions {
  encodings::CodebookMatrix::Type type = encodings::CodebookMatrix::Type::kNf4;
  std::int64_t block = 64;           // a power of two from 32 to 4096
  bool double_quantization = true;   // absmax itself in 8 bits, in blocks of 256
};

// `weight` is [rows, columns]; a partial last block is allowed.
// Errors: invalid_argument for a block that bitsandbytes does not know, a NaN or infinity, or sizes that do not agree.
Result<encodings::CodebookMatrix> quantize_codebook(std::span<const float> weight, std::int64_t rows, std::int64_t columns,
                                                    const CodebookOptions& options, base::ThreadPool& pool);

// 8 bits, symmetric, a row a group: code - 128 = round(127 w / max |w|), in -127 … 127 (Dettmers et al. 2022, arXiv:2208.07339).
// Errors: invalid_argument for a NaN or infinity, or sizes that do not agree.
Result<encodings::GroupedMatrix> quantize_int8_rows(std::span<const float> weight, std::int64_t rows, std::int64_t columns);

}  // namespace narrow::quantizers
