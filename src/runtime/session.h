// Runs a graph: plan (kernels chosen once, memory planned with reuse) per set of input shapes, then execute.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "graph/graph.h"
#include "narrow/result.h"
#include "tensor/runtime_value.h"
#include "tensor/tensor.h"

namespace narrow::runtime {

using NamedTensor = std::pair<std::string, Tensor>;
using NamedValue = std::pair<std::string, RuntimeValue>;

struct SessionOptions {
  int threads = 1;
  bool profile = false;
  // Values handed to `tap` right after they are produced, before their memory is reused. Graph inputs and constants
  // may be named too (inputs are tapped at the start of a run).
  std::vector<graph::ValueId> tapped;
  std::function<Status(graph::ValueId, const Tensor&)> tap;
};

struct NodeProfile {
  std::string name, op_type, implementation;
  double total_ms = 0;
  std::int64_t calls = 0;
};

struct MemoryUse {
  std::uint64_t weights = 0;      // bytes of constants
  std::uint64_t packed = 0;       // estimate of packed copies is not included when unknown
  std::uint64_t arena = 0;        // planned activations of the last plan
  std::uint64_t arena_unshared = 0;  // what the activations would take without reuse
};

// Not safe for concurrent runs; make one session a thread (constants are shared, not copied).
class Session {
 public:
  // The graph must outlive nothing: it is copied (tensor bytes shared). Errors: unsupported, naming the first node
  // that narrow cannot run; corrupt.
  static Result<std::unique_ptr<Session>> create(const graph::Graph& graph, SessionOptions options);
  ~Session();

  // Outputs in graph order; they stay valid until the next run (clone to keep). Errors: invalid_argument naming the
  // input (missing, unknown, wrong type or shape: expected and found), and what kernels report.
  // unsupported, when an output is no tensor.
  Result<std::vector<Tensor>> run(std::span<const NamedTensor> inputs);
  // The same for graphs whose inputs and outputs may be sequences and optionals.
  Result<std::vector<RuntimeValue>> run_values(std::span<const NamedValue> inputs);

  const graph::Graph& graph() const;
  std::vector<NodeProfile> profile() const;
  MemoryUse memory() const;

 private:
  struct Impl;
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace narrow::runtime
