#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <unistd.h>

#include "api/data_impl.h"
#include "api/model_impl.h"
#include "api/quantization.h"
#include "api/threads.h"
#include "base/text.h"
#include "narrow/plan.h"
#include "planning/remedies.h"
#include "planning/search.h"

namespace narrow {
namespace {

// More calibration samples change ranges little; the rest is worth more as test.
constexpr std::uint64_t kCalibrationSamples = 256;
// Below this, samples that were calibrated on judge as well.
constexpr std::uint64_t kEnoughToJudge = 8;
constexpr std::uint64_t kRandomInputs = 16;

Result<planning::Wishes> wishes_of(const PlanOptions& options, const std::string& target) {
  planning::Wishes wishes;
  wishes.retraining = options.retraining;
  wishes.max_drop = options.max_drop;
  NARROW_TRY(wishes.priority, planning::parse_priority(options.prefer));
  NARROW_TRY(wishes.target, targets::find_target(target));
  return wishes;
}

QuantizationPlan describe_plan(const planning::Decision& decision, quantizers::Recipe recipe, const planning::Facts& facts, const targets::Target& target) {
  QuantizationPlan plan;
  plan.path = decision.path;
  plan.method = decision.methods.front();
  plan.notes = decision.notes;
  recipe.method = plan.method;
  plan.recipe = quantizers::to_toml(recipe);
  for (std::size_t i = 0; i < decision.methods.size(); ++i) {
    const std::string& method = decision.methods[i];
    if (i > 0) plan.remedies.emplace_back(method, fmt::format("method {}", method));
    for (const planning::Remedy& remedy : planning::remedies()) {
      if (remedy.method == method && remedy.applies(facts, target)) plan.remedies.emplace_back(remedy.name, remedy.summary);
    }
    if (method == "static" && facts.data) plan.remedies.emplace_back("mixed", "the layers that cost the outputs most stay float");
  }
  return plan;
}

// Calibrated on, and judged on.
struct Split {
  std::optional<Data> calibration;
  std::optional<Data> evaluation;
  bool same = false;
};

Result<Split> split(const Model& model, const Data* data, const Data* evaluation, std::uint64_t samples, std::uint64_t seed) {
  Split parts;
  const auto made = [&](std::shared_ptr<const datasets::Dataset> set, const Data& of) {
    return Data(std::make_shared<const Data::Impl>(Data::Impl{std::move(set), of.path(), of.preprocess(), of.tokenizer()}));
  };
  if (data != nullptr) {
    if (samples == 0) samples = std::min(kCalibrationSamples, evaluation != nullptr ? data->size() : std::max<std::uint64_t>(data->size() / 2, 1));
    const std::uint64_t rest = data->size() - std::min(samples, data->size());
    // Too few samples to share them out: all of them calibrate and judge.
    const bool share = evaluation == nullptr && rest >= kEnoughToJudge;
    parts.calibration = evaluation != nullptr || share ? data->take(samples) : *data;
    if (share) parts.evaluation = made(datasets::leave_samples(data->impl().samples, samples), *data);
    else if (evaluation == nullptr) parts.evaluation = *data, parts.same = true;
  }
  if (evaluation != nullptr) parts.evaluation = *evaluation;
  if (!parts.evaluation) {
    NARROW_TRY(parts.evaluation, Data::synthetic(model, kRandomInputs, seed));
  }
  return parts;
}

// The file's size, and the latency where it is asked for.
Result<planning::Weight> weigh(const graph::Model& made, const TargetOptions& options) {
  planning::Weight weight;
  const Model model(std::make_shared<const Model::Impl>(made));
  static std::atomic<int> count{0};
  std::error_code ignored;
  const std::filesystem::path file = std::filesystem::temp_directory_path(ignored) / fmt::format("narrow-{}-{}.onnx", ::getpid(), count++);
  NARROW_RETURN_IF_ERROR(model.save(file.string()));
  for (const std::string& written : {file.string(), file.string() + ".data"}) {
    const auto bytes = std::filesystem::file_size(written, ignored);
    if (!ignored) weight.size += bytes;
    std::filesystem::remove(written, ignored);
  }
  if (options.max_latency_ms && options.latency_ms) {
    NARROW_TRY(weight.latency_ms, options.latency_ms(model));
  }
  return weight;
}

std::string missed_limits(const Attempt& chosen, const TargetOptions& options) {
  std::string text;
  if (options.max_size && chosen.size_bytes > *options.max_size) {
    text += fmt::format(" The file takes {}, more than the {} allowed.", base::human_bytes(chosen.size_bytes), base::human_bytes(*options.max_size));
  }
  if (options.max_latency_ms && chosen.latency_ms.value_or(0) > *options.max_latency_ms) {
    text += fmt::format(" A run takes {:.3g} ms, more than the {:g} allowed.", *chosen.latency_ms, *options.max_latency_ms);
  }
  return text;
}

}  // namespace

Result<QuantizationPlan> plan(const Model& model, const Data* data, const PlanOptions& plan_options, const QuantizeOptions& options) {
  NARROW_RETURN_IF_ERROR(refuse_quantized(model));
  NARROW_TRY(const quantizers::Recipe recipe, make_recipe(options, data));
  NARROW_TRY(const planning::Wishes wishes, wishes_of(plan_options, recipe.target));
  const planning::Facts facts = planning::look_at(model.impl().typed().graph, data == nullptr ? nullptr : data->impl().samples.get());
  NARROW_TRY(const planning::Decision decision, planning::decide(facts, wishes));
  return describe_plan(decision, recipe, facts, *wishes.target);
}

Result<QuantizationPlan> plan_language(bool has_data, const PlanOptions& plan_options) {
  NARROW_TRY(const planning::Wishes wishes, wishes_of(plan_options, "onnxruntime"));
  planning::Facts facts;
  facts.kind = planning::Kind::kLanguage;
  facts.data = has_data;
  NARROW_TRY(planning::Decision decision, planning::decide(facts, wishes));
  // Language models are written for readers of checkpoints, which these two questions say nothing about.
  std::erase_if(decision.path, [](const PlanStep& step) { return step.question.starts_with("What does the target"); });
  for (PlanStep& step : decision.path) {
    if (step.question.starts_with("Which data")) step.answer = has_data ? "text" : "none", step.consequence = has_data ? "weights are rounded for the inputs seen" : "weights are rounded by themselves";
  }
  return describe_plan(decision, {}, facts, *wishes.target);
}

Result<Targeted> quantize_to_target(const Model& model, const Data* data, const Data* evaluation, const QuantizeOptions& options,
                                    const TargetOptions& target) {
  NARROW_RETURN_IF_ERROR(refuse_quantized(model));
  NARROW_TRY(const quantizers::Recipe recipe, make_recipe(options, data));
  NARROW_TRY(const planning::Wishes wishes, wishes_of(target.plan, recipe.target));
  const graph::Graph& graph = model.impl().typed().graph;
  NARROW_TRY(const Split parts, split(model, data, evaluation, recipe.samples, recipe.seed));
  planning::SearchRequest request;
  request.facts = planning::look_at(graph, evaluation != nullptr ? evaluation->impl().samples.get() : data != nullptr ? data->impl().samples.get() : nullptr);
  request.facts.data = data != nullptr;
  NARROW_TRY(planning::Decision decision, planning::decide(request.facts, wishes));
  std::vector<std::string> warnings = decision.notes;
  if (parts.calibration) {
    NARROW_TRY(std::vector<std::string> found, check_calibration_data(*parts.calibration));
    warnings.insert(warnings.end(), found.begin(), found.end());
  }
  if (data == nullptr && evaluation == nullptr) warnings.push_back("there are no data: the verdict rests on random inputs and says little; give --data");

  request.model = &model.impl().model;
  request.base = recipe;
  request.base.samples = 0;  // the split has seen to it
  request.observer_fixed = options.observer.has_value();
  request.methods = decision.methods;
  request.target = wishes.target;
  request.priority = wishes.priority;
  request.limits = {target.plan.max_drop, target.max_latency_ms, target.max_size};
  if (parts.calibration) request.calibration = parts.calibration->impl().samples;
  request.evaluation = parts.evaluation->impl().samples;
  request.threads = resolve_threads(options.threads);
  request.progress = options.progress;
  request.weigh = [&](const graph::Model& made) { return weigh(made, target); };
  NARROW_TRY(planning::SearchResult found, planning::search(request));

  quantizers::Recipe replay = found.recipe;
  if (parts.calibration) replay.samples = parts.calibration->size() == data->size() ? 0 : parts.calibration->size();
  found.outcome.recipe = replay;
  found.outcome.model.metadata["narrow.recipe"] = quantizers::to_toml(replay);
  found.outcome.sensitivity = std::move(found.sensitivity);
  found.outcome.frontier = std::move(found.frontier);
  found.outcome.chosen = found.frontier_chosen;
  Targeted result{describe_outcome(model, parts.calibration ? &*parts.calibration : nullptr, options, replay, std::move(found.outcome)), {}};
  Quantization& quantization = result.quantization;
  quantization.method_reason = replay.method == decision.methods.front() ? decision.reason : fmt::format("{} missed the targets", decision.methods.front());
  quantization.warnings.insert(quantization.warnings.begin(), warnings.begin(), warnings.end());
  quantization.trail.path = decision.path;
  quantization.trail.attempts = found.attempts;
  JudgeOptions judge_options;
  judge_options.max_drop = target.plan.max_drop;
  judge_options.same_data_as_calibration = parts.same;
  result.verdict = verdict_of(found.reference, found.judgement.metrics, judge_options, true);
  for (const Attempt& attempt : found.attempts) {
    if (attempt.chosen) result.verdict.summary += missed_limits(attempt, target);
  }
  result.verdict.met = found.met;
  return result;
}

}  // namespace narrow
