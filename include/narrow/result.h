// Result<T> and Status: how narrow reports failure. Nothing in the library throws, prints or aborts on bad input.
//
// An Error says what went wrong (code + message naming the file, node or tensor, what was found and what was expected),
// where it happened (context frames, innermost first) and what to try next (hint).
#pragma once

#include <cassert>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace narrow {

// Chosen by what the caller can do about it.
enum class ErrorCode {
  kInvalidArgument,    // the caller asked for something that makes no sense: change the request
  kNotFound,           // a file, node, tensor or name does not exist
  kIo,                 // the operating system refused to read or write
  kCorrupt,            // the bytes of a file break their format's rules
  kUnsupported,        // well formed, but narrow or the target cannot do it
  kResourceExhausted,  // memory, disk or a stated limit ran out
  kInternal,           // a bug in narrow
};

std::string_view to_string(ErrorCode code);

class [[nodiscard]] Error {
 public:
  Error(ErrorCode code, std::string message) : code_(code), message_(std::move(message)) {}

  ErrorCode code() const { return code_; }
  const std::string& message() const { return message_; }
  const std::vector<std::string>& frames() const { return frames_; }
  const std::string& hint() const { return hint_; }

  // Adds where the error happened, outermost last ("while importing model.onnx").
  Error context(std::string frame) && {
    frames_.push_back(std::move(frame));
    return std::move(*this);
  }
  // Says what to try. The first hint, given nearest the cause, is kept.
  Error hint(std::string text) && {
    if (hint_.empty()) hint_ = std::move(text);
    return std::move(*this);
  }

  // "message\n  frame\n  frame\nhint: …", control characters escaped.
  std::string to_string() const;

 private:
  ErrorCode code_;
  std::string message_;
  std::vector<std::string> frames_;
  std::string hint_;
};

inline Error invalid_argument(std::string m) { return {ErrorCode::kInvalidArgument, std::move(m)}; }
inline Error not_found(std::string m) { return {ErrorCode::kNotFound, std::move(m)}; }
inline Error io_error(std::string m) { return {ErrorCode::kIo, std::move(m)}; }
inline Error corrupt(std::string m) { return {ErrorCode::kCorrupt, std::move(m)}; }
inline Error unsupported(std::string m) { return {ErrorCode::kUnsupported, std::move(m)}; }
inline Error resource_exhausted(std::string m) { return {ErrorCode::kResourceExhausted, std::move(m)}; }
inline Error internal_error(std::string m) { return {ErrorCode::kInternal, std::move(m)}; }

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}          // NOLINT: implicit on purpose
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}      // NOLINT: implicit on purpose

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  // Precondition for these four: ok().
  T& operator*() & { assert(ok()); return *std::get_if<0>(&state_); }
  const T& operator*() const& { assert(ok()); return *std::get_if<0>(&state_); }
  T&& operator*() && { assert(ok()); return std::move(*std::get_if<0>(&state_)); }
  T* operator->() { assert(ok()); return std::get_if<0>(&state_); }
  const T* operator->() const { assert(ok()); return std::get_if<0>(&state_); }

  // Precondition: !ok().
  const Error& error() const& { assert(!ok()); return *std::get_if<1>(&state_); }
  Error error() && { assert(!ok()); return std::move(*std::get_if<1>(&state_)); }

  Result context(std::string frame) && {
    if (ok()) return std::move(*this);
    return std::move(*std::get_if<1>(&state_)).context(std::move(frame));
  }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT: implicit on purpose

  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  const Error& error() const& { assert(!ok()); return *error_; }
  Error error() && { assert(!ok()); return std::move(*error_); }

  Result context(std::string frame) && {
    if (ok()) return {};
    return std::move(*error_).context(std::move(frame));
  }

 private:
  std::optional<Error> error_;
};

using Status = Result<void>;

}  // namespace narrow

#define NARROW_CONCAT_INNER(a, b) a##b
#define NARROW_CONCAT(a, b) NARROW_CONCAT_INNER(a, b)

// NARROW_TRY(auto x, f()): x = the value of f(), or return f()'s error from the enclosing function.
#define NARROW_TRY(declaration, ...)                                             \
  auto NARROW_CONCAT(narrow_try_, __LINE__) = (__VA_ARGS__);                     \
  if (!NARROW_CONCAT(narrow_try_, __LINE__).ok())                                \
    return std::move(NARROW_CONCAT(narrow_try_, __LINE__)).error();              \
  declaration = *std::move(NARROW_CONCAT(narrow_try_, __LINE__))

// NARROW_RETURN_IF_ERROR(f()): return f()'s error, if it has one.
#define NARROW_RETURN_IF_ERROR(...)                                              \
  do {                                                                           \
    auto narrow_status = (__VA_ARGS__);                                          \
    if (!narrow_status.ok()) return std::move(narrow_status).error();            \
  } while (0)
