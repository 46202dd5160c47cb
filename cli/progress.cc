#include "progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

#include "narrow/text.h"

namespace narrow::cli {
namespace {

constexpr double kRedrawSeconds = 0.1;    // on a terminal
constexpr double kLineSeconds = 10.0;     // elsewhere: quick work says nothing
constexpr int kBarWidth = 24;

std::string clock_text(double seconds) {
  const auto whole = static_cast<long>(seconds + 0.5);
  return whole < 3600 ? fmt::format("{}:{:02}", whole / 60, whole % 60)
                      : fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

}  // namespace

ProgressLine::ProgressLine(bool quiet) : quiet_(quiet), terminal_(::isatty(STDERR_FILENO) != 0) {}

Progress ProgressLine::callback() {
  if (quiet_) return {};
  return [this](std::string_view phase, std::size_t done, std::size_t total) { update(phase, done, total); };
}

void ProgressLine::update(std::string_view phase, std::size_t done, std::size_t total) {
  const Clock::time_point now = Clock::now();
  if (phase != phase_) {
    phase_ = std::string(phase);
    started_ = shown_ = now;
    announced_ = false;
    if (terminal_) draw(done, total, 0);
    return;
  }
  const double seconds = std::chrono::duration<double>(now - started_).count();
  if (std::chrono::duration<double>(now - shown_).count() >= (terminal_ ? kRedrawSeconds : kLineSeconds)) {
    shown_ = now;
    announced_ = true;
    draw(done, total, seconds);
  } else if (!terminal_ && announced_ && done == total) {
    announced_ = false;
    std::fprintf(stderr, "%s: done in %s\n", escape_controls(phase_).c_str(), clock_text(seconds).c_str());
  }
}

void ProgressLine::draw(std::size_t done, std::size_t total, double seconds) {
  std::string line = escape_controls(phase_);
  const double share = total == 0 ? 0 : static_cast<double>(done) / static_cast<double>(total);
  if (terminal_ && total != 0) {
    const int filled = static_cast<int>(share * kBarWidth);
    line += fmt::format("  [{}{}]", std::string(static_cast<std::size_t>(filled), '='),
                        std::string(static_cast<std::size_t>(kBarWidth - filled), ' '));
  }
  line += total == 0 ? fmt::format("  {}", done) : fmt::format("  {}/{}", done, total);
  if (done != 0 && total != 0 && done < total && seconds > 0.5) {
    line += fmt::format("  {} left", clock_text(seconds * (1 - share) / share));
  }
  std::fprintf(stderr, terminal_ ? "\r\x1b[K%s" : "%s\n", line.c_str());
  std::fflush(stderr);
  drawn_ = terminal_;
}

void ProgressLine::finish() {
  if (drawn_) std::fputs("\r\x1b[K", stderr);
  drawn_ = false;
  phase_.clear();
}

}  // namespace narrow::cli
