#include "narrow/report.h"

#include "base/atomic_file.h"
#include "evaluation/report/report.h"

namespace narrow {

std::string render_html(const Report& report) { return evaluation::render_report(report); }

Status write_report(const Report& report, const std::string& path) {
  return base::write_file(path, evaluation::render_report(report)).context("while writing the report");
}

}  // namespace narrow
