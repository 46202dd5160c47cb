// Class labels in text: one line a sample, "path<TAB>class index[<TAB>…]", or a class index alone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "narrow/result.h"

namespace narrow::datasets {

struct LabelLine {
  std::string path;                   // empty when the line holds only an index
  std::optional<std::int64_t> label;  // a line may name a path alone
};

// Lines that start with '#' and blank lines are skipped. Either every line has a label or none has. Errors: corrupt,
// naming the line.
Result<std::vector<LabelLine>> parse_labels(std::string_view text, const std::string& where);
Result<std::vector<LabelLine>> read_labels(const std::string& path);

// The labels of `path` (parse_labels' text, or a .npy of integers), one for each of `count` samples. Errors: corrupt,
// invalid_argument when their number differs.
Result<std::vector<std::int64_t>> read_label_column(const std::string& path, std::size_t count);

}  // namespace narrow::datasets
