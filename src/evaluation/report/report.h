// The report as one self-contained HTML file.
#pragma once

#include <string>

#include "narrow/figures.h"

namespace narrow::evaluation {

// Every text is escaped; sections without data are left out. No scripts, no external resources.
std::string render_report(const Report& report);

}  // namespace narrow::evaluation
