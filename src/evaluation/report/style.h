// The report's style sheet: light and dark by the reader's setting, and printable.
#pragma once

#include <string_view>

namespace narrow::evaluation {

extern const std::string_view kReportStyle;

}  // namespace narrow::evaluation
