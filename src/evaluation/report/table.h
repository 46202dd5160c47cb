// Pieces that the report's sections share.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace narrow::evaluation {

std::string html_section(std::string_view title, const std::string& body);  // `body` is HTML already

// `heads` that start with '>' make right-aligned columns; cells are HTML already.
std::string html_table(const std::vector<std::string>& heads, const std::vector<std::vector<std::string>>& rows);

}  // namespace narrow::evaluation
