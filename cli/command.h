// The verbs of the command line, and how each ends.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "narrow/result.h"

namespace narrow::cli {

enum ExitCode {
  kOk = 0,
  kUsage = 2,
  kUnreadable = 3,     // missing, unreadable or corrupt input; output that cannot be written
  kNotSupported = 4,
  kTargetMissed = 5,   // the output was written, and a quality target was missed
  kBug = 70,
  kInterrupted = 130,
};

int exit_code(ErrorCode code);

// Prints the error to stderr and returns its exit code.
int fail(const Error& error);

using Arguments = std::vector<std::string>;  // without the program and the verb

struct Command {
  std::string_view name;
  std::string_view summary;
  int (*run)(const Arguments& arguments);
};

std::span<const Command> commands();  // the table, in commands.cc

int inspect_command(const Arguments& arguments);
int plan_command(const Arguments& arguments);
int quantize_command(const Arguments& arguments);
int evaluate_command(const Arguments& arguments);
int generate_command(const Arguments& arguments);
int compare_command(const Arguments& arguments);
int diagnose_command(const Arguments& arguments);
int bench_command(const Arguments& arguments);
int convert_command(const Arguments& arguments);
int run_command(const Arguments& arguments);
int list_command(const Arguments& arguments);

}  // namespace narrow::cli
