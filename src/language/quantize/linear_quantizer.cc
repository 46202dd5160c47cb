#include "language/quantize/linear_quantizer.h"

#include <fmt/format.h>

#include <algorithm>

#include "quantizers/matrix/codebook.h"
#include "quantizers/matrix/plain_rounding.h"

namespace narrow::language {
namespace {

constexpr std::int64_t kCodebookBlock = 64;

bool is_codebook(const LanguageMethod& method) { return method.codes == "nf4" || method.codes == "fp4"; }
encodings::CodebookMatrix::Type codebook_type(const LanguageMethod& method) {
  return method.codes == "nf4" ? encodings::CodebookMatrix::Type::kNf4 : encodings::CodebookMatrix::Type::kFp4;
}

// Squared, of the numbers themselves.
double relative_error(const std::vector<float>& weight, const StoredWeight& coded) {
  std::vector<float> row(static_cast<std::size_t>(coded.columns()));
  double error = 0, size = 0;
  for (std::int64_t r = 0; r < coded.rows(); ++r) {
    to_float_rows(coded, r, 1, row.data());
    const float* original = weight.data() + r * coded.columns();
    for (std::size_t k = 0; k < row.size(); ++k) {
      const double difference = static_cast<double>(row[k]) - original[k];
      error += difference * difference;
      size += static_cast<double>(original[k]) * original[k];
    }
  }
  return size > 0 ? error / size : 0;
}

}  // namespace

quantizers::MatrixOptions matrix_options(const LinearPlan& plan, const quantizers::Recipe& recipe, std::int64_t columns) {
  quantizers::MatrixOptions options;
  options.bits = plan.bits;
  options.group_size = std::min(plan.group_size, columns);
  options.symmetric = plan.symmetric;
  options.scale_type = scale_type_of(recipe);
  options.search = plan.method != "rounding";
  options.damping = recipe.weights.damping;
  return options;
}

Result<QuantizedLinear> quantize_linear(const std::string& name, const StoredWeight& stored, const quantizers::Recipe& recipe, const quantizers::InputStatistics* statistics,
                                        base::ThreadPool& pool, std::span<const float> residual, const RoundedInputs* inputs) {
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
  outcome.method = plan.method;
  outcome.bits = plan.bits;
  outcome.group_size = plan.group_size;
  const auto finish = [&](Result<quantizers::MatrixResult> quantized) -> Result<QuantizedLinear> {
    if (!quantized.ok()) return std::move(quantized).context(fmt::format("'{}.weight'", name)).error();
    outcome.error = quantized->error;
    outcome.rounding_error = quantized->rounding_error;
    outcome.fell_back = quantized->fell_back;
    if (!quantized->note.empty()) outcome.note = quantized->note;
    made.weight = {};
    made.weight.grouped = std::make_shared<const encodings::GroupedMatrix>(std::move(quantized->matrix));
    made.weight.inputs = inputs != nullptr ? inputs->rounding : encodings::InputRounding{.kind = plan.inputs};
    outcome.bytes_after = made.weight.bytes();
    return std::move(made);
  };
  if (plan.method == "rounding" && statistics == nullptr) {
    return finish(quantizers::round_rows([&](std::int64_t row, float* out) { to_float_rows(stored, row, 1, out); }, stored.rows(), stored.columns(), matrix_options(plan, recipe, stored.columns())));
  }
  std::vector<float> weight(static_cast<std::size_t>(stored.rows() * stored.columns()));
  to_float_rows(stored, 0, stored.rows(), weight.data());
  if (is_codebook(*method)) {
    quantizers::CodebookOptions options;
    options.type = codebook_type(*method);
    options.block = kCodebookBlock;
    options.double_quantization = recipe.weights.double_quantization;
    auto coded = quantizers::quantize_codebook(weight, stored.rows(), stored.columns(), options, pool);
    if (!coded.ok()) return std::move(coded).context(fmt::format("'{}.weight'", name)).error();
    outcome.bits = 4;
    outcome.group_size = kCodebookBlock;
    made.weight = {};
    made.weight.codebook = std::make_shared<const encodings::CodebookMatrix>(std::move(*coded));
    outcome.error = outcome.rounding_error = relative_error(weight, made.weight);
    outcome.bytes_after = made.weight.bytes();
    return made;
  }
  if (method->codes == "int8") {
    auto coded = quantizers::quantize_int8_rows(weight, stored.rows(), stored.columns());
    if (!coded.ok()) return std::move(coded).context(fmt::format("'{}.weight'", name)).error();
    outcome.bits = 8;
    outcome.group_size = 0;
    made.weight = {};
    made.weight.grouped = std::make_shared<const encodings::GroupedMatrix>(std::move(*coded));
    outcome.error = outcome.rounding_error = relative_error(weight, made.weight);
    outcome.bytes_after = made.weight.bytes();
    return made;
  }
  NARROW_TRY(const quantizers::MatrixMethod* codes, quantizers::find_matrix_method(method->codes));
  const quantizers::MatrixOptions options = matrix_options(plan, recipe, stored.columns());
  const bool seen = statistics != nullptr && statistics->tokens > 0;
  if (codes->needs_statistics && !seen) {  // an expert that no token chose
    NARROW_TRY(codes, quantizers::find_matrix_method("rounding"));
    outcome.note = "no calibration token reached it: rounded to nearest";
  }
  auto quantized = finish(quantizers::quantize_matrix(*codes, weight, stored.rows(), stored.columns(), seen ? statistics : nullptr, options, pool, seen ? residual : std::span<const float>()));
  if (!quantized.ok() || inputs == nullptr || !inputs->rounding.rounds() || inputs->sample.tokens == 0) return quantized;
  NARROW_TRY(const double lost, quantizers::input_rounding_error({weight.data(), stored.rows()}, inputs->sample, inputs->rounding, pool));
  quantized->outcome.error += lost;
  quantized->outcome.rounding_error += lost;
  return quantized;
}

Result<MatrixForm> planned_form(const std::string& name, const MatrixForm& stored, const quantizers::Recipe& recipe) {
  const LinearPlan plan = plan_of(recipe, name);
  if (!plan.quantize) return stored;
  NARROW_TRY(const LanguageMethod* method, find_language_method(plan.method));
  MatrixForm form;
  form.rows = stored.rows;
  form.columns = stored.columns;
  if (is_codebook(*method)) {
    form.kind = MatrixForm::Kind::kCodebook;
    form.type = codebook_type(*method);
    form.block = kCodebookBlock;
    form.nested = recipe.weights.double_quantization;
    return form;
  }
  form.kind = MatrixForm::Kind::kGrouped;
  if (method->codes == "int8") {
    form.bits = 8;
    form.group_size = stored.columns;
    form.scale_type = encodings::ScaleType::kF32;
    form.symmetric = true;
    return form;
  }
  form.bits = plan.bits;
  form.group_size = plan.group_size == 0 ? stored.columns : std::min(plan.group_size, stored.columns);
  form.scale_type = scale_type_of(recipe);
  form.symmetric = plan.symmetric;
  form.inputs.kind = plan.inputs;
  return form;
}

}  // namespace narrow::language
