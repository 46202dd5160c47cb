#include "interrupt.h"

#include <signal.h>
#include <unistd.h>

#include <cstring>

#include "command.h"
#include "narrow/process.h"

namespace narrow::cli {
namespace {

void say(const char* text) { (void)!::write(STDERR_FILENO, text, std::strlen(text)); }

// Only async-signal-safe calls from here on.
void on_interrupt(int) {
  remove_temporary_files();
  say("\nnarrow: interrupted; nothing was written\n");
  ::_exit(kInterrupted);
}

void on_bus_error(int) {
  remove_temporary_files();
  say("\nnarrow: a file became shorter, or its disk failed, while it was being read\n"
      "hint: Check that no other program writes to the model or the data, and try again.\n");
  ::_exit(kUnreadable);
}

void handle(int signal_number, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  sigfillset(&action.sa_mask);
  ::sigaction(signal_number, &action, nullptr);
}

}  // namespace

void install_signal_handlers() {
  handle(SIGINT, on_interrupt);
  handle(SIGTERM, on_interrupt);
  handle(SIGBUS, on_bus_error);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);  // a write beyond the file size limit fails with EFBIG, and is cleaned up after
}

}  // namespace narrow::cli
