#include "datasets/image.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstring>

namespace narrow::datasets {
namespace {

struct Decoder {
  std::string_view magic;
  Result<Image> (*decode)(ByteSpan, const std::string&);
};

constexpr std::string_view kExtensions[] = {".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".pnm"};

}  // namespace

Result<Image> decode_image(ByteSpan bytes, const std::string& where) {
  static constexpr Decoder kDecoders[] = {
      {std::string_view("\xFF\xD8\xFF", 3), detail::decode_jpeg},
      {std::string_view("\x89PNG\r\n\x1A\n", 8), detail::decode_png},
      {"P6", detail::decode_pnm},
      {"P5", detail::decode_pnm},
  };
  for (const Decoder& decoder : kDecoders) {
    if (bytes.size() < decoder.magic.size()) continue;
    if (std::memcmp(bytes.data(), decoder.magic.data(), decoder.magic.size()) == 0) return decoder.decode(bytes, where);
  }
  if (bytes.empty()) return corrupt(fmt::format("{}: the file is empty", where));
  return unsupported(fmt::format("{}: not a JPEG, PNG or PNM image", where))
      .hint("Convert it to JPEG or PNG, or remove it from the data.");
}

bool has_image_extension(std::string_view file_name) {
  std::string lower(file_name);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  return std::any_of(std::begin(kExtensions), std::end(kExtensions),
                     [&](std::string_view e) { return lower.size() > e.size() && lower.ends_with(e); });
}

namespace detail {

Status check_size(std::uint64_t width, std::uint64_t height, const std::string& where) {
  if (width == 0 || height == 0) return corrupt(fmt::format("{}: the image is {} x {} pixels", where, width, height));
  if (width > kMaxImageSide || height > kMaxImageSide || width * height > static_cast<std::uint64_t>(kMaxImagePixels)) {
    return unsupported(fmt::format("{}: the image is {} x {} pixels, at most {} a side and {} in all are read", where, width,
                                   height, kMaxImageSide, kMaxImagePixels));
  }
  return {};
}

}  // namespace detail

Image crop(const Image& image, const Box& box) {
  Image out{box.width, box.height, image.channels, {}};
  out.pixels.resize(static_cast<std::size_t>(box.width) * box.height * image.channels);
  for (int y = 0; y < box.height; ++y) {
    std::memcpy(out.row(y), image.row(box.y + y) + static_cast<std::size_t>(box.x) * image.channels,
                static_cast<std::size_t>(box.width) * image.channels);
  }
  return out;
}

Image to_rgb(Image image) {
  if (image.channels == 3) return image;
  Image out{image.width, image.height, 3, {}};
  out.pixels.resize(image.pixels.size() * 3);
  for (std::size_t i = 0; i < image.pixels.size(); ++i) std::memset(out.pixels.data() + 3 * i, image.pixels[i], 3);
  return out;
}

Image to_gray(Image image) {
  if (image.channels == 1) return image;
  Image out{image.width, image.height, 1, {}};
  out.pixels.resize(image.pixels.size() / 3);
  for (std::size_t i = 0; i < out.pixels.size(); ++i) {
    const std::uint8_t* rgb = image.pixels.data() + 3 * i;
    out.pixels[i] = static_cast<std::uint8_t>((rgb[0] * 19595u + rgb[1] * 38470u + rgb[2] * 7471u + 0x8000u) >> 16);
  }
  return out;
}

}  // namespace narrow::datasets
