// Building HTML and inline SVG from untrusted text.
#pragma once

#include <string>
#include <string_view>

namespace narrow::evaluation {

// For element content and quoted attributes: control characters shown as \xNN, then & < > " ' as entities.
std::string escape_html(std::string_view text);

// Text cut to `length` characters with an ellipsis in the middle, not yet escaped.
std::string shorten(std::string_view text, std::size_t length);

std::string decimal(double value, int digits);   // fixed; "–" when not finite
std::string compact(double value);               // three significant digits
std::string bytes_text(double bytes);            // "1.24 MiB"

// SVG pieces; x, y and sizes are in the units of the drawing's viewBox. `css` is a class of style.cc.
std::string svg_open(double width, double height, std::string_view label);
std::string svg_rect(double x, double y, double width, double height, std::string_view css, std::string_view title = {});
std::string svg_line(double x1, double y1, double x2, double y2, std::string_view css);
std::string svg_text(double x, double y, std::string_view text, std::string_view css);

}  // namespace narrow::evaluation
