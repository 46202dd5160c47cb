#include "evaluation/memory.h"

#include <fstream>
#include <string>

namespace narrow::evaluation {
namespace {

// The number after `key` in /proc/self/status.
std::uint64_t status_field(const std::string& key) {
  std::ifstream status("/proc/self/status");
  std::string word;
  std::uint64_t value = 0;
  while (status >> word) {
    if (word == key && status >> value) return value;
  }
  return 0;
}

}  // namespace

std::uint64_t peak_resident_bytes() { return status_field("VmHWM:") * 1024; }

int thread_count() {
  const std::uint64_t threads = status_field("Threads:");
  return threads == 0 ? 1 : static_cast<int>(threads);
}

}  // namespace narrow::evaluation
