// Session: runs a model on the CPU.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "narrow/array.h"
#include "narrow/figures.h"
#include "narrow/model.h"
#include "narrow/result.h"

namespace narrow {

struct RunOptions {
  int threads = 1;           // 0: all processors
  bool profile = false;
};

// One thread at a time.
class Session {
 public:
  // Errors: unsupported, naming the first node that narrow cannot run.
  static Result<Session> create(const Model& model, const RunOptions& options = {});
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  ~Session();

  // Outputs in the model's order. Errors: invalid_argument naming the input (missing, unknown, wrong type or shape).
  Result<std::vector<NamedArray>> run(const std::vector<NamedArray>& inputs);

  std::vector<KernelTime> profile() const;   // slowest first; empty unless asked for

 private:
  struct Impl;
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace narrow
