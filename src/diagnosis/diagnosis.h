// Why a quantized model lost accuracy: causes recognised by tests, ranked by what the outputs win when each alone is mended.
#pragma once

#include "datasets/dataset.h"
#include "evaluation/sweep.h"
#include "graph/graph.h"
#include "narrow/figures.h"
#include "narrow/result.h"
#include "targets/target.h"

namespace narrow::diagnosis {

struct DiagnosisRequest {
  const graph::Graph* reference = nullptr;    // types inferred; BatchNormalization folded unless `quantized` has it
  const graph::Graph* quantized = nullptr;    // QDQ form, types inferred
  const targets::Target* target = nullptr;    // null: what depends on a target is left out
  std::shared_ptr<const datasets::Dataset> data;
  evaluation::SweepOptions sweep;
};

// Errors: what running either model on the data reports; invalid_argument when the quantized model holds nothing quantized
// that pairs with the float model.
Result<Diagnosis> diagnose(const DiagnosisRequest& request);

}  // namespace narrow::diagnosis
