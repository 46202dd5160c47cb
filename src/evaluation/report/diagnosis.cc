#include "evaluation/report/diagnosis.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "evaluation/report/charts.h"
#include "evaluation/report/html.h"
#include "evaluation/report/table.h"

namespace narrow::evaluation {
namespace {

constexpr std::size_t kNamesShown = 4;
constexpr std::size_t kLayersDrawn = 40;
constexpr std::size_t kLayersInTable = 12;

std::string figures(const Diagnosis& diagnosis) {
  const auto shown = [](const std::optional<double>& value, int digits) { return value ? decimal(*value, digits) : "–"; };
  std::vector<std::vector<std::string>> rows;
  for (const auto& [name, metrics] : {std::pair("float", &diagnosis.reference), std::pair("quantized", &diagnosis.quantized)}) {
    if (!*metrics) continue;
    const Metrics& m = **metrics;
    if (!m.top1 && !m.spearman && !m.agreement && !m.sqnr_db) continue;
    rows.push_back({name, std::to_string(m.samples), shown(m.top1, 2), shown(m.spearman, 2), shown(m.agreement, 2), shown(m.sqnr_db, 1)});
  }
  return rows.empty() ? "" : html_table({"Model", ">Samples", ">Top-1 %", ">Spearman", ">Agreement %", ">SQNR dB"}, rows);
}

std::string names(const std::vector<std::string>& layers) {
  if (layers.empty()) return "the whole model";
  std::string html;
  for (std::size_t i = 0; i < std::min(layers.size(), kNamesShown); ++i) html += (i == 0 ? "" : ", ") + escape_html(shorten(layers[i], 48));
  if (layers.size() > kNamesShown) html += fmt::format(" and {} more", layers.size() - kNamesShown);
  return html;
}

std::string findings(const Diagnosis& diagnosis) {
  std::string html = figures(diagnosis);
  if (diagnosis.findings.empty()) return html + "<p>No cause was found: what is lost is the rounding of every layer together.</p>";
  std::vector<std::vector<std::string>> rows;
  for (const Finding& f : diagnosis.findings) {
    std::string remedy = escape_html(f.remedy);
    if (!f.flag.empty()) remedy += "<pre>narrow quantize … " + escape_html(f.flag) + "</pre>";
    rows.push_back({"<b>" + escape_html(f.cause) + "</b>", escape_html(f.evidence), names(f.layers), remedy,
                    f.gain_db ? fmt::format("{}{} dB", *f.gain_db >= 0 ? "+" : "−", decimal(std::abs(*f.gain_db), 1)) : "–"});
  }
  return html + html_table({"Cause", "What was found", "Where", "What to do", ">When mended"}, rows);
}

std::string layers(const Diagnosis& diagnosis) {
  ReportLayers alone{"alone", {}}, arriving{"accumulated", {}};
  for (std::size_t i = 0; i < std::min(diagnosis.layers.size(), kLayersDrawn); ++i) {
    const LayerError& e = diagnosis.layers[i];
    alone.distortion.push_back({e.layer, e.op_type, e.value, e.alone_db, {}, {}});
    arriving.distortion.push_back({e.layer, e.op_type, e.value, e.accumulated_db, {}, {}});
  }
  std::string html = "<p class=\"dim\">Alone: the inputs are exact and only this layer's own integers err. Accumulated: as it arrives in the running model.</p>";
  html += distortion_chart({alone, arriving}, {"worst alone", "best alone"});
  html += "<div class=\"legend\"><span><i class=\"s0\"></i>alone</span><span><i class=\"s1\"></i>accumulated</span></div>";
  std::vector<std::vector<std::string>> rows;
  for (std::size_t i = 0; i < std::min(diagnosis.layers.size(), kLayersInTable); ++i) {
    const LayerError& e = diagnosis.layers[i];
    rows.push_back({escape_html(e.layer), escape_html(e.op_type), decimal(e.alone_db, 1), decimal(e.accumulated_db, 1), e.cause.empty() ? "–" : escape_html(e.cause)});
  }
  return html + html_table({"Layer", "Operator", ">Alone dB", ">Accumulated dB", "Cause"}, rows);
}

}  // namespace

std::string diagnosis_sections(const ReportDiagnosis& diagnosis) {
  std::string html = html_section("What is wrong with " + diagnosis.name, findings(diagnosis.diagnosis));
  if (!diagnosis.diagnosis.layers.empty()) html += html_section("Layers of " + diagnosis.name + ", the worst first", layers(diagnosis.diagnosis));
  if (!diagnosis.diagnosis.notes.empty()) {
    std::string list = "<ul>";
    for (const std::string& note : diagnosis.diagnosis.notes) list += "<li>" + escape_html(note) + "</li>";
    html += html_section("What could not be looked at", list + "</ul>");
  }
  return html;
}

}  // namespace narrow::evaluation
