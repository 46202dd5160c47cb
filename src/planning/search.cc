#include "planning/search.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "passes/edit.h"
#include "planning/remedies.h"
#include "quantizers/mixed_precision/assignment.h"
#include "quantizers/mixed_precision/sensitivity.h"
#include "quantizers/static_int8/static_int8.h"

namespace narrow::planning {
namespace {

using quantizers::Outcome;
using quantizers::Recipe;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kQuickSamples = 16;   // of the calibration data: what cheap remedies are chosen by
constexpr double kWorthKeeping = 0.98;      // of the noise, at most, with the remedy
constexpr double kFarOff = 4;               // times the drop allowed
constexpr int kFrontierRounds = 8, kReturns = 3;
constexpr double kLeastIntegerShare = 0.05; // below it nothing is left of the method

std::uint64_t constant_bytes(const graph::Graph& graph) {
  std::uint64_t bytes = 0;
  for (const graph::Value& value : graph.values) bytes += value.constant && value.constant->dtype() != DType::kString ? value.constant->bytes() : 0;
  for (const graph::Node& node : graph.nodes) {
    passes::for_each_subgraph(const_cast<graph::Node&>(node), [&](graph::Graph& body) { bytes += constant_bytes(body); });
  }
  return bytes;
}

struct Candidate {
  Recipe recipe;
  Outcome outcome;
  Attempt attempt;
  double quick = INFINITY;                  // noise on the quick samples
  std::optional<Judgement> judgement;
  int missed = 0;                           // limits
  std::size_t place = 0;                    // in the list of attempts
};

class Search {
 public:
  explicit Search(const SearchRequest& request) : request_(request) {}

  Result<SearchResult> run() {
    const auto quick_data = request_.calibration != nullptr ? request_.calibration : request_.evaluation;
    NARROW_TRY(Judge quick, Judge::open(request_.model->graph, std::shared_ptr<const datasets::Dataset>(datasets::take_samples(quick_data, kQuickSamples)),
                                        request_.limits.max_drop, request_.threads, request_.progress));
    quick_ = std::move(quick);
    NARROW_TRY(Judge judge, Judge::open(request_.model->graph, request_.evaluation, request_.limits.max_drop, request_.threads, request_.progress));
    judge_ = std::move(judge);
    for (const std::string& method : request_.methods) {
      if (best_ && best_->missed == 0) break;
      Status status = method == "static" ? run_static() : run_plain(method, "");
      if (!status.ok() && !failure_) failure_ = std::move(status).error();
    }
    if (best_ && best_->missed > 0 && request_.limits.max_size && best_->attempt.size_bytes > *request_.limits.max_size) {
      Recipe small = recipe_for("weight-only");
      small.weights.bits = 4;
      (void)attempt(std::move(small), "weight-only, 4 bits", "weights of 4 bits in groups, float arithmetic", true);
    }
    if (!best_) return *std::move(failure_);
    return finish();
  }

 private:
  Recipe recipe_for(const std::string& method) const {
    Recipe recipe = request_.base;
    recipe.method = method;
    if (method == "weight-only") recipe.weights.bits = 8, recipe.weights.group_size = 32;
    return recipe;
  }

  Result<Candidate> quantize(Recipe recipe, std::string name, std::string change) {
    const auto start = Clock::now();
    Candidate candidate;
    candidate.recipe = std::move(recipe);
    candidate.attempt.name = std::move(name);
    candidate.attempt.change = std::move(change);
    NARROW_TRY(const quantizers::Quantizer* method, quantizers::find_quantizer(candidate.recipe.method));
    quantizers::Request request;
    request.model = request_.model;
    request.recipe = candidate.recipe;
    request.data = request_.calibration.get();
    request.threads = request_.threads;
    request.progress = request_.progress;
    request.keep_histograms = true;
    if (table_.samples > 0 && same_float_model(candidate.recipe)) request.calibration = &table_;
    auto outcome = method->run(request);
    for (int again = 0; again < kReturns && keep_out_ != nullptr && outcome.ok(); ++again) {
      const std::vector<quantizers::Rule> against = quantizers::rules_against_return(*keep_out_, outcome->layers);
      if (against.empty()) break;
      candidate.recipe.rules.insert(candidate.recipe.rules.end(), against.begin(), against.end());
      request.recipe = candidate.recipe;
      outcome = method->run(request);
    }
    if (!outcome.ok()) {
      candidate.attempt.note = outcome.error().message();
      attempts_.push_back(candidate.attempt);
      return std::move(outcome).error();
    }
    candidate.outcome = *std::move(outcome);
    if (candidate.outcome.calibration.samples > 0 && same_float_model(candidate.recipe)) table_ = candidate.outcome.calibration;
    NARROW_TRY(const Judgement quick, quick_->judge(candidate.outcome.model.graph));
    candidate.quick = quick.metrics.non_finite > quick_->reference().non_finite ? INFINITY : quick.noise;
    candidate.attempt.sqnr_db = quick.metrics.sqnr_db;
    candidate.attempt.size_bytes = constant_bytes(candidate.outcome.model.graph);
    candidate.attempt.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    candidate.place = attempts_.size();
    attempts_.push_back(candidate.attempt);
    return candidate;
  }

  // Ranges are of the values of the float model: what changes that model needs a table of its own.
  bool same_float_model(const Recipe& recipe) const {
    return recipe.equalization == request_.base.equalization && recipe.smoothing == request_.base.smoothing && recipe.split_channels == request_.base.split_channels;
  }

  Status verdict(Candidate& candidate) {
    if (candidate.judgement) return {};
    const auto start = Clock::now();
    NARROW_TRY(candidate.judgement, judge_->judge(candidate.outcome.model.graph));
    const Judgement& judgement = *candidate.judgement;
    Attempt& attempt = candidate.attempt;
    attempt.judged = true;
    attempt.drop = judgement.drop;
    attempt.metrics = judgement.metrics;
    candidate.missed = judgement.met ? 0 : 1;
    // What is larger than the float model is no answer, however good.
    if (attempt.size_bytes > constant_bytes(request_.model->graph)) ++candidate.missed;
    if (request_.weigh && (request_.limits.max_size || request_.limits.max_latency_ms)) {
      NARROW_TRY(const Weight weight, request_.weigh(candidate.outcome.model));
      attempt.size_bytes = weight.size;
      attempt.latency_ms = weight.latency_ms;
      if (request_.limits.max_size && weight.size > *request_.limits.max_size) ++candidate.missed;
      if (request_.limits.max_latency_ms && weight.latency_ms.value_or(0) > *request_.limits.max_latency_ms) ++candidate.missed;
    }
    attempt.met = candidate.missed == 0;
    attempt.seconds += std::chrono::duration<double>(Clock::now() - start).count();
    attempts_[candidate.place] = attempt;
    if (!best_ || better(candidate, *best_)) best_ = candidate;
    return {};
  }

  bool better(const Candidate& a, const Candidate& b) const {
    if (a.missed != b.missed) return a.missed < b.missed;
    const bool by_accuracy = request_.priority == Priority::kAccuracy || !a.judgement->met || !b.judgement->met;
    const double x = a.judgement->risk, y = b.judgement->risk;
    if (by_accuracy) return x != y ? x < y : a.judgement->noise < b.judgement->noise;
    return false;  // what was tried earlier costs less
  }

  // One attempt from start to verdict. False: it could not be made; the list says why.
  bool attempt(Recipe recipe, std::string name, std::string change, bool judged) {
    auto made = quantize(std::move(recipe), std::move(name), std::move(change));
    if (!made.ok()) return false;
    return !judged || verdict(*made).ok();
  }

  Status run_plain(const std::string& method, const std::string& change) {
    NARROW_TRY(Candidate made, quantize(recipe_for(method), method, change));
    return verdict(made);
  }

  bool done() const { return best_ && best_->missed == 0 && request_.priority != Priority::kAccuracy; }

  // Small remedies do not make up for this much.
  bool far_off() const {
    return request_.priority != Priority::kAccuracy && request_.limits.max_drop > 0 && best_ && best_->judgement->risk > kFarOff * request_.limits.max_drop;
  }

  Status run_static() {
    NARROW_TRY(Candidate plain, quantize(recipe_for("static"), name_of(request_.base), ""));
    Candidate current = plain;
    const auto consider = [&](const Remedy& remedy) -> Status {
      if (remedy.method != "static" || !remedy.applies(request_.facts, *request_.target)) return {};
      if (request_.observer_fixed && remedy.name.starts_with("observer")) return {};
      Recipe recipe = current.recipe;
      remedy.apply(recipe);
      if (quantizers::to_toml(recipe) == quantizers::to_toml(current.recipe)) return {};
      auto made = quantize(recipe, name_of(recipe), std::string(remedy.summary));
      if (!made.ok()) return {};
      if (made->quick < current.quick * (remedy.when == When::kAlways ? 1.0 : kWorthKeeping)) current = *std::move(made);
      return {};
    };
    for (const Remedy& remedy : remedies()) {
      if (remedy.when == When::kAlways) NARROW_RETURN_IF_ERROR(consider(remedy));
    }
    NARROW_RETURN_IF_ERROR(verdict(current));
    for (const Remedy& remedy : remedies()) {
      if (done() || far_off()) break;
      if (remedy.when != When::kOnMiss) continue;
      NARROW_RETURN_IF_ERROR(consider(remedy));
      NARROW_RETURN_IF_ERROR(verdict(current));
    }
    if (!done() && (!best_ || best_->missed > 0)) NARROW_RETURN_IF_ERROR(walk_frontier(current));
    // Never worse than plain.
    if (plain.place != current.place && best_ && best_->judgement->drop.value_or(0) > 0) NARROW_RETURN_IF_ERROR(judge_plain(plain));
    return {};
  }

  // "static, mse, equalization": what differs from recipe to recipe.
  static std::string name_of(const Recipe& recipe) {
    std::string name = "static, " + recipe.observer;
    if (recipe.equalization) name += ", equalization";
    if (recipe.smoothing > 0) name += ", smoothing";
    if (recipe.split_channels > 0) name += ", split channels";
    if (recipe.rounding != "nearest") name += ", rounding " + recipe.rounding;
    return name;
  }

  // The plain form takes the place of a better-looking one that the judge likes less.
  Status judge_plain(Candidate& plain) {
    NARROW_RETURN_IF_ERROR(verdict(plain));
    if (best_->place == plain.place || plain.missed > best_->missed) return {};
    if (plain.judgement->drop.value_or(0) < best_->judgement->drop.value_or(0)) best_ = plain;
    return {};
  }

  Status walk_frontier(const Candidate& from) {
    quantizers::Request request;
    request.model = request_.model;
    request.recipe = from.recipe;
    request.data = request_.calibration.get();
    request.threads = request_.threads;
    NARROW_TRY(const quantizers::Prepared prepared, quantizers::prepare_static(request));
    quantizers::SensitivityOptions options;
    options.threads = request_.threads;
    options.progress = request_.progress;
    NARROW_TRY(const quantizers::Sensitivity sensitivity,
               quantizers::measure_sensitivity(prepared.model.graph, from.outcome.model.graph, *request_.calibration, options));
    const quantizers::Cost cost = request_.priority == Priority::kSize ? quantizers::Cost::kSize : quantizers::Cost::kLatency;
    frontier_ = quantizers::find_frontier(prepared.model.graph, from.outcome.layers, *request_.target, sensitivity, cost);
    sensitivity_ = sensitivity.sources;
    if (frontier_.empty()) return {};
    frontier_[0].measured = sensitivity.together;
    const bool by_noise = !judge_->reference().top1 && !judge_->reference().spearman && !judge_->reference().agreement;
    double noise = sensitivity.together, goal = by_noise ? request_.limits.max_drop / 100 : noise / 2;
    std::size_t at = 0;
    std::optional<Recipe> last;
    for (int round = 0; round < kFrontierRounds; ++round) {
      const std::size_t next = quantizers::next_point(frontier_, at, noise, goal);
      if (next == at || frontier_[next].integer_share < kLeastIntegerShare) break;
      at = next;
      Recipe recipe = from.recipe;
      for (quantizers::Rule& rule : quantizers::rules_of(frontier_[at], sensitivity, goal, cost)) recipe.rules.push_back(std::move(rule));
      const std::size_t lifted = frontier_[at].lifted.size();
      last = recipe;
      keep_out_ = &from.outcome.layers;
      auto made = quantize(std::move(recipe), fmt::format("mixed, {} in float", lifted),
                           fmt::format("the {} nodes that cost the outputs most stay float", lifted));
      keep_out_ = nullptr;
      if (!made.ok()) break;
      noise = made->quick;
      frontier_[at].measured = noise;
      NARROW_RETURN_IF_ERROR(verdict(*made));
      if (best_->place == made->place) frontier_chosen_ = at;
      if (best_->missed == 0) break;
      if (!by_noise) goal = std::min(goal, noise) / 2;
    }
    if (!last || best_->missed == 0) return {};
    // Where even half precision turns a class that hangs in the balance.
    for (quantizers::Rule& rule : last->rules) {
      if (rule.float_weights == "f16") rule.float_weights = "f32";
    }
    keep_out_ = &from.outcome.layers;
    auto made = quantize(*std::move(last), fmt::format("mixed, {} in float as f32", frontier_[at].lifted.size()), "their weights are stored as f32");
    keep_out_ = nullptr;
    if (!made.ok()) return {};
    NARROW_RETURN_IF_ERROR(verdict(*made));
    if (best_->place == made->place) frontier_chosen_ = at;
    return {};
  }

  Result<SearchResult> finish() {
    SearchResult result;
    attempts_[best_->place].chosen = true;
    result.attempts = std::move(attempts_);
    result.outcome = std::move(best_->outcome);
    result.recipe = best_->recipe;
    result.met = best_->missed == 0;
    result.judgement = *best_->judgement;
    result.reference = judge_->reference();
    result.sensitivity = std::move(sensitivity_);
    result.frontier = std::move(frontier_);
    result.frontier_chosen = frontier_chosen_;
    return result;
  }

  const SearchRequest& request_;
  std::optional<Judge> quick_, judge_;
  std::vector<Attempt> attempts_;
  std::optional<Candidate> best_;
  std::optional<Error> failure_;
  calibration::CalibrationTable table_;
  const std::vector<quantizers::LayerDecision>* keep_out_ = nullptr;  // what is float here stays so
  std::vector<quantizers::NoiseSource> sensitivity_;
  std::vector<quantizers::FrontierPoint> frontier_;
  std::size_t frontier_chosen_ = 0;
};

}  // namespace

Result<SearchResult> search(const SearchRequest& request) { return Search(request).run(); }

}  // namespace narrow::planning
