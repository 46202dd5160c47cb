// Messages between processes of the same program over pipes: a kind, then a payload of numbers and strings.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "narrow/result.h"

namespace narrow::evaluation {

class Packer {
 public:
  template <typename T>
  Packer& number(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(T));
    return *this;
  }
  Packer& text(std::string_view value);
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

// Reading past the end gives zeros and empty strings, and ok() turns false.
class Unpacker {
 public:
  explicit Unpacker(std::string_view bytes) : bytes_(bytes) {}
  template <typename T>
  T number() {
    T value{};
    take(&value, sizeof(T));
    return value;
  }
  std::string text();
  bool ok() const { return ok_; }

 private:
  void take(void* out, std::size_t size);
  std::string_view bytes_;
  bool ok_ = true;
};

void pack_error(Packer& packer, const Error& error);
Error unpack_error(Unpacker& unpacker);

struct Message {
  std::uint32_t kind = 0;
  std::string payload;
};

// Errors: io (the other side is gone).
Status send_message(int fd, std::uint32_t kind, std::string_view payload);
Result<Message> receive_message(int fd);

}  // namespace narrow::evaluation
