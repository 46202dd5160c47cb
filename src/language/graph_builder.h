// Adds nodes to a graph, one call a node.
#pragma once

#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "graph/graph.h"
#include "language/weights.h"

namespace narrow::language {

// What a Linear becomes.
enum class Form : std::uint8_t {
  kRun,      // ai.narrow's Linear and Embedding: weights stay as they are stored
  kOnnx,     // operators that ONNX Runtime has: MatMul, MatMulNBits, MatMulBnb4, Gather
  kOnnxQdq,  // the same with DequantizeLinear of int4 in place of MatMulNBits
};

class GraphBuilder {
 public:
  using Attributes = std::vector<graph::Attribute>;

  GraphBuilder(graph::Graph& graph, const WeightSource& weights, Form form) : graph_(graph), weights_(weights), form_(form) {}

  graph::ValueId input(const std::string& name, graph::Type type);
  graph::ValueId constant(const std::string& name, Tensor tensor) { return graph_.add_constant(name, std::move(tensor)); }
  graph::ValueId add(const std::string& op, const std::string& name, std::vector<graph::ValueId> inputs, Attributes attributes = {});
  std::vector<graph::ValueId> add_many(const std::string& op, const std::string& name, std::vector<graph::ValueId> inputs, std::size_t outputs, Attributes attributes = {},
                                       const std::string& domain = "");
  graph::ValueId scalar(const std::string& name, float value) { return constant(name, Tensor::scalar(value)); }
  graph::ValueId integers(const std::string& name, std::vector<std::int64_t> values);

  // A vector of the checkpoint as an f32 constant of that name. Errors: not_found, corrupt (not of `size` numbers).
  Result<graph::ValueId> vector(const std::string& name, std::int64_t size, float plus = 0);

  // x · W^T + bias, with "<module>.weight" [out, in] and "<module>.bias" where there is one. The node bears the module's name.
  Result<graph::ValueId> linear(const std::string& module, graph::ValueId x, std::int64_t out, std::int64_t in);
  // Rows of "<module>.weight" [rows, columns].
  Result<graph::ValueId> embedding(const std::string& module, graph::ValueId ids, std::int64_t rows, std::int64_t columns);

  const WeightSource& weights() const { return weights_; }

 private:
  Result<StoredWeight> load(const std::string& module, std::int64_t rows, std::int64_t columns) const;
  // The inputs and attributes of kRun for a stored weight.
  void stored(const std::string& module, const StoredWeight& weight, std::vector<graph::ValueId>& inputs, Attributes& attributes);
  graph::ValueId onnx_product(const std::string& module, const StoredWeight& weight, graph::ValueId x);
  graph::ValueId plain_table(const std::string& module, const StoredWeight& weight);

  graph::Graph& graph_;
  const WeightSource& weights_;
  Form form_;
  std::unordered_set<std::string> nodes_;                     // names that are taken: a tied head bears the embedding's
  std::unordered_map<std::string, graph::ValueId> tables_;    // by module: a tied head's weight is there once
};

}  // namespace narrow::language
