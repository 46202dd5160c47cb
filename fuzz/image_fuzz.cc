// JPEG, PNG and PNM bytes: either an error, or a picture of the size it says, which resizes.
#include <cstdlib>

#include "datasets/image.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto image = narrow::datasets::decode_image({data, size}, "fuzz.jpg");
  if (!image.ok()) {
    if (image.error().to_string().empty()) std::abort();
    return 0;
  }
  const std::size_t expected = static_cast<std::size_t>(image->width) * image->height * image->channels;
  if (image->pixels.size() != expected || image->pixels.empty()) std::abort();
  const auto small = narrow::datasets::resize_bilinear(*image, 13, 7, {1, 2, 11, 5});
  if (small.pixels.size() != static_cast<std::size_t>(11 * 5 * image->channels)) std::abort();
  return 0;
}
