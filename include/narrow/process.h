// What a program around the library needs to end cleanly. All functions are async-signal-safe.
#pragma once

namespace narrow {

// Removes every file that is still being written under a temporary name: call it from SIGINT and SIGTERM handlers before
// _exit(). Finished outputs and the files they would have replaced are not touched.
void remove_temporary_files() noexcept;

}  // namespace narrow
