// How what a Linear reads is rounded to 8 bits as it runs, before it meets weights of 8 bits.
#pragma once

#include <cstdint>

namespace narrow::encodings {

struct InputRounding {
  enum class Kind : std::uint8_t {
    kNone,
    kToken,   // each row by its own largest magnitude: scale = max |x| / 127.5, as compressed-tensors has it
    kTensor,  // all rows by one scale, known beforehand
  };

  Kind kind = Kind::kNone;
  float scale = 0;  // kTensor: > 0, finite
  int zero = 0;     // kTensor: the code of 0, -128 … 127

  bool rounds() const { return kind != Kind::kNone; }
  bool operator==(const InputRounding&) const = default;
};

// The numbers that the codes of x [rows, columns] stand for: (clamp(round(x / scale) + zero, -128, 127) - zero) * scale. `out` may
// be x. Precondition: rounds().
void round_inputs(const InputRounding& rounding, const float* x, std::int64_t rows, std::int64_t columns, float* out);

}  // namespace narrow::encodings
