#include "planning/facts.h"

#include "passes/edit.h"

namespace narrow::planning {
namespace {

struct Weights {
  std::uint64_t convolution = 0, matrix = 0, recurrent = 0;
  bool softmax = false, normalized = false, states = false;
};

void count(const graph::Graph& graph, Weights& weights) {
  for (const graph::Node& node : graph.nodes) {
    std::uint64_t bytes = 0;
    for (const graph::ValueId id : node.inputs) {
      const Tensor* constant = graph.constant(id);
      if (constant != nullptr && is_float(constant->dtype())) bytes += constant->bytes();
    }
    if (node.is("Conv") || node.is("ConvTranspose") || node.op_type == "FusedConv") weights.convolution += bytes;
    if (node.op_type == "MatMul" || node.op_type == "Gemm" || node.op_type == "FusedMatMul" || node.op_type == "FusedGemm" || node.op_type == "Attention") weights.matrix += bytes;
    // Weights of a layer in a branch of an If come from outside, through what rearranges them.
    if (node.is("LSTM") || node.is("GRU") || node.is("RNN")) weights.recurrent += bytes, weights.states = true;
    weights.softmax = weights.softmax || node.is("Softmax") || node.op_type.ends_with("Attention");
    weights.normalized = weights.normalized || node.op_type.ends_with("LayerNormalization") || node.is("Sqrt");
    passes::for_each_subgraph(const_cast<graph::Node&>(node), [&](graph::Graph& body) { count(body, weights); });
  }
}

}  // namespace

std::string_view kind_name(Kind kind) {
  switch (kind) {
    case Kind::kConvolutional: return "convolutional";
    case Kind::kTransformer: return "a transformer";
    case Kind::kRecurrent: return "recurrent";
    case Kind::kMatrix: return "made of matrix products";
    case Kind::kLanguage: return "a language model";
    case Kind::kNothing: break;
  }
  return "without layers that hold weights";
}

Facts look_at(const graph::Graph& graph, const datasets::Dataset* data) {
  Weights weights;
  count(graph, weights);
  Facts facts;
  facts.convolution = weights.convolution;
  facts.matrix = weights.matrix;
  facts.recurrent = weights.recurrent;
  if (weights.states) facts.kind = Kind::kRecurrent;
  else if (weights.matrix > weights.convolution) facts.kind = weights.softmax && weights.normalized ? Kind::kTransformer : Kind::kMatrix;
  else if (weights.convolution > 0) facts.kind = Kind::kConvolutional;
  facts.data = data != nullptr;
  facts.labels = data != nullptr && (data->labelled() || data->samples_together() > 1);
  facts.samples = data == nullptr ? 0 : data->size();
  return facts;
}

}  // namespace narrow::planning
