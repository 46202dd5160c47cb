// The report's drawings, as inline SVG.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "narrow/figures.h"

namespace narrow::evaluation {

struct Segment {
  std::string name;
  double value = 0;
  int color = 0;              // series number
};

struct Bar {
  std::string name;
  std::vector<Segment> segments;   // stacked
  std::string label;               // at the bar's end
  double mark = 0;                 // a thin line at this value (the 95th percentile); 0: none
};

// Horizontal bars on one scale.
std::string bar_chart(const std::vector<Bar>& bars, const std::string& label);

// SQNR of every layer in the order given, one series a model; `ends` names the first and the last.
std::string distortion_chart(const std::vector<ReportLayers>& models, const std::pair<std::string, std::string>& ends);

// Counts on a logarithmic scale; what the quantized form cannot hold is marked.
std::string histogram_chart(const ValueHistogram& histogram);

}  // namespace narrow::evaluation
