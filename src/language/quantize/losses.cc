// measure_losses of budget.h.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "language/encoder.h"
#include "language/quantize/block_pass.h"
#include "language/quantize/budget.h"
#include "language/quantize/linear_quantizer.h"
#include "language/quantize/overlay.h"
#include "quantizers/matrix/scales.h"

namespace narrow::language {
namespace {

constexpr std::int64_t kMeasuredRows = 128;     // of a Linear, that each choice is tried on
constexpr std::int64_t kLogitTokens = 1024;     // whose logits are in memory at a time
constexpr int kReferenceBits = 3;               // what predictions are seen to move by: more would drown in rounding, fewer is another regime

using quantizers::InputStatistics;

// So many of the sequences that running them once for each Linear costs no more than calibrating on all of them does.
std::int64_t judged_sequences(const HiddenStates& states, std::size_t linears, std::size_t linears_of_block) {
  const double passes = 8, share = std::min(passes / static_cast<double>(linears), 1 / static_cast<double>(linears_of_block));
  return std::clamp<std::int64_t>(static_cast<std::int64_t>(share * static_cast<double>(states.sequences)), 1, states.sequences);
}

// `count` sequences of numbers not set yet, kept where those of `like` are.
Result<HiddenStates> room_for(const HiddenStates& like, std::int64_t count) {
  HiddenStates made;
  made.sequences = count;
  made.length = like.length;
  made.hidden = like.hidden;
  made.spill_folder = like.spill_folder;
  NARROW_RETURN_IF_ERROR(made.allocate());
  return made;
}

void copy_sequences(const HiddenStates& from, std::int64_t count, HiddenStates& to, std::int64_t first) {
  for (std::int64_t i = 0; i < count; ++i) {
    std::copy_n(from.sequence(i), from.length * from.hidden, to.sequence(first + i));
    if ((first + i + 1) % to.chunk() == 0) to.release((first + i) / to.chunk());
    if ((i + 1) % from.chunk() == 0) from.release(i / from.chunk());
  }
}

Result<HiddenStates> first_of(const HiddenStates& states, std::int64_t sequences) {
  NARROW_TRY(HiddenStates part, room_for(states, sequences));
  copy_sequences(states, sequences, part, 0);
  return part;
}

// Of an encoder that predicts no tokens: how far its outputs move, relative to their size.
std::vector<double> distances(const HiddenStates& exact, const HiddenStates& variants) {
  const std::int64_t size = exact.length * exact.hidden;
  std::vector<double> moved(static_cast<std::size_t>(variants.sequences / exact.sequences));
  double whole = 0;
  for (std::int64_t s = 0; s < exact.sequences; ++s) {
    for (std::int64_t i = 0; i < size; ++i) whole += static_cast<double>(exact.sequence(s)[i]) * exact.sequence(s)[i];
  }
  for (std::int64_t s = 0; s < variants.sequences; ++s) {
    const float *x = exact.sequence(s % exact.sequences), *y = variants.sequence(s);
    for (std::int64_t i = 0; i < size; ++i) {
      const double off = static_cast<double>(y[i]) - x[i];
      moved[static_cast<std::size_t>(s / exact.sequences)] += off * off / whole;
    }
  }
  return moved;
}

// Mean divergence of what several variants of the same tokens, one after the other in `variants`, predict from what `exact` does.
Result<std::vector<double>> divergences(const Spec& spec, const WeightSource& weights, const HiddenStates& exact, const HiddenStates& variants, base::ThreadPool& pool) {
  if (spec.encoder && !has_masked_head(spec, weights)) return distances(exact, variants);
  NARROW_TRY(const graph::Graph graph, build_head(spec, weights));
  NARROW_TRY(const auto session, runtime::Session::create(graph, {.threads = pool.threads()}));
  const std::int64_t tokens = exact.tokens(), count = variants.tokens() / tokens, vocabulary = spec.vocabulary;
  const auto logits = [&](const HiddenStates& states, std::int64_t first, std::int64_t size) -> Result<Tensor> {
    const Tensor hidden = Tensor::from_borrowed(DType::kF32, {1, size, states.hidden}, const_cast<float*>(states.sequence(0)) + first * states.hidden);
    const runtime::NamedTensor inputs[] = {{"hidden", hidden}};
    NARROW_TRY(std::vector<Tensor> out, session->run(inputs));
    return out[0].clone();
  };
  std::vector<double> sums(static_cast<std::size_t>(count));
  for (std::int64_t first = 0; first < tokens; first += kLogitTokens) {
    const std::int64_t size = std::min(kLogitTokens, tokens - first);
    NARROW_TRY(const Tensor p, logits(exact, first, size));
    for (std::int64_t v = 0; v < count; ++v) {
      NARROW_TRY(const Tensor q, logits(variants, v * tokens + first, size));
      std::vector<double> of_token(static_cast<std::size_t>(size));
      pool.parallel_for(of_token.size(), [&](std::size_t t, int) {
        const float* a = p.data<float>().data() + static_cast<std::int64_t>(t) * vocabulary;
        const float* b = q.data<float>().data() + static_cast<std::int64_t>(t) * vocabulary;
        const float most_a = *std::max_element(a, a + vocabulary), most_b = *std::max_element(b, b + vocabulary);
        double sum_a = 0, sum_b = 0, cross = 0;
        for (std::int64_t i = 0; i < vocabulary; ++i) {
          const double e = std::exp(static_cast<double>(a[i]) - most_a);
          sum_a += e;
          sum_b += std::exp(static_cast<double>(b[i]) - most_b);
          cross += e * ((static_cast<double>(a[i]) - most_a) - (static_cast<double>(b[i]) - most_b));
        }
        of_token[t] = cross / sum_a - std::log(sum_a) + std::log(sum_b);
      });
      for (const double d : of_token) sums[static_cast<std::size_t>(v)] += d;
    }
  }
  for (double& sum : sums) sum = std::max(0.0, sum / static_cast<double>(tokens));
  return sums;
}

// Linears that are rounded together when predictions are looked at: one, or all experts' of one place, each of which sees few tokens.
using Unit = std::vector<std::string>;
std::vector<Unit> units_of(const LinearLevel& level) {
  std::vector<Unit> units(level.front().size());
  for (const LinearGroup& group : level) {
    for (std::size_t i = 0; i < group.size(); ++i) {
      if (i >= units.size()) units.emplace_back();
      units[i].push_back(group[i]);
    }
  }
  return units;
}

class LossMeter {
 public:
  LossMeter(const Checkpoint& model, const quantizers::Recipe& recipe, base::ThreadPool& pool, std::vector<LinearChoices>& linears) : model_(model), recipe_(recipe), pool_(pool) {
    for (LinearChoices& linear : linears) by_name_[linear.name] = &linear;
  }

  // The relative error of its outputs with each choice, by the method that will choose the codes; and with the reference.
  Status errors_of(const std::string& name, const InputStatistics& statistics) {
    LinearChoices& linear = *by_name_.at(name);
    NARROW_TRY(const StoredWeight stored, model_.weights->matrix(name));
    std::vector<float> weight(static_cast<std::size_t>(stored.rows() * stored.columns()));
    to_float_rows(stored, 0, stored.rows(), weight.data());
    const quantizers::WeightView view{weight.data(), stored.rows()};
    const std::vector<float> sample = quantizers::sample_rows({&view, 1}, stored.columns(), kMeasuredRows);
    LinearPlan plan = plan_of(recipe_, name);
    NARROW_TRY(const LanguageMethod* method, find_language_method(plan.method));
    const bool seen = statistics.tokens > 0;
    NARROW_TRY(const quantizers::MatrixMethod* codes, quantizers::find_matrix_method(seen ? method->codes : "rounding"));
    for (BitChoice& choice : linear.choices) {
      plan.bits = choice.bits;
      plan.group_size = choice.group_size;
      auto made = quantizers::quantize_matrix(*codes, sample, static_cast<std::int64_t>(sample.size()) / stored.columns(), stored.columns(), seen ? &statistics : nullptr,
                                              matrix_options(plan, recipe_, stored.columns()), pool_);
      if (!made.ok()) return std::move(made).context(fmt::format("'{}.weight'", name)).error();
      choice.loss = made->error;
    }
    NARROW_TRY(const quantizers::MatrixMethod* rounding, quantizers::find_matrix_method("rounding"));
    plan.bits = kReferenceBits;
    NARROW_TRY(quantizers::MatrixResult reference, quantizers::quantize_matrix(*rounding, weight, stored.rows(), stored.columns(), seen ? &statistics : nullptr, matrix_options(plan, recipe_, stored.columns()), pool_));
    Reference& own = references_[name];
    own.error = reference.error;
    own.weight.grouped = std::make_shared<const encodings::GroupedMatrix>(std::move(reference.matrix));
    return {};
  }

  bool has(const std::string& name) const { return by_name_.contains(name); }
  const StoredWeight& reference(const std::string& name) const { return references_.at(name).weight; }

  // `divergence` is what the reference of all of `unit` together led to.
  void settle(const Unit& unit, double divergence) {
    double error = 0;
    for (const std::string& name : unit) error += has(name) ? references_.at(name).error : 0;
    for (const std::string& name : unit) {
      if (!has(name)) continue;
      for (BitChoice& choice : by_name_.at(name)->choices) choice.loss *= error > 0 ? divergence / error : 0;
      references_.erase(name);
    }
  }

 private:
  struct Reference { StoredWeight weight; double error = 0; };

  const Checkpoint& model_;
  const quantizers::Recipe& recipe_;
  base::ThreadPool& pool_;
  std::map<std::string, LinearChoices*> by_name_;
  std::map<std::string, Reference> references_;
};

}  // namespace

Status measure_losses(const Checkpoint& model, const quantizers::Recipe& recipe, const std::vector<std::vector<std::int64_t>>& sequences, base::ThreadPool& pool, const Progress& progress,
                      std::vector<LinearChoices>& linears, const std::string& spill_folder) {
  const Spec& spec = model.spec;
  if (linears.empty()) return {};
  LossMeter meter(model, recipe, pool, linears);
  NARROW_TRY(HiddenStates states, embed_sequences(spec, *model.weights, sequences, pool.threads(), spill_folder));
  std::size_t of_block = 0, units = 0;
  for (std::int64_t layer = 0; layer < spec.layers; ++layer) {
    std::size_t own = 0;
    for (const LinearLevel& level : linears_of(spec, layer)) own += units_of(level).size();
    of_block = std::max(of_block, own);
    units += own;
  }
  const std::int64_t judged = judged_sequences(states, units, of_block);
  NARROW_TRY(HiddenStates exact, first_of(states, judged));  // what the whole float model makes of them
  for (std::int64_t layer = 0; layer < spec.layers; ++layer) NARROW_RETURN_IF_ERROR(BlockPass(spec, layer, exact, pool.threads()).finish(*model.weights, exact));

  for (std::int64_t layer = 0; layer < spec.layers; ++layer) {
    if (progress) progress("measuring layers", static_cast<std::size_t>(layer), static_cast<std::size_t>(spec.layers));
    NARROW_TRY(const HiddenStates entering, first_of(states, judged));
    const std::vector<LinearLevel> levels = linears_of(spec, layer);
    BlockPass pass(spec, layer, states, pool.threads());
    for (const LinearLevel& level : levels) {
      LinearLevel wanted;
      std::vector<std::string> fronts;
      for (const LinearGroup& group : level) {
        if (std::none_of(group.begin(), group.end(), [&](const std::string& name) { return meter.has(name); })) continue;
        wanted.push_back(group);
        fronts.push_back(group.front());
      }
      NARROW_RETURN_IF_ERROR(pass.reach(*model.weights, fronts));
      for (const LinearGroup& group : wanted) {
        const std::vector<Tensor>& inputs = pass.inputs(group.front());
        InputStatistics statistics(inputs.front().shape().back());
        for (std::size_t chunk = 0; chunk < inputs.size(); ++chunk) {
          NARROW_RETURN_IF_ERROR(statistics.add(inputs[chunk].data<float>().data(), inputs[chunk].size() / statistics.columns, pool));
          pass.rest(static_cast<std::int64_t>(chunk));
        }
        for (const std::string& name : group) {
          if (meter.has(name)) NARROW_RETURN_IF_ERROR(meter.errors_of(name, statistics));
        }
      }
    }
    NARROW_RETURN_IF_ERROR(pass.finish(*model.weights, states));

    // The judged sequences once for each unit, side by side through the rest of the model.
    std::vector<Unit> here;
    for (const LinearLevel& level : levels) {
      for (Unit& unit : units_of(level)) {
        if (std::any_of(unit.begin(), unit.end(), [&](const std::string& name) { return meter.has(name); })) here.push_back(std::move(unit));
      }
    }
    if (here.empty()) continue;
    NARROW_TRY(HiddenStates variants, room_for(states, judged * static_cast<std::int64_t>(here.size())));
    for (std::size_t i = 0; i < here.size(); ++i) {
      OverlayWeights changed(model.weights);
      for (const std::string& name : here[i]) {
        if (meter.has(name)) changed.set_matrix(name, meter.reference(name));
      }
      NARROW_TRY(HiddenStates moved, entering.copy());
      NARROW_RETURN_IF_ERROR(BlockPass(spec, layer, moved, pool.threads()).finish(changed, moved));
      copy_sequences(moved, judged, variants, static_cast<std::int64_t>(i) * judged);
    }
    for (std::int64_t later = layer + 1; later < spec.layers; ++later) NARROW_RETURN_IF_ERROR(BlockPass(spec, later, variants, pool.threads()).finish(*model.weights, variants));
    NARROW_TRY(const std::vector<double> moved, divergences(spec, *model.weights, exact, variants, pool));
    for (std::size_t i = 0; i < here.size(); ++i) meter.settle(here[i], moved[i]);
  }
  if (progress) progress("measuring layers", static_cast<std::size_t>(spec.layers), static_cast<std::size_t>(spec.layers));
  return {};
}

}  // namespace narrow::language
