// The report's sections on a diagnosis: causes with their evidence, and the error of the layers.
#pragma once

#include <string>

#include "narrow/figures.h"

namespace narrow::evaluation {

std::string diagnosis_sections(const ReportDiagnosis& diagnosis);

}  // namespace narrow::evaluation
