// The words that a text is cut into, one after another in one buffer.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace narrow::tokenizers {

class Words {
 public:
  struct Word {
    std::u32string_view text;
    bool at_start = false;  // nothing of the whole text stands before it
  };

  // Empty words are left out.
  void add(std::u32string_view text, bool at_start) {
    if (text.empty()) return;
    buffer_.append(text);
    ends_.push_back(buffer_.size());
    if (at_start && ends_.size() == 1) first_at_start_ = true;
  }
  void clear() {
    buffer_.clear();
    ends_.clear();
    first_at_start_ = false;
  }

  std::size_t size() const { return ends_.size(); }
  // Valid until the next add() or clear().
  Word operator[](std::size_t i) const {
    const std::size_t begin = i == 0 ? 0 : ends_[i - 1];
    return {std::u32string_view(buffer_).substr(begin, ends_[i] - begin), i == 0 && first_at_start_};
  }

 private:
  std::u32string buffer_;
  std::vector<std::size_t> ends_;
  bool first_at_start_ = false;  // no other word can be
};

}  // namespace narrow::tokenizers
