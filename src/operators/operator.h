// What an operator is to narrow: one row with its type rule, its CPU kernel and its quantization rule.
//
// A family (convolution, elementwise, …) is one file that defines an array of rows; operators.cc lists the families.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "graph/graph.h"
#include "narrow/result.h"
#include "tensor/runtime_value.h"
#include "tensor/tensor.h"

namespace narrow::operators {

// ---- type inference -------------------------------------------------------------------------------------------------

// What is known about one node's inputs, and where its type rule puts what follows. A rule must accept missing
// knowledge (unknown type, rank, dimension) and answer with what still holds; it returns an error only when the node
// cannot be valid for any input.
class InferContext {
 public:
  virtual ~InferContext() = default;
  virtual const graph::Node& node() const = 0;
  bool has_input(std::size_t i) const { return node().input(i) != graph::kNoValue; }
  // Type of input i; kUnknown when omitted or not known.
  virtual const graph::Type& input(std::size_t i) const = 0;
  // The input's elements when they are known before running (initializer or folded), else null.
  virtual const Tensor* constant(std::size_t i) const = 0;
  // The elements of an integer input of rank 0 or 1, each known, symbolic or unknown: shapes computed by the graph.
  virtual std::optional<std::vector<graph::Dim>> dims_value(std::size_t i) const = 0;
  virtual void set_output(std::size_t i, graph::Type type) = 0;
  virtual void set_dims_value(std::size_t i, std::vector<graph::Dim> dims) = 0;
  // Types of the outputs of a subgraph attribute of this node, its inputs typed as given.
  virtual Result<std::vector<graph::Type>> infer_subgraph(const graph::Graph& subgraph,
                                                          std::span<const graph::Type> inputs) = 0;
};

// ---- execution ------------------------------------------------------------------------------------------------------

class RunContext;

// A subgraph made ready to run (the bodies of If, Loop, Scan and SequenceMap).
class Subgraph {
 public:
  virtual ~Subgraph() = default;
  virtual Result<std::vector<RuntimeValue>> run(std::span<const RuntimeValue> inputs, RunContext& outer) = 0;
};

struct PrepareContext {
  const graph::Node* node = nullptr;
  std::vector<graph::Type> input_types;      // as inferred; may be incomplete: a kernel checks what it gets at run time
  std::vector<graph::Type> output_types;
  std::vector<const Tensor*> constants;      // per input, null unless constant: kernels pack weights here
  int threads = 1;                           // how many threads the kernel may use
  std::function<Result<std::unique_ptr<Subgraph>>(const graph::Graph&)> make_subgraph;
};

class RunContext {
 public:
  virtual ~RunContext() = default;
  virtual std::size_t input_count() const = 0;
  virtual const Tensor& input(std::size_t i) const = 0;  // an undefined tensor when omitted
  bool has_input(std::size_t i) const { return i < input_count() && input(i).defined(); }
  // The input whatever it is, for operators whose row says kTakesValues: others only ever see tensors.
  virtual const RuntimeValue& value(std::size_t i) const = 0;
  // Memory for output i, uninitialised. Valid until the run ends. Errors: resource_exhausted, invalid_argument.
  virtual Result<Tensor*> output(std::size_t i, DType dtype, std::span<const std::int64_t> shape) = 0;
  // Makes output i the given tensor without copying. Its bytes must outlive the run or be an input of this node whose
  // operator row says kAliasesInput.
  virtual void set_output(std::size_t i, Tensor tensor) = 0;
  // The same for any value.
  virtual void set_value(std::size_t i, RuntimeValue value) = 0;
  virtual bool wants_output(std::size_t i) const = 0;
  // A value of the enclosing graphs, by name, for subgraphs; null when there is none.
  virtual const RuntimeValue* captured(std::string_view name) const = 0;
  virtual base::ThreadPool& pool() = 0;
};

class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual Status run(RunContext& context) = 0;
  // Which implementation was chosen, for profiles and --explain: "onednn:brgconv avx512_vnni", "reference".
  virtual std::string describe() const { return "own"; }
};

using PrepareFunction = Result<std::unique_ptr<Kernel>> (*)(const PrepareContext&);

// For operators whose kernel is one function of the node and its inputs.
using RunFunction = Status (*)(const graph::Node&, RunContext&);
std::unique_ptr<Kernel> make_function_kernel(const graph::Node& node, RunFunction run);

// ---- quantization ---------------------------------------------------------------------------------------------------

enum class QuantRole : std::uint8_t {
  kNone,       // stays float
  kCompute,    // weights times activations (Conv, MatMul, Gemm): worth quantizing for itself
  kFollow,     // computes in integers when its neighbours do (Add, Mul, Concat, AveragePool, Sigmoid, …)
  kTransport,  // moves codes unchanged: output shares scale and zero point with its data input (MaxPool, Reshape, …)
  kActivation, // Relu, Clip: can be folded into the range of what feeds it
};

struct QuantRule {
  QuantRole role = QuantRole::kNone;
  int weight_input = -1;  // kCompute: the input that is quantized as a weight when constant
  int bias_input = -1;    // stored as s32 with scale s_x * s_w
  // Bits of the inputs that carry quantizable data (indices, shapes and scalars are not). 0 means input 0 only.
  std::uint32_t data_inputs = 1;
  bool all_inputs = false;             // variadic: every input is data (Concat, Sum, Max)
  // The output range is known whatever the data (Sigmoid, Softmax: [0, 1]; Tanh: [-1, 1]).
  std::optional<std::pair<float, float>> fixed_output;
  // Axis of the output channels in a weight of the given rank (Gemm: depends on transB). Null: no per-channel.
  int (*weight_axis)(const graph::Node&, int rank) = nullptr;
};

// ---- the row --------------------------------------------------------------------------------------------------------

enum OperatorFlags : std::uint32_t {
  kNoFlags = 0,
  kAliasesInput = 1,       // output 0 is input 0's bytes under another shape (Reshape, Identity, …)
  kInPlace = 2,            // output 0 may be written over input 0 (or any input of the same type and shape)
  kNotDeterministic = 4,   // never folded (RandomNormal, …)
  kTakesValues = 8,        // inputs may be sequences and optionals
};

struct Operator {
  std::string_view name;
  std::string_view domain = "";
  int since = 1;                  // newest opset whose definition this row implements
  int min_inputs = 1, max_inputs = 1;   // -1: variadic
  int min_outputs = 1, max_outputs = 1;
  Status (*infer)(InferContext&) = nullptr;
  PrepareFunction prepare = nullptr;    // exactly one of prepare and run, or neither: carried, not run
  RunFunction run = nullptr;
  QuantRule quant = {};
  std::uint32_t flags = kNoFlags;
};

// The row, or null: such a node survives untouched and stays float.
const Operator* find_operator(std::string_view domain, std::string_view name);
std::span<const std::span<const Operator>> operator_families();

// Makes the kernel of one node. Errors: unsupported (naming node and operator) when narrow cannot run it.
Result<std::unique_ptr<Kernel>> prepare(const PrepareContext& context);

// Checks the counts of inputs and outputs against the row. Errors: corrupt, naming the node.
Status check_arity(const graph::Node& node, const Operator& op);

}  // namespace narrow::operators
