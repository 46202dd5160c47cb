// Text helpers for programs around the library, the same ones it uses in its own messages.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "narrow/figures.h"

namespace narrow {

// Control characters and invalid UTF-8 as \xNN, so that a name from a file cannot drive a terminal.
std::string escape_controls(std::string_view text);

// "; did you mean 'a' or 'b'?", or "" when no candidate is near.
std::string did_you_mean(std::string_view name, std::span<const std::string_view> candidates);

// "1.25 mJ", "≈ 1.25 mJ est." where no meter said it, or "no meter".
std::string energy_text(const BenchResult& result);

std::string human_bytes(std::uint64_t bytes);  // 1536 -> "1.5 KiB"

}  // namespace narrow
