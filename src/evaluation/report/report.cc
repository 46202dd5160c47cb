#include "evaluation/report/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "evaluation/energy.h"
#include "evaluation/report/charts.h"
#include "evaluation/report/diagnosis.h"
#include "evaluation/report/flame.h"
#include "evaluation/report/html.h"
#include "evaluation/report/style.h"
#include "evaluation/report/table.h"
#include "evaluation/report/trail.h"

namespace narrow::evaluation {
namespace {

constexpr std::size_t kWorstInTable = 12;
constexpr const char* kNothing = "–";

std::string percent(const std::optional<double>& value) { return value ? decimal(*value, 2) + " %" : kNothing; }

std::string verdict_section(const Report& report) {
  if (!report.verdict) return "";
  const Verdict& verdict = *report.verdict;
  const char* css = !verdict.met ? "missed" : verdict.measured ? "met" : "";
  const char* badge = !verdict.met ? "target missed" : verdict.measured ? "target met" : "accuracy not measured";
  return fmt::format("<section class=\"verdict {}\"><p><span class=\"badge\">{}</span></p><p>{}</p></section>\n", css, badge,
                     escape_html(verdict.summary));
}

std::string tile(const std::string& figure, const std::string& meaning) {
  return fmt::format("<div class=\"tile\"><b>{}</b><small>{}</small></div>", escape_html(figure), escape_html(meaning));
}

// The answer in four numbers, for the first quantized model.
std::string tiles(const Report& report) {
  if (report.models.size() < 2) return "";
  const ReportModel &before = report.models[0], &after = report.models[1];
  if (before.info.path == after.info.path && !before.info.path.empty()) return "";  // one model, measured twice
  std::string html;
  if (after.info.size_bytes != 0) {
    html += tile(decimal(static_cast<double>(before.info.size_bytes) / static_cast<double>(after.info.size_bytes), 2) + "×",
                 fmt::format("smaller: {} → {}", bytes_text(static_cast<double>(before.info.size_bytes)),
                             bytes_text(static_cast<double>(after.info.size_bytes))));
  }
  if (before.bench && after.bench && after.bench->latency_ms_p50 > 0) {
    const double speed = before.bench->latency_ms_p50 / after.bench->latency_ms_p50;
    html += tile(decimal(speed, 2) + "×", fmt::format("{}: {} → {} ms", speed >= 1 ? "faster" : "the speed",
                                                      compact(before.bench->latency_ms_p50), compact(after.bench->latency_ms_p50)));
  }
  if (before.metrics && after.metrics && before.metrics->top1 && after.metrics->top1) {
    const double change = *after.metrics->top1 - *before.metrics->top1;
    html += tile(fmt::format("{}{}", change > 0 ? "+" : change < 0 ? "−" : "±", decimal(std::abs(change), 2)),
                 fmt::format("points of top-1: {} → {} %", decimal(*before.metrics->top1, 2), decimal(*after.metrics->top1, 2)));
  }
  if (before.metrics && after.metrics && before.metrics->spearman && after.metrics->spearman) {
    const double change = *after.metrics->spearman - *before.metrics->spearman;
    html += tile(fmt::format("{}{}", change > 0 ? "+" : change < 0 ? "−" : "±", decimal(std::abs(change), 2)),
                 fmt::format("points of Spearman: {} → {}", decimal(*before.metrics->spearman, 2), decimal(*after.metrics->spearman, 2)));
  }
  if (after.metrics && after.metrics->agreement) {
    html += tile(decimal(*after.metrics->agreement, 1) + " %", fmt::format("same best class, {} samples", after.metrics->samples));
  }
  if (after.metrics && after.metrics->sqnr_db) html += tile(decimal(*after.metrics->sqnr_db, 1) + " dB", "SQNR of the outputs");
  return html.empty() ? "" : "<div class=\"tiles\">" + html + "</div>\n";
}

std::string comparison(const Report& report) {
  if (report.models.empty()) return "";
  std::vector<std::vector<std::string>> rows;
  for (const ReportModel& model : report.models) {
    const Metrics m = model.metrics.value_or(Metrics{});
    const auto& b = model.bench;
    rows.push_back({fmt::format("<b title=\"{}\">{}</b>", escape_html(model.info.path), escape_html(shorten(model.name, 32))),
                    bytes_text(static_cast<double>(model.info.size_bytes)),
                    b ? decimal(b->latency_ms_p50, 3) : kNothing, b ? decimal(b->latency_ms_p95, 3) : kNothing,
                    b && b->first_run_ms > 0 ? decimal(b->first_run_ms, 2) : kNothing,
                    b ? decimal(b->throughput_per_s, 1) : kNothing, percent(m.top1), percent(m.top5), m.spearman ? decimal(*m.spearman, 2) : kNothing, percent(m.agreement),
                    m.sqnr_db ? decimal(*m.sqnr_db, 1) : kNothing,
                    b ? bytes_text(static_cast<double>(b->peak_memory_bytes)) : kNothing,
                    b ? bytes_text(static_cast<double>(b->arena_bytes)) : kNothing,
                    !b ? kNothing : escape_html(energy_text(*b))});
  }
  std::vector<std::string> heads = {"Model", ">Size", ">Median ms", ">95 % ms", ">First ms", ">Per second", ">Top-1", ">Top-5", ">Spearman", ">Agreement",
                                    ">SQNR dB", ">Peak memory", ">Activations", ">Energy/run"};
  // Columns without a single figure only take room.
  for (std::size_t column = heads.size(); column-- > 1;) {
    if (!std::all_of(rows.begin(), rows.end(), [&](const auto& row) { return row[column] == kNothing; })) continue;
    heads.erase(heads.begin() + static_cast<std::ptrdiff_t>(column));
    for (auto& row : rows) row.erase(row.begin() + static_cast<std::ptrdiff_t>(column));
  }
  return html_section("Comparison", html_table(heads, rows));
}

std::string size_and_speed(const Report& report) {
  std::vector<std::string> classes;  // in order of first appearance: the colours
  std::vector<Bar> sizes, latencies;
  for (const ReportModel& model : report.models) {
    Bar size{model.name, {}, bytes_text(static_cast<double>(model.info.size_bytes)), 0};
    for (const SizeClass& entry : model.info.sizes) {
      auto found = std::find(classes.begin(), classes.end(), entry.name);
      if (found == classes.end()) found = classes.insert(classes.end(), entry.name);
      size.segments.push_back({fmt::format("{}: {}", entry.name, bytes_text(static_cast<double>(entry.bytes))),
                               static_cast<double>(entry.bytes), static_cast<int>(found - classes.begin())});
    }
    if (!size.segments.empty()) sizes.push_back(std::move(size));
    if (model.bench) {
      latencies.push_back({model.name, {{"median", model.bench->latency_ms_p50, 0}},
                           decimal(model.bench->latency_ms_p50, 3) + " ms", model.bench->latency_ms_p95});
    }
  }
  std::string html;
  if (!sizes.empty()) {
    html += "<div><h3>Size by what the bytes are</h3>" + bar_chart(sizes, "size of each model") + "<div class=\"legend\">";
    for (std::size_t i = 0; i < classes.size(); ++i) html += fmt::format("<span><i class=\"s{}\"></i>{}</span>", i % 6, escape_html(classes[i]));
    html += "</div></div>";
  }
  if (!latencies.empty()) {
    html += fmt::format("<div><h3>Latency, {} thread{}: median, line to the 95th percentile</h3>{}</div>",
                        report.models[0].bench ? report.models[0].bench->threads : 1,
                        report.models[0].bench && report.models[0].bench->threads > 1 ? "s" : "",
                        bar_chart(latencies, "latency of each model"));
  }
  return html.empty() ? "" : html_section("Size and speed", "<div class=\"pair\">" + html + "</div>");
}

std::string profiles(const Report& report) {
  std::string html;
  for (const ReportModel& model : report.models) {
    if (!model.bench || model.bench->kernels.empty()) continue;
    html += "<h3>" + escape_html(model.name) + "</h3>" + kernel_flame(model.bench->kernels);
    if (const std::string scopes = scope_flame(model.bench->kernels); !scopes.empty()) html += "<div style=\"margin-top:10px\">" + scopes + "</div>";
  }
  if (html.empty()) return "";
  return html_section("Where the time goes", "<p class=\"dim\">A frame is as wide as its share of a run; hover for names and times.</p>" + html);
}

const char* grade(double db) { return db < 15 ? "bad" : db < 25 ? "fair" : "good"; }

std::string distortion(const Report& report) {
  std::string html;
  const std::string chart = distortion_chart(report.layers, {"first layer", "last layer"});
  if (chart.empty()) return "";
  html += "<p class=\"dim\">Signal to quantization noise of every layer's output, in graph order; hover for names.</p>" + chart;
  html += "<div class=\"legend\">";
  if (report.layers.size() == 1) {
    html += "<span><i class=\"g\"></i>25 dB or more</span><span><i class=\"f\"></i>15 to 25 dB</span><span><i class=\"b\"></i>below 15 dB</span>";
  } else {
    for (std::size_t i = 0; i < report.layers.size(); ++i) html += fmt::format("<span><i class=\"s{}\"></i>{}</span>", i % 6, escape_html(report.layers[i].name));
  }
  html += "</div>";
  for (const ReportLayers& model : report.layers) {
    std::vector<const LayerDistortion*> worst;
    for (const LayerDistortion& d : model.distortion) worst.push_back(&d);
    std::stable_sort(worst.begin(), worst.end(), [](const auto* a, const auto* b) { return a->sqnr_db < b->sqnr_db; });
    worst.resize(std::min(worst.size(), kWorstInTable));
    std::vector<std::vector<std::string>> rows;
    for (const LayerDistortion* d : worst) {
      rows.push_back({escape_html(d->layer), escape_html(d->op_type), decimal(d->sqnr_db, 1),
                      fmt::format("<span class=\"bar {}\" style=\"width:{:.0f}px\"></span>", grade(d->sqnr_db), std::clamp(d->sqnr_db, 0.0, 60.0) * 2.5),
                      decimal(d->cosine, 5), compact(d->max_error)});
    }
    if (rows.empty()) continue;
    html += fmt::format("<h3 style=\"margin-top:18px\">Worst layers{}</h3>", report.layers.size() > 1 ? " of " + escape_html(model.name) : "");
    html += html_table({"Layer", "Operator", ">SQNR dB", "", ">Cosine", ">Largest error"}, rows);
  }
  return html_section("Distortion, layer by layer", html);
}

std::string histograms(const Report& report) {
  if (report.histograms.empty()) return "";
  std::string html = "<p class=\"dim\">Values of the float model (counts on a logarithmic scale) and the range the quantized model can hold, shaded. "
                     "Red bars are clipped; a wide shaded area with narrow bars wastes resolution.</p><div class=\"grid3\">";
  for (const ValueHistogram& h : report.histograms) {
    html += fmt::format("<div><h3 title=\"{}\">{}</h3>{}</div>", escape_html(h.value), escape_html(shorten(h.layer, 40)), histogram_chart(h));
  }
  return html_section("Ranges of the worst layers", html + "</div>");
}

std::string outcomes(const Report& report) {
  if (report.outcomes.empty()) return "";
  std::map<std::string, std::size_t> decisions;
  std::map<std::pair<std::string, std::string>, std::vector<std::string>> reasons;
  for (const LayerOutcome& layer : report.outcomes) {
    ++decisions[layer.decision];
    if (layer.decision == "float") reasons[{layer.op_type, layer.reason}].push_back(layer.node);
  }
  std::string html = "<p>";
  for (const auto& [decision, count] : decisions) html += fmt::format("<span class=\"badge\">{} {}</span>", count, escape_html(decision));
  html += "</p>";
  if (reasons.empty()) {
    html += "<p>No operator stayed in float.</p>";
  } else {
    std::vector<std::vector<std::string>> rows;
    for (const auto& [key, nodes] : reasons) {
      std::string names;
      for (std::size_t i = 0; i < std::min<std::size_t>(nodes.size(), 3); ++i) names += (i == 0 ? "" : ", ") + escape_html(shorten(nodes[i], 40));
      if (nodes.size() > 3) names += fmt::format(" and {} more", nodes.size() - 3);
      rows.push_back({escape_html(key.first), std::to_string(nodes.size()), escape_html(key.second), names});
    }
    html += html_table({"Operator", ">Nodes", "Why it stayed float", "Nodes"}, rows);
  }
  std::vector<std::vector<std::string>> all;
  for (const LayerOutcome& layer : report.outcomes) {
    all.push_back({escape_html(layer.node), escape_html(layer.op_type), escape_html(layer.decision),
                   layer.weight_bytes_before == 0 ? kNothing : bytes_text(static_cast<double>(layer.weight_bytes_before)),
                   layer.weight_bytes_after == 0 ? kNothing : bytes_text(static_cast<double>(layer.weight_bytes_after))});
  }
  html += "<details><summary>Every node</summary>" + html_table({"Node", "Operator", "Became", ">Weights before", ">Weights after"}, all) + "</details>";
  return html_section("What was quantized, and what stayed float", html);
}

std::string warnings(const Report& report) {
  if (report.warnings.empty()) return "";
  std::string html = "<ul>";
  for (const std::string& warning : report.warnings) html += "<li>" + escape_html(warning) + "</li>";
  return html_section("Warnings", html + "</ul>");
}

std::string size_table(const Report& report) {
  std::map<std::string, std::map<std::size_t, const SizeClass*>> classes;
  for (std::size_t i = 0; i < report.models.size(); ++i) {
    for (const SizeClass& entry : report.models[i].info.sizes) classes[entry.name][i] = &entry;
  }
  if (classes.empty()) return "";
  std::vector<std::string> heads = {"Bytes"};
  for (const ReportModel& model : report.models) heads.push_back(">" + model.name);
  std::vector<std::vector<std::string>> rows;
  for (const auto& [name, by_model] : classes) {
    std::vector<std::string> row = {escape_html(name)};
    for (std::size_t i = 0; i < report.models.size(); ++i) {
      const auto found = by_model.find(i);
      row.push_back(found == by_model.end() ? kNothing : bytes_text(static_cast<double>(found->second->bytes)));
    }
    rows.push_back(std::move(row));
  }
  return html_section("Where the bytes are", html_table(heads, rows));
}

std::string diagnoses(const Report& report) {
  std::string html;
  for (const ReportDiagnosis& diagnosis : report.diagnoses) html += diagnosis_sections(diagnosis);
  return html;
}

std::string trail(const Report& report) { return trail_sections(report.trail); }

std::string facts(const Report& report) {
  std::string html;
  if (!report.facts.empty()) {
    html += "<dl>";
    for (const auto& [name, value] : report.facts) html += fmt::format("<dt>{}</dt><dd>{}</dd>", escape_html(name), escape_html(value));
    html += "</dl>";
  }
  return html.empty() ? "" : html_section("How this was measured", html);
}

// Lines stay lines; everything else is escaped.
std::string recipe(const Report& report) {
  if (report.recipe.empty()) return "";
  std::string html = "<p class=\"dim\">Replays this run: narrow quantize MODEL -o OUT --recipe FILE</p><pre>";
  std::size_t begin = 0;
  while (begin < report.recipe.size()) {
    const std::size_t end = std::min(report.recipe.find('\n', begin), report.recipe.size());
    html += escape_html(std::string_view(report.recipe).substr(begin, end - begin)) + "\n";
    begin = end + 1;
  }
  return html_section("Recipe", html + "</pre>");
}

}  // namespace

std::string render_report(const Report& report) {
  std::string html = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                     "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
                     "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">";
  html += fmt::format("<title>{}</title><style>{}</style></head><body><main>\n", escape_html(report.title), kReportStyle);
  html += fmt::format("<h1>{}</h1>\n", escape_html(report.title));
  for (const auto& part : {verdict_section, tiles, comparison, warnings, diagnoses, trail, size_and_speed, profiles, distortion, histograms, outcomes, size_table, recipe, facts}) {
    html += part(report);
  }
  return html + "</main></body></html>\n";
}

}  // namespace narrow::evaluation
