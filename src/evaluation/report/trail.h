// The report's sections on how a method was chosen: the path as a diagram, the attempts, sensitivity and the curve of mixed
// precision.
#pragma once

#include <string>

#include "narrow/figures.h"

namespace narrow::evaluation {

// Questions and answers as boxes, one under the other.
std::string path_diagram(const std::vector<PlanStep>& path);

// Noise at the outputs against the share of work in integers; the points that were measured are marked.
std::string pareto_chart(const std::vector<ParetoPoint>& points);

// How far the ranges had come by the number of samples.
std::string convergence_chart(const std::vector<RangeCoverage>& points);

// HTML sections; empty without data.
std::string trail_sections(const Trail& trail);

}  // namespace narrow::evaluation
