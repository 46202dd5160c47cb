// The HTML report: one file, nothing loaded from elsewhere.
#pragma once

#include <string>

#include "narrow/figures.h"
#include "narrow/result.h"

namespace narrow {

// Every text in `report` is escaped; sections without data are left out.
std::string render_html(const Report& report);

// All or nothing. Errors: io, resource_exhausted.
Status write_report(const Report& report, const std::string& path);

}  // namespace narrow
