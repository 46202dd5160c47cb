#include "narrow/quantize.h"

#include <fmt/format.h>

#include "api/data_impl.h"
#include "api/model_impl.h"
#include "api/quantization.h"
#include "api/threads.h"
#include "planning/decision.h"
#include "quantizers/static_int8/static_int8.h"

namespace narrow {

Result<Quantization> quantize(const Model& model, const Data* data, const QuantizeOptions& options) {
  NARROW_TRY(quantizers::Recipe recipe, make_recipe(options, data));
  std::string reason;
  if (recipe.method == "auto") {
    NARROW_RETURN_IF_ERROR(refuse_quantized(model));
    planning::Wishes wishes;
    NARROW_TRY(wishes.target, targets::find_target(recipe.target));
    NARROW_TRY(planning::Decision decision, planning::decide(planning::look_at(model.impl().model.graph, data != nullptr ? data->impl().samples.get() : nullptr), wishes));
    recipe.method = decision.methods.front();
    reason = decision.reason;
    if (decision.methods.front() == "fp16" && data == nullptr) {
      return invalid_argument("the model is convolutional: INT8 needs calibration data to choose its ranges")
          .hint("Give some typical inputs with --data; or use --method fp16, which needs none.");
    }
  }
  NARROW_TRY(const quantizers::Quantizer* quantizer, quantizers::find_quantizer(recipe.method));
  const bool by_statistics = data == nullptr && recipe.method == "static" && quantizers::has_statistics(model.impl().model);
  if (quantizer->needs_data && data == nullptr && !by_statistics) {
    return invalid_argument(fmt::format("method '{}' needs calibration data", recipe.method))
        .hint("Give some typical inputs with --data; `narrow list methods` shows what each method needs.");
  }

  // The calibration subset; distortion is measured on some of the same samples.
  std::optional<Data> calibration;
  if (data != nullptr) calibration = recipe.samples != 0 ? data->take(recipe.samples) : *data;
  std::vector<std::string> data_warnings;
  if (quantizer->needs_data && calibration) {
    NARROW_TRY(data_warnings, check_calibration_data(*calibration));
  }

  quantizers::Request request;
  request.model = &model.impl().model;
  request.recipe = recipe;
  request.data = calibration ? calibration->impl().samples.get() : nullptr;
  request.threads = resolve_threads(options.threads);
  request.progress = options.progress;
  NARROW_TRY(quantizers::Outcome outcome, quantizer->run(request));

  Quantization result = describe_outcome(model, calibration ? &*calibration : nullptr, options, recipe, std::move(outcome));
  result.method_reason = reason;
  result.warnings.insert(result.warnings.begin(), data_warnings.begin(), data_warnings.end());
  return result;
}

}  // namespace narrow
