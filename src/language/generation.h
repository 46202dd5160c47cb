// Text token by token: the model runs on what is new, keys and values of what was before are kept.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "language/sampling.h"
#include "language/spec.h"
#include "language/weights.h"
#include "runtime/session.h"

namespace narrow::language {

class Generator {
 public:
  // Errors: unsupported (a model that cannot be run), corrupt.
  static Result<Generator> create(const Spec& spec, const WeightSource& weights, int threads);

  // The logits behind the last of `tokens`, which come after all that was given before. Valid until the next call.
  // Errors: invalid_argument (a token that the model does not know, more tokens than it has positions).
  Result<std::span<const float>> append(std::span<const std::int64_t> tokens);
  std::int64_t length() const { return length_; }

  // Appends `prompt` and up to `count` tokens after it; `on_token` may end it by false. Errors: append()'s.
  Status generate(std::span<const std::int64_t> prompt, std::int64_t count, const SamplingOptions& options, const std::function<bool(std::int64_t token)>& on_token);

 private:
  explicit Generator(std::int64_t vocabulary, std::int64_t positions) : vocabulary_(vocabulary), positions_(positions) {}

  std::int64_t vocabulary_, positions_, length_ = 0;
  std::unique_ptr<runtime::Session> session_;
  std::vector<runtime::NamedTensor> cache_;
  std::vector<Tensor> outputs_;
};

}  // namespace narrow::language
