// Finished blocks on disk, so that an interrupted run can go on: one file a block, whole or absent.
#pragma once

#include <string>

#include "language/quantize/block_quantizer.h"

namespace narrow::language {

class Journal {
 public:
  // `job` says everything that the result depends on. An existing journal is continued when `resume` and of the same job;
  // otherwise it is cleared. Errors: io; invalid_argument (resume of another job).
  static Result<Journal> open(const std::string& folder, const std::string& job, bool resume);

  bool has(std::int64_t layer) const;
  Result<BlockResult> read(std::int64_t layer) const;
  Status write(std::int64_t layer, const BlockResult& result) const;
  void remove() const;  // all of it

 private:
  explicit Journal(std::string folder) : folder_(std::move(folder)) {}
  std::string path(std::int64_t layer) const;

  std::string folder_;
};

}  // namespace narrow::language
