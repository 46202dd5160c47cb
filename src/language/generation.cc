#include "language/generation.h"

#include <fmt/format.h>

#include "language/decoder.h"

namespace narrow::language {

Result<Generator> Generator::create(const Spec& spec, const WeightSource& weights, int threads) {
  if (spec.encoder) return unsupported(fmt::format("'{}' is an encoder: it does not go on with a text", spec.family));
  NARROW_TRY(graph::Graph graph, build_decoder(spec, weights, {.cached = true}));
  Generator generator(spec.vocabulary, spec.rope.scaling == Rope::Scaling::kLongRope ? spec.rope.original_positions : spec.max_positions);
  NARROW_TRY(generator.session_, runtime::Session::create(graph, {.threads = threads}));
  for (std::int64_t layer = 0; layer < spec.layers; ++layer) {
    for (const char* what : {"key", "value"}) {
      NARROW_TRY(Tensor empty, Tensor::create(DType::kF32, {1, spec.key_heads, 0, spec.head_size}));
      generator.cache_.emplace_back(fmt::format("past_key_values.{}.{}", layer, what), std::move(empty));
    }
  }
  return generator;
}

Result<std::span<const float>> Generator::append(std::span<const std::int64_t> tokens) {
  const auto count = static_cast<std::int64_t>(tokens.size());
  if (count == 0) return invalid_argument("there is no token to go on from").hint("Give a prompt that is not empty.");
  if (length_ + count > positions_) return invalid_argument(fmt::format("{} tokens are more than the model's {} positions", length_ + count, positions_));
  for (const std::int64_t token : tokens) {
    if (token < 0 || token >= vocabulary_) return invalid_argument(fmt::format("token {} is none of the model's {}", token, vocabulary_)).hint("The tokenizer is not this model's.");
  }
  Tensor ids = Tensor::from<std::int64_t>({1, count}, tokens), positions = ids.clone();
  for (std::int64_t i = 0; i < count; ++i) positions.mutable_data<std::int64_t>()[static_cast<std::size_t>(i)] = length_ + i;
  std::vector<runtime::NamedTensor> inputs = cache_;
  inputs.emplace_back("input_ids", std::move(ids));
  inputs.emplace_back("position_ids", std::move(positions));
  NARROW_TRY(outputs_, session_->run(inputs));
  for (std::size_t i = 0; i < cache_.size(); ++i) cache_[i].second = outputs_[i + 1].clone();  // outputs live until the next run
  length_ += count;
  return outputs_[0].data<float>().last(static_cast<std::size_t>(vocabulary_));
}

Status Generator::generate(std::span<const std::int64_t> prompt, std::int64_t count, const SamplingOptions& options, const std::function<bool(std::int64_t token)>& on_token) {
  Sampler sampler(options);
  std::vector<std::int64_t> seen(prompt.begin(), prompt.end());
  NARROW_TRY(std::span<const float> logits, append(prompt));
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t token = sampler.choose(logits, seen);
    seen.push_back(token);
    if (!on_token(token) || i + 1 == count || length_ == positions_) break;
    NARROW_TRY(logits, append({&token, 1}));
  }
  return {};
}

}  // namespace narrow::language
