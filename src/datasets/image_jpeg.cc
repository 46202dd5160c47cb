#include <cstddef>
#include <cstdio>  // jpeglib.h needs FILE

#include <jerror.h>
#include <jpeglib.h>

#include <csetjmp>
#include <cstring>
#include <new>

#include <fmt/format.h>

#include "datasets/image.h"

namespace narrow::datasets::detail {
namespace {

// Longest chain of scans that is decoded; progressive bombs repeat scans without end.
constexpr int kMaxScans = 500;
constexpr std::uint64_t kMaxPixelsPerByte = 8192;

// libjpeg reports fatal errors by error_exit, which must not return: it jumps back to decode(). Between setjmp and a jump
// only C frames and trivially destructible locals exist.
struct Failure {
  jpeg_error_mgr base;
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
};

[[noreturn]] void on_error(j_common_ptr info) {
  auto* failure = reinterpret_cast<Failure*>(info->err);
  (*info->err->format_message)(info, failure->message);
  std::longjmp(failure->jump, 1);
}

// Warnings mean pixels that libjpeg made up (cut-off or damaged data), except for these harmless ones.
bool harmless(int code) {
  return code == JWRN_EXTRANEOUS_DATA || code == JWRN_TOO_MUCH_DATA || code == JWRN_ADOBE_XFORM || code == JWRN_JFIF_MAJOR;
}

void on_message(j_common_ptr info, int level) {
  if (level >= 0 || harmless(info->err->msg_code)) return;
  auto* failure = reinterpret_cast<Failure*>(info->err);
  if (info->err->num_warnings++ == 0) (*info->err->format_message)(info, failure->message);
}

void no_output(j_common_ptr) {}

void on_progress(j_common_ptr info) {
  auto* decoder = reinterpret_cast<j_decompress_ptr>(info);
  if (decoder->input_scan_number > kMaxScans) {
    auto* failure = reinterpret_cast<Failure*>(info->err);
    std::snprintf(failure->message, sizeof failure->message, "more than %d scans", kMaxScans);
    std::longjmp(failure->jump, 1);
  }
}

struct Session {
  jpeg_decompress_struct decoder;
  Failure failure;
  jpeg_progress_mgr progress;
};

void start(Session& session, ByteSpan bytes) {
  std::memset(&session, 0, sizeof session);
  session.decoder.err = jpeg_std_error(&session.failure.base);
  session.failure.base.error_exit = on_error;
  session.failure.base.emit_message = on_message;
  session.failure.base.output_message = no_output;
  session.progress.progress_monitor = on_progress;
  if (setjmp(session.failure.jump) != 0) return;
  jpeg_create_decompress(&session.decoder);
  session.decoder.progress = &session.progress;
  session.decoder.mem->max_memory_to_use = 1L << 30;
  jpeg_mem_src(&session.decoder, bytes.data(), bytes.size());
}

// False after a libjpeg error.
bool read_header(Session& session) {
  if (setjmp(session.failure.jump) != 0) return false;
  jpeg_read_header(&session.decoder, TRUE);
  // Gray stays gray; CMYK and YCCK come as CMYK and are converted here; everything else as RGB.
  jpeg_decompress_struct& d = session.decoder;
  if (d.jpeg_color_space == JCS_GRAYSCALE) d.out_color_space = JCS_GRAYSCALE;
  else if (d.jpeg_color_space == JCS_CMYK || d.jpeg_color_space == JCS_YCCK) d.out_color_space = JCS_CMYK;
  else d.out_color_space = JCS_RGB;
  jpeg_calc_output_dimensions(&d);
  return true;
}

// False after a libjpeg error. `row` holds one decoded row, `out` all rows.
bool read_pixels(Session& session, std::uint8_t* out, std::size_t stride) {
  if (setjmp(session.failure.jump) != 0) return false;
  jpeg_decompress_struct& d = session.decoder;
  jpeg_start_decompress(&d);
  while (d.output_scanline < d.output_height) {
    JSAMPROW row = out + d.output_scanline * stride;
    jpeg_read_scanlines(&d, &row, 1);
  }
  jpeg_finish_decompress(&d);
  return true;
}

void stop(Session& session) {
  if (setjmp(session.failure.jump) == 0) jpeg_destroy_decompress(&session.decoder);
}

// round(a * b / 255)
int scaled(int a, int b) {
  const int product = a * b + 128;
  return (product + (product >> 8)) >> 8;
}

// Adobe writes CMYK inverted, and says so by its marker. Ink takes light away: as Pillow's convert("RGB").
std::vector<std::uint8_t> cmyk_to_rgb(const std::vector<std::uint8_t>& cmyk, bool inverted) {
  std::vector<std::uint8_t> rgb(cmyk.size() / 4 * 3);
  for (std::size_t i = 0; i < cmyk.size() / 4; ++i) {
    const auto ink = [&](int c) { return inverted ? 255 - cmyk[4 * i + c] : cmyk[4 * i + c]; };
    const int white = 255 - ink(3);
    for (int c = 0; c < 3; ++c) rgb[3 * i + c] = static_cast<std::uint8_t>(white - scaled(ink(c), white));
  }
  return rgb;
}

}  // namespace

Result<Image> decode_jpeg(ByteSpan bytes, const std::string& where) {
  Session session;
  start(session, bytes);
  struct Stop {
    Session& session;
    ~Stop() { stop(session); }
  } stop_at_end{session};
  const auto damaged = [&] { return corrupt(fmt::format("{}: damaged JPEG: {}", where, session.failure.message)); };
  if (session.failure.message[0] != 0 || !read_header(session)) return damaged();
  const jpeg_decompress_struct& d = session.decoder;
  NARROW_RETURN_IF_ERROR(check_size(d.output_width, d.output_height, where));
  // Even a blank picture takes about a bit a block of 8 x 8: refused before the pixels are allocated.
  if (static_cast<std::uint64_t>(d.output_width) * d.output_height / kMaxPixelsPerByte > bytes.size()) {
    return corrupt(fmt::format("{}: {} bytes cannot hold {} x {} pixels", where, bytes.size(), d.output_width, d.output_height));
  }
  const int decoded_channels = d.output_components;
  if (decoded_channels != 1 && decoded_channels != 3 && decoded_channels != 4) {
    return unsupported(fmt::format("{}: JPEG with {} colour channels, expected 1, 3 or 4", where, decoded_channels));
  }
  Image image{static_cast<int>(d.output_width), static_cast<int>(d.output_height), decoded_channels, {}};
  const std::size_t stride = static_cast<std::size_t>(image.width) * decoded_channels;
  try {
    image.pixels.resize(stride * image.height);
    if (!read_pixels(session, image.pixels.data(), stride)) return damaged();
    if (session.failure.base.num_warnings != 0) return damaged();
    if (decoded_channels == 4) {
      image.pixels = cmyk_to_rgb(image.pixels, d.saw_Adobe_marker != 0);
      image.channels = 3;
    }
  } catch (const std::bad_alloc&) {
    return resource_exhausted(fmt::format("{}: out of memory for {} x {} pixels", where, image.width, image.height));
  }
  return image;
}

}  // namespace narrow::datasets::detail
