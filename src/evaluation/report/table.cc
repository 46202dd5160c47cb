#include "evaluation/report/table.h"

#include <fmt/format.h>

#include "evaluation/report/html.h"

namespace narrow::evaluation {

std::string html_section(std::string_view title, const std::string& body) {
  return fmt::format("<section><h2>{}</h2>{}</section>\n", escape_html(title), body);
}

std::string html_table(const std::vector<std::string>& heads, const std::vector<std::vector<std::string>>& rows) {
  const auto css = [&](std::size_t c) { return heads[c].rfind('>', 0) == 0 ? "n" : "w"; };
  std::string html = "<div class=\"scroll\"><table><tr>";
  for (std::size_t c = 0; c < heads.size(); ++c) {
    const bool right = heads[c].rfind('>', 0) == 0;
    html += fmt::format("<th class=\"{}\">{}</th>", css(c), escape_html(right ? heads[c].substr(1) : heads[c]));
  }
  html += "</tr>";
  for (const auto& row : rows) {
    html += "<tr>";
    for (std::size_t c = 0; c < row.size(); ++c) html += fmt::format("<td class=\"{}\">{}</td>", css(c), row[c]);
    html += "</tr>";
  }
  return html + "</table></div>";
}

}  // namespace narrow::evaluation
