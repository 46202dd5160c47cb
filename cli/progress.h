// Progress on stderr: one line that moves, with the time left, on a terminal; plain lines elsewhere.
#pragma once

#include <chrono>
#include <string>

#include "narrow/progress.h"

namespace narrow::cli {

class ProgressLine {
 public:
  explicit ProgressLine(bool quiet);
  ~ProgressLine() { finish(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  Progress callback();
  void finish();  // clears the moving line

 private:
  using Clock = std::chrono::steady_clock;
  void update(std::string_view phase, std::size_t done, std::size_t total);
  void draw(std::size_t done, std::size_t total, double seconds);

  bool quiet_, terminal_, drawn_ = false, announced_ = false;
  std::string phase_;
  Clock::time_point started_{}, shown_{};
};

}  // namespace narrow::cli
