#include "evaluation/report/trail.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "evaluation/report/html.h"
#include "evaluation/report/table.h"

namespace narrow::evaluation {
namespace {

constexpr std::size_t kSourcesShown = 12;

double decibel(double noise) { return noise > 0 ? std::clamp(-10 * std::log10(noise), -40.0, 120.0) : 120.0; }

std::string attempts_table(const std::vector<Attempt>& attempts) {
  std::vector<std::vector<std::string>> rows;
  for (const Attempt& attempt : attempts) {
    const std::string state = attempt.chosen ? "<span class=\"bar good\" style=\"width:10px\"></span>" : "";
    const Metrics& m = attempt.metrics;
    const std::string metric = !attempt.judged ? "" : m.top1 ? decimal(*m.top1, 2) + " %" : m.spearman ? decimal(*m.spearman, 2) : m.agreement ? decimal(*m.agreement, 2) + " %" : "";
    rows.push_back({state, escape_html(attempt.name), escape_html(attempt.note.empty() ? attempt.change : attempt.note), attempt.sqnr_db ? decimal(*attempt.sqnr_db, 1) : "",
                    metric, attempt.drop ? decimal(*attempt.drop, 2) : "", attempt.size_bytes == 0 ? "" : bytes_text(static_cast<double>(attempt.size_bytes)),
                    attempt.latency_ms ? compact(*attempt.latency_ms) : "", !attempt.note.empty() ? "not made" : !attempt.judged ? "not judged" : attempt.met ? "met" : "missed"});
  }
  return html_table({"", "Attempt", "What it does", ">SQNR dB", ">Metric", ">Lost", ">Size", ">ms", "Targets"}, rows);
}

}  // namespace

std::string path_diagram(const std::vector<PlanStep>& path) {
  constexpr double kWidth = 960, kBox = 56, kGap = 22, kQuestion = 300, kAnswer = 330;
  std::string svg = svg_open(kWidth, static_cast<double>(path.size()) * (kBox + kGap), "the decisions that led to the method");
  double y = 2;
  for (std::size_t i = 0; i < path.size(); ++i) {
    const bool last = i + 1 == path.size();
    svg += svg_rect(2, y, kQuestion, kBox, "box", path[i].question);
    svg += svg_text(14, y + 33, shorten(path[i].question, 44), "value");
    svg += svg_line(2 + kQuestion, y + kBox / 2, kAnswer, y + kBox / 2, "axis");
    svg += svg_rect(kAnswer, y, kWidth - kAnswer - 2, kBox, last ? "box end-box" : "box", path[i].answer);
    svg += svg_text(kAnswer + 12, y + 23, shorten(path[i].answer, 90), "value strong");
    svg += svg_text(kAnswer + 12, y + 43, shorten(path[i].consequence, 108), "tick");
    if (!last) svg += svg_line(2 + kQuestion / 2, y + kBox, 2 + kQuestion / 2, y + kBox + kGap, "axis");
    y += kBox + kGap;
  }
  return svg + "</svg>";
}

std::string pareto_chart(const std::vector<ParetoPoint>& points) {
  constexpr double kWidth = 960, kHeight = 300, kLeft = 52, kRight = 16, kTop = 12, kBottom = 40;
  if (points.empty()) return "";
  double low = 1e9, high = -1e9;
  for (const ParetoPoint& point : points) {
    for (const double noise : {point.noise, point.measured.value_or(point.noise)}) {
      low = std::min(low, decibel(noise));
      high = std::max(high, std::min(decibel(noise), 70.0));
    }
  }
  low = std::floor(low / 10) * 10, high = std::max(std::ceil(high / 10) * 10, low + 10);
  const auto x_of = [&](double share) { return kLeft + (1 - std::clamp(share, 0.0, 1.0)) * (kWidth - kLeft - kRight); };
  const auto y_of = [&](double noise) { return kTop + (high - std::clamp(decibel(noise), low, high)) / (high - low) * (kHeight - kTop - kBottom); };
  std::string svg = svg_open(kWidth, kHeight, "SQNR of the outputs by the share of work in integers");
  for (double db = low; db <= high; db += 10) {
    const double y = kTop + (high - db) / (high - low) * (kHeight - kTop - kBottom);
    svg += svg_line(kLeft, y, kWidth - kRight, y, "grid") + svg_text(kLeft - 6, y + 4, fmt::format("{:g}", db), "tick end");
  }
  for (double share = 0; share <= 1.001; share += 0.2) svg += svg_text(x_of(share), kHeight - 22, fmt::format("{:.0f} %", 100 * share), "tick middle");
  for (std::size_t i = 1; i < points.size(); ++i) {
    svg += svg_line(x_of(points[i - 1].integer_share), y_of(points[i - 1].noise), x_of(points[i].integer_share), y_of(points[i].noise), "curve");
  }
  for (const ParetoPoint& point : points) {
    if (!point.measured && !point.chosen) continue;
    const double x = x_of(point.integer_share), y = y_of(point.measured.value_or(point.noise));
    svg += svg_rect(x - 5, y - 5, 10, 10, point.chosen ? "good" : "s1",
                    fmt::format("{} layers in float, {:.1f} % of the work in integers: {:.1f} dB", point.float_layers, 100 * point.integer_share, decibel(point.measured.value_or(point.noise))));
  }
  svg += svg_text(kWidth / 2, kHeight - 6, "work left in integers; SQNR of the outputs in dB, higher is better", "tick middle");
  return svg + "</svg>";
}

std::string convergence_chart(const std::vector<RangeCoverage>& points) {
  constexpr double kWidth = 960, kHeight = 200, kLeft = 52, kRight = 24, kTop = 12, kBottom = 40;
  if (points.size() < 2) return "";
  const double last = std::log2(static_cast<double>(std::max<std::uint64_t>(points.back().samples, 2)));
  const auto x_of = [&](std::uint64_t samples) { return kLeft + std::log2(static_cast<double>(samples)) / last * (kWidth - kLeft - kRight); };
  const auto y_of = [&](double coverage) { return kTop + (1 - std::clamp(coverage, 0.0, 1.0)) * (kHeight - kTop - kBottom); };
  std::string svg = svg_open(kWidth, kHeight, "width of the ranges after so many calibration samples");
  for (const double level : {0.0, 0.5, 1.0}) {
    svg += svg_line(kLeft, y_of(level), kWidth - kRight, y_of(level), "grid") + svg_text(kLeft - 6, y_of(level) + 4, fmt::format("{:.0f} %", 100 * level), "tick end");
  }
  for (std::size_t i = 0; i < points.size(); ++i) {
    const double x = x_of(std::max<std::uint64_t>(points[i].samples, 1)), y = y_of(points[i].coverage);
    if (i > 0) svg += svg_line(x_of(std::max<std::uint64_t>(points[i - 1].samples, 1)), y_of(points[i - 1].coverage), x, y, "curve");
    svg += svg_rect(x - 3, y - 3, 6, 6, "s0", fmt::format("{} samples: {:.1f} %", points[i].samples, 100 * points[i].coverage));
    svg += svg_text(x, kHeight - 22, std::to_string(points[i].samples), "tick middle");
  }
  svg += svg_text(kWidth / 2, kHeight - 6, "calibration samples; mean width of the ranges, of what all samples gave", "tick middle");
  return svg + "</svg>";
}

std::string trail_sections(const Trail& trail) {
  std::string html;
  if (!trail.path.empty()) html += html_section("How the method was chosen", path_diagram(trail.path));
  if (!trail.attempts.empty()) {
    html += html_section("What was tried", "<p class=\"dim\">In order of cost. SQNR on a few calibration samples decides which cheap remedies stay; the verdict rests on the "
                                      "evaluation samples.</p>" + attempts_table(trail.attempts));
  }
  if (const std::string chart = convergence_chart(trail.convergence); !chart.empty()) html += html_section("Were the calibration samples enough?", chart);
  if (!trail.pareto.empty()) {
    html += html_section("Mixed precision: what integers cost", "<p class=\"dim\">The line is predicted from the noise of every rounding by itself; squares were measured, the green "
                                                           "one was chosen.</p>" + pareto_chart(trail.pareto));
  }
  if (!trail.sensitivity.empty()) {
    std::vector<std::vector<std::string>> rows;
    for (std::size_t i = 0; i < std::min(trail.sensitivity.size(), kSourcesShown); ++i) {
      const LayerSensitivity& source = trail.sensitivity[i];
      rows.push_back({escape_html(source.layer), source.value.empty() ? "its weights" : "activation " + escape_html(source.value), compact(100 * source.noise) + " %",
                      decimal(decibel(source.noise), 1)});
    }
    html += html_section("The roundings that cost most", html_table({"Layer", "What is rounded", ">Noise at the outputs", ">dB"}, rows));
  }
  return html;
}

}  // namespace narrow::evaluation
