#include "evaluation/report/charts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "evaluation/report/html.h"

namespace narrow::evaluation {
namespace {

constexpr int kSeries = 6;
std::string series_class(int index) { return fmt::format("s{}", index % kSeries); }

}  // namespace

std::string bar_chart(const std::vector<Bar>& bars, const std::string& label) {
  constexpr double kWidth = 460, kNames = 110, kLabels = 96, kRow = 34, kThick = 20, kTop = 6;
  double largest = 0;
  for (const Bar& bar : bars) {
    double sum = 0;
    for (const Segment& segment : bar.segments) sum += segment.value;
    largest = std::max({largest, sum, bar.mark});
  }
  const double scale = largest > 0 ? (kWidth - kNames - kLabels) / largest : 0;
  std::string svg = svg_open(kWidth, kTop * 2 + kRow * static_cast<double>(bars.size()), label);
  double y = kTop;
  for (const Bar& bar : bars) {
    double x = kNames;
    svg += svg_text(kNames - 8, y + kThick / 2 + 4, shorten(bar.name, 16), "name");
    for (const Segment& segment : bar.segments) {
      svg += svg_rect(x, y, segment.value * scale, kThick, series_class(segment.color), segment.name);
      x += segment.value * scale;
    }
    if (bar.mark > 0) {
      svg += svg_line(x, y + kThick / 2, kNames + bar.mark * scale, y + kThick / 2, "mark");
      svg += svg_line(kNames + bar.mark * scale, y + 4, kNames + bar.mark * scale, y + kThick - 4, "mark");
      x = std::max(x, kNames + bar.mark * scale);
    }
    svg += svg_text(x + 6, y + kThick / 2 + 4, bar.label, "value");
    y += kRow;
  }
  return svg + "</svg>";
}

std::string distortion_chart(const std::vector<ReportLayers>& models, const std::pair<std::string, std::string>& ends) {
  constexpr double kWidth = 960, kHeight = 260, kLeft = 44, kRight = 8, kTop = 10, kBottom = 28;
  std::size_t layers = 0;
  double highest = 30, lowest = 0;
  for (const ReportLayers& model : models) {
    layers = std::max(layers, model.distortion.size());
    for (const LayerDistortion& d : model.distortion) {
      if (d.sqnr_db < 200) highest = std::max(highest, d.sqnr_db);
      lowest = std::min(lowest, d.sqnr_db);
    }
  }
  if (layers == 0) return "";
  highest = std::ceil(highest / 10) * 10;
  lowest = std::max(std::floor(lowest / 10) * 10, -60.0);
  const auto y_of = [&](double db) {
    return kTop + (highest - std::clamp(db, lowest, highest)) / (highest - lowest) * (kHeight - kTop - kBottom);
  };
  std::string svg = svg_open(kWidth, kHeight, fmt::format("SQNR of each layer, from {} to {}", ends.first, ends.second));
  for (double db = lowest; db <= highest; db += 10) {
    svg += svg_line(kLeft, y_of(db), kWidth - kRight, y_of(db), db == 0 ? "axis" : "grid");
    svg += svg_text(kLeft - 6, y_of(db) + 4, fmt::format("{:g}", db), "tick end");
  }
  const double slot = (kWidth - kLeft - kRight) / static_cast<double>(layers);
  const double gap = slot > 6 ? slot * 0.25 : 0;
  const double thick = (slot - gap) / static_cast<double>(models.size());
  for (std::size_t m = 0; m < models.size(); ++m) {
    for (std::size_t i = 0; i < models[m].distortion.size(); ++i) {
      const LayerDistortion& d = models[m].distortion[i];
      const double top = std::min(y_of(d.sqnr_db), y_of(0)), bottom = std::max(y_of(d.sqnr_db), y_of(0));
      const std::string css = models.size() > 1 ? series_class(static_cast<int>(m)) : d.sqnr_db < 15 ? "bad" : d.sqnr_db < 25 ? "fair" : "good";
      svg += svg_rect(kLeft + slot * static_cast<double>(i) + gap / 2 + thick * static_cast<double>(m), top, thick,
                      std::max(bottom - top, 1.0), css,
                      fmt::format("{} ({}): {:.1f} dB{}", d.layer, d.op_type, d.sqnr_db, models.size() > 1 ? ", " + models[m].name : ""));
    }
  }
  svg += svg_text(kLeft, kHeight - 8, ends.first, "tick");
  svg += svg_text(kWidth - kRight, kHeight - 8, ends.second, "tick end");
  svg += svg_text(kWidth / 2, kHeight - 8, "SQNR in dB, higher is better", "tick middle");
  return svg + "</svg>";
}

std::string histogram_chart(const ValueHistogram& h) {
  constexpr double kWidth = 300, kHeight = 150, kSide = 10, kTop = 8, kBottom = 34;
  if (h.counts.empty()) return "";
  // The drawing covers what was seen and what can be held.
  double low = std::min(h.low, h.clip_low.value_or(h.low)), high = std::max(h.high, h.clip_high.value_or(h.high));
  if (!(high > low)) high = low + 1;
  const auto x_of = [&](double value) { return kSide + (value - low) / (high - low) * (kWidth - 2 * kSide); };
  const double most = std::log1p(static_cast<double>(*std::max_element(h.counts.begin(), h.counts.end())));
  const double width = (h.high - h.low) / static_cast<double>(h.counts.size());
  const double floor_y = kHeight - kBottom;

  std::string svg = svg_open(kWidth, kHeight, "histogram of " + h.value);
  if (h.clip_low && h.clip_high) {
    svg += svg_rect(x_of(*h.clip_low), kTop, x_of(*h.clip_high) - x_of(*h.clip_low), floor_y - kTop, "held");
  }
  for (std::size_t i = 0; i < h.counts.size(); ++i) {
    if (h.counts[i] == 0) continue;
    const double from = h.low + width * static_cast<double>(i), middle = from + width / 2;
    const bool clipped = (h.clip_low && middle < *h.clip_low) || (h.clip_high && middle > *h.clip_high);
    const double height = most > 0 ? std::log1p(static_cast<double>(h.counts[i])) / most * (floor_y - kTop - 4) : 0;
    svg += svg_rect(x_of(from), floor_y - height, std::max(x_of(from + width) - x_of(from), 0.8), height,
                    clipped ? "bad" : "s0", fmt::format("{:.4g} to {:.4g}: {}", from, from + width, h.counts[i]));
  }
  svg += svg_line(kSide, floor_y, kWidth - kSide, floor_y, "axis");
  if (h.clip_low && h.clip_high) {
    for (const double edge : {*h.clip_low, *h.clip_high}) svg += svg_line(x_of(edge), kTop, x_of(edge), floor_y + 4, "clip");
  }
  svg += svg_text(kSide, kHeight - 20, fmt::format("seen {:.4g} to {:.4g}", h.low, h.high), "tick");
  svg += svg_text(kSide, kHeight - 6,
                  h.clip_low && h.clip_high ? fmt::format("held {:.4g} to {:.4g}", *h.clip_low, *h.clip_high) : "not quantized per tensor",
                  "tick");
  return svg + "</svg>";
}

}  // namespace narrow::evaluation
