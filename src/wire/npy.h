// NumPy's .npy arrays (format versions 1 to 3): a header of known grammar, then the elements. Never evaluated as Python.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "narrow/result.h"
#include "wire/inflate.h"

namespace narrow::wire {

struct NpyArray {
  char kind = 'f';                   // 'f' float, 'i' signed, 'u' unsigned, 'b' bool
  int item_size = 4;                 // bytes: f 2 4 8, i and u 1 2 4 8, b 1
  bool big_endian = false;           // elements of more than one byte are in the other byte order
  bool fortran_order = false;        // first index fastest
  std::vector<std::int64_t> shape;   // empty: a scalar
  std::int64_t count = 1;            // elements
  ByteSpan data;                     // count * item_size bytes inside the input
};

// `where` names the file or archive entry in messages. Errors: corrupt (header or size); unsupported (version, element
// type: strings, objects and records are not numbers).
Result<NpyArray> parse_npy(ByteSpan bytes, const std::string& where);

bool is_npy(ByteSpan bytes);

// The header (magic to padding) of a little-endian, C-ordered array; the elements follow it. Version 1.0, or 2.0 when
// the shape is very long.
std::string npy_header(char kind, int item_size, const std::vector<std::int64_t>& shape);

// Copies the elements as C-ordered, little-endian items. `out` has count * item_size bytes.
void copy_npy_elements(const NpyArray& array, std::uint8_t* out);

}  // namespace narrow::wire
