// Convolution over channels-last data on narrow's own f32 products: rows of the product are read where the pixels lie, and
// the activation follows while a piece of the output is in the cache. Works on the pool's threads.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "kernels/conv_s8/source.h"
#include "kernels/convolution/convolution.h"
#include "kernels/convolution/depthwise_f32.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/product_f32/product_f32.h"

namespace narrow::kernels {
namespace {

constexpr std::int64_t kBlockBytes = 128 << 10;  // input pixels of one task: with weights and output they fit the second-level cache
constexpr std::int64_t kLeastPixels = 24;        // of one task
constexpr std::int64_t kWorthThreads = 1 << 17;  // multiplications

using Kind = ConvolutionActivation::Kind;

class ChannelsLastConvolution final : public Convolution {
 public:
  ChannelsLastConvolution(const ConvolutionProblem& p, const float* weights) : problem_(p), depthwise_(p.groups > 1) {
    shape_.batch = p.batch;
    shape_.channels = p.in_channels;
    shape_.filters = p.out_channels;
    shape_.groups = p.groups;
    const std::size_t spatial = p.axes.size();
    for (std::size_t d = 0; d < spatial; ++d) {
      const Window& axis = p.axes[d];
      shape_.axes[3 - spatial + d] = {axis.in, axis.out, axis.kernel, axis.stride, axis.dilation, axis.pad_begin};
    }
    bytes_ = shape_;
    bytes_.channels *= static_cast<std::int64_t>(sizeof(float));
    pointwise_ = !depthwise_ && shape_.taps() == 1 && stays_inside(shape_) && shape_.pixels_in() == shape_.pixels_out();
    // Taps in a row that lie side by side in the image are one run.
    run_taps_ = !depthwise_ && shape_.axes[2].dilation == 1 ? shape_.axes[2].kernel : 1;
    pack(weights);
    switch (p.activation.kind) {
      case Kind::kRelu:
        epilogue_.activation = ProductEpilogue::Activation::kLeaky;
        epilogue_.low = p.activation.alpha;
        break;
      case Kind::kClip:
        epilogue_.activation = ProductEpilogue::Activation::kClip;
        epilogue_.low = p.activation.alpha;
        epilogue_.high = p.activation.beta;
        break;
      default: break;
    }
  }

  Status run(const ConvolutionArguments& a, base::ThreadPool& pool) override {
    if (problem_.has_bias) std::copy_n(a.bias, shape_.filters, bias_.begin());
    ProductEpilogue epilogue = epilogue_;
    if (problem_.has_bias) epilogue.bias = bias_.data();
    if (depthwise_) run_depthwise(a, epilogue, pool);
    else if (pointwise_) run_pointwise(a, epilogue, pool);
    else run_direct(a, epilogue, pool);
    return {};
  }

  std::string describe() const override {
    const std::string isa = std::string(base::to_string(base::effective_isa() >= base::Isa::kAvx512 ? base::Isa::kAvx512 : base::Isa::kAvx2));
    if (depthwise_) return "depthwise_f32 " + isa + "; each filter reads one channel: lines without copies";
    if (pointwise_) return std::string("pointwise ") + product_f32_name() + "; 1x1: pixels are the rows of one product";
    return std::string("direct ") + product_f32_name() + "; the product reads its rows where the pixels lie: no im2col";
  }

 private:
  std::int64_t multiplications() const {
    return shape_.batch * shape_.pixels_out() * shape_.filters * shape_.taps() * (depthwise_ ? 1 : shape_.channels);
  }

  // One product: pixels are its rows.
  void run_pointwise(const ConvolutionArguments& a, ProductEpilogue epilogue, base::ThreadPool& pool) const {
    epilogue.residual = problem_.has_residual ? a.residual : nullptr;
    const FinishPiece finish = [&](std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns) {
      float* out = a.destination + row * shape_.filters + column;
      if (columns == shape_.filters) return activate(out, rows * columns);
      for (std::int64_t i = 0; i < rows; ++i) activate(out + i * shape_.filters, columns);
    };
    multiply_f32(a.source, shape_.batch * shape_.pixels_out(), packed_, epilogue, a.destination, pool, activates_later() ? &finish : nullptr);
  }

  void run_direct(const ConvolutionArguments& a, const ProductEpilogue& common, base::ThreadPool& pool) const {
    const ConvS8Shape& s = shape_;
    const std::int64_t taps = s.taps(), plane = s.axes[1].out * s.axes[2].out, planes = s.batch * s.axes[0].out;
    const ConvSource source(bytes_, !stays_inside(bytes_), 0);
    const std::int64_t threads = multiplications() < kWorthThreads ? 1 : pool.threads();
    const std::int64_t wanted = threads > 1 ? (threads * 4 + planes - 1) / planes : 1;
    std::int64_t rows = std::clamp<std::int64_t>(kBlockBytes / std::max<std::int64_t>(bytes_.channels * s.axes[2].stride * s.axes[1].stride, 1), 48, 1024);
    rows = std::max(kLeastPixels, std::min(rows, (plane + wanted - 1) / wanted));
    const std::int64_t blocks = (plane + rows - 1) / rows;
    rows = (plane + blocks - 1) / blocks;
    const std::int64_t strips = packed_.strips(), cuts = planes * blocks < threads ? std::min(threads, strips) : 1;
    const std::size_t scratch_bytes = source.scratch_bytes(rows);
    share_out(planes * blocks * cuts, threads, pool, [&](std::int64_t task, int worker) {
      const std::int64_t at = task / cuts, cut = task % cuts, begin = at % blocks * rows, count = std::min(rows, plane - begin);
      if (count <= 0) return;
      std::uint8_t* scratch = pool.scratch(worker, scratch_bytes);
      auto** pixels = reinterpret_cast<const std::uint8_t**>(scratch);
      auto* offsets = reinterpret_cast<std::int64_t*>(scratch) + rows;
      auto* runs = offsets + taps;
      source.place(reinterpret_cast<const std::uint8_t*>(a.source), {at / blocks / s.axes[0].out, at / blocks % s.axes[0].out, begin, count}, pixels, offsets,
                   reinterpret_cast<std::uint8_t*>(runs + taps));
      for (std::int64_t r = 0; r < taps / run_taps_; ++r) runs[r] = offsets[r * run_taps_] / static_cast<std::int64_t>(sizeof(float));
      const std::int64_t first = (at / blocks * plane + begin) * s.filters;
      ProductEpilogue epilogue = common;
      if (problem_.has_residual) epilogue.residual = a.residual + first;
      float* out = a.destination + first;
      const std::int64_t strip = strips * cut / cuts, last = strips * (cut + 1) / cuts;
      product_f32()({nullptr, 0, reinterpret_cast<const float* const*>(pixels), runs}, count, packed_, strip, last, epilogue, out, s.filters);
      if (cuts == 1) return activate(out, count * s.filters);
      const std::int64_t column = packed_.first_panel(strip) * kPanelColumnsF32, end = std::min(s.filters, packed_.first_panel(last) * kPanelColumnsF32);
      for (std::int64_t i = 0; i < count; ++i) activate(out + i * s.filters + column, end - column);
    });
  }

  // Line by line: where a line's windows leave the image, the taps outside are left out, so that nothing is copied.
  void run_depthwise(const ConvolutionArguments& a, const ProductEpilogue& common, base::ThreadPool& pool) const {
    const ConvS8Shape& s = shape_;
    const ConvAxis &depth = s.axes[0], &height = s.axes[1], &width = s.axes[2];
    const std::int64_t c = s.channels, taps = s.taps(), padded = static_cast<std::int64_t>(bias_.size()), lines = s.batch * depth.out * height.out;
    const std::int64_t threads = multiplications() < kWorthThreads ? 1 : pool.threads();
    const std::int64_t together = threads > 1 ? std::max<std::int64_t>(1, lines / (threads * 4)) : lines;
    // Pixels whose windows lie inside the line: [inner, outer).
    const std::int64_t inner = std::min(width.out, (width.pad + width.stride - 1) / width.stride);
    const std::int64_t room = width.in + width.pad - width.extent();
    const std::int64_t outer = std::max(inner, room < 0 ? 0 : std::min(width.out, room / width.stride + 1));
    const DepthwiseF32 kernel = base::effective_isa() >= base::Isa::kAvx512 ? depthwise_f32_avx512 : depthwise_f32_avx2;
    share_out((lines + together - 1) / together, threads, pool, [&](std::int64_t task, int worker) {
      auto* offsets = reinterpret_cast<std::int64_t*>(pool.scratch(worker, static_cast<std::size_t>(taps) * 16));
      auto** weights = reinterpret_cast<const float**>(offsets + taps);
      for (std::int64_t line = task * together; line < std::min(lines, (task + 1) * together); ++line) {
        const std::int64_t oh = line % height.out, od = line / height.out % depth.out, image = line / height.out / depth.out;
        const auto piece = [&](std::int64_t first, std::int64_t pixels, bool whole) {
          std::int64_t count = 0;
          for (std::int64_t t = 0; t < taps; ++t) {
            const std::int64_t kw = t % width.kernel, kh = t / width.kernel % height.kernel, kd = t / width.kernel / height.kernel;
            const std::int64_t id = od * depth.stride - depth.pad + kd * depth.dilation, ih = oh * height.stride - height.pad + kh * height.dilation;
            const std::int64_t iw = first * width.stride - width.pad + kw * width.dilation;
            if (id < 0 || id >= depth.in || ih < 0 || ih >= height.in || (!whole && (iw < 0 || iw >= width.in))) continue;
            offsets[count] = (((image * depth.in + id) * height.in + ih) * width.in + iw) * c;
            weights[count++] = channel_weights_.get() + t * padded;
          }
          const std::int64_t at = (line * width.out + first) * c;
          ProductEpilogue epilogue = common;
          if (problem_.has_residual) epilogue.residual = a.residual + at;
          kernel({a.source, width.stride * c, pixels, c, count, offsets, weights}, epilogue, a.destination + at);
        };
        for (std::int64_t ow = 0; ow < inner; ++ow) piece(ow, 1, false);
        if (inner < outer) piece(inner, outer - inner, true);
        for (std::int64_t ow = outer; ow < width.out; ++ow) piece(ow, 1, false);
        activate(a.destination + line * width.out * c, width.out * c);
      }
    });
  }

  template <typename Body>
  static void share_out(std::int64_t tasks, std::int64_t threads, base::ThreadPool& pool, const Body& body) {
    const auto piece = [&body](std::size_t task, int worker) { body(static_cast<std::int64_t>(task), worker); };
    if (threads > 1) return pool.parallel_for(static_cast<std::size_t>(tasks), piece);
    for (std::int64_t task = 0; task < tasks; ++task) body(task, 0);
  }

  void pack(const float* w) {
    const std::int64_t taps = shape_.taps(), channels = shape_.channels, filters = shape_.filters;
    bias_.assign(static_cast<std::size_t>((filters + kPanelColumnsF32 - 1) / kPanelColumnsF32 * kPanelColumnsF32), 0.0f);
    if (depthwise_) {
      const std::int64_t padded = static_cast<std::int64_t>(bias_.size());
      const std::size_t bytes = static_cast<std::size_t>(taps * padded) * sizeof(float);
      channel_weights_.reset(static_cast<float*>(std::aligned_alloc(64, bytes)));
      if (channel_weights_ == nullptr) throw std::bad_alloc();
      std::memset(channel_weights_.get(), 0, bytes);
      for (std::int64_t c = 0; c < channels; ++c) {
        for (std::int64_t t = 0; t < taps; ++t) channel_weights_.get()[t * padded + c] = w[c * taps + t];
      }
      return;
    }
    if (taps == 1) {
      packed_ = pack_f32(w, channels, filters, 1, channels);
      return;
    }
    std::vector<float> reordered(static_cast<std::size_t>(taps * channels * filters));  // [filters][taps][channels]
    for (std::int64_t f = 0; f < filters; ++f) {
      const float* filter = w + f * channels * taps;
      for (std::int64_t c = 0; c < channels; ++c) {
        for (std::int64_t t = 0; t < taps; ++t) reordered[(f * taps + t) * channels + c] = filter[c * taps + t];
      }
    }
    packed_ = pack_f32(reordered.data(), taps * channels, filters, 1, taps * channels, taps / run_taps_);
  }

  bool activates_later() const {
    const Kind kind = problem_.activation.kind;
    return kind != Kind::kNone && kind != Kind::kRelu && kind != Kind::kClip;
  }

  // The activations that are passes of their own.
  void activate(float* y, std::int64_t count) const {
    const auto n = static_cast<std::size_t>(count);
    const ConvolutionActivation& a = problem_.activation;
    const float hard[] = {1.0f / 6.0f, 0.5f};
    switch (a.kind) {
      case Kind::kSwish:
        if (a.alpha == 1) unary_f32(UnaryF32::kSilu)(y, y, n, nullptr);
        else std::transform(y, y + count, y, a);
        break;
      case Kind::kSigmoid: unary_f32(UnaryF32::kSigmoid)(y, y, n, nullptr); break;
      case Kind::kTanh: unary_f32(UnaryF32::kTanh)(y, y, n, nullptr); break;
      case Kind::kHardSwish: unary_f32(UnaryF32::kHardSwish)(y, y, n, hard); break;
      default: break;
    }
  }

  ConvolutionProblem problem_;
  bool depthwise_, pointwise_ = false;
  ConvS8Shape shape_, bytes_;  // the same, its channels counted in bytes
  std::int64_t run_taps_ = 1;
  PackedF32 packed_;
  std::unique_ptr<float, decltype(&std::free)> channel_weights_{nullptr, std::free};
  std::vector<float> bias_;  // padded
  ProductEpilogue epilogue_;
};

}  // namespace

Result<std::unique_ptr<Convolution>> make_channels_last_convolution(const ConvolutionProblem& p, const float* weights) {
  const bool depthwise = p.groups > 1 && p.groups == p.in_channels && p.groups == p.out_channels;
  if (!p.channels_last || p.transposed || weights == nullptr || p.axes.empty() || p.axes.size() > 3 || (p.groups > 1 && !depthwise) ||
      p.in_channels == 0 || base::effective_isa() < base::Isa::kAvx2) {
    return unsupported("a convolution over channels-last data with constant weights, of one group or depthwise");
  }
  try {
    return std::unique_ptr<Convolution>(std::make_unique<ChannelsLastConvolution>(p, weights));
  } catch (const std::bad_alloc&) {
    return resource_exhausted("out of memory packing a convolution's weights");
  }
}

}  // namespace narrow::kernels
