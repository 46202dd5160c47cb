#include "tensor/dtype.h"

namespace narrow {
namespace {

struct Row {
  std::string_view name;
  int bits;
  char kind;  // f float, s signed, u unsigned, - other
};

// In the order of DType.
constexpr Row kRows[kDTypeCount] = {
    {"undefined", 0, '-'},
    {"f32", 32, 'f'},      {"f64", 64, 'f'},        {"f16", 16, 'f'},   {"bf16", 16, 'f'},
    {"f8e4m3fn", 8, 'f'},  {"f8e4m3fnuz", 8, 'f'},  {"f8e5m2", 8, 'f'}, {"f8e5m2fnuz", 8, 'f'},
    {"f8e8m0", 8, 'f'},    {"f4e2m1", 4, 'f'},
    {"s4", 4, 's'},        {"u4", 4, 'u'},          {"s2", 2, 's'},     {"u2", 2, 'u'},
    {"s8", 8, 's'},        {"u8", 8, 'u'},          {"s16", 16, 's'},   {"u16", 16, 'u'},
    {"s32", 32, 's'},      {"u32", 32, 'u'},        {"s64", 64, 's'},   {"u64", 64, 'u'},
    {"bool", 8, '-'},      {"c64", 64, '-'},        {"c128", 128, '-'}, {"string", 0, '-'},
};

const Row& row(DType dtype) { return kRows[static_cast<int>(dtype)]; }

}  // namespace

std::string_view to_string(DType dtype) { return row(dtype).name; }

std::optional<DType> parse_dtype(std::string_view name) {
  for (int i = 0; i < kDTypeCount; ++i) {
    if (kRows[i].name == name) return static_cast<DType>(i);
  }
  return std::nullopt;
}

int bits_of(DType dtype) { return row(dtype).bits; }
bool is_float(DType dtype) { return row(dtype).kind == 'f'; }
bool is_integer(DType dtype) { return row(dtype).kind == 's' || row(dtype).kind == 'u'; }
bool is_signed_integer(DType dtype) { return row(dtype).kind == 's'; }

IntegerRange integer_range(DType dtype) {
  const int bits = bits_of(dtype);
  if (is_signed_integer(dtype)) return {-(std::int64_t{1} << (bits - 1)), (std::int64_t{1} << (bits - 1)) - 1};
  return {0, (std::int64_t{1} << bits) - 1};
}

}  // namespace narrow
