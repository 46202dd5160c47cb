// Results for machines. Field names are part of the interface: top1, top5, spearman, agreement, sqnr_db, latency_ms_p50,
// latency_ms_p95, peak_memory_bytes, size_bytes, …; what was not measured is absent.
#pragma once

#include <string>
#include <vector>

#include "narrow/array.h"
#include "narrow/bench.h"
#include "narrow/catalog.h"
#include "narrow/diagnose.h"
#include "narrow/evaluate.h"
#include "narrow/language.h"
#include "narrow/model.h"
#include "narrow/plan.h"
#include "narrow/quantize.h"
#include "narrow/report.h"

namespace narrow {

// UTF-8, indented by two spaces, a newline at the end. Bytes that are not UTF-8 are replaced.
std::string to_json(const ModelInfo& info, const std::vector<LayerPlan>& plan = {}, const std::string& target = "");
std::string to_json(const std::vector<CatalogEntry>& entries);
std::string to_json(const Metrics& metrics);
std::string to_json(const std::vector<BenchResult>& results);
std::string to_json(const Report& report);                                    // compare
std::string to_json(const Quantization& quantization, const Verdict& verdict, const ModelInfo& before,
                    const ModelInfo& after);
std::string to_json(const QuantizationPlan& plan);
std::string to_json(const Diagnosis& diagnosis);
std::string to_json(const LanguageInfo& info);
std::string to_json(const LanguageQuantization& quantization);
std::string to_json(const PerplexityFigures& figures);
std::string to_json(const Generated& generated);
std::string to_json(const std::vector<NamedArray>& outputs);                  // shapes, types, range; not the elements

}  // namespace narrow
