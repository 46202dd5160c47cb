// Embedding tables: rows stored as s8 with a scale each; what is gathered is scaled back to float. The table is most of a
// small language model's file, and no activation's range is needed for it.
#pragma once

#include <cstdint>
#include <vector>

#include "graph/graph.h"
#include "passes/edit.h"
#include "quantizers/quantizer.h"

namespace narrow::quantizers {

// True for a Gather of rows of `table` that is large enough to gain.
bool is_embedding(const graph::Graph& graph, const graph::Node& node, const Tensor& table);

// Appends to `nodes` what takes the place of such a Gather: Gather of codes, Gather of scales, Cast, Mul. Returns the bytes
// stored.
std::uint64_t append_embedding(graph::Graph& graph, passes::UniqueNames& names, const Recipe& recipe, const graph::Node& node,
                               const Tensor& table, std::vector<graph::Node>& nodes);

// Does so for all of the graph's own embeddings that the recipe does not exclude, and says so in their decisions.
Status quantize_embeddings(graph::Graph& graph, const Recipe& recipe, std::vector<LayerDecision>& layers);

inline constexpr const char* kEmbeddingReason = "rows are stored as s8 with a scale each";

}  // namespace narrow::quantizers
