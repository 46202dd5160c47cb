// What sentence encoders are judged by: how the likeness of two embeddings goes with the score that people gave.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "datasets/dataset.h"
#include "tensor/tensor.h"

namespace narrow::evaluation {

// The embedding among a sample's outputs: the one named sentence_embedding, else the first; [1, hidden] as it is,
// [1, sequence, hidden] by its mean over the positions that the attention mask keeps. Empty for outputs of other shapes.
std::vector<float> sentence_embedding(const datasets::Sample& sample, std::span<const Tensor> outputs,
                                              std::span<const std::string> output_names);

double cosine_similarity(std::span<const float> a, std::span<const float> b);

// The ranks from 1 on; equal values share the mean of theirs.
std::vector<double> average_ranks(std::span<const double> values);

// Spearman's correlation, -1 to 1, by the ranks' product moment; 0 when one side is constant. Precondition: equal sizes.
double spearman(std::span<const double> a, std::span<const double> b);

}  // namespace narrow::evaluation
