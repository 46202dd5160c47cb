// Pictures: decoding JPEG, PNG and PPM from memory, and resizing as Pillow does.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "narrow/result.h"

namespace narrow::datasets {

using ByteSpan = std::span<const std::uint8_t>;

// Rows from the top, channels interleaved: gray (1) or RGB (3), 8 bits each.
struct Image {
  int width = 0, height = 0, channels = 3;
  std::vector<std::uint8_t> pixels;

  const std::uint8_t* row(int y) const { return pixels.data() + static_cast<std::size_t>(y) * width * channels; }
  std::uint8_t* row(int y) { return pixels.data() + static_cast<std::size_t>(y) * width * channels; }
};

// A picture larger than this is refused before its pixels are allocated.
inline constexpr int kMaxImageSide = 65500;                     // JPEG's own limit
inline constexpr std::int64_t kMaxImagePixels = 178'956'970;    // 512 MiB of RGB

// JPEG (baseline, progressive, gray, CMYK and YCCK), PNG (every bit depth, palette, interlaced; alpha is dropped, 16 bits
// keep their high byte), PNM (P5 and P6, up to 255). Gray stays one channel. `where` names the file in messages.
// Errors: corrupt; unsupported (not one of these, or too large).
Result<Image> decode_image(ByteSpan bytes, const std::string& where);

bool has_image_extension(std::string_view file_name);  // .jpg .jpeg .png .ppm .pgm .pnm, any case

struct Box {
  int x = 0, y = 0, width = 0, height = 0;
};

// The box of `image` resized to width x height: bilinear with antialiasing (a triangle filter as wide as the reduction),
// horizontal pass first, 8 bits between the passes. Bit for bit Pillow's Image.resize(…, BILINEAR).crop(box) wherever
// Pillow goes that way round too (its newest versions start with the other pass on tall pictures: at most 1 apart);
// only the box is computed. Precondition: width, height >= 1 and the box lies inside.
Image resize_bilinear(const Image& image, int width, int height, const Box& box);

Image crop(const Image& image, const Box& box);  // precondition: the box lies inside
Image to_rgb(Image image);                       // gray is repeated
Image to_gray(Image image);                      // ITU-R 601 luma, rounded as Pillow's convert("L")

namespace detail {  // one decoder a file
Result<Image> decode_jpeg(ByteSpan bytes, const std::string& where);
Result<Image> decode_png(ByteSpan bytes, const std::string& where);
Result<Image> decode_pnm(ByteSpan bytes, const std::string& where);
// Errors: unsupported when the size is zero or above the limits.
Status check_size(std::uint64_t width, std::uint64_t height, const std::string& where);
}  // namespace detail

}  // namespace narrow::datasets
