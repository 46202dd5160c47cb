// Convolution on 8-bit codes: ConvInteger, QLinearConv, and narrow's own QConv, which the QDQ patterns become.
//
// QConv takes QLinearConv's inputs. Its activations are channels-last, the bias may be f32, the output is f32 when
// y_scale is omitted, and q_min / q_max narrow the codes (Relu and Clip folded into the rounding). A tenth input is a table
// of 256 codes that each code is replaced by (an activation).
#include <fmt/format.h>

#include <array>
#include <optional>
#include <vector>

#include "kernels/conv_s8/conv_s8.h"
#include "kernels/conv_s8/layout.h"
#include "operators/families.h"
#include "operators/quantized_io.h"
#include "operators/window.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using kernels::ConvS8Shape;
using kernels::ConvS8Weights;
using kernels::GemmOutput;

// Where the inputs stand.
struct Inputs {
  std::size_t x = 0, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias, table;
};
constexpr std::size_t kAbsent = 99;
constexpr Inputs kInteger = {0, kAbsent, 2, 1, kAbsent, 3, kAbsent, kAbsent, kAbsent, kAbsent};
constexpr Inputs kQLinear = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};

const Inputs& inputs_of(const Node& node) { return node.op_type == "ConvInteger" ? kInteger : kQLinear; }
bool channels_last(const Node& node) { return node.get_int("channels_last", node.domain == "narrow" ? 1 : 0) != 0; }

Status infer_integer_conv(InferContext& context) {
  const Node& node = context.node();
  const Inputs& in = inputs_of(node);
  const Type& x = context.input(in.x);
  const Type& w = context.input(in.w);
  Type y = Type::tensor(DType::kS32);
  if (in.y_zero != kAbsent) {
    y.dtype = context.has_input(in.y_zero)    ? context.input(in.y_zero).dtype
              : context.has_input(in.y_scale) ? x.dtype
                                              : DType::kF32;
    if (context.has_input(in.table)) y.dtype = context.input(in.table).dtype;
  }
  if (x.ranked && x.rank() < 3) return corrupt(fmt::format("node '{}' ({}): the input has rank {}, expected 3 or more", node.name, node.op_type, x.rank()));
  if (x.ranked && w.ranked && x.rank() != w.rank()) {
    return corrupt(fmt::format("node '{}' ({}): the weight has rank {}, expected {}", node.name, node.op_type, w.rank(), x.rank()));
  }
  if (x.ranked) {
    const bool last = channels_last(node);
    NARROW_TRY(const WindowAttributes attributes, read_window(node));
    std::vector<std::int64_t> kernel = attributes.kernel;
    if (const auto shape = w.static_shape()) kernel.assign(shape->begin() + 2, shape->end());
    const std::span<const Dim> spatial = std::span(x.dims).subspan(last ? 1 : 2, static_cast<std::size_t>(x.rank() - 2));
    NARROW_TRY(const std::vector<Dim> out, window_output_dims(node, attributes, spatial, kernel, false));
    y.ranked = true;
    y.dims.push_back(x.dims[0]);
    const Dim filters = w.ranked ? w.dims[0] : Dim();
    if (!last) y.dims.push_back(filters);
    y.dims.insert(y.dims.end(), out.begin(), out.end());
    if (last) y.dims.push_back(filters);
  }
  context.set_output(0, std::move(y));
  return {};
}

class IntegerConvKernel final : public Kernel {
 public:
  static Result<std::unique_ptr<Kernel>> prepare(const PrepareContext& context) {
    auto kernel = std::make_unique<IntegerConvKernel>();
    kernel->node_ = *context.node;
    NARROW_TRY(kernel->attributes_, read_window(*context.node));
    kernel->group_ = context.node->get_int("group", 1);
    if (kernel->group_ < 1) return corrupt(fmt::format("group is {}, expected 1 or more", kernel->group_));
    bool constant = true;
    for (std::size_t i = 1; i < context.constants.size(); ++i) {
      constant = constant && (context.node->inputs[i] == graph::kNoValue || context.constants[i] != nullptr);
    }
    const DType x_dtype = context.input_types[0].dtype;
    if (constant && (x_dtype == DType::kU8 || x_dtype == DType::kS8)) {
      static const Tensor none;
      NARROW_RETURN_IF_ERROR(kernel->build(x_dtype, [&](std::size_t i) -> const Tensor& {
        return i < context.constants.size() && context.constants[i] != nullptr ? *context.constants[i] : none;
      }));
      kernel->constant_ = true;
      if (const auto shape = context.input_types[0].static_shape()) {
        NARROW_TRY(const ConvS8Shape s, kernel->shape_of(*shape));
        const std::string own = kernel->weights_->describe(s);
        const std::size_t reason = own.find("; ");
        kernel->description_ = own.substr(0, reason) + (kernel->output_.table.empty() ? "" : " + table") + own.substr(std::min(reason, own.size()));
      }
    }
    return std::unique_ptr<Kernel>(std::move(kernel));
  }

  std::string describe() const override { return description_; }

  Status run(RunContext& context) override {
    const Tensor& x = context.input(0);
    if (!constant_ || x.dtype() != x_dtype_) {
      NARROW_RETURN_IF_ERROR(build(x.dtype(), [&](std::size_t i) -> const Tensor& {
        static const Tensor none;
        return i < context.input_count() ? context.input(i) : none;
      }));
    }
    const bool last = channels_last(node_);
    if (x.shape() != last_x_) {
      NARROW_TRY(last_, shape_of(x.shape()));
      last_y_ = {last_.batch};
      if (!last) last_y_.push_back(last_.filters);
      for (int d = 0; d < spatial_; ++d) last_y_.push_back(last_.axes[3 - spatial_ + d].out);
      if (last) last_y_.push_back(last_.filters);
      last_x_ = x.shape();
    }
    const ConvS8Shape& s = last_;
    NARROW_TRY(Tensor * y, context.output(0, y_dtype_, last_y_));
    if (y->size() == 0) return {};
    const auto* codes = static_cast<const std::uint8_t*>(x.raw());
    const bool x_signed = x_dtype_ == DType::kS8;
    if (last) {
      weights_->run(s, codes, x_signed, x_zero_, output_, y->mutable_raw(), context.pool());
      return {};
    }
    std::vector<std::uint8_t> source(static_cast<std::size_t>(x.size()));
    for (std::int64_t n = 0; n < s.batch; ++n) {
      kernels::transpose(codes + n * s.channels * s.pixels_in(), s.channels, s.pixels_in(), source.data() + n * s.channels * s.pixels_in());
    }
    std::vector<std::uint8_t> result(static_cast<std::size_t>(y->bytes()));
    weights_->run(s, source.data(), x_signed, x_zero_, output_, result.data(), context.pool());
    const std::int64_t image = s.filters * s.pixels_out();
    for (std::int64_t n = 0; n < s.batch; ++n) {
      if (bits_of(y_dtype_) == 8) {
        kernels::transpose(result.data() + n * image, s.pixels_out(), s.filters, static_cast<std::uint8_t*>(y->mutable_raw()) + n * image);
      } else {
        kernels::transpose(reinterpret_cast<const std::uint32_t*>(result.data()) + n * image, s.pixels_out(), s.filters,
                           static_cast<std::uint32_t*>(y->mutable_raw()) + n * image);
      }
    }
    return {};
  }

 private:
  template <typename Get>
  Status build(DType x_dtype, const Get& get) {
    const Inputs& in = inputs_of(node_);
    const auto input = [&](std::size_t i) -> const Tensor& {
      static const Tensor none;
      return i == kAbsent ? none : get(i);
    };
    const Tensor& w = input(in.w);
    NARROW_RETURN_IF_ERROR(check_code_type(node_, "the input", x_dtype));
    NARROW_RETURN_IF_ERROR(check_code_type(node_, "the weight", w.dtype()));
    w_shape_ = w.shape();
    last_x_.clear();
    if (w.rank() < 3 || w.rank() > 5) return unsupported(fmt::format("the weight has rank {}, expected 3 to 5", w.rank()));
    spatial_ = w.rank() - 2;
    const std::int64_t filters = w.shape()[0];
    if (filters % group_ != 0) return corrupt(fmt::format("{} filters in {} groups", filters, group_));
    std::int64_t taps = 1;
    for (int d = 2; d < w.rank(); ++d) taps *= w.shape()[d];
    x_dtype_ = x_dtype;
    NARROW_TRY(const std::vector<std::int32_t> x_zero, read_zero_points(node_, "the input", input(in.x_zero), 1));
    x_zero_ = x_zero[0];
    NARROW_TRY(const std::vector<std::int32_t> w_zero, read_zero_points(node_, "the weight", input(in.w_zero), filters));
    const bool side_by_side = attributes_.dilations.empty() || attributes_.dilations.back() == 1;
    weights_.emplace(w.raw(), w.dtype() == DType::kU8, filters, w.shape()[1], taps, group_, w_zero, side_by_side ? w.shape().back() : 1);

    output_ = {};
    const Tensor& bias = input(in.bias);
    if (bias.defined() && (bias.size() != filters || (bias.dtype() != DType::kS32 && bias.dtype() != DType::kF32))) {
      return corrupt(fmt::format("node '{}' ({}): the bias is {}{}, expected s32[{}]", node_.name, node_.op_type, to_string(bias.dtype()), to_string(bias.shape()), filters));
    }
    const bool integer_bias = bias.dtype() == DType::kS32;
    output_.offset = weights_->offsets(x_zero_, x_dtype == DType::kS8, integer_bias ? bias.data<std::int32_t>().data() : nullptr);
    y_dtype_ = DType::kS32;
    if (in.x_scale == kAbsent) return {};

    NARROW_TRY(const std::vector<float> x_scale, read_scales(node_, "the input", input(in.x_scale), 1));
    NARROW_TRY(const std::vector<float> w_scale, read_scales(node_, "the weight", input(in.w_scale), filters));
    const Tensor& y_scale = input(in.y_scale);
    float step = 1;
    y_dtype_ = DType::kF32;
    output_.type = GemmOutput::kF32;
    if (y_scale.defined()) {
      NARROW_TRY(const TensorQuant y, read_quant(node_, "the output", y_scale, input(in.y_zero)));
      y_dtype_ = input(in.y_zero).defined() ? input(in.y_zero).dtype() : x_dtype;
      NARROW_RETURN_IF_ERROR(check_code_type(node_, "the output", y_dtype_));
      step = y.scale;
      output_.type = y_dtype_ == DType::kU8 ? GemmOutput::kU8 : GemmOutput::kS8;
      output_.zero_point = y.zero_point;
      const IntegerRange range = integer_range(y_dtype_);
      output_.low = static_cast<std::int32_t>(std::clamp(node_.get_int("q_min", range.min), range.min, range.max));
      output_.high = static_cast<std::int32_t>(std::clamp(node_.get_int("q_max", range.max), range.min, range.max));
      if (const Tensor& table = input(in.table); table.defined()) {
        NARROW_RETURN_IF_ERROR(check_code_type(node_, "the table", table.dtype()));
        if (table.size() != 256) return corrupt(fmt::format("node '{}' ({}): the table has {} entries, expected 256", node_.name, node_.op_type, table.size()));
        const auto* codes = static_cast<const std::uint8_t*>(table.raw());
        output_.table.assign(codes, codes + 256);
        y_dtype_ = table.dtype();
      }
    }
    std::vector<float> scale, shift;
    for (std::int64_t f = 0; f < filters; ++f) {
      scale.push_back(x_scale[0] * w_scale[w_scale.size() == 1 ? 0 : f] / step);
      shift.push_back(bias.dtype() == DType::kF32 ? bias.data<float>()[f] / step : 0.0f);
    }
    output_.scale = weights_->lay_out(scale);
    output_.bias = weights_->lay_out(shift);
    return {};
  }

  Result<ConvS8Shape> shape_of(const Shape& x) const {
    if (static_cast<int>(x.size()) != spatial_ + 2) {
      return invalid_argument(fmt::format("node '{}' ({}): the input has rank {}, expected {}", node_.name, node_.op_type, x.size(), spatial_ + 2));
    }
    const bool last = channels_last(node_);
    ConvS8Shape s;
    s.batch = x[0];
    s.channels = last ? x.back() : x[1];
    s.filters = w_shape_[0];
    s.groups = group_;
    if (s.channels != w_shape_[1] * group_) {
      return corrupt(fmt::format("node '{}' ({}): the input has {} channels, the weight expects {}", node_.name, node_.op_type, s.channels, w_shape_[1] * group_));
    }
    const std::span<const std::int64_t> in = std::span(x).subspan(last ? 1 : 2, static_cast<std::size_t>(spatial_));
    const std::vector<std::int64_t> kernel(w_shape_.begin() + 2, w_shape_.end());
    NARROW_TRY(const std::vector<kernels::Window> windows, resolve_window(node_, attributes_, in, kernel));
    for (int d = 0; d < spatial_; ++d) {
      const kernels::Window& window = windows[static_cast<std::size_t>(d)];
      s.axes[static_cast<std::size_t>(3 - spatial_ + d)] = {window.in, window.out, window.kernel, window.stride, window.dilation, window.pad_begin};
    }
    return s;
  }

  Node node_;
  WindowAttributes attributes_;
  std::int64_t group_ = 1;
  int spatial_ = 0;
  bool constant_ = false;
  Shape w_shape_;
  Shape last_x_, last_y_;  // of the last run, and what was made of them
  ConvS8Shape last_;
  DType x_dtype_ = DType::kUndefined, y_dtype_ = DType::kUndefined;
  std::int32_t x_zero_ = 0;
  std::optional<ConvS8Weights> weights_;
  ConvS8Weights::Output output_;
  std::string description_ = "own integer convolution";
};

const std::array kOperators = {
    Operator{.name = "ConvInteger", .since = 10, .min_inputs = 2, .max_inputs = 4, .infer = infer_integer_conv, .prepare = IntegerConvKernel::prepare},
    Operator{.name = "QLinearConv", .since = 10, .min_inputs = 8, .max_inputs = 9, .infer = infer_integer_conv, .prepare = IntegerConvKernel::prepare},
    Operator{.name = "QLinearConv", .domain = "com.microsoft", .min_inputs = 8, .max_inputs = 9, .infer = infer_integer_conv, .prepare = IntegerConvKernel::prepare},
    Operator{.name = "QConv", .domain = "narrow", .min_inputs = 5, .max_inputs = 10, .infer = infer_integer_conv, .prepare = IntegerConvKernel::prepare},
};

}  // namespace

std::span<const Operator> integer_conv_operators() { return kOperators; }

}  // namespace narrow::operators
