#include "language/quantize/linear_quantizer.h"

#include <fmt/format.h>

#include <algorithm>

namespace narrow::language {

Result<QuantizedLinear> quantize_linear(const std::string& name, const StoredWeight& stored, const quantizers::Recipe& recipe, const quantizers::InputStatistics* statistics,
                                        base::ThreadPool& pool) {
  const LinearPlan plan = plan_of(recipe, name);
  QuantizedLinear made{stored, {}};
  LinearOutcome& outcome = made.outcome;
  outcome.name = name;
  outcome.rows = stored.rows();
  outcome.columns = stored.columns();
  outcome.bytes_before = outcome.bytes_after = stored.bytes();
  if (!plan.quantize) {
    outcome.note = "kept by a rule of the recipe";
    return made;
  }
  NARROW_TRY(const LanguageMethod* method, find_language_method(plan.method));
  std::vector<float> weight(static_cast<std::size_t>(stored.rows() * stored.columns()));
  to_float_rows(stored, 0, stored.rows(), weight.data());
  outcome.method = plan.method;
  outcome.bits = plan.bits;
  outcome.group_size = plan.group_size;
  NARROW_TRY(const quantizers::MatrixMethod* codes, quantizers::find_matrix_method(method->codes));
  quantizers::MatrixOptions options;
  options.bits = plan.bits;
  options.group_size = std::min(plan.group_size, stored.columns());
  options.symmetric = plan.symmetric;
  options.scale_type = scale_type_of(recipe);
  options.damping = recipe.weights.damping;
  const bool seen = statistics != nullptr && statistics->tokens > 0;
  if (codes->needs_statistics && !seen) {  // an expert that no token chose
    NARROW_TRY(codes, quantizers::find_matrix_method("rounding"));
    outcome.note = "no calibration token reached it: rounded to nearest";
  }
  auto quantized = quantizers::quantize_matrix(*codes, weight, stored.rows(), stored.columns(), seen ? statistics : nullptr, options, pool);
  if (!quantized.ok()) return std::move(quantized).context(fmt::format("'{}.weight'", name)).error();
  outcome.error = quantized->error;
  outcome.rounding_error = quantized->rounding_error;
  outcome.fell_back = quantized->fell_back;
  if (!quantized->note.empty()) outcome.note = quantized->note;
  made.weight = {};
  made.weight.grouped = std::make_shared<const encodings::GroupedMatrix>(std::move(quantized->matrix));
  outcome.bytes_after = made.weight.bytes();
  return made;
}

Result<MatrixForm> planned_form(const std::string& name, const MatrixForm& stored, const quantizers::Recipe& recipe) {
  const LinearPlan plan = plan_of(recipe, name);
  if (!plan.quantize) return stored;
  MatrixForm form;
  form.kind = MatrixForm::Kind::kGrouped;
  form.rows = stored.rows;
  form.columns = stored.columns;
  form.bits = plan.bits;
  form.group_size = plan.group_size == 0 ? stored.columns : std::min(plan.group_size, stored.columns);
  form.scale_type = scale_type_of(recipe);
  form.symmetric = plan.symmetric;
  return form;
}

}  // namespace narrow::language
