// A small tokenizer.json for tests.
#pragma once

#include <string>

namespace narrow::tokenizers {

// [PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3, then words; `extra` goes before the model, as "\"truncation\": …,".
inline std::string small_tokenizer(const std::string& extra = "") {
  return R"({"version": "1.0",
  "added_tokens": [{"id": 0, "content": "[PAD]", "special": true}, {"id": 2, "content": "[CLS]", "special": true},
                   {"id": 3, "content": "[SEP]", "special": true},
                   {"id": 90, "content": "don", "single_word": true, "normalized": false},
                   {"id": 91, "content": "<Mask>", "lstrip": true, "rstrip": true}],
  "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
  "pre_tokenizer": {"type": "BertPreTokenizer"},
  "post_processor": {"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
    "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
             {"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
    "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2]}, "[SEP]": {"id": "[SEP]", "ids": [3]}}},
  )" + extra + R"("model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 12,
    "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "cafe": 4, "un": 5, "##want": 6, "##ed": 7, "##wanted": 8, "東": 9, "!": 10,
              "a": 11, "##a": 12, "t": 13, "'": 14, "##b": 15, "want": 16}}})";
}

}  // namespace narrow::tokenizers
