// An encoder of the BERT family as a graph: whole, or in the pieces that block-by-block work needs (decoder.h hands these over).
//
// Values of the whole graph: input_ids, attention_mask (1: a token, 0: padding) and, where the family has them, token_type_ids, s64
// [batch, length]; last_hidden_state f32 [batch, length, hidden] and, where the checkpoint has a masked-language head, logits f32
// [batch, length, vocabulary]. The pieces are those of decoder.h, without padding and with all tokens of type 0.
#pragma once

#include "graph/graph.h"
#include "language/graph_builder.h"
#include "language/spec.h"

namespace narrow::language {

// Errors of all: not_found (a weight), corrupt (a weight of another shape than config.json makes it).
Result<graph::Graph> build_encoder(const Spec& spec, const WeightSource& weights, Form form);
Result<graph::Graph> build_encoder_embedding(const Spec& spec, const WeightSource& weights);
Result<graph::Graph> build_encoder_block(const Spec& spec, const WeightSource& weights, std::int64_t layer, Form form);
// hidden → logits. Errors: unsupported, when the checkpoint has no such head.
Result<graph::Graph> build_encoder_head(const Spec& spec, const WeightSource& weights);

// Whether the checkpoint has a masked-language head.
bool has_masked_head(const Spec& spec, const WeightSource& weights);

}  // namespace narrow::language
