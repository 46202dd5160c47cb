#include "formats/llama2c/llama2c.h"

#include <fmt/format.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/checked.h"
#include "base/text.h"
#include "formats/rotary_order.h"

namespace narrow::formats::llama2c {
namespace {

constexpr std::uint32_t kMagic = 0x616B3432;  // "ak42", written as an integer
constexpr std::uint64_t kHeaderBytes = 256;   // of versions 1 and 2
constexpr std::uint64_t kLegacyHeaderBytes = 28;

std::int32_t int_at(base::ByteSpan bytes, std::size_t offset) {
  std::int32_t value;
  std::memcpy(&value, bytes.data() + offset, 4);
  return value;
}

// Reads the seven integers at `offset`, all but the vocabulary checked to be positive.
Result<Config> read_dimensions(base::ByteSpan bytes, std::size_t offset, const std::string& where) {
  Config c;
  std::int64_t* const fields[] = {&c.hidden, &c.intermediate, &c.layers, &c.heads, &c.kv_heads, &c.vocabulary, &c.positions};
  constexpr std::string_view kNames[] = {"dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_seq_len"};
  for (std::size_t i = 0; i < std::size(fields); ++i) {
    *fields[i] = int_at(bytes, offset + 4 * i);
    if (*fields[i] <= 0 && !(fields[i] == &c.vocabulary && *fields[i] < 0)) {
      return corrupt(fmt::format("{}: not a llama2.c checkpoint: {} is {}", where, kNames[i], *fields[i]));
    }
  }
  const std::int64_t head = c.hidden / c.heads;
  if (c.hidden % c.heads != 0 || c.heads % c.kv_heads != 0 || head % 2 != 0) {
    return corrupt(fmt::format("{}: not a llama2.c checkpoint: dim {} over {} heads, {} of keys and values", where, c.hidden, c.heads, c.kv_heads));
  }
  return c;
}

// Walks over the weights in the file's order; overflow makes `at` nothing.
struct Cursor {
  std::optional<std::uint64_t> at;
  bool quantized = false;
  std::int64_t group = 0;

  std::uint64_t take(const Shape& shape) {
    const std::uint64_t here = at.value_or(0);
    const auto count = base::checked_product(shape);
    auto bytes = count ? storage_bytes(quantized ? DType::kS8 : DType::kF32, *count) : std::nullopt;
    if (quantized && bytes) bytes = base::checked_add<std::uint64_t>(*bytes, static_cast<std::uint64_t>(*count / group * 4));
    at = at && bytes ? base::checked_add(*at, *bytes) : std::nullopt;
    return here;
  }
};

}  // namespace

void Checkpoint::add(std::string name, Piece piece) {
  names_.push_back(name);
  by_name_.emplace(std::move(name), std::move(piece));
}

Result<Checkpoint> Checkpoint::open(const std::string& path) {
  NARROW_TRY(auto file, base::MappedFile::open(path));
  const base::ByteSpan bytes = file->bytes();
  return read(std::move(file), bytes, path);
}

Result<Checkpoint> Checkpoint::read(std::shared_ptr<const void> owner, base::ByteSpan bytes, const std::string& where) {
  if (bytes.size() < kLegacyHeaderBytes) return corrupt(fmt::format("{}: {} bytes, too short for a llama2.c checkpoint", where, bytes.size()));
  const bool magic = static_cast<std::uint32_t>(int_at(bytes, 0)) == kMagic;
  if (magic && bytes.size() < kHeaderBytes) return corrupt(fmt::format("{}: {} bytes, too short for the header of a llama2.c checkpoint", where, bytes.size()));
  NARROW_TRY(Config c, read_dimensions(bytes, magic ? 8 : 0, where));
  c.version = magic ? int_at(bytes, 4) : 0;
  if (magic) {
    if (c.version != 1 && c.version != 2) return unsupported(fmt::format("{}: llama2.c version {}; 0, 1 and 2 are known", where, c.version));
    const std::uint8_t shared = bytes[36];
    if (shared > 1 || c.vocabulary < 0) return corrupt(fmt::format("{}: a vocabulary of {} and a shared classifier of {}", where, c.vocabulary, shared));
    c.tied = shared == 1;
    if (c.version == 2) {
      c.group = int_at(bytes, 37);
      if (c.group <= 0 || c.hidden % c.group != 0 || c.intermediate % c.group != 0) return corrupt(fmt::format("{}: a group of {} does not divide {} and {}", where, c.group, c.hidden, c.intermediate));
    }
  } else {
    c.tied = c.vocabulary > 0;
    c.vocabulary = std::abs(c.vocabulary);
  }

  Checkpoint checkpoint;
  const std::int64_t head = c.hidden / c.heads, kv = head * c.kv_heads;
  Cursor cursor{.at = magic ? kHeaderBytes : kLegacyHeaderBytes, .group = c.group};
  // One weight of every layer, layer after layer; no more than the file can hold.
  const auto each_layer = [&](std::string_view suffix, const Shape& shape, std::int64_t rotary_head = 0) {
    for (std::int64_t layer = 0; layer < c.layers && cursor.at && *cursor.at <= bytes.size(); ++layer) {
      checkpoint.add(fmt::format("model.layers.{}.{}.weight", layer, suffix), {cursor.take(shape), shape, rotary_head, cursor.quantized});
    }
  };
  const auto single = [&](std::string_view name, const Shape& shape) { checkpoint.add(std::string(name), {cursor.take(shape), shape, 0, cursor.quantized}); };
  const auto attention = [&] {
    each_layer("self_attn.q_proj", {c.hidden, c.hidden}, head);
    each_layer("self_attn.k_proj", {kv, c.hidden}, head);
    each_layer("self_attn.v_proj", {kv, c.hidden});
    each_layer("self_attn.o_proj", {c.hidden, c.hidden});
  };
  const auto feed_forward = [&] {
    each_layer("mlp.gate_proj", {c.intermediate, c.hidden});
    each_layer("mlp.down_proj", {c.hidden, c.intermediate});
    each_layer("mlp.up_proj", {c.intermediate, c.hidden});
  };
  if (magic) {
    each_layer("input_layernorm", {c.hidden});
    each_layer("post_attention_layernorm", {c.hidden});
    single("model.norm.weight", {c.hidden});
    cursor.quantized = c.version == 2;
    single("model.embed_tokens.weight", {c.vocabulary, c.hidden});
    attention();
    feed_forward();
  } else {
    single("model.embed_tokens.weight", {c.vocabulary, c.hidden});
    each_layer("input_layernorm", {c.hidden});
    attention();
    each_layer("post_attention_layernorm", {c.hidden});
    feed_forward();
    single("model.norm.weight", {c.hidden});
    cursor.take({c.positions, head / 2});  // the rotation's cosines and sines, which follow from theta = 10000
    cursor.take({c.positions, head / 2});
  }
  if (!c.tied) single("lm_head.weight", {c.vocabulary, c.hidden});
  if (cursor.at != bytes.size()) {
    return corrupt(fmt::format("{}: its dimensions ask for {} bytes, the file has {}", where, cursor.at ? fmt::format("{}", *cursor.at) : "more than 2^64", bytes.size()))
        .hint("The file was cut off, or it is no llama2.c checkpoint.");
  }
  checkpoint.owner_ = std::move(owner);
  checkpoint.bytes_ = bytes;
  checkpoint.where_ = where;
  checkpoint.config_ = c;
  return checkpoint;
}

Result<Tensor> Checkpoint::tensor(std::string_view name) const {
  const auto at = by_name_.find(std::string(name));
  if (at == by_name_.end()) return not_found(fmt::format("{}: no tensor '{}'", where_, base::escape_controls(name)));
  const Piece& piece = at->second;
  const std::uint8_t* data = bytes_.data() + piece.offset;
  if (!piece.quantized && piece.head == 0 && reinterpret_cast<std::uintptr_t>(data) % alignof(float) == 0) {
    return Tensor::from_shared(DType::kF32, piece.shape, owner_, data);
  }
  NARROW_TRY(Tensor out, Tensor::create(DType::kF32, piece.shape));
  const std::int64_t columns = piece.shape.back(), rows = out.size() / columns;
  auto* values = static_cast<float*>(out.mutable_raw());
  const std::uint8_t* scales = data + out.size();  // version 2: after the codes of the whole weight
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::int64_t from = piece.head != 0 ? interleaved_row(row, piece.head) : row;
    float* to = values + row * columns;
    if (!piece.quantized) {
      std::memcpy(to, data + from * columns * 4, static_cast<std::size_t>(columns) * 4);
      continue;
    }
    for (std::int64_t k = 0; k < columns; ++k) {
      float scale;
      std::memcpy(&scale, scales + (from * columns + k) / config_.group * 4, 4);
      to[k] = static_cast<float>(static_cast<std::int8_t>(data[from * columns + k])) * scale;
    }
  }
  return out;
}

std::string Checkpoint::config_json() const {
  const nlohmann::ordered_json json = {{"architectures", {"LlamaForCausalLM"}}, {"model_type", "llama"}, {"hidden_act", "silu"}, {"hidden_size", config_.hidden},
      {"intermediate_size", config_.intermediate}, {"num_hidden_layers", config_.layers}, {"num_attention_heads", config_.heads}, {"num_key_value_heads", config_.kv_heads},
      {"head_dim", config_.hidden / config_.heads}, {"vocab_size", config_.vocabulary}, {"max_position_embeddings", config_.positions}, {"rms_norm_eps", 1e-5},
      {"rope_theta", 10000.0}, {"tie_word_embeddings", config_.tied}, {"attention_bias", false}, {"mlp_bias", false}, {"bos_token_id", 1}, {"eos_token_id", 2}, {"torch_dtype", "float32"}};
  return json.dump(1) + "\n";
}

}  // namespace narrow::formats::llama2c
