#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "planning/decision.h"
#include "planning/remedies.h"
#include "planning/search.h"
#include "quantizers/small_models.h"

namespace narrow::planning {
namespace {

using namespace quantizers::testing;

const targets::Target& target(const char* name) { return **targets::find_target(name); }

Decision decide_for(Kind kind, bool data, bool labels, const char* runtime, bool retraining = false) {
  Facts facts;
  facts.kind = kind;
  facts.data = data;
  facts.labels = labels;
  facts.samples = data ? 100 : 0;
  Wishes wishes;
  wishes.target = &target(runtime);
  wishes.retraining = retraining;
  return *decide(facts, wishes);
}

TEST(Decision, FollowsModelDataAndTarget) {
  EXPECT_EQ(decide_for(Kind::kConvolutional, true, true, "onnxruntime").methods.front(), "static");
  EXPECT_EQ(decide_for(Kind::kConvolutional, false, false, "onnxruntime").methods.front(), "fp16");
  EXPECT_EQ(decide_for(Kind::kRecurrent, true, false, "onnxruntime").methods.front(), "dynamic");
  EXPECT_EQ(decide_for(Kind::kTransformer, false, false, "onnxruntime").methods.front(), "dynamic");
  EXPECT_EQ(decide_for(Kind::kTransformer, true, false, "tensorrt").methods.front(), "static");  // no ranges at run time there
  EXPECT_EQ(decide_for(Kind::kRecurrent, false, false, "tensorrt").methods.front(), "weight-only");
  EXPECT_EQ(decide_for(Kind::kLanguage, true, false, "onnxruntime").methods.front(), "gptq");
  EXPECT_NE(decide_for(Kind::kLanguage, false, false, "onnxruntime").methods.front(), "gptq");
  Wishes wishes;
  wishes.target = &target("onnxruntime");
  EXPECT_FALSE(decide(Facts{}, wishes).ok());
}

TEST(Decision, NamesTrainingAndDefersIt) {
  const Decision with = decide_for(Kind::kConvolutional, true, true, "onnxruntime", true);
  ASSERT_EQ(with.notes.size(), 1u);
  EXPECT_NE(with.notes[0].find("QAT"), std::string::npos);
  EXPECT_TRUE(decide_for(Kind::kConvolutional, true, true, "onnxruntime").notes.empty());
  EXPECT_EQ(with.path.front().answer, "yes");
  EXPECT_EQ(with.path.back().answer, "static");
}

TEST(Facts, TellTheKindsApart) {
  ModelBuilder conv;
  const Model a = conv.finish({conv.node("Conv", "y", {conv.input("x", {1, 3, 8, 8}), conv.weight("w", {4, 3, 3, 3})})});
  EXPECT_EQ(look_at(a.graph, nullptr).kind, Kind::kConvolutional);
  ModelBuilder matrix;
  const Model b = matrix.finish({matrix.node("MatMul", "y", {matrix.input("x", {1, 8}), matrix.weight("w", {8, 8})})});
  EXPECT_EQ(look_at(b.graph, nullptr).kind, Kind::kMatrix);
  const RandomData data(b.graph, 3);
  EXPECT_TRUE(look_at(b.graph, &data).data);
  EXPECT_FALSE(look_at(b.graph, &data).labels);
}

// Convolutions with one that rounding ruins: its weights' codes go to a channel that is always zero.
Model planted() {
  ModelBuilder b;
  ValueId x = b.input("x", {1, 8, 8, 8});
  for (int i = 0; i < 4; ++i) {
    Tensor w = random_tensor({8, 8, 3, 3}, 10 + i, i == 2 ? -0.05f : -0.3f, i == 2 ? 0.05f : 0.3f), c = random_tensor({8}, 30 + i);
    for (int o = 0; o < 8 && i == 2; ++o) w.mutable_data<float>()[(o * 8 + 7) * 9 + 4] = 4.0f;
    for (int k = 0; k < 72 && i == 1; ++k) w.mutable_data<float>()[7 * 72 + k] = 0;
    if (i == 1) c.mutable_data<float>()[7] = 0;
    const std::string name = "conv" + std::to_string(i);
    x = b.node("Conv", name, {x, b.constant(name + "_w", std::move(w)), b.constant(name + "_b", std::move(c))}, {{"pads", std::vector<std::int64_t>{1, 1, 1, 1}}});
    if (i < 3) x = b.node("Relu", "relu" + std::to_string(i), {x});
  }
  return b.finish({x});
}

class SearchTest : public testing::Test {
 protected:
  SearchTest() : model_(planted()), data_(std::make_shared<RandomData>(model_.graph, 12)), test_(std::make_shared<RandomData>(model_.graph, 20)) {
    request_.model = &model_;
    request_.calibration = data_;
    request_.evaluation = test_;
    request_.facts = look_at(model_.graph, data_.get());
    request_.target = &target("onnxruntime");
    request_.methods = {"static", "fp16"};
    request_.threads = 1;
  }
  SearchResult run() { return *search(request_); }

  const Model model_;
  std::shared_ptr<RandomData> data_, test_;
  SearchRequest request_;
};

TEST_F(SearchTest, StopsAtTheFirstThatMeetsTheTarget) {
  request_.limits.max_drop = 60;
  const SearchResult found = run();
  EXPECT_TRUE(found.met);
  EXPECT_EQ(found.outcome.model.metadata.at("narrow.recipe").find("method = \"static\""), 0u);
  for (const Attempt& attempt : found.attempts) EXPECT_EQ(attempt.name.find("mixed"), std::string::npos);
}

TEST_F(SearchTest, WalksOnUntilTheTargetIsMet) {
  request_.limits.max_drop = 60;
  const double easy = run().judgement.noise;
  for (const double share : {0.3, 0.05}) {
    request_.limits.max_drop = 100 * easy * share;
    const SearchResult found = run();
    EXPECT_TRUE(found.met) << share;
    EXPECT_LE(found.judgement.noise, easy * share * (1 + 1e-9));
    EXPECT_GT(found.attempts.size(), 5u);
    EXPECT_EQ(std::count_if(found.attempts.begin(), found.attempts.end(), [](const Attempt& a) { return a.chosen; }), 1);
  }
}

TEST_F(SearchTest, GivesTheBestAndSaysSoWhenNothingMeetsIt) {
  request_.limits.max_drop = 0;
  const SearchResult found = run();
  EXPECT_FALSE(found.met);
  for (const Attempt& attempt : found.attempts) {
    if (!attempt.judged || !attempt.drop) continue;
    EXPECT_GE(*attempt.drop, *found.judgement.drop);
  }
}

TEST_F(SearchTest, HoldsSizesAgainstTheirLimit) {
  request_.limits.max_drop = 60;
  request_.limits.max_size = 1000;
  int asked = 0;
  request_.weigh = [&](const graph::Model&) -> Result<Weight> { return Weight{asked++ == 0 ? 5000u : 900u, {}}; };
  const SearchResult found = run();
  EXPECT_TRUE(found.met);
  EXPECT_GE(asked, 2);
}

TEST(Remedies, AreNamedOnceAndChangeSomething) {
  std::set<std::string_view> names;
  for (const Remedy& remedy : remedies()) {
    EXPECT_TRUE(names.insert(remedy.name).second) << remedy.name;
    quantizers::Recipe recipe;
    const std::string before = quantizers::to_toml(recipe);
    remedy.apply(recipe);
    EXPECT_NE(quantizers::to_toml(recipe), before) << remedy.name;
    EXPECT_TRUE(quantizers::parse_recipe(quantizers::to_toml(recipe), "recipe").ok()) << remedy.name;
  }
}

}  // namespace
}  // namespace narrow::planning
