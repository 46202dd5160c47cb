#include "evaluation/report/html.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/text.h"

namespace narrow::evaluation {

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : base::escape_controls(text)) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default: out += c;
    }
  }
  return out;
}

std::string shorten(std::string_view text, std::size_t length) {
  const std::string clean = base::escape_controls(text);
  std::vector<std::string> characters;
  for (const char c : clean) {
    if ((c & 0xC0) == 0x80 && !characters.empty()) characters.back() += c;
    else characters.emplace_back(1, c);
  }
  if (characters.size() <= length) return clean;
  const std::size_t tail = (length - 1) / 2, head = length - 1 - tail;
  std::string out;
  for (std::size_t i = 0; i < head; ++i) out += characters[i];
  out += "…";
  for (std::size_t i = characters.size() - tail; i < characters.size(); ++i) out += characters[i];
  return out;
}

std::string decimal(double value, int digits) { return std::isfinite(value) ? fmt::format("{:.{}f}", value, digits) : "–"; }

std::string compact(double value) { return std::isfinite(value) ? fmt::format("{:.3g}", value) : "–"; }

std::string bytes_text(double bytes) { return base::human_bytes(static_cast<std::uint64_t>(bytes)); }

std::string svg_open(double width, double height, std::string_view label) {
  return fmt::format("<svg viewBox=\"0 0 {:g} {:g}\" role=\"img\" aria-label=\"{}\">", width, height, escape_html(label));
}

std::string svg_rect(double x, double y, double width, double height, std::string_view css, std::string_view title) {
  const std::string inner = title.empty() ? "" : fmt::format("<title>{}</title>", escape_html(title));
  return fmt::format("<rect x=\"{:.2f}\" y=\"{:.2f}\" width=\"{:.2f}\" height=\"{:.2f}\" class=\"{}\">{}</rect>", x, y,
                     std::max(width, 0.0), std::max(height, 0.0), css, inner);
}

std::string svg_line(double x1, double y1, double x2, double y2, std::string_view css) {
  return fmt::format("<line x1=\"{:.2f}\" y1=\"{:.2f}\" x2=\"{:.2f}\" y2=\"{:.2f}\" class=\"{}\"/>", x1, y1, x2, y2, css);
}

std::string svg_text(double x, double y, std::string_view text, std::string_view css) {
  return fmt::format("<text x=\"{:.2f}\" y=\"{:.2f}\" class=\"{}\">{}</text>", x, y, css, escape_html(text));
}

}  // namespace narrow::evaluation
