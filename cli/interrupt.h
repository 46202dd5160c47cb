// Ending well when told to: SIGINT, SIGTERM, and SIGBUS from a mapped file that shrank.
#pragma once

namespace narrow::cli {

void install_signal_handlers();

}  // namespace narrow::cli
