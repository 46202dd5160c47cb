#include "evaluation/similarity.h"

#include <gtest/gtest.h>

#include <cmath>

namespace narrow::evaluation {
namespace {

Tensor tensor(DType dtype, Shape shape, const std::vector<float>& values) {
  Tensor made = *Tensor::create(dtype, std::move(shape));
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (dtype == DType::kF32) made.mutable_data<float>()[i] = values[i];
    else made.mutable_data<std::int64_t>()[i] = static_cast<std::int64_t>(values[i]);
  }
  return made;
}

TEST(Similarity, RanksShareTheirMeanWhereValuesTie) {
  EXPECT_EQ(average_ranks(std::vector<double>{3, 1, 3, 2, 3}), (std::vector<double>{4, 1, 4, 2, 4}));
  EXPECT_EQ(average_ranks(std::vector<double>{5, 5}), (std::vector<double>{1.5, 1.5}));
  EXPECT_TRUE(average_ranks({}).empty());
}

// The expected figures are those of scipy.stats.spearmanr.
TEST(Similarity, SpearmanAsScipy) {
  EXPECT_NEAR(spearman(std::vector<double>{1, 2, 3, 4, 5}, std::vector<double>{5, 6, 7, 8, 7}), 0.8207826816681233, 1e-12);
  EXPECT_NEAR(spearman(std::vector<double>{0.1, 0.5, 0.5, 0.9, 0.2, 0.7}, std::vector<double>{2, 2, 4, 5, 0, 1}), 0.45588235294117646, 1e-12);
  EXPECT_NEAR(spearman(std::vector<double>{1, 2, 3}, std::vector<double>{30, 20, 10}), -1, 1e-12);
  EXPECT_EQ(spearman(std::vector<double>{1, 1, 1}, std::vector<double>{1, 2, 3}), 0);
}

TEST(Similarity, CosineOfEmbeddings) {
  EXPECT_NEAR(cosine_similarity(std::vector<float>{1, 0}, std::vector<float>{1, 1}), std::sqrt(0.5), 1e-7);
  EXPECT_EQ(cosine_similarity(std::vector<float>{0, 0}, std::vector<float>{1, 1}), 0);
}

TEST(Similarity, EmbeddingIsTheMeanOverTheMask) {
  datasets::Sample sample;
  sample.inputs.emplace_back("attention_mask", tensor(DType::kS64, {1, 3}, {1, 1, 0}));
  const std::vector<std::string> names = {"last_hidden_state"};
  const std::vector<Tensor> hidden = {tensor(DType::kF32, {1, 3, 2}, {1, 2, 3, 4, 100, 100})};
  EXPECT_EQ(sentence_embedding(sample, hidden, names), (std::vector<float>{2, 3}));

  sample.inputs.clear();
  EXPECT_EQ(sentence_embedding(sample, hidden, names), (std::vector<float>{104.f / 3, 106.f / 3})) << "no mask: all of them";
  const std::vector<Tensor> pooled = {hidden[0], tensor(DType::kF32, {1, 2}, {7, 8})};
  EXPECT_EQ(sentence_embedding(sample, pooled, std::vector<std::string>{"token_embeddings", "sentence_embedding"}), (std::vector<float>{7, 8}));

  EXPECT_TRUE(sentence_embedding(sample, std::vector<Tensor>{tensor(DType::kF32, {4}, {1, 2, 3, 4})}, std::vector<std::string>{"logits"}).empty());
}

}  // namespace
}  // namespace narrow::evaluation
