#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "command.h"
#include "interrupt.h"
#include "narrow/text.h"
#include "narrow/version.h"

namespace {

using namespace narrow;
using namespace narrow::cli;

constexpr const char* kTail = R"(
Every verb: --json for machines, --quiet, --threads N, --seed N, --help with examples.

Exit codes: 0 done; 2 wrong arguments; 3 input missing, unreadable or corrupt, or output not writable; 4 not supported;
            5 a quality target was missed (the output is written); 70 a bug in narrow; 130 interrupted.
)";

std::string usage() {
  std::string text = "narrow: make trained models smaller and faster, and prove what it cost.\n\nusage: narrow VERB …\n\n";
  for (const Command& command : commands()) text += fmt::format("  {:<10} {}\n", command.name, command.summary);
  return text + kTail;
}

int dispatch(int argc, char** argv) {
  const std::string verb = argc > 1 ? argv[1] : "";
  if (verb.empty()) {
    std::fputs(usage().c_str(), stderr);
    return kUsage;
  }
  if (verb == "--help" || verb == "-h" || verb == "help") {
    std::fputs(usage().c_str(), stdout);
    return kOk;
  }
  if (verb == "--version") {
    std::printf("narrow %s\n", version().c_str());
    return kOk;
  }
  std::vector<std::string_view> names;
  for (const Command& command : commands()) {
    names.push_back(command.name);
    if (command.name == verb) return command.run(Arguments(argv + 2, argv + argc));
  }
  std::fprintf(stderr, "narrow: there is no verb '%s'%s\nTry `narrow --help`.\n", escape_controls(verb).c_str(),
               did_you_mean(verb, names).c_str());
  return kUsage;
}

}  // namespace

int main(int argc, char** argv) {
  install_signal_handlers();
  try {
    const int code = dispatch(argc, argv);
    if (std::fflush(stdout) != 0 && code == kOk) {
      std::fputs("narrow: cannot write to standard output\n", stderr);
      return kUnreadable;
    }
    return code;
  } catch (const std::bad_alloc&) {
    std::fputs("narrow: memory ran out\n", stderr);
    return kUnreadable;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "narrow: a bug: %s\n", escape_controls(error.what()).c_str());
    return kBug;
  }
}
