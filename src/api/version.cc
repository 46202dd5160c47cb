#include "narrow/version.h"

#include <fmt/format.h>
#include <sys/utsname.h>

#include <fstream>

#include "base/cpu.h"
#include "base/thread_pool.h"

namespace narrow {
namespace {

std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  std::string line;
  while (std::getline(info, line)) {
    const std::size_t colon = line.find(": ");
    if (line.rfind("model name", 0) == 0 && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown processor";
}

}  // namespace

std::string version() { return NARROW_VERSION; }

std::string environment() {
  utsname system{};
  ::uname(&system);
  return fmt::format("{} {}, {}, {} processors, {}", system.sysname, system.machine, processor_name(),
                     base::available_processors(), base::to_string(base::effective_isa()));
}

}  // namespace narrow
