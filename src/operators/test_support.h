// For the tests of operators: nodes in one line, running them, inferring through them, and tensors of any type.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "operators/dispatch.h"
#include "operators/infer.h"

namespace narrow::operators::testing {

using Attributes = std::vector<graph::Attribute>;

inline graph::Node make_node(std::string op, std::size_t inputs, std::size_t outputs, Attributes attributes = {}) {
  graph::Node node;
  node.name = "n";
  node.op_type = std::move(op);
  for (std::size_t i = 0; i < inputs; ++i) node.inputs.push_back(static_cast<graph::ValueId>(i));
  for (std::size_t i = 0; i < outputs; ++i) node.outputs.push_back(static_cast<graph::ValueId>(inputs + i));
  node.attributes = std::move(attributes);
  return node;
}

// Runs one node; an undefined tensor stands for an omitted input.
inline Result<std::vector<Tensor>> run(std::string op, const std::vector<Tensor>& inputs, Attributes attributes = {},
                                       std::size_t outputs = 1, std::string domain = "") {
  graph::Node node = make_node(std::move(op), inputs.size(), outputs, std::move(attributes));
  node.domain = std::move(domain);
  std::vector<const Tensor*> pointers;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i].defined()) node.inputs[i] = graph::kNoValue;
    pointers.push_back(inputs[i].defined() ? &inputs[i] : nullptr);
  }
  return evaluate_node(node, pointers);
}

inline Result<std::vector<Tensor>> run_microsoft(std::string op, const std::vector<Tensor>& inputs, Attributes attributes = {},
                                                 std::size_t outputs = 1) {
  return run(std::move(op), inputs, std::move(attributes), outputs, "com.microsoft");
}

// The first output; the test fails and the tensor is undefined on an error.
inline Tensor run1(std::string op, const std::vector<Tensor>& inputs, Attributes attributes = {}) {
  auto result = run(op, inputs, std::move(attributes));
  EXPECT_TRUE(result.ok()) << op << ": " << (result.ok() ? "" : result.error().to_string());
  return result.ok() ? result->front() : Tensor();
}

// A graph of one node whose inputs have the given types; constants are given for those that have a tensor.
struct Inferred {
  Status status;
  graph::Type type;
};
inline Inferred infer(std::string op, const std::vector<graph::Type>& types, Attributes attributes = {},
                      const std::vector<Tensor>& constants = {}, std::size_t output = 0, std::size_t outputs = 1) {
  graph::Graph graph;
  graph::Node node = make_node(std::move(op), types.size(), outputs, std::move(attributes));
  for (std::size_t i = 0; i < types.size(); ++i) {
    const bool constant = i < constants.size() && constants[i].defined();
    node.inputs[i] = constant ? graph.add_constant("c", constants[i]) : graph.add_value("x", types[i]);
  }
  for (auto& id : node.outputs) id = graph.add_value("y", {});
  graph.nodes.push_back(node);
  auto result = infer_types(graph);
  Inferred found;
  if (!result.ok()) found.status = result.error();
  found.type = graph.value(node.outputs[output]).type;
  return found;
}

inline std::string inferred(std::string op, const std::vector<graph::Type>& types, Attributes attributes = {},
                            const std::vector<Tensor>& constants = {}, std::size_t output = 0, std::size_t outputs = 1) {
  const Inferred found = infer(std::move(op), types, std::move(attributes), constants, output, outputs);
  return found.status.ok() ? graph::to_string(found.type) : "error: " + found.status.error().message();
}

inline graph::Type f32(std::vector<graph::Dim> dims) { return graph::Type::tensor(DType::kF32, std::move(dims)); }
inline graph::Type s64(std::vector<graph::Dim> dims) { return graph::Type::tensor(DType::kS64, std::move(dims)); }
inline graph::Dim sym(const char* name) { return graph::Dim(std::string(name)); }

inline Tensor ints(std::vector<std::int64_t> values) {
  return Tensor::from<std::int64_t>({static_cast<std::int64_t>(values.size())}, std::span<const std::int64_t>(values));
}

inline std::int64_t elements(const Shape& shape) {
  std::int64_t n = 1;
  for (std::int64_t d : shape) n *= d;
  return n;
}

// A tensor of any numeric type or bool; element i is f(i), converted.
inline Tensor fill(DType dtype, const Shape& shape, const std::function<double(std::int64_t)>& f) {
  Tensor tensor = *Tensor::create(dtype, shape);
  const bool known = dispatch(NumericOrBoolList{}, dtype, [&]<typename T>() {
    for (std::int64_t i = 0; i < tensor.size(); ++i) pointer<T>(tensor)[i] = store<T>(static_cast<Compute<T>>(f(i)));
  });
  EXPECT_TRUE(known);
  return tensor;
}

// Small whole numbers, exact in every type: 0 … 9, negative too where the type has a sign.
inline Tensor small_numbers(DType dtype, const Shape& shape, unsigned seed) {
  std::mt19937 random(seed);
  const bool sign = is_float(dtype) || is_signed_integer(dtype);
  return fill(dtype, shape, [&](std::int64_t) { return static_cast<double>(static_cast<int>(random() % 10) - (sign ? 4 : 0)); });
}

inline const std::vector<DType>& numeric_types() {
  static const std::vector<DType> types = {DType::kF32, DType::kF64, DType::kF16, DType::kBF16, DType::kS8, DType::kU8,
                                           DType::kS16, DType::kU16, DType::kS32, DType::kU32, DType::kS64, DType::kU64};
  return types;
}
inline const std::vector<DType>& float_types() {
  static const std::vector<DType> types = {DType::kF32, DType::kF64, DType::kF16, DType::kBF16};
  return types;
}

// Position of a multi-index that counts up through `shape`.
inline std::vector<std::int64_t> unravel(std::int64_t index, const Shape& shape) {
  std::vector<std::int64_t> at(shape.size());
  for (std::size_t d = shape.size(); d-- > 0;) {
    at[d] = index % shape[d];
    index /= shape[d];
  }
  return at;
}
inline std::int64_t ravel(const std::vector<std::int64_t>& at, const Shape& shape) {
  std::int64_t index = 0;
  for (std::size_t d = 0; d < shape.size(); ++d) index = index * shape[d] + at[d];
  return index;
}
// The element of `x` that stands at output index `at` under broadcasting.
inline double broadcast_at(const Tensor& x, const std::vector<std::int64_t>& at) {
  std::vector<std::int64_t> own(x.shape().size());
  for (std::size_t d = 0; d < own.size(); ++d) {
    own[d] = x.shape()[d] == 1 ? 0 : at[at.size() - own.size() + d];
  }
  return x.at_as_double(ravel(own, x.shape()));
}

}  // namespace narrow::operators::testing
