#include "evaluation/energy.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>

namespace narrow::evaluation {
namespace {

std::optional<std::uint64_t> read_counter(const std::string& path) {
  std::ifstream file(path);
  std::uint64_t value = 0;
  if (!(file >> value)) return std::nullopt;
  return value;
}

}  // namespace

EnergyMeter::EnergyMeter(std::string root) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(root, error)) {
    // Packages only ("intel-rapl:0"): their cores and memory ("intel-rapl:0:1") are parts of them.
    const std::string name = entry.path().filename().string();
    if (name.find("rapl:") == std::string::npos || name.find(':') != name.rfind(':')) continue;
    const auto now = read_counter(entry.path() / "energy_uj");
    const auto wrap = read_counter(entry.path() / "max_energy_range_uj");
    if (now && wrap) domains_.push_back({(entry.path() / "energy_uj").string(), *now, *wrap, 0});
  }
}

std::string EnergyMeter::describe() const {
  if (domains_.empty()) return "no meter";
  return fmt::format("RAPL, {} package{}", domains_.size(), domains_.size() == 1 ? "" : "s");
}

std::optional<double> EnergyMeter::microjoules() {
  if (domains_.empty()) return std::nullopt;
  double total = 0;
  for (Domain& domain : domains_) {
    const auto now = read_counter(domain.path);
    if (!now) return std::nullopt;
    domain.total += static_cast<double>(*now >= domain.last ? *now - domain.last : *now + (domain.wrap - domain.last));
    domain.last = *now;
    total += domain.total;
  }
  return total;
}

std::string energy_text(const BenchResult& result) {
  if (result.energy_mj_per_run) return fmt::format("{:.3g} mJ", *result.energy_mj_per_run);
  return result.energy_estimate_mj ? fmt::format("≈ {:.3g} mJ est.", *result.energy_estimate_mj) : result.energy_note;
}

}  // namespace narrow::evaluation
