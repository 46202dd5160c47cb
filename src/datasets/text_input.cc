#include "datasets/text_input.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace narrow::datasets {
namespace {

bool is_integer_row(const graph::Type& type) {
  return (type.dtype == DType::kS64 || type.dtype == DType::kS32) && type.ranked && type.rank() == 2;
}

// "serving_default_input_ids:0" of TensorFlow's exporter is input_ids too.
bool ends_as(std::string_view name, std::string_view known) {
  name = name.substr(0, name.find(':'));
  return name == known || (name.ends_with(known) && name[name.size() - known.size() - 1] == '_');
}

}  // namespace

Result<TextInput::Row> TextInput::row_of(const InputSpec& input) {
  static constexpr std::array<std::pair<std::string_view, Role>, 8> kNames = {{
      {"input_ids", Role::kIds},
      {"input_word_ids", Role::kIds},
      {"attention_mask", Role::kMask},
      {"input_mask", Role::kMask},
      {"token_type_ids", Role::kTypes},
      {"segment_ids", Role::kTypes},
      {"input_type_ids", Role::kTypes},
      {"position_ids", Role::kPositions},
  }};
  for (const auto& [name, role] : kNames) {
    if (!ends_as(input.name, name)) continue;
    if (!is_integer_row(input.type)) {
      return unsupported(fmt::format("input '{}' is {}: text feeds integers of shape [batch, sequence]", input.name, graph::to_string(input.type)));
    }
    if (input.type.dims[0].known() && input.type.dims[0].size != 1) {
      return unsupported(fmt::format("input '{}' is {}: text feeds a batch of 1", input.name, graph::to_string(input.type)))
          .hint("Export the model with a free batch dimension.");
    }
    return Row{input.name, role, input.type.dtype};
  }
  return unsupported(fmt::format("input '{}' is none that text feeds (input_ids, attention_mask, token_type_ids, position_ids)", input.name))
      .hint("Give the inputs as .npz archives with an array per input name.");
}

bool reads_tokens(const std::vector<InputSpec>& inputs) {
  return std::any_of(inputs.begin(), inputs.end(), [](const InputSpec& input) {
    const auto row = TextInput::row_of(input);
    return row.ok() && row->role == TextInput::Role::kIds;
  });
}

Result<TextInput> TextInput::create(const std::vector<InputSpec>& inputs, std::shared_ptr<const tokenizers::Tokenizer> tokenizer,
                                    std::size_t max_length) {
  TextInput made;
  made.tokenizer_ = std::move(tokenizer);
  for (const InputSpec& input : inputs) {
    NARROW_TRY(Row row, row_of(input));
    const graph::Dim& length = input.type.dims[1];
    if (length.known()) {
      const auto size = static_cast<std::size_t>(length.size);
      if (size == 0 || (made.fixed_length_ != 0 && made.fixed_length_ != size)) {
        return unsupported(fmt::format("input '{}' is {}: another sequence length than the inputs before it", input.name, graph::to_string(input.type)));
      }
      made.fixed_length_ = size;
    }
    made.rows_.push_back(std::move(row));
  }
  if (!reads_tokens(inputs)) return unsupported("the model has no input for token ids (input_ids)");
  made.max_length_ = made.fixed_length_ == 0 ? max_length : max_length == 0 ? made.fixed_length_ : std::min(max_length, made.fixed_length_);
  return made;
}

Result<std::vector<std::pair<std::string, Tensor>>> TextInput::convert(std::string_view text) const {
  tokenizers::EncodeOptions options;
  options.padding = false;
  options.max_length = max_length_;
  NARROW_TRY(tokenizers::Encoding encoding, tokenizer_->encode(text, options));
  std::size_t before = 0;
  if (encoding.ids.size() < fixed_length_) {
    const tokenizers::Padding padding = tokenizer_->parts().padding.value_or(tokenizers::Padding{});
    const std::size_t count = fixed_length_ - encoding.ids.size();
    before = padding.side == tokenizers::Side::kLeft ? count : 0;
    const auto fill = [&](std::vector<std::int64_t>& row, std::int64_t value) {
      row.insert(before != 0 ? row.begin() : row.end(), count, value);
    };
    fill(encoding.ids, padding.id);
    fill(encoding.type_ids, padding.type_id);
    fill(encoding.attention_mask, 0);
  }
  const auto length = static_cast<std::int64_t>(encoding.ids.size());
  std::vector<std::int64_t> positions(encoding.ids.size());
  for (std::size_t i = before; i < positions.size(); ++i) positions[i] = static_cast<std::int64_t>(i - before);
  std::vector<std::pair<std::string, Tensor>> inputs;
  for (const Row& row : rows_) {
    const std::vector<std::int64_t>& values = row.role == Role::kIds     ? encoding.ids
                                              : row.role == Role::kMask  ? encoding.attention_mask
                                              : row.role == Role::kTypes ? encoding.type_ids
                                                                         : positions;
    NARROW_TRY(Tensor tensor, Tensor::create(row.dtype, {1, length}));
    if (row.dtype == DType::kS64) std::copy(values.begin(), values.end(), tensor.mutable_data<std::int64_t>().begin());
    else std::copy(values.begin(), values.end(), tensor.mutable_data<std::int32_t>().begin());  // ids are below 2^31
    inputs.emplace_back(row.name, std::move(tensor));
  }
  return inputs;
}

}  // namespace narrow::datasets
