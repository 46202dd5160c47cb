// Energy of the processor package, from Linux's powercap counters (RAPL), where they exist and may be read.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "narrow/figures.h"

namespace narrow::evaluation {

class EnergyMeter {
 public:
  // `root`: where the counters are, for tests.
  explicit EnergyMeter(std::string root = "/sys/class/powercap");

  bool available() const { return !domains_.empty(); }
  std::string describe() const;  // "no meter", or "RAPL, 2 packages"

  // Microjoules since the meter was made, wrap-around of the counters accounted for; call it at least every few minutes.
  std::optional<double> microjoules();

 private:
  struct Domain {
    std::string path;
    std::uint64_t last = 0, wrap = 0;
    double total = 0;
  };
  std::vector<Domain> domains_;
};

// "1.25 mJ", "≈ 1.25 mJ est." where no meter said it, or what the note says.
std::string energy_text(const BenchResult& result);

}  // namespace narrow::evaluation
