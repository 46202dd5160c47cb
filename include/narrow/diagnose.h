// Why a quantized model is worse than its float model, and what to do.
#pragma once

#include <string>

#include "narrow/data.h"
#include "narrow/figures.h"
#include "narrow/model.h"
#include "narrow/progress.h"
#include "narrow/quantize.h"
#include "narrow/result.h"

namespace narrow {

struct DiagnoseOptions {
  std::string target;             // what it was made for; "": what its recipe says, else causes that depend on it are left out
  int threads = 0;                // 0: all processors
  Progress progress;
};

// `quantized` is a static INT8 form of `reference`, made by narrow or by another quantizer, in QDQ or QOperator form;
// `data` is what the model is to work on. Causes are recognised by tests: live ranges beside the model's, mended copies run
// beside it. Errors: invalid_argument when nothing in the two models pairs by name, and what running them reports.
Result<Diagnosis> diagnose(const Model& reference, const Model& quantized, const Data& data, const DiagnoseOptions& options = {});

// The options of quantize() under which the causes found are gone: those that made `quantized` where it carries its recipe,
// with what the findings ask for.
QuantizeOptions mending_options(const Diagnosis& diagnosis, const Model& quantized);

}  // namespace narrow
