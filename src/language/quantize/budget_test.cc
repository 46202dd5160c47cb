#include "language/quantize/budget.h"

#include "language/quantize/pipeline.h"
#include "language/test_folder.h"

namespace narrow::language {
namespace {

using testing::random_sequences;
using testing::save;
using testing::small_model;
using testing::SmallModel;
using testing::TemporaryFolder;

double total(const std::vector<LinearChoices>& linears, const std::vector<std::size_t>& chosen, double BitChoice::*what) {
  double sum = 0;
  for (std::size_t i = 0; i < linears.size(); ++i) sum += linears[i].choices[chosen[i]].*what;
  return sum;
}

// The least loss there is, by trying everything; negative when nothing fits.
double least_loss(const std::vector<LinearChoices>& linears, double budget) {
  std::vector<std::size_t> at(linears.size());
  double least = -1;
  for (;;) {
    const double loss = total(linears, at, &BitChoice::loss);
    if (total(linears, at, &BitChoice::cost) <= budget && (least < 0 || loss < least)) least = loss;
    std::size_t i = 0;
    while (i < at.size() && ++at[i] == linears[i].choices.size()) at[i++] = 0;
    if (i == at.size()) return least;
  }
}

TEST(ChooseWithin, IsNextToTheBestThereIs) {
  std::mt19937 random(4);
  std::uniform_real_distribution<double> real(0.1, 1);
  double excess = 0;
  int exact = 0, feasible = 0;
  for (int round = 0; round < 300; ++round) {
    std::vector<LinearChoices> linears(4 + random() % 4);
    double low = 0, high = 0;
    for (LinearChoices& linear : linears) {
      linear.weights = 100 * static_cast<double>(1 + random() % 4);
      const double base = std::pow(10, 2 * real(random));
      for (const int bits : {2, 3, 4, 8}) linear.choices.push_back({bits, 0, linear.weights * (bits + 0.2 * real(random)), base * std::pow(3.5, -bits) * (0.7 + real(random))});
      low += linear.choices.front().cost;
      high += linear.choices.back().cost;
    }
    const double budget = low * 0.95 + (high - low) * 0.7 * real(random), best = least_loss(linears, budget);
    const auto chosen = choose_within(linears, budget);
    if (best < 0) {
      EXPECT_FALSE(chosen.ok());
      continue;
    }
    ASSERT_TRUE(chosen.ok());
    EXPECT_LE(total(linears, *chosen, &BitChoice::cost), budget);
    const double found = total(linears, *chosen, &BitChoice::loss);
    EXPECT_LE(found, 1.6 * best);
    excess += found / best - 1;
    exact += found <= best * (1 + 1e-9);
    ++feasible;
  }
  EXPECT_GT(feasible, 200);
  EXPECT_GT(exact, 0.85 * feasible);
  EXPECT_LT(excess / feasible, 0.02);
}

quantizers::Recipe recipe_of(double bits_per_weight) {
  quantizers::Recipe recipe;
  recipe.method = "rounding";
  recipe.weights.group_size = 16;
  recipe.weights.bits_per_weight = bits_per_weight;
  recipe.weights.scale_type = "f16";
  return recipe;
}

const LinearChoices& named(const std::vector<LinearChoices>& linears, const std::string& name) {
  return *std::find_if(linears.begin(), linears.end(), [&](const LinearChoices& l) { return l.name == name; });
}

TEST(MeasureLosses, ALinearThatMattersMoreLosesMore) {
  SmallModel small = small_model("llama");
  // What the second layer's MLP adds drowns; its attention's output is ten times as loud.
  const auto scale = [&](const std::string& name, float factor) {
    for (float& w : small.weights->tensors().at(name).mutable_data<float>()) w *= factor;
  };
  scale("model.layers.1.mlp.down_proj.weight", 0.01f);
  scale("model.layers.1.self_attn.o_proj.weight", 4.0f);
  const TemporaryFolder folder;
  const Checkpoint model = save(small, folder / "model");
  const quantizers::Recipe recipe = recipe_of(3.5);
  const auto format = find_export_format("compressed-tensors");
  auto linears = list_choices(model, recipe, **format);
  ASSERT_TRUE(linears.ok()) << linears.error().to_string();
  EXPECT_EQ(linears->size(), 14u);
  base::ThreadPool pool(2);
  const auto sequences = random_sequences(model.spec.vocabulary, 12, 16);
  ASSERT_TRUE(measure_losses(model, recipe, sequences, pool, {}, *linears));
  for (const LinearChoices& linear : *linears) {
    for (std::size_t i = 1; i < linear.choices.size(); ++i) {
      if (linear.choices[i].bits > linear.choices[i - 1].bits) EXPECT_LT(linear.choices[i].loss, 0.6 * linear.choices[i - 1].loss) << linear.name;
    }
  }
  const double drowned = named(*linears, "model.layers.1.mlp.down_proj").choices[0].loss, loud = named(*linears, "model.layers.1.self_attn.o_proj").choices[0].loss;
  EXPECT_GT(loud, 50 * drowned);
  EXPECT_GT(drowned, 0);
}

TEST(Budget, IsMetAndWrittenIntoTheRecipe) {
  const TemporaryFolder folder;
  const Checkpoint model = save(small_model("llama", {{"num_key_value_heads", 4}, {"intermediate_size", 64}}), folder / "model");
  LanguageJob job;
  job.model = &model;
  job.recipe = recipe_of(5.3);
  job.recipe.method = "gptq";
  quantizers::Rule fixed;
  fixed.name_pattern = "*.0.self_attn.q_proj";
  fixed.bits = 8;
  job.recipe.rules = {fixed};
  job.sequences = random_sequences(model.spec.vocabulary, 8, 16);
  for (const char* format : {"compressed-tensors", "gptq_v2"}) {
    job.format = format;
    job.out = folder / format;
    const auto made = quantize_checkpoint(job);
    ASSERT_TRUE(made.ok()) << made.error().to_string();
    EXPECT_LE(made->budget.used, 5.3);
    EXPECT_GT(made->budget.used, 4.9);
    const auto opened = open_checkpoint(job.out);
    ASSERT_TRUE(opened.ok());
    std::set<int> widths;
    double bits = 0, weights = 0;
    for (const std::string& name : all_linears(model.spec)) {
      const auto form = opened->weights->form(name);
      ASSERT_TRUE(form.ok());
      widths.insert(form->bits);
      weights += static_cast<double>(form->rows * form->columns);
      bits += static_cast<double>(form->rows * form->columns) * form->bits + static_cast<double>(form->rows * ((form->columns + form->group_size - 1) / form->group_size)) * (16 + form->bits);
    }
    EXPECT_GE(widths.size(), 2u);
    EXPECT_NEAR(bits / weights, made->budget.used, 1e-9) << format;
    EXPECT_EQ(opened->weights->form("model.layers.0.self_attn.q_proj")->bits, 8);
    // What the recipe says replays the run.
    const auto recipe = quantizers::parse_recipe(made->recipe, "recipe");
    ASSERT_TRUE(recipe.ok()) << recipe.error().to_string();
    EXPECT_EQ(recipe->weights.bits_per_weight, 0);
    for (const std::string& name : all_linears(model.spec)) EXPECT_EQ(plan_of(*recipe, name).bits, opened->weights->form(name)->bits) << name;
  }
}

TEST(Budget, WhoCannotMixSaysSo) {
  const TemporaryFolder folder;
  const Checkpoint model = save(small_model("llama"), folder / "model");
  LanguageJob job;
  job.model = &model;
  job.sequences = random_sequences(model.spec.vocabulary, 4, 8);
  const auto refuse = [&](const char* format, const char* method, double bits, ErrorCode code, const char* part) {
    job.recipe = recipe_of(bits);
    job.recipe.method = method;
    job.format = format;
    job.out = folder / (std::string(format) == "gguf-q4_k_m" ? "out.gguf" : "out");
    const auto made = quantize_checkpoint(job);
    ASSERT_FALSE(made.ok()) << format;
    EXPECT_EQ(made.error().code(), code) << format;
    EXPECT_NE(made.error().to_string().find(part), std::string::npos) << made.error().to_string();
  };
  refuse("awq", "rounding", 5.3, ErrorCode::kUnsupported, "cannot mix");
  refuse("bitsandbytes", "nf4", 5.3, ErrorCode::kUnsupported, "cannot mix");
  refuse("gguf-q4_k_m", "rounding", 5.3, ErrorCode::kUnsupported, "blocks of its own");
  refuse("compressed-tensors", "nf4", 5.3, ErrorCode::kInvalidArgument, "one width");
  refuse("compressed-tensors", "rounding", 1.9, ErrorCode::kInvalidArgument, "fewer than");
  job.sequences.clear();
  refuse("compressed-tensors", "rounding", 5.3, ErrorCode::kInvalidArgument, "calibration text");
}

}  // namespace
}  // namespace narrow::language
