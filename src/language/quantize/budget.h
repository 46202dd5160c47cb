// Which bits each Linear gets so that all of them together stay within so many bits a weight.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "language/checkpoint.h"
#include "language/exports/exports.h"
#include "language/quantize/plan.h"
#include "narrow/progress.h"

namespace narrow::language {

// One way to store a Linear.
struct BitChoice {
  int bits = 0;
  std::int64_t group_size = 0;
  double cost = 0;               // bits, of codes, scales and zero points
  double loss = 0;               // expected rise of the mean negative log likelihood
};

struct LinearChoices {
  std::string name;
  double weights = 0;            // how many
  std::vector<BitChoice> choices;
};

// One choice for each, of least loss for a cost of at most `budget`: by falling gain per bit along each one's convex hull, then
// exchanges between two. Errors: invalid_argument, when the cheapest choices cost more.
Result<std::vector<std::size_t>> choose_within(std::span<const LinearChoices> linears, double budget);

// The ways in which `format` can store each Linear that the recipe quantizes: 2, 3, 4 and 8 bits in the recipe's groups, halves and
// quarters of them; what a rule fixes bits or groups of has one. Losses are not filled in. Errors: unsupported (nothing to choose).
Result<std::vector<LinearChoices>> list_choices(const Checkpoint& model, const quantizers::Recipe& recipe, const ExportFormat& format);

// Fills in the losses. For each Linear: how far the model's predictions move (Kullback-Leibler divergence, on some of the
// sequences) when it alone is rounded, times how the error of its outputs changes from there to each choice under the recipe's
// method. Tokens are spilled where a folder is given. Errors: what running the model reports.
Status measure_losses(const Checkpoint& model, const quantizers::Recipe& recipe, const std::vector<std::vector<std::int64_t>>& sequences, base::ThreadPool& pool, const Progress& progress,
                      std::vector<LinearChoices>& linears, const std::string& spill_folder = "");

struct Budget {
  double wanted = 0, used = 0;   // bits a weight
  double expected_loss = 0;      // rise of the mean negative log likelihood
};

// The recipe with a rule for each Linear in place of its bits_per_weight.
Result<quantizers::Recipe> within_budget(const Checkpoint& model, const quantizers::Recipe& recipe, const ExportFormat& format, const std::vector<std::vector<std::int64_t>>& sequences,
                                         base::ThreadPool& pool, const Progress& progress, Budget& budget, const std::string& spill_folder = "");

}  // namespace narrow::language
