// A decoder-only language model as a graph: whole, or in the pieces that block-by-block work needs.
//
// Values: input_ids and position_ids s64 [batch, length]; hidden f32 [batch, length, hidden]; logits f32 [batch, length,
// vocabulary]. With a cache, layer i also reads past_key_values.i.key and .value f32 [batch, key heads, past, head size] and
// gives present.i.key and .value.
#pragma once

#include "graph/graph.h"
#include "language/graph_builder.h"
#include "language/spec.h"

namespace narrow::language {

struct DecoderOptions {
  Form form = Form::kRun;
  bool cached = false;
  // Rows of the table of angles; positions from there on cannot be run. 0: the model's own maximum.
  std::int64_t positions = 0;
};

// An encoder's graphs are those of encoder.h, whatever the options say of caches and positions.
//
// Errors of all: unsupported (a family that is not known), not_found (a weight), corrupt (a weight of another shape than config.json makes it).
Result<graph::Graph> build_decoder(const Spec& spec, const WeightSource& weights, const DecoderOptions& options);
// input_ids, position_ids → hidden.
Result<graph::Graph> build_embedding(const Spec& spec, const WeightSource& weights);
// hidden, position_ids → hidden, of one layer.
Result<graph::Graph> build_block(const Spec& spec, const WeightSource& weights, std::int64_t layer, const DecoderOptions& options);
// hidden → logits.
Result<graph::Graph> build_head(const Spec& spec, const WeightSource& weights);

// The Linears of a layer that may be quantized, in the order in which data passes them; routers of experts are not among
// them. Level: what can be quantized once the levels before are. Group: Linears that read the same input.
using LinearGroup = std::vector<std::string>;
using LinearLevel = std::vector<LinearGroup>;
std::vector<LinearLevel> linears_of(const Spec& spec, std::int64_t layer);
// Of all layers; those by name of a family that is not known.
std::vector<std::string> all_linears(const Spec& spec);

}  // namespace narrow::language
