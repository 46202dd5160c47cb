#include "operators/test_support.h"

namespace narrow::operators::testing {
namespace {

using Ints = std::vector<std::int64_t>;

// The pool of 1-grams 2, 3, 5, 4 and 2-grams (5 6), (7 8), (6 7).
Attributes pool(const char* mode, std::int64_t shortest, std::int64_t longest, std::int64_t skip, std::vector<float> weights = {}) {
  Attributes attributes = {{"mode", std::string(mode)}, {"min_gram_length", shortest}, {"max_gram_length", longest}, {"max_skip_count", skip},
                           {"ngram_counts", Ints{0, 4}}, {"ngram_indexes", Ints{0, 1, 2, 3, 4, 5, 6}}, {"pool_int64s", Ints{2, 3, 5, 4, 5, 6, 7, 8, 6, 7}}};
  if (!weights.empty()) attributes.push_back({"weights", weights});
  return attributes;
}

TEST(TfIdfVectorizer, CountsByLengthSkipAndMode) {
  const Tensor row = Tensor::from<std::int64_t>({12}, {1, 1, 3, 3, 3, 7, 8, 6, 7, 5, 6, 8});
  EXPECT_EQ(run1("TfIdfVectorizer", {row}, pool("TF", 2, 2, 0)).to_float(), (std::vector<float>{0, 0, 0, 0, 1, 1, 1}));
  EXPECT_EQ(run1("TfIdfVectorizer", {row}, pool("TF", 2, 2, 5)).to_float(), (std::vector<float>{0, 0, 0, 0, 1, 3, 1}));
  EXPECT_EQ(run1("TfIdfVectorizer", {row}, pool("TF", 1, 2, 5)).to_float(), (std::vector<float>{0, 3, 1, 0, 1, 3, 1}));
  const std::vector<float> weights = {1, 2, 3, 4, 5, 6, 7};
  EXPECT_EQ(run1("TfIdfVectorizer", {row}, pool("IDF", 1, 2, 5, weights)).to_float(), (std::vector<float>{0, 2, 3, 0, 5, 6, 7}));
  EXPECT_EQ(run1("TfIdfVectorizer", {row}, pool("TFIDF", 1, 2, 5, weights)).to_float(), (std::vector<float>{0, 6, 3, 0, 5, 18, 7}));
}

TEST(TfIdfVectorizer, TakesRowsAndStrings) {
  const Tensor rows = Tensor::from<std::int32_t>({2, 6}, {1, 1, 3, 3, 3, 7, 8, 6, 7, 5, 6, 8});
  const Tensor counted = run1("TfIdfVectorizer", {rows}, pool("TF", 1, 2, 0));
  EXPECT_EQ(counted.shape(), (Shape{2, 7}));
  EXPECT_EQ(counted.to_float(), (std::vector<float>{0, 3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 1}));
  Attributes words = {{"mode", std::string("TF")}, {"min_gram_length", std::int64_t{1}}, {"max_gram_length", std::int64_t{2}}, {"max_skip_count", std::int64_t{0}},
                      {"ngram_counts", Ints{0, 1}}, {"ngram_indexes", Ints{1, 0}}, {"pool_strings", std::vector<std::string>{"a", "a", "b"}}};
  EXPECT_EQ(run1("TfIdfVectorizer", {Tensor::from_strings({3}, {"a", "b", "a"})}, words).to_float(), (std::vector<float>{1, 2}));
}

TEST(TfIdfVectorizer, RefusesPoolsThatDoNotFit) {
  const auto refused = [](const char* attribute, graph::Attribute::Value value) {
    Attributes attributes = pool("TF", 1, 2, 0);
    for (graph::Attribute& a : attributes) {
      if (a.name == attribute) a.value = std::move(value);
    }
    return !run("TfIdfVectorizer", {ints({1, 2, 3})}, attributes).ok();
  };
  EXPECT_TRUE(refused("ngram_counts", Ints{0, 5}));        // leaves half a 2-gram
  EXPECT_TRUE(refused("ngram_counts", Ints{0, 40}));
  EXPECT_TRUE(refused("ngram_counts", Ints{-4, 4}));
  EXPECT_TRUE(refused("ngram_indexes", Ints{0, 1}));
  EXPECT_TRUE(refused("ngram_indexes", Ints{0, 1, 2, 3, 4, 5, std::int64_t{1} << 62}));
  EXPECT_TRUE(refused("ngram_indexes", Ints{0, 1, 2, 3, 4, 5, -1}));
  EXPECT_TRUE(refused("mode", std::string("FT")));
  EXPECT_FALSE(refused("max_skip_count", std::int64_t{1} << 62));
}

TEST(SwiGlu, GatesOneInputWithTheSwishOfTheOther) {
  for (DType dtype : float_types()) {
    const Tensor a = fill(dtype, {5}, [](std::int64_t i) { return static_cast<double>(i) - 2; });
    const Tensor b = fill(dtype, {5}, [](std::int64_t i) { return 2.0 * static_cast<double>(i) - 1; });
    const Tensor y = run1("SwiGLU", {a, b}, {{"alpha", 1.5f}});
    for (int i = 0; i < 5; ++i) {
      const double x = i - 2, expected = x / (1 + std::exp(-1.5 * x)) * (2.0 * i - 1);
      EXPECT_NEAR(y.at_as_double(i), expected, dtype == DType::kBF16 ? 0.06 : dtype == DType::kF16 ? 2e-3 : 1e-6);
    }
  }
  EXPECT_FALSE(run("SwiGLU", {Tensor::from<float>({2}, {1, 2}), Tensor::from<float>({1}, {1})}).ok());
  EXPECT_EQ(inferred("SwiGLU", {f32({sym("N"), 3}), f32({2, {}})}), "f32[2,3]");
  EXPECT_EQ(inferred("SwiGLU", {f32({2}), f32({3})}).substr(0, 5), "error");
}

}  // namespace
}  // namespace narrow::operators::testing
