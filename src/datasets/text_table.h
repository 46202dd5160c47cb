// Tables of text: pairs of sentences with the score that people gave their likeness.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "narrow/result.h"

namespace narrow::datasets {

struct ScoredPair {
  std::string first, second;
  double score = 0;
  std::size_t line = 0;  // from 1
};

// Columns are separated by tabs, taken as they are, or else by commas, with fields in double quotes where they hold commas.
// A first line that names columns sentence1, sentence2 and score decides where they are; without one a line is
// sentence, sentence, score or score, sentence, sentence, or one of the STS benchmark's (genre, file, year, index, score,
// sentence, sentence, …). Errors: corrupt, naming the line and the columns that were expected.
Result<std::vector<ScoredPair>> parse_scored_pairs(std::string_view text, const std::string& where);

// The lines of a text that hold more than blanks, with their numbers from 1.
struct TextLine {
  std::string_view text;
  std::size_t number = 0;
};
std::vector<TextLine> split_lines(std::string_view text);

}  // namespace narrow::datasets
