#include "evaluation/report/report.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <regex>

#include "evaluation/report/html.h"

namespace narrow::evaluation {
namespace {

const std::string kHostile = "a<script>alert(1)</script>\x1b[2J\n\"'&\xff";

// Every text field of a report set to `text`.
Report full_report(const std::string& text) {
  Report report;
  report.title = text;
  report.verdict = Verdict{false, true, text, 1.5, {}, {}};
  for (int i = 0; i < 2; ++i) {
    ReportModel model;
    model.name = text;
    model.info.path = text + std::to_string(i);
    model.info.size_bytes = 4000 / static_cast<std::uint64_t>(1 + 3 * i);
    model.info.sizes = {{text, 900, 3}};
    model.metrics = Metrics{.samples = 50, .top1 = 90.0 - i, .top5 = 99.0, .agreement = 97.0, .sqnr_db = 31.5, .cosine = 0.999, .max_error = 0.1};
    model.bench = BenchResult{};
    model.bench->latency_ms_p50 = 2.0 / (1 + i);
    model.bench->latency_ms_p95 = 2.5;
    model.bench->energy_note = text;
    report.models.push_back(model);
  }
  report.layers = {{text, {{text, text, text, 12.0, 0.9, 0.5}, {text, text, text, 200.0, 1, 0}}}};
  report.histograms = {{text, text, -1, 2, {1, 0, 5}, -0.5, 1.5}};
  report.outcomes = {{text, text, "float", text, 10, 10}, {text, text, "quantized", "", 10, 3}};
  report.warnings = {text};
  report.recipe = text;
  report.facts = {{text, text}};
  return report;
}

// Tags opened and closed in pairs, attributes quoted: enough of HTML to notice text that broke out.
void expect_well_formed(const std::string& html) {
  std::vector<std::string> open;
  const std::regex tag(R"re(<(/?)([a-zA-Z!][a-zA-Z0-9]*)((?:\s+[a-zA-Z0-9-]+(?:="[^"<>]*")?)*)\s*(/?)>)re");
  std::string rest = html;
  rest = std::regex_replace(rest, std::regex("<style>[^<]*</style>"), "");
  for (auto it = std::sregex_iterator(rest.begin(), rest.end(), tag); it != std::sregex_iterator(); ++it) {
    const std::string name = (*it)[2];
    if (name == "!doctype" || name == "meta" || name == "br" || (*it)[4] == "/") continue;
    if ((*it)[1] == "/") {
      ASSERT_FALSE(open.empty()) << name;
      ASSERT_EQ(open.back(), name);
      open.pop_back();
    } else {
      open.push_back(name);
    }
  }
  EXPECT_TRUE(open.empty()) << open.back();
  const std::string left = std::regex_replace(rest, tag, "");
  EXPECT_EQ(left.find('<'), std::string::npos) << left.substr(left.find('<'), 80);
}

TEST(EscapeHtml, LeavesNothingThatActs) {
  EXPECT_EQ(escape_html("<a href=\"x\">'&"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
  const std::string escaped = escape_html(kHostile);
  for (const char c : {'<', '>', '"', '\'', '\x1b', '\n', '\xff'}) EXPECT_EQ(escaped.find(c), std::string::npos);
  EXPECT_EQ(escape_html("größer"), "größer");
}

TEST(Shorten, CutsCharactersNotBytes) {
  EXPECT_EQ(shorten("abcdefghij", 5), "ab…ij");
  EXPECT_EQ(shorten("ääääääää", 5), "ää…ää");
  EXPECT_EQ(shorten("short", 5), "short");
}

TEST(Report, EscapesEveryTextItShows) {
  const std::string html = render_report(full_report(kHostile));
  EXPECT_EQ(html.find("<script"), std::string::npos);
  EXPECT_EQ(html.find('\x1b'), std::string::npos);
  EXPECT_EQ(html.find('\xff'), std::string::npos);
  EXPECT_NE(html.find("&lt;script&gt;"), std::string::npos);
  expect_well_formed(html);
}

TEST(Report, LoadsNothing) {
  const std::string html = render_report(full_report("x"));
  for (const char* reference : {"src=", "href=", "url(", "@import", "http:", "https:"}) {
    EXPECT_EQ(html.find(reference), std::string::npos) << reference;
  }
  EXPECT_NE(html.find("default-src 'none'"), std::string::npos);
}

TEST(Report, ShowsTheFigures) {
  const std::string html = render_report(full_report("x"));
  for (const char* figure : {"target missed", "4.00×", "2.00×", "−1.00", "97.00 %", "31.5", "12.0", "no", "seen -1 to 2", "held -0.5 to 1.5"}) {
    EXPECT_NE(html.find(figure), std::string::npos) << figure;
  }
}

TEST(Report, LeavesOutWhatWasNotMeasured) {
  Report report;
  report.title = "empty";
  report.models = {{"float", {}, {}, {}}};
  const std::string html = render_report(report);
  for (const char* heading : {"Distortion", "Ranges", "Warnings", "Recipe"}) EXPECT_EQ(html.find(heading), std::string::npos) << heading;
  EXPECT_EQ(html.find("nan"), std::string::npos);
  expect_well_formed(html);
  expect_well_formed(render_report({}));
}

TEST(Report, SurvivesNumbersThatAreNone) {
  Report report = full_report("x");
  const double nan = std::numeric_limits<double>::quiet_NaN();
  report.layers[0].distortion[0].sqnr_db = -200;
  report.layers[0].distortion[0].max_error = std::numeric_limits<double>::infinity();
  report.histograms[0] = {"x", "x", 0, 0, {4}, nan, nan};
  const std::string html = render_report(report);
  EXPECT_EQ(html.find(">nan"), std::string::npos);
  expect_well_formed(html);
}

TEST(Report, DrawsTheTrailAndEscapesIt) {
  Report report;
  report.trail.path = {{"What is the model?", "<b>conv</b>", "static"}};
  Attempt attempt;
  attempt.name = "static & mse";
  attempt.judged = attempt.met = attempt.chosen = true;
  attempt.drop = 0.25;
  report.trail.attempts = {attempt};
  report.trail.sensitivity = {{"layer<1>", "", 0.01}};
  report.trail.pareto = {{0, 1.0, 1000, 0.1, 0.12, false}, {2, 0.5, 1500, 0.001, 0.002, true}};
  report.trail.convergence = {{1, 0.5}, {2, 0.75}, {4, 1.0}};
  const std::string html = render_report(report);
  for (const char* part : {"How the method was chosen", "&lt;b&gt;conv&lt;/b&gt;", "static &amp; mse", "0.25", "layer&lt;1&gt;", "20.0", "2 layers in float, 50.0 %", "2 samples: 75.0 %"}) {
    EXPECT_NE(html.find(part), std::string::npos) << part;
  }
  EXPECT_EQ(html.find("<b>conv"), std::string::npos);
  EXPECT_EQ(render_report(Report{}).find("What was tried"), std::string::npos);
}

TEST(Report, DrawsFlameChartsOfTheTime) {
  Report report;
  ReportModel model;
  model.name = "net";
  model.bench = BenchResult{};
  model.bench->kernels = {{"/block/first", "Conv", "jit", 3}, {"/block/second", "Conv", "jit", 1}, {kHostile, "Add", "own", 0.5}, {"/tiny", "Sub", "own", 1e-6}};
  report.models = {model};
  const std::string html = render_report(report);
  for (const char* part : {"Where the time goes", "Conv: 4.0000 ms, 88.9 %", "jit: 4.0000 ms", "/block/first: 3.0000 ms, 66.7 %", ">block: 4.0000 ms", "scopes of the model"}) {
    EXPECT_NE(html.find(part), std::string::npos) << part;
  }
  EXPECT_EQ(html.find("tiny"), std::string::npos);  // too thin to see
  expect_well_formed(html);
  report.models[0].bench->kernels = {{"first", "Conv", "jit", 3}, {"second", "Add", "own", 1}};
  EXPECT_EQ(render_report(report).find("scopes of the model"), std::string::npos);
}

TEST(Report, ShowsDiagnosesAndEscapesThem) {
  Diagnosis diagnosis;
  diagnosis.findings = {{"calibration_mean", {"conv<1>"}, "ranges & data", "calibrate <again>", "--observer 'mse'", {}, 12.34}, {"dead_channels", {}, "e", "r", "", {}, {}}};
  diagnosis.layers = {{"conv<1>", "Conv", "v", 8.5, 3.25, "calibration_mean"}, {"last", "Gemm", "w", 40, 20, ""}};
  diagnosis.quantized = Metrics{};
  diagnosis.quantized->sqnr_db = 7.5;
  diagnosis.notes = {kHostile};
  Report report;
  report.diagnoses = {{"int8 & co", diagnosis}, {"mended", Diagnosis{}}};
  const std::string html = render_report(report);
  for (const char* part : {"What is wrong with int8 &amp; co", "calibration_mean", "conv&lt;1&gt;", "ranges &amp; data", "+12.3 dB", "the whole model", "7.5", "8.5", "conv&lt;1&gt; (Conv): 3.2 dB, accumulated",
                           "worst alone", "No cause was found", "What could not be looked at"}) {
    EXPECT_NE(html.find(part), std::string::npos) << part;
  }
  EXPECT_EQ(html.find("<script"), std::string::npos);
  expect_well_formed(html);
}

}  // namespace
}  // namespace narrow::evaluation
