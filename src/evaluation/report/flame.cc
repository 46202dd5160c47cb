#include "evaluation/report/flame.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <string_view>

#include "evaluation/report/html.h"
#include "narrow/kernel_text.h"

namespace narrow::evaluation {
namespace {

constexpr double kWidth = 960, kRow = 24;
constexpr double kThinnest = 0.5;           // narrower frames are not drawn
constexpr double kCharacter = 7.6;
constexpr std::size_t kDeepest = 12;        // scopes below are joined with their parent
constexpr int kColors = 6;

struct Frame {
  std::string name;
  double ms = 0;
  std::vector<Frame> inside;
};

Frame& child(Frame& parent, std::string_view name) {
  const auto found = std::find_if(parent.inside.begin(), parent.inside.end(), [&](const Frame& f) { return f.name == name; });
  if (found != parent.inside.end()) return *found;
  parent.inside.push_back({std::string(name), 0, {}});
  return parent.inside.back();
}

void add(Frame& root, const std::vector<std::string_view>& path, double ms) {
  Frame* frame = &root;
  frame->ms += ms;
  for (const std::string_view name : path) {
    frame = &child(*frame, name);
    frame->ms += ms;
  }
}

void sort(Frame& frame) {
  std::stable_sort(frame.inside.begin(), frame.inside.end(), [](const Frame& a, const Frame& b) { return a.ms > b.ms; });
  for (Frame& each : frame.inside) sort(each);
}

std::size_t depth(const Frame& frame) {
  std::size_t most = 0;
  for (const Frame& each : frame.inside) most = std::max(most, depth(each));
  return most + 1;
}

std::string draw(Frame root) {
  if (root.ms <= 0) return "";
  sort(root);
  std::string svg = svg_open(kWidth, kRow * static_cast<double>(depth(root)), "time of one run by " + root.name);
  const std::function<void(const Frame&, double, std::size_t, int)> frame = [&](const Frame& f, double x, std::size_t level, int color) {
    const double width = f.ms / root.ms * kWidth, y = kRow * static_cast<double>(level);
    if (width < kThinnest) return;
    svg += svg_rect(x, y, std::max(width - 0.5, kThinnest), kRow - 1, color < 0 ? "box" : fmt::format("flame s{}", color),
                    fmt::format("{}: {:.4f} ms, {:.1f} %", f.name, f.ms, 100 * f.ms / root.ms));
    if (const auto letters = static_cast<std::size_t>(width / kCharacter); letters >= 4) svg += svg_text(x + 4, y + 16, shorten(f.name, letters - 1), "value");
    double left = x;
    for (std::size_t i = 0; i < f.inside.size(); ++i) {
      // Colours tell apart what the first frame with several inside holds.
      frame(f.inside[i], left, level + 1, color < 0 && f.inside.size() > 1 ? static_cast<int>(i) % kColors : color);
      left += f.inside[i].ms / root.ms * kWidth;
    }
  };
  frame(root, 0, 0, -1);
  return svg + "</svg>";
}

std::vector<std::string_view> scopes(std::string_view name) {
  std::vector<std::string_view> parts;
  while (!name.empty() && parts.size() < kDeepest) {
    const std::size_t end = parts.size() + 1 == kDeepest ? name.size() : std::min(name.find('/'), name.size());
    if (end != 0) parts.push_back(name.substr(0, end));
    name.remove_prefix(std::min(end + 1, name.size()));
  }
  return parts;
}

}  // namespace

std::string kernel_flame(const std::vector<KernelTime>& kernels) {
  Frame root{"operators, kernels and nodes", 0, {}};
  for (const KernelTime& k : kernels) add(root, {k.op_type, kernel_and_reason(k).first, k.node}, k.ms_per_run);
  return draw(std::move(root));
}

std::string scope_flame(const std::vector<KernelTime>& kernels) {
  Frame root{"scopes of the model", 0, {}};
  std::size_t scoped = 0;
  for (const KernelTime& k : kernels) {
    const auto path = scopes(k.node);
    if (path.size() > 1) ++scoped;
    add(root, path, k.ms_per_run);
  }
  return 2 * scoped > kernels.size() ? draw(std::move(root)) : "";
}

}  // namespace narrow::evaluation
