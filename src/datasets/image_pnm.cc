#include <fmt/format.h>

#include <algorithm>

#include "datasets/image.h"

namespace narrow::datasets::detail {
namespace {

bool is_space(std::uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// The next number of the header, comments skipped; -1 when there is none or it is absurd.
int next_number(ByteSpan bytes, std::size_t& at) {
  while (at < bytes.size() && (is_space(bytes[at]) || bytes[at] == '#')) {
    if (bytes[at] == '#') {
      while (at < bytes.size() && bytes[at] != '\n') ++at;
    } else {
      ++at;
    }
  }
  int value = -1;
  for (; at < bytes.size() && bytes[at] >= '0' && bytes[at] <= '9'; ++at) {
    value = std::max(value, 0) * 10 + (bytes[at] - '0');
    if (value > 1'000'000) return -1;
  }
  return value;
}

}  // namespace

Result<Image> decode_pnm(ByteSpan bytes, const std::string& where) {
  const int channels = bytes[1] == '6' ? 3 : 1;
  std::size_t at = 2;
  const int width = next_number(bytes, at), height = next_number(bytes, at), max = next_number(bytes, at);
  if (width < 0 || height < 0 || max < 1 || at >= bytes.size() || !is_space(bytes[at])) {
    return corrupt(fmt::format("{}: damaged PNM header", where));
  }
  ++at;
  if (max > 255) return unsupported(fmt::format("{}: PNM with values up to {}, expected at most 255", where, max));
  NARROW_RETURN_IF_ERROR(check_size(static_cast<std::uint64_t>(width), static_cast<std::uint64_t>(height), where));
  const std::size_t need = static_cast<std::size_t>(width) * height * channels;
  if (bytes.size() - at < need) {
    return corrupt(fmt::format("{}: {} bytes of pixels, expected {}", where, bytes.size() - at, need));
  }
  Image image{width, height, channels, {bytes.begin() + static_cast<std::ptrdiff_t>(at),
                                        bytes.begin() + static_cast<std::ptrdiff_t>(at + need)}};
  if (max != 255) {
    for (std::uint8_t& p : image.pixels) p = static_cast<std::uint8_t>(std::min(255, (p * 255 + max / 2) / max));
  }
  return image;
}

}  // namespace narrow::datasets::detail
