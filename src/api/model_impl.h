// What a narrow::Model holds.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "narrow/model.h"
#include "operators/infer.h"
#include "tensor/tensor.h"

namespace narrow {

struct Model::Impl {
  explicit Impl(graph::Model m) : model(std::move(m)) {}

  graph::Model model;                 // as imported or made, types as the file declares them

  // The graph with every type that follows, computed once.
  struct Typed {
    graph::Graph graph;
    std::vector<std::string> gaps;    // what could not be typed, and why
    std::string failure;              // the graph is impossible, and why; the types are then those declared
  };
  const Typed& typed() const;

 private:
  mutable std::once_flag once_;
  mutable Typed typed_;
};

// Inputs that a caller must feed: those without an initializer.
std::vector<graph::ValueId> fed_inputs(const graph::Graph& graph);

Result<Tensor> to_tensor(const struct Array& array);
struct Array to_array(const Tensor& tensor);

}  // namespace narrow
