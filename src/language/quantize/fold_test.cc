#include "language/quantize/fold.h"

#include "language/quantize/block_pass.h"
#include "language/test_models.h"

namespace narrow::language {
namespace {

using testing::small_model;
using testing::SmallModel;

// Whatever is folded, the block computes what it did; and where the data allow it, a place is found.
TEST(Fold, LeavesTheBlockAsItWas) {
  struct Case { const char* family; std::size_t places; };
  // Which groups of Linears: qkv, o, gate and up, down. Behind an activation alone (GPT-2, NeoX) nothing takes a factor up, nor
  // where queries, keys and values come from one matrix by heads (NeoX), nor in norms without weights (OLMo).
  for (const Case& c : {Case{"llama", 4}, Case{"qwen3", 4}, Case{"phi3", 4}, Case{"gemma", 4}, Case{"gemma2", 4}, Case{"olmo", 2}, Case{"olmo2", 2}, Case{"gpt2", 3}, Case{"gpt_neox", 2}}) {
    const SmallModel model = small_model(c.family);
    OverlayWeights scaled(model.weights);
    std::size_t places = 0;
    std::mt19937 random(3);
    std::uniform_real_distribution<float> factor(0.3f, 3.0f);
    for (const LinearLevel& level : linears_of(model.spec, 0)) {
      for (const LinearGroup& group : level) {
        const auto block = build_block(model.spec, scaled, 0, {});
        ASSERT_TRUE(block.ok()) << block.error().to_string();
        const FoldPlace place = find_fold_place(*block, group, model.spec);
        if (!place.found()) continue;
        ++places;
        std::vector<float> factors(static_cast<std::size_t>(scaled.matrix(group.front())->columns()));
        for (float& f : factors) f = factor(random);
        tie_factors(place, factors);
        ASSERT_TRUE(fold_factors(place, group, factors, scaled));
      }
    }
    EXPECT_EQ(places, c.places) << c.family;
    HiddenStates before;
    before.sequences = 2;
    before.length = 7;
    before.hidden = model.spec.hidden;
    std::normal_distribution<float> normal;
    for (std::int64_t i = 0; i < before.tokens() * before.hidden; ++i) before.values.push_back(normal(random));
    HiddenStates own = *before.copy(), other = *before.copy();
    ASSERT_TRUE(BlockPass(model.spec, 0, before, 1).finish(*model.weights, own));
    ASSERT_TRUE(BlockPass(model.spec, 0, before, 1).finish(scaled, other));
    for (std::size_t i = 0; i < own.values.size(); ++i) ASSERT_NEAR(own.values[i], other.values[i], 2e-4f * (1 + std::abs(own.values[i]))) << c.family << ", " << i;
  }
}

// Reaching the Linears one after the other gives what one run gives.
TEST(BlockPass, StoppingOnTheWayChangesNothing) {
  for (const char* family : {"llama", "gemma2", "olmo2", "gpt2", "gpt_neox"}) {
    const SmallModel model = small_model(family);
    HiddenStates states;
    states.sequences = 3;
    states.length = 5;
    states.hidden = model.spec.hidden;
    std::mt19937 random(4);
    std::normal_distribution<float> normal;
    for (std::int64_t i = 0; i < states.tokens() * states.hidden; ++i) states.values.push_back(normal(random));
    HiddenStates whole = *states.copy(), stopped = *states.copy();
    ASSERT_TRUE(BlockPass(model.spec, 1, states, 1).finish(*model.weights, whole));
    BlockPass pass(model.spec, 1, states, 1);
    for (const LinearLevel& level : linears_of(model.spec, 1)) {
      for (const LinearGroup& group : level) {
        ASSERT_TRUE(pass.reach(*model.weights, {group.front()}));
        EXPECT_EQ(pass.inputs(group.front()).front().shape().back(), model.weights->matrix(group.front())->columns());
      }
    }
    ASSERT_TRUE(pass.finish(*model.weights, stopped));
    EXPECT_EQ(whole.values, stopped.values) << family;
  }
}

}  // namespace
}  // namespace narrow::language
