#include "language/quantize/budget.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "base/text.h"
#include "language/decoder.h"
#include "language/quantize/linear_quantizer.h"

namespace narrow::language {
namespace {

constexpr int kBits[] = {2, 3, 4, 8};
constexpr std::int64_t kFinestGroup = 32;     // below, scales cost more than they bring
constexpr std::size_t kMostExchanged = 600;   // Linears among which exchanges of pairs are tried

// The choices that lie on the lower convex hull of loss over cost, cheapest first.
std::vector<std::size_t> hull(const std::vector<BitChoice>& choices) {
  std::vector<std::size_t> order(choices.size()), kept;
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return choices[a].cost < choices[b].cost || (choices[a].cost == choices[b].cost && choices[a].loss < choices[b].loss); });
  for (const std::size_t next : order) {
    if (!kept.empty() && choices[next].loss >= choices[kept.back()].loss) continue;
    while (kept.size() >= 2) {
      const BitChoice &a = choices[kept[kept.size() - 2]], &b = choices[kept.back()], &c = choices[next];
      if ((a.loss - b.loss) * (c.cost - a.cost) > (a.loss - c.loss) * (b.cost - a.cost)) break;
      kept.pop_back();
    }
    kept.push_back(next);
  }
  return kept;
}

bool fixed_by_rule(const quantizers::Recipe& recipe, const std::string& linear) {
  return std::any_of(recipe.rules.begin(), recipe.rules.end(), [&](const quantizers::Rule& rule) {
    return (rule.bits || rule.group_size || rule.method) && base::glob_match(rule.name_pattern, linear) && base::glob_match(rule.op_type, "Linear");
  });
}

double cost_of(const MatrixForm& form) {
  const double groups = static_cast<double>((form.columns + form.group_size - 1) / form.group_size) * static_cast<double>(form.rows);
  const int scale_bits = form.scale_type == encodings::ScaleType::kF32 ? 32 : 16;
  return static_cast<double>(form.rows) * static_cast<double>(form.columns) * form.bits + groups * (scale_bits + (form.symmetric ? 0 : form.bits));
}

}  // namespace

Result<std::vector<std::size_t>> choose_within(std::span<const LinearChoices> linears, double budget) {
  struct Step { std::size_t linear, to; double gain; };  // gain: loss won back a bit
  std::vector<std::size_t> chosen;
  std::vector<Step> steps;
  double spent = 0;
  for (std::size_t i = 0; i < linears.size(); ++i) {
    const std::vector<BitChoice>& choices = linears[i].choices;
    const std::vector<std::size_t> path = hull(choices);
    chosen.push_back(path.front());
    spent += choices[path.front()].cost;
    for (std::size_t k = 1; k < path.size(); ++k) {
      const BitChoice &from = choices[path[k - 1]], &to = choices[path[k]];
      steps.push_back({i, path[k], (from.loss - to.loss) / (to.cost - from.cost)});
    }
  }
  if (spent > budget) {
    double weights = 0;
    for (const LinearChoices& linear : linears) weights += linear.weights;
    return invalid_argument(fmt::format("{:.3f} bits a weight are fewer than the {:.3f} of the smallest choices", budget / weights, spent / weights)).hint("Raise --bits-per-weight, or give larger groups.");
  }
  // Along a hull gains fall, so a Linear's steps come in their order; after one that does not fit, none of that Linear's is taken.
  std::stable_sort(steps.begin(), steps.end(), [](const Step& a, const Step& b) { return a.gain > b.gain; });
  std::vector<bool> stopped(linears.size());
  for (const Step& step : steps) {
    const std::vector<BitChoice>& choices = linears[step.linear].choices;
    const double more = choices[step.to].cost - choices[chosen[step.linear]].cost;
    if (stopped[step.linear] || spent + more > budget) {
      stopped[step.linear] = true;
      continue;
    }
    spent += more;
    chosen[step.linear] = step.to;
  }
  // What is left over: single changes, then one Linear's gain for another's loss.
  bool better = true;
  const auto change = [&](std::size_t i, std::size_t to) {
    spent += linears[i].choices[to].cost - linears[i].choices[chosen[i]].cost;
    chosen[i] = to;
    better = true;
  };
  while (std::exchange(better, false)) {
    for (std::size_t i = 0; i < linears.size(); ++i) {
      for (std::size_t to = 0; to < linears[i].choices.size(); ++to) {
        const BitChoice &now = linears[i].choices[chosen[i]], &next = linears[i].choices[to];
        if (next.loss < now.loss && spent + next.cost - now.cost <= budget) change(i, to);
      }
    }
    if (linears.size() > kMostExchanged) continue;
    for (std::size_t i = 0; i < linears.size(); ++i) {
      for (std::size_t up = 0; up < linears[i].choices.size(); ++up) {
        for (std::size_t j = 0; j < linears.size(); ++j) {
          if (j == i) continue;
          for (std::size_t down = 0; down < linears[j].choices.size(); ++down) {
            const BitChoice &a = linears[i].choices[chosen[i]], &b = linears[i].choices[up], &c = linears[j].choices[chosen[j]], &d = linears[j].choices[down];
            const double won = a.loss - b.loss + c.loss - d.loss;
            if (!(won > 1e-12 * (a.loss + c.loss)) || spent + b.cost - a.cost + d.cost - c.cost > budget) continue;
            change(i, up);
            change(j, down);
          }
        }
      }
    }
  }
  return chosen;
}

Result<std::vector<LinearChoices>> list_choices(const Checkpoint& model, const quantizers::Recipe& recipe, const ExportFormat& format) {
  if (format.chooses_codes) {
    return unsupported(fmt::format("the format {} has blocks of its own, not so many bits a weight", format.name)).hint("Choose the blocks by the format (gguf-q4_k_m, gguf-q5_k_m, …), or write --format compressed-tensors.");
  }
  if (!format.mixes) return unsupported(fmt::format("the format {} cannot mix bits, which a budget of bits a weight needs", format.name)).hint("Use --format compressed-tensors, gptq, gptq_v2 or onnx.");
  std::vector<LinearChoices> linears;
  std::set<int> widths;
  for (const std::string& name : all_linears(model.spec)) {
    const LinearPlan plan = plan_of(recipe, name);
    if (!plan.quantize) continue;
    NARROW_TRY(const MatrixForm stored, model.weights->form(name));
    LinearChoices linear{name, static_cast<double>(stored.rows) * static_cast<double>(stored.columns), {}};
    const bool fixed = fixed_by_rule(recipe, name);
    const auto consider = [&](int bits, std::int64_t group) -> Status {
      quantizers::Recipe one = recipe;
      if (!fixed) one.rules.push_back({.name_pattern = name, .bits = static_cast<std::uint64_t>(bits), .group_size = static_cast<std::uint64_t>(group)});
      NARROW_TRY(const MatrixForm form, planned_form(name, stored, one));
      if (form.kind != MatrixForm::Kind::kGrouped) return invalid_argument(fmt::format("'{}': method '{}' has one width of bits only", name, plan.method)).hint("A budget of bits a weight needs rounding, gptq, awq or hqq.");
      if (!format.check(form).ok() || (format.pads != nullptr && format.pads(bits))) return {};
      linear.choices.push_back({bits, group, cost_of(form), 0});
      widths.insert(bits);
      return {};
    };
    if (fixed) {
      NARROW_RETURN_IF_ERROR(consider(plan.bits, plan.group_size));
    } else {
      for (const int bits : kBits) {
        for (std::int64_t part = 1; part <= 4; part *= 2) {
          const std::int64_t group = plan.group_size / part;
          if (part > 1 && (plan.group_size % part != 0 || group < kFinestGroup || group >= stored.columns)) continue;
          NARROW_RETURN_IF_ERROR(consider(bits, group));
        }
      }
    }
    if (linear.choices.empty()) return unsupported(fmt::format("the format {} can store '{}' in none of the ways that there are", format.name, name));
    linears.push_back(std::move(linear));
  }
  if (linears.empty()) return invalid_argument("the recipe quantizes nothing");
  if (widths.size() < 2) return unsupported(fmt::format("the format {} cannot mix bits here: all weights would have {}", format.name, *widths.begin())).hint("Use --format compressed-tensors, gptq_v2 or onnx.");
  return linears;
}

Result<quantizers::Recipe> within_budget(const Checkpoint& model, const quantizers::Recipe& recipe, const ExportFormat& format, const std::vector<std::vector<std::int64_t>>& sequences,
                                         base::ThreadPool& pool, const Progress& progress, Budget& budget, const std::string& spill_folder) {
  if (sequences.empty()) return invalid_argument("a budget of bits a weight needs calibration text, to see what each layer bears").hint("Give some with --data.");
  NARROW_TRY(std::vector<LinearChoices> linears, list_choices(model, recipe, format));
  double weights = 0;
  for (const LinearChoices& linear : linears) weights += linear.weights;
  // Found out before anything is measured.
  NARROW_TRY([[maybe_unused]] const std::vector<std::size_t> cheapest, choose_within(linears, recipe.weights.bits_per_weight * weights));
  NARROW_RETURN_IF_ERROR(measure_losses(model, recipe, sequences, pool, progress, linears, spill_folder));
  NARROW_TRY(const std::vector<std::size_t> chosen, choose_within(linears, recipe.weights.bits_per_weight * weights));
  budget = {.wanted = recipe.weights.bits_per_weight};
  quantizers::Recipe settled = recipe;
  settled.weights.bits_per_weight = 0;
  for (std::size_t i = 0; i < linears.size(); ++i) {
    const BitChoice& choice = linears[i].choices[chosen[i]];
    budget.used += choice.cost / weights;
    budget.expected_loss += choice.loss;
    if (fixed_by_rule(recipe, linears[i].name)) continue;
    settled.rules.push_back({.name_pattern = linears[i].name, .bits = static_cast<std::uint64_t>(choice.bits), .group_size = static_cast<std::uint64_t>(choice.group_size)});
  }
  return settled;
}

}  // namespace narrow::language
