// Small text helpers shared by every layer: escaping of hostile names, glob patterns, "did you mean", human units.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace narrow::base {

// Control characters (ESC, newlines, …) and invalid UTF-8 as \xNN, so that a name from a file cannot drive a terminal.
std::string escape_controls(std::string_view text);

// '*' any run, '?' one character, everything else literal. Linear time.
bool glob_match(std::string_view pattern, std::string_view text);

// The candidates within edit distance max(2, length/3) of `name`, nearest first, at most `limit`.
std::vector<std::string> nearest_names(std::string_view name, std::span<const std::string_view> candidates,
                                       std::size_t limit = 3);

// "; did you mean 'a' or 'b'?" or "" when nothing is near.
std::string did_you_mean(std::string_view name, std::span<const std::string_view> candidates);

std::vector<std::string_view> split(std::string_view text, char separator);
std::string_view trim(std::string_view text);
std::string join(std::span<const std::string> parts, std::string_view separator);

// 1536 -> "1.5 KiB".
std::string human_bytes(std::uint64_t bytes);

}  // namespace narrow::base
