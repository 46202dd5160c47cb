#include "datasets/preprocess.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <span>

#include "base/text.h"
#include "datasets/image.h"

namespace narrow::datasets {
namespace {

struct Preset {
  std::string_view name, summary;
  ChannelOrder order;
  float scale;
  std::vector<float> mean, std;
};

std::span<const Preset> presets() {
  static const Preset kPresets[] = {
      {"imagenet", "imagenet-224: RGB, 0..1, minus the ImageNet mean, over its deviation; the number is the crop", ChannelOrder::kRgb, 1.0f / 255.0f, {0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}},
      {"caffe-bgr", "caffe-bgr-227: BGR, 0..255, minus 104/117/123", ChannelOrder::kBgr, 1.0f, {104, 117, 123}, {}},
      {"rgb-255", "rgb-255-224: RGB, 0..255", ChannelOrder::kRgb, 1.0f, {}, {}},
      {"tf", "tf-224: RGB, -1..1", ChannelOrder::kRgb, 1.0f / 127.5f, {1}, {}},
  };
  return kPresets;
}

constexpr std::string_view kKeys[] = {"resize", "crop", "order", "mean", "std", "scale", "pad", "layout"};

std::optional<int> parse_size(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1 || value > kMaxImageSide) return std::nullopt;
  return value;
}

std::optional<float> parse_number(std::string_view text) {
  float value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

Error bad_value(std::string_view key, std::string_view value, std::string_view expected) {
  return invalid_argument(fmt::format("preprocess: {}={} is not valid, expected {}", key, base::escape_controls(value), expected));
}

// "N" or "WxH".
bool parse_extent(std::string_view value, int& width, int& height, bool& square) {
  const std::size_t x = value.find('x');
  square = x == std::string_view::npos;
  const auto w = parse_size(value.substr(0, x));
  const auto h = square ? w : parse_size(value.substr(x + 1));
  if (!w || !h) return false;
  width = *w;
  height = *h;
  return true;
}

Status parse_resize(std::string_view value, Preprocess& out) {
  constexpr std::string_view kLetterbox = "letterbox-";
  out.resize_width = out.resize_height = 0;
  out.resize = ResizeKind::kNone;
  if (value == "none") return {};
  const bool letterbox = value.starts_with(kLetterbox);
  bool square = false;
  if (!parse_extent(letterbox ? value.substr(kLetterbox.size()) : value, out.resize_width, out.resize_height, square)) {
    return bad_value("resize", value, "N (shorter side), WxH, letterbox-N or none");
  }
  out.resize = letterbox ? ResizeKind::kLetterbox : square ? ResizeKind::kShorterSide : ResizeKind::kExact;
  return {};
}

Status parse_numbers(std::string_view key, std::string_view value, std::vector<float>& out) {
  out.clear();
  for (std::string_view part : base::split(value, '/')) {
    const auto number = parse_number(base::trim(part));
    if (!number || (key == "std" && *number == 0)) {
      return bad_value(key, value, key == "std" ? "1 or 3 numbers other than 0, separated by '/'"
                                                : "1 or 3 numbers separated by '/'");
    }
    out.push_back(*number);
  }
  if (out.size() != 1 && out.size() != 3) return bad_value(key, value, "1 or 3 numbers separated by '/'");
  return {};
}

Status parse_scale(std::string_view value, float& out) {
  const std::size_t slash = value.find('/');
  const auto top = parse_number(base::trim(value.substr(0, slash)));
  const auto bottom = slash == std::string_view::npos ? 1.0f : parse_number(base::trim(value.substr(slash + 1)));
  if (!top || !bottom || *top == 0 || *bottom == 0 || !std::isfinite(*top / *bottom) || *top / *bottom == 0) {
    return bad_value("scale", value, "a number other than 0, or a fraction such as 1/255");
  }
  out = *top / *bottom;
  return {};
}

template <typename T>
Status parse_choice(std::string_view key, std::string_view value, std::span<const std::pair<std::string_view, T>> choices, T& out) {
  std::vector<std::string_view> names;
  for (const auto& [name, choice] : choices) {
    if (name == value) {
      out = choice;
      return {};
    }
    names.push_back(name);
  }
  return bad_value(key, value, fmt::format("one of {}", fmt::join(names, ", ")));
}

constexpr std::pair<std::string_view, ChannelOrder> kOrders[] = {
    {"rgb", ChannelOrder::kRgb}, {"bgr", ChannelOrder::kBgr}, {"gray", ChannelOrder::kGray}};
constexpr std::pair<std::string_view, Layout> kLayouts[] = {{"nchw", Layout::kNchw}, {"nhwc", Layout::kNhwc}};

Status parse_item(std::string_view key, std::string_view value, Preprocess& out) {
  if (key == "resize") return parse_resize(value, out);
  if (key == "crop") {
    bool square = false;
    out.crop_width = out.crop_height = 0;
    if (value == "none" || parse_extent(value, out.crop_width, out.crop_height, square)) return {};
    return bad_value(key, value, "N, WxH or none");
  }
  if (key == "order") return parse_choice<ChannelOrder>(key, value, kOrders, out.order);
  if (key == "layout") return parse_choice<Layout>(key, value, kLayouts, out.layout);
  if (key == "mean") return parse_numbers(key, value, out.mean);
  if (key == "std") return parse_numbers(key, value, out.std);
  if (key == "scale") return parse_scale(value, out.scale);
  if (key == "pad") {
    const auto number = parse_number(value);
    if (!number || *number < 0 || *number > 255) return bad_value(key, value, "a pixel value of 0 to 255");
    out.pad = *number;
    return {};
  }
  return invalid_argument(fmt::format("preprocess: unknown key '{}'{}", base::escape_controls(key), base::did_you_mean(key, kKeys)))
      .hint(fmt::format("Keys: {}.", fmt::join(kKeys, ", ")));
}

Result<Preprocess> parse_preset(std::string_view text) {
  Preprocess out;
  if (text == "none") return out;
  std::vector<std::string_view> names = {"none"};
  for (const Preset& preset : presets()) {
    names.push_back(preset.name);
    if (!text.starts_with(preset.name)) continue;
    const std::string_view rest = text.substr(preset.name.size());
    if (!rest.empty() && rest[0] != '-') continue;
    if (!rest.empty()) {
      const auto size = parse_size(rest.substr(1));
      if (!size) {
        return invalid_argument(fmt::format("preprocess: preset '{}' needs a size of 1 to {} behind '{}-'",
                                            base::escape_controls(text), kMaxImageSide, preset.name));
      }
      const bool near_256 = *size > 192 && *size <= 256;
      out.resize = ResizeKind::kShorterSide;
      out.resize_width = out.resize_height =
          near_256 ? 256 : std::min(kMaxImageSide, static_cast<int>(std::lround(*size * 256.0 / 224.0)));
      out.crop_width = out.crop_height = *size;
    }
    out.order = preset.order;
    out.scale = preset.scale;
    out.mean = preset.mean;
    out.std = preset.std;
    return out;
  }
  const std::string_view name = text.substr(0, std::min(text.find_last_not_of("-0123456789"), text.size() - 1) + 1);
  return invalid_argument(fmt::format("preprocess: unknown preset '{}'{}", base::escape_controls(text), base::did_you_mean(name, names)))
      .hint("Presets: imagenet-N, caffe-bgr-N, rgb-255-N, tf-N, none; or a list such as resize=256,crop=227,order=bgr.");
}

template <typename T>
std::string_view name_of(T value, std::span<const std::pair<std::string_view, T>> choices) {
  for (const auto& [name, choice] : choices) {
    if (choice == value) return name;
  }
  return "";
}

}  // namespace

std::span<const PresetSummary> preset_summaries() {
  static const std::vector<PresetSummary> summaries = [] {
    std::vector<PresetSummary> all;
    for (const Preset& preset : presets()) all.push_back({preset.name, preset.summary});
    all.push_back({"none", "0..255 as they are, resized to the model's input size"});
    return all;
  }();
  return summaries;
}

Result<Preprocess> parse_preprocess(std::string_view text) {
  Preprocess out;
  text = base::trim(text);
  if (text.empty()) return out;
  std::vector<std::string_view> seen;
  bool first = true;
  for (std::string_view item : base::split(text, ',')) {
    item = base::trim(item);
    const std::size_t equals = item.find('=');
    if (first && equals == std::string_view::npos) {
      NARROW_TRY(out, parse_preset(item));
    } else if (equals == std::string_view::npos) {
      return invalid_argument(fmt::format("preprocess: '{}' is not key=value", base::escape_controls(item)))
          .hint(fmt::format("Keys: {}.", fmt::join(kKeys, ", ")));
    } else {
      const std::string_view key = base::trim(item.substr(0, equals));
      if (std::find(seen.begin(), seen.end(), key) != seen.end()) {
        return invalid_argument(fmt::format("preprocess: key '{}' occurs twice", base::escape_controls(key)));
      }
      seen.push_back(key);
      NARROW_RETURN_IF_ERROR(parse_item(key, base::trim(item.substr(equals + 1)), out));
    }
    first = false;
  }
  return out;
}

std::string to_string(const Preprocess& p) {
  std::vector<std::string> items;
  const auto extent = [](int w, int h) { return w == h ? fmt::format("{}", w) : fmt::format("{}x{}", w, h); };
  switch (p.resize) {
    case ResizeKind::kUnset: break;
    case ResizeKind::kNone: items.push_back("resize=none"); break;
    case ResizeKind::kShorterSide: items.push_back(fmt::format("resize={}", p.resize_width)); break;
    case ResizeKind::kExact: items.push_back(fmt::format("resize={}x{}", p.resize_width, p.resize_height)); break;
    case ResizeKind::kLetterbox: items.push_back("resize=letterbox-" + extent(p.resize_width, p.resize_height)); break;
  }
  if (p.crop_width != 0) items.push_back("crop=" + extent(p.crop_width, p.crop_height));
  if (p.order != ChannelOrder::kUnset) items.push_back(fmt::format("order={}", name_of<ChannelOrder>(p.order, kOrders)));
  if (p.scale != 1) items.push_back(fmt::format("scale={}", p.scale));
  if (!p.mean.empty()) items.push_back(fmt::format("mean={}", fmt::join(p.mean, "/")));
  if (!p.std.empty()) items.push_back(fmt::format("std={}", fmt::join(p.std, "/")));
  if (p.pad != 114) items.push_back(fmt::format("pad={}", p.pad));
  if (p.layout != Layout::kUnset) items.push_back(fmt::format("layout={}", name_of<Layout>(p.layout, kLayouts)));
  return items.empty() ? "none" : base::join(items, ",");
}

}  // namespace narrow::datasets
