#include "narrow/text.h"

#include "base/text.h"
#include "evaluation/energy.h"

namespace narrow {

std::string escape_controls(std::string_view text) { return base::escape_controls(text); }

std::string did_you_mean(std::string_view name, std::span<const std::string_view> candidates) {
  return base::did_you_mean(name, candidates);
}

std::string energy_text(const BenchResult& result) { return evaluation::energy_text(result); }

std::string human_bytes(std::uint64_t bytes) { return base::human_bytes(bytes); }

}  // namespace narrow
