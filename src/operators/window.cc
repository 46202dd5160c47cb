#include "operators/window.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>

namespace narrow::operators {
namespace {

using graph::Node;
using kernels::Window;
using AutoPad = WindowAttributes::AutoPad;

constexpr std::int64_t kLargest = std::numeric_limits<std::int32_t>::max();

Error bad_attribute(const Node& node, std::string_view name, std::int64_t found, std::string_view expected) {
  return corrupt(fmt::format("node '{}' ({}): {} holds {}, expected {}", node.name, node.op_type, name, found, expected));
}

Result<std::vector<std::int64_t>> read_list(const Node& node, std::string_view name, std::int64_t smallest) {
  std::vector<std::int64_t> values = node.get_ints(name);
  for (std::int64_t value : values) {
    if (value < smallest || value > kLargest) {
      return bad_attribute(node, name, value, fmt::format("{} to {}", smallest, kLargest));
    }
  }
  return values;
}

// One value for each spatial axis, or the default where the node leaves them out.
Status check_count(const Node& node, std::string_view name, std::size_t found, std::size_t expected) {
  if (found == 0 || found == expected) return {};
  return corrupt(fmt::format("node '{}' ({}): {} has {} values, expected {}", node.name, node.op_type, name, found, expected));
}

// The axis' kernel, stride, dilation and explicit pads; sizes are filled in by the caller.
Result<std::vector<Window>> common_windows(const Node& node, const WindowAttributes& attributes, std::size_t rank,
                                           std::span<const std::int64_t> kernel) {
  if (kernel.empty()) kernel = attributes.kernel;
  if (kernel.size() != rank) {
    return corrupt(fmt::format("node '{}' ({}): the kernel has {} spatial dimensions, the input has {}", node.name, node.op_type, kernel.size(), rank));
  }
  NARROW_RETURN_IF_ERROR(check_count(node, "kernel_shape", attributes.kernel.size(), rank));
  if (!attributes.kernel.empty() && !std::equal(kernel.begin(), kernel.end(), attributes.kernel.begin())) {
    return corrupt(fmt::format("node '{}' ({}): kernel_shape is [{}] but the weight's is [{}]", node.name, node.op_type,
                               fmt::join(attributes.kernel, ","), fmt::join(kernel, ",")));
  }
  NARROW_RETURN_IF_ERROR(check_count(node, "strides", attributes.strides.size(), rank));
  NARROW_RETURN_IF_ERROR(check_count(node, "dilations", attributes.dilations.size(), rank));
  NARROW_RETURN_IF_ERROR(check_count(node, "pads", attributes.pads.size(), 2 * rank));
  std::vector<Window> windows(rank);
  for (std::size_t i = 0; i < rank; ++i) {
    Window& window = windows[i];
    window.kernel = kernel[i];
    if (window.kernel < 1 || window.kernel > kLargest) return bad_attribute(node, "the kernel", window.kernel, "1 or more");
    if (!attributes.strides.empty()) window.stride = attributes.strides[i];
    if (!attributes.dilations.empty()) window.dilation = attributes.dilations[i];
    if (attributes.auto_pad == AutoPad::kNotSet && !attributes.pads.empty()) {
      window.pad_begin = attributes.pads[i];
      window.pad_end = attributes.pads[rank + i];
    }
    if (window.extent() > kLargest) return bad_attribute(node, "the dilated kernel", window.extent(), fmt::format("at most {}", kLargest));
  }
  return windows;
}

void split_pads(Window& window, std::int64_t total, bool upper) {
  total = std::max<std::int64_t>(total, 0);
  window.pad_begin = upper ? total / 2 : total - total / 2;
  window.pad_end = total - window.pad_begin;
}

Status check_size(const Node& node, const Window& window) {
  if (window.in < 0 || window.in > kLargest) return bad_attribute(node, "the input's spatial dimension", window.in, fmt::format("at most {}", kLargest));
  if (window.out > kLargest) return bad_attribute(node, "the output's spatial dimension", window.out, fmt::format("at most {}", kLargest));
  return {};
}

}  // namespace

Result<WindowAttributes> read_window(const Node& node) {
  WindowAttributes out;
  NARROW_TRY(out.kernel, read_list(node, "kernel_shape", 1));
  NARROW_TRY(out.strides, read_list(node, "strides", 1));
  NARROW_TRY(out.dilations, read_list(node, "dilations", 1));
  NARROW_TRY(out.pads, read_list(node, "pads", 0));
  NARROW_TRY(out.output_padding, read_list(node, "output_padding", 0));
  NARROW_TRY(out.output_shape, read_list(node, "output_shape", 0));
  const std::string auto_pad = node.get_string("auto_pad", "NOTSET");
  if (auto_pad == "SAME_UPPER") {
    out.auto_pad = AutoPad::kSameUpper;
  } else if (auto_pad == "SAME_LOWER") {
    out.auto_pad = AutoPad::kSameLower;
  } else if (auto_pad == "VALID") {
    out.auto_pad = AutoPad::kValid;
  } else if (!auto_pad.empty() && auto_pad != "NOTSET") {
    return corrupt(fmt::format("node '{}' ({}): auto_pad is '{}', expected NOTSET, SAME_UPPER, SAME_LOWER or VALID", node.name, node.op_type, auto_pad));
  }
  out.ceil_mode = node.get_int("ceil_mode", 0) != 0;
  return out;
}

Result<std::vector<Window>> resolve_window(const Node& node, const WindowAttributes& attributes,
                                           std::span<const std::int64_t> in, std::span<const std::int64_t> kernel) {
  NARROW_TRY(std::vector<Window> windows, common_windows(node, attributes, in.size(), kernel));
  for (std::size_t i = 0; i < in.size(); ++i) {
    Window& window = windows[i];
    window.in = in[i];
    NARROW_RETURN_IF_ERROR(check_size(node, window));
    const bool same = attributes.auto_pad == AutoPad::kSameUpper || attributes.auto_pad == AutoPad::kSameLower;
    if (same) {
      window.out = (window.in + window.stride - 1) / window.stride;
      split_pads(window, (window.out - 1) * window.stride + window.extent() - window.in, attributes.auto_pad == AutoPad::kSameUpper);
    } else {
      const std::int64_t room = window.in + window.pad_begin + window.pad_end - window.extent();
      if (room < 0) {
        return corrupt(fmt::format("node '{}' ({}): along spatial axis {} the kernel spans {} positions, but the padded input has only {}",
                                   node.name, node.op_type, i, window.extent(), room + window.extent()));
      }
      window.out = room / window.stride + 1;
      // A last, partial window counts only if it starts inside the input or its leading padding.
      if (attributes.ceil_mode && attributes.auto_pad == AutoPad::kNotSet && room % window.stride != 0 &&
          window.out * window.stride < window.in + window.pad_begin) {
        ++window.out;
      }
    }
    NARROW_RETURN_IF_ERROR(check_size(node, window));
  }
  return windows;
}

Result<std::vector<Window>> resolve_transposed_window(const Node& node, const WindowAttributes& attributes,
                                                      std::span<const std::int64_t> in,
                                                      std::span<const std::int64_t> kernel) {
  const std::size_t rank = in.size();
  NARROW_TRY(std::vector<Window> windows, common_windows(node, attributes, rank, kernel));
  NARROW_RETURN_IF_ERROR(check_count(node, "output_padding", attributes.output_padding.size(), rank));
  std::span<const std::int64_t> output_shape = attributes.output_shape;
  if (output_shape.size() == rank + 2) output_shape = output_shape.subspan(2);  // some files write batch and channels too
  NARROW_RETURN_IF_ERROR(check_count(node, "output_shape", output_shape.size(), rank));
  for (std::size_t i = 0; i < rank; ++i) {
    Window& window = windows[i];
    window.in = in[i];
    NARROW_RETURN_IF_ERROR(check_size(node, window));
    const std::int64_t extra = attributes.output_padding.empty() ? 0 : attributes.output_padding[i];
    const std::int64_t full = (window.in - 1) * window.stride + window.extent() + extra;
    const bool upper = attributes.auto_pad == AutoPad::kSameUpper, lower = attributes.auto_pad == AutoPad::kSameLower;
    if (!output_shape.empty()) {
      window.out = output_shape[i];
      // NOTSET splits as SAME_LOWER does: the larger half first.
      split_pads(window, full - window.out, upper);
    } else if (upper || lower) {
      window.out = window.in * window.stride;
      split_pads(window, full - window.out, upper);
    } else {
      window.out = full - window.pad_begin - window.pad_end;
    }
    if (window.out < 0 || (window.in > 0 && window.out == 0)) {
      return corrupt(fmt::format("node '{}' ({}): the output's spatial dimension {} comes out as {}, expected 1 or more",
                                 node.name, node.op_type, i, window.out));
    }
    NARROW_RETURN_IF_ERROR(check_size(node, window));
  }
  return windows;
}

Result<std::vector<graph::Dim>> window_output_dims(const Node& node, const WindowAttributes& attributes,
                                                   std::span<const graph::Dim> in,
                                                   std::span<const std::int64_t> kernel, bool transposed) {
  if (kernel.empty()) kernel = attributes.kernel;
  std::vector<graph::Dim> out(in.size());
  if (kernel.empty()) return out;
  // Unknown sizes are resolved with a stand-in that fits any kernel, and forgotten again.
  std::vector<std::int64_t> sizes;
  for (std::size_t i = 0; i < in.size(); ++i) sizes.push_back(in[i].known() ? in[i].size : std::int64_t{1} << 20);
  for (std::size_t i = 0; i < in.size() && i < kernel.size(); ++i) {
    if (!in[i].known() && !transposed) {
      const std::int64_t dilation = i < attributes.dilations.size() ? attributes.dilations[i] : 1;
      sizes[i] = std::min(kLargest, (kernel[i] - 1) * dilation + 1);
    }
    if (!in[i].known() && transposed) sizes[i] = 1;
  }
  Result<std::vector<Window>> windows = transposed ? resolve_transposed_window(node, attributes, sizes, kernel)
                                                   : resolve_window(node, attributes, sizes, kernel);
  if (!windows.ok()) {
    const bool all_known = std::all_of(in.begin(), in.end(), [](const graph::Dim& dim) { return dim.known(); });
    // A transposed stand-in may leave nothing after its pads, which proves nothing.
    if (all_known || !transposed) return std::move(windows).error();
    return out;
  }
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (in[i].known() || (transposed && !attributes.output_shape.empty())) out[i] = (*windows)[i].out;
    // A window that keeps the size keeps the symbol too.
    const Window& window = (*windows)[i];
    if (!in[i].known() && !transposed && window.stride == 1 && window.out == window.in && !attributes.ceil_mode) out[i] = in[i];
  }
  return out;
}

}  // namespace narrow::operators
