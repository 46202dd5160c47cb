// Text tables for people: columns as wide as their content, numbers to the right.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

namespace narrow::cli {

class Table {
 public:
  // A heading that starts with '>' aligns its column to the right (the sign is not shown).
  explicit Table(std::vector<std::string> headings);
  void add(std::vector<std::string> cells);  // cells are escaped
  std::string render() const;                // with two spaces before each line
  bool empty() const { return rows_.empty(); }

 private:
  std::vector<std::string> headings_;
  std::vector<bool> right_;
  std::vector<std::vector<std::string>> rows_;
};

void print(const std::string& text);  // to stdout

std::string count_text(double value);           // 1235496 -> "1.24 M"
std::string plural(std::uint64_t n, std::string_view word);  // "1 layer", "2 layers"

}  // namespace narrow::cli
