#include <cstdio>

#include "command.h"

namespace narrow::cli {
namespace {

constexpr Command kCommands[] = {
    {"inspect", "show what a model consists of and what could be quantized", inspect_command},
    {"plan", "say how a model should be quantized, and why", plan_command},
    {"quantize", "make a smaller, faster model and prove what it cost", quantize_command},
    {"evaluate", "measure a model on data", evaluate_command},
    {"compare", "set models side by side: size, latency, accuracy, memory, layer by layer", compare_command},
    {"diagnose", "say why a quantized model is worse than its float model, and what to do", diagnose_command},
    {"bench", "measure latency, throughput and memory", bench_command},
    {"convert", "read a model and write it again, in the format the new name says", convert_command},
    {"run", "run a model on given inputs", run_command},
    {"generate", "go on writing a text with a language model", generate_command},
    {"list", "list formats, methods, targets, operators, observers, …", list_command},
};

}  // namespace

std::span<const Command> commands() { return kCommands; }

int exit_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument: return kUsage;
    case ErrorCode::kNotFound:
    case ErrorCode::kIo:
    case ErrorCode::kCorrupt:
    case ErrorCode::kResourceExhausted: return kUnreadable;
    case ErrorCode::kUnsupported: return kNotSupported;
    case ErrorCode::kInternal: break;
  }
  return kBug;
}

int fail(const Error& error) {
  std::fprintf(stderr, "narrow: %s\n", error.to_string().c_str());
  return exit_code(error.code());
}

}  // namespace narrow::cli
