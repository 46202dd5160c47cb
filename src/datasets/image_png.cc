#include <png.h>

#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <new>

#include <fmt/format.h>

#include "datasets/image.h"
#include "wire/inflate.h"

namespace narrow::datasets::detail {
namespace {

// libpng reports errors by jumping; between setjmp and a jump only C frames and trivially destructible locals exist.
struct Session {
  png_structp png;
  png_infop info;
  const std::uint8_t* data;
  std::size_t size, at;
  std::size_t file_row;  // bytes of a row as the file has it, before palette and bits are expanded
  char message[160];
  std::jmp_buf jump;
};

[[noreturn]] void on_error(png_structp png, png_const_charp text) {
  auto* session = static_cast<Session*>(png_get_error_ptr(png));
  std::snprintf(session->message, sizeof session->message, "%s", text);
  std::longjmp(session->jump, 1);
}

void on_warning(png_structp, png_const_charp) {}

void on_read(png_structp png, png_bytep out, png_size_t count) {
  auto* session = static_cast<Session*>(png_get_io_ptr(png));
  if (count > session->size - session->at) png_error(png, "the data ends too early");
  std::memcpy(out, session->data + session->at, count);
  session->at += count;
}

bool read_header(Session& session) {
  if (setjmp(session.jump) != 0) return false;
  png_structp png = session.png;
  png_set_user_limits(png, kMaxImageSide, kMaxImageSide);
  png_set_chunk_cache_max(png, 128);
  png_set_chunk_malloc_max(png, 8u << 20);  // a text or profile chunk that unpacks to more is refused
  png_set_read_fn(png, &session, on_read);
  png_read_info(png, session.info);
  const int type = png_get_color_type(png, session.info), depth = png_get_bit_depth(png, session.info);
  session.file_row = png_get_rowbytes(png, session.info);
  if (type == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
  if (type == PNG_COLOR_TYPE_GRAY && depth < 8) png_set_expand_gray_1_2_4_to_8(png);
  if (depth == 16) png_set_strip_16(png);
  png_set_strip_alpha(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, session.info);
  return true;
}

bool read_pixels(Session& session, png_bytepp rows) {
  if (setjmp(session.jump) != 0) return false;
  png_read_image(session.png, rows);
  png_read_end(session.png, nullptr);
  return true;
}

}  // namespace

Result<Image> decode_png(ByteSpan bytes, const std::string& where) {
  Session session{};
  session.data = bytes.data();
  session.size = bytes.size();
  session.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &session, on_error, on_warning);
  if (session.png == nullptr) return resource_exhausted(fmt::format("{}: out of memory", where));
  struct Destroy {
    Session& session;
    ~Destroy() { png_destroy_read_struct(&session.png, &session.info, nullptr); }
  } destroy{session};
  session.info = png_create_info_struct(session.png);
  if (session.info == nullptr) return resource_exhausted(fmt::format("{}: out of memory", where));
  const auto damaged = [&] { return corrupt(fmt::format("{}: damaged PNG: {}", where, session.message)); };
  if (!read_header(session)) return damaged();
  const std::uint32_t width = png_get_image_width(session.png, session.info);
  const std::uint32_t height = png_get_image_height(session.png, session.info);
  NARROW_RETURN_IF_ERROR(check_size(width, height, where));
  Image image{static_cast<int>(width), static_cast<int>(height), png_get_channels(session.png, session.info), {}};
  const std::size_t stride = static_cast<std::size_t>(width) * image.channels;
  if ((image.channels != 1 && image.channels != 3) || png_get_rowbytes(session.png, session.info) != stride) {
    return unsupported(fmt::format("{}: PNG with {} channels, expected gray or RGB", where, image.channels));
  }
  // DEFLATE cannot make this many rows out of so few bytes: refused before the rows are allocated.
  if (session.file_row * height / wire::kMaxDeflateRatio > bytes.size()) {
    return corrupt(fmt::format("{}: {} bytes cannot hold {} x {} pixels", where, bytes.size(), width, height));
  }
  try {
    image.pixels.resize(stride * height);
    std::vector<png_bytep> rows(height);
    for (std::uint32_t y = 0; y < height; ++y) rows[y] = image.row(static_cast<int>(y));
    if (!read_pixels(session, rows.data())) return damaged();
  } catch (const std::bad_alloc&) {
    return resource_exhausted(fmt::format("{}: out of memory for {} x {} pixels", where, width, height));
  }
  return image;
}

}  // namespace narrow::datasets::detail
