#include "evaluation/message.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace narrow::evaluation {
namespace {

constexpr std::uint64_t kMaxPayload = std::uint64_t{1} << 28;

Error gone() { return io_error("the process that measures ended unexpectedly"); }

Status write_all(int fd, const char* data, std::size_t size) {
  while (size != 0) {
    const ssize_t n = ::write(fd, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return gone();
    data += n;
    size -= static_cast<std::size_t>(n);
  }
  return {};
}

Status read_all(int fd, char* data, std::size_t size) {
  while (size != 0) {
    const ssize_t n = ::read(fd, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return gone();
    data += n;
    size -= static_cast<std::size_t>(n);
  }
  return {};
}

}  // namespace

Packer& Packer::text(std::string_view value) {
  number<std::uint64_t>(value.size());
  bytes_.append(value);
  return *this;
}

std::string Unpacker::text() {
  const std::uint64_t size = number<std::uint64_t>();
  if (size > bytes_.size()) {
    ok_ = false;
    return {};
  }
  std::string value(bytes_.substr(0, size));
  bytes_.remove_prefix(size);
  return value;
}

void Unpacker::take(void* out, std::size_t size) {
  if (size > bytes_.size()) {
    ok_ = false;
    return;
  }
  std::memcpy(out, bytes_.data(), size);
  bytes_.remove_prefix(size);
}

void pack_error(Packer& packer, const Error& error) {
  packer.number(error.code()).text(error.message()).text(error.hint()).number<std::uint64_t>(error.frames().size());
  for (const std::string& frame : error.frames()) packer.text(frame);
}

Error unpack_error(Unpacker& unpacker) {
  const auto code = unpacker.number<ErrorCode>();
  std::string message = unpacker.text(), hint = unpacker.text();
  Error error(code, std::move(message));
  const auto frames = unpacker.number<std::uint64_t>();
  for (std::uint64_t i = 0; i < frames && unpacker.ok(); ++i) error = std::move(error).context(unpacker.text());
  return hint.empty() ? error : std::move(error).hint(std::move(hint));
}

Status send_message(int fd, std::uint32_t kind, std::string_view payload) {
  const std::uint64_t header[2] = {kind, payload.size()};
  NARROW_RETURN_IF_ERROR(write_all(fd, reinterpret_cast<const char*>(header), sizeof(header)));
  return write_all(fd, payload.data(), payload.size());
}

Result<Message> receive_message(int fd) {
  std::uint64_t header[2];
  NARROW_RETURN_IF_ERROR(read_all(fd, reinterpret_cast<char*>(header), sizeof(header)));
  if (header[1] > kMaxPayload) return gone();
  Message message{static_cast<std::uint32_t>(header[0]), std::string(header[1], '\0')};
  NARROW_RETURN_IF_ERROR(read_all(fd, message.payload.data(), message.payload.size()));
  return message;
}

}  // namespace narrow::evaluation
