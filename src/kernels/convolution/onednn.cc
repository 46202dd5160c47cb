// Convolution on oneDNN. Weights are packed once into the format that the chosen primitive asks for.
#include <cstring>
#include <optional>

#include "kernels/convolution/convolution.h"
#include "kernels/onednn/onednn.h"

namespace narrow::kernels {
namespace {

using dnnl::memory;
using Dims = memory::dims;

// Row-major strides of `dims`.
Dims strides_of(const Dims& dims) {
  Dims strides(dims.size(), 1);
  for (std::size_t i = dims.size(); i-- > 1;) strides[i - 1] = strides[i] * dims[i];
  return strides;
}

memory::desc plain(const Dims& dims) { return {dims, memory::data_type::f32, strides_of(dims)}; }

// [batch, channels, spatial…] of which the channels lie closest together.
memory::desc channels_last(const Dims& dims) {
  Dims order = dims;
  order.erase(order.begin() + 1);
  order.push_back(dims[1]);
  Dims strides = strides_of(order);
  strides.insert(strides.begin() + 1, strides.back());
  strides.pop_back();
  return {dims, memory::data_type::f32, strides};
}

memory::desc any(const Dims& dims) { return {dims, memory::data_type::f32, memory::format_tag::any}; }

// The caller's weights as oneDNN names their dimensions: [groups,] out, in, kernel….
memory::desc weights_desc(const ConvolutionProblem& p) {
  const bool grouped = p.groups > 1;
  Dims dims, strides;
  const std::int64_t ic = p.in_channels / p.groups, oc = p.out_channels / p.groups;
  std::int64_t taps = 1;
  for (const Window& axis : p.axes) taps *= axis.kernel;
  if (grouped) {
    dims.push_back(p.groups);
    strides.push_back(oc * ic * taps);
  }
  dims.push_back(oc);
  dims.push_back(ic);
  strides.push_back(p.transposed ? taps : ic * taps);
  strides.push_back(p.transposed ? oc * taps : taps);
  for (const Window& axis : p.axes) {
    taps /= axis.kernel;
    dims.push_back(axis.kernel);
    strides.push_back(taps);
  }
  return {dims, memory::data_type::f32, strides};
}

class Reorder {
 public:
  Reorder(const memory::desc& from, const memory::desc& to) {
    const dnnl::reorder::primitive_desc desc(onednn::engine(), from, onednn::engine(), to, onednn::attributes());
    scratchpad_desc_ = desc.scratchpad_desc();
    primitive_ = dnnl::reorder(desc);
  }

  void execute(dnnl::stream& stream, const memory& from, const memory& to) const {
    primitive_.execute(stream, {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}, {DNNL_ARG_SCRATCHPAD, onednn::scratchpad(scratchpad_desc_)}});
  }

 private:
  memory::desc scratchpad_desc_;
  dnnl::reorder primitive_;
};

class OnednnConvolution final : public Convolution {
 public:
  explicit OnednnConvolution(const ConvolutionProblem& p, int threads)
      : threads_(threads), transposed_(p.transposed), channels_last_(p.channels_last) {
    Dims source = {p.batch, p.in_channels}, destination = {p.batch, p.out_channels}, stride, dilation, begin, end;
    for (const Window& axis : p.axes) {
      source.push_back(axis.in);
      destination.push_back(axis.out);
      stride.push_back(axis.stride);
      dilation.push_back(axis.dilation - 1);
      begin.push_back(axis.pad_begin);
      // What makes oneDNN's size rule exact, whatever was left over (or added, transposed) at the end.
      const std::int64_t small = p.transposed ? axis.in : axis.out, large = p.transposed ? axis.out : axis.in;
      end.push_back((small - 1) * axis.stride + axis.extent() - large - axis.pad_begin);
    }
    source_user_ = p.channels_last ? channels_last(source) : plain(source);
    destination_user_ = p.channels_last ? channels_last(destination) : plain(destination);
    add_post_operations(p);
    weights_user_ = weights_desc(p);
    if (p.has_bias) bias_ = plain({p.out_channels});
    const auto prepare_as = [&](const memory::desc& source_desc, const memory::desc& destination_desc) {
      if (p.transposed) {
        prepare<dnnl::deconvolution_forward>(dnnl::algorithm::deconvolution_direct, source_desc, any(weights_user_.dims()), destination_desc, stride,
                                             dilation, begin, end);
      } else {
        prepare<dnnl::convolution_forward>(dnnl::algorithm::convolution_auto, source_desc, any(weights_user_.dims()), destination_desc, stride,
                                           dilation, begin, end);
      }
    };
    // Depthwise on row-major images is one tiny product a channel inside oneDNN: there two reorders pay. So they do
    // wherever it has nothing for the caller's layout but its reference loops.
    const bool reorder = !p.channels_last && p.groups > 1 && p.groups == p.in_channels;
    if (!reorder) prepare_as(source_user_, destination_user_);
    if (reorder || name_.starts_with("ref")) prepare_as(any(source), any(destination));
    if (source_desc_ != source_user_) {
      source_reorder_.emplace(source_user_, source_desc_);
      source_packed_ = memory(source_desc_, onednn::engine());
    }
    if (destination_desc_ != destination_user_) {
      destination_reorder_.emplace(destination_desc_, destination_user_);
      destination_packed_ = memory(destination_desc_, onednn::engine());
    }
  }

  void keep(const float* weights) {
    fixed_weights_ = true;
    pack(weights);
  }

  void pack(const float* weights) {
    weights_packed_ = memory(weights_desc_, onednn::engine());
    memory from = onednn::memory_of(weights_user_, weights);
    dnnl::reorder(from, *weights_packed_).execute(onednn::stream(), from, *weights_packed_);
    onednn::stream().wait();
  }

  Status run(const ConvolutionArguments& a, base::ThreadPool&) override {
    return onednn::guarded("convolution", [&] {
      const onednn::ThreadScope scope(threads_);
      dnnl::stream& stream = onednn::stream();
      const bool fixed = weights_packed_.has_value();
      if (!fixed) pack(a.weights);
      memory from = onednn::memory_of(source_user_, a.source), to = onednn::memory_of(destination_user_, a.destination);
      if (source_reorder_) source_reorder_->execute(stream, from, *source_packed_);
      std::unordered_map<int, memory> arguments = {
          {DNNL_ARG_SRC, source_reorder_ ? *source_packed_ : from},
          {DNNL_ARG_WEIGHTS, *weights_packed_},
          {DNNL_ARG_DST, destination_reorder_ ? *destination_packed_ : to},
          {DNNL_ARG_SCRATCHPAD, onednn::scratchpad(scratchpad_desc_)}};
      if (bias_) arguments.emplace(DNNL_ARG_BIAS, onednn::memory_of(*bias_, a.bias));
      if (added_first_) {
        const memory residual = onednn::memory_of(destination_user_, a.residual);
        if (destination_reorder_) {
          dnnl::reorder(residual, *destination_packed_).execute(stream, const_cast<memory&>(residual), *destination_packed_);
        } else if (a.residual != a.destination) {
          std::memcpy(a.destination, a.residual, destination_user_.get_size());
        }
      } else if (has_residual_) {
        arguments.emplace(DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1, onednn::memory_of(destination_user_, a.residual));
      }
      primitive_.execute(stream, arguments);
      if (destination_reorder_) destination_reorder_->execute(stream, *destination_packed_, to);
      stream.wait();
      if (!fixed) weights_packed_.reset();
    });
  }

  // Why not the kernels in channels_last.cc.
  std::string describe() const override {
    const char* reason = transposed_                       ? "transposed"
                         : !channels_last_                 ? "data whose channels lie apart"
                         : !fixed_weights_                 ? "weights that come with each run"
                                                           : "groups of several channels";
    return "onednn:" + name_ + "; " + reason;
  }

 private:
  void add_post_operations(const ConvolutionProblem& p) {
    dnnl::post_ops operations;
    has_residual_ = p.has_residual;
    // Without AVX-512, oneDNN 2.6 adds the wrong elements of a second operand where channels do not fill a vector: there the
    // residual is laid into the destination and summed up onto.
    constexpr std::int64_t kVector = 8;
    added_first_ = p.has_residual && p.out_channels % kVector != 0 && base::effective_isa() < base::Isa::kAvx512;
    if (added_first_) operations.append_sum(1);
    else if (p.has_residual) operations.append_binary(dnnl::algorithm::binary_add, destination_user_);
    using Kind = ConvolutionActivation::Kind;
    const ConvolutionActivation& a = p.activation;
    switch (a.kind) {
      case Kind::kNone: break;
      case Kind::kRelu: operations.append_eltwise(1, dnnl::algorithm::eltwise_relu, a.alpha, 0); break;
      case Kind::kClip: operations.append_eltwise(1, dnnl::algorithm::eltwise_clip, a.alpha, a.beta); break;
      case Kind::kSwish: operations.append_eltwise(1, dnnl::algorithm::eltwise_swish, a.alpha, 0); break;
      case Kind::kSigmoid: operations.append_eltwise(1, dnnl::algorithm::eltwise_logistic, 0, 0); break;
      case Kind::kTanh: operations.append_eltwise(1, dnnl::algorithm::eltwise_tanh, 0, 0); break;
      case Kind::kHardSwish: operations.append_eltwise(1, dnnl::algorithm::eltwise_hardswish, 0, 0); break;
    }
    attributes_.set_post_ops(operations);
  }

  template <typename Primitive>
  void prepare(dnnl::algorithm algorithm, const memory::desc& source, const memory::desc& weights, const memory::desc& destination, const Dims& stride,
               const Dims& dilation, const Dims& begin, const Dims& end) {
    const auto kind = dnnl::prop_kind::forward_inference;
    const typename Primitive::desc desc =
        bias_ ? typename Primitive::desc(kind, algorithm, source, weights, *bias_, destination, stride, dilation, begin, end)
              : typename Primitive::desc(kind, algorithm, source, weights, destination, stride, dilation, begin, end);
    const typename Primitive::primitive_desc primitive_desc(desc, attributes_, onednn::engine());
    primitive_ = Primitive(primitive_desc);
    weights_desc_ = primitive_desc.weights_desc();
    source_desc_ = primitive_desc.src_desc();
    destination_desc_ = primitive_desc.dst_desc();
    scratchpad_desc_ = primitive_desc.scratchpad_desc();
    name_ = primitive_desc.impl_info_str();
  }

  int threads_;
  bool transposed_, channels_last_, fixed_weights_ = false;
  memory::desc source_user_, destination_user_, weights_user_, source_desc_, destination_desc_, weights_desc_, scratchpad_desc_;
  std::optional<memory::desc> bias_;
  bool has_residual_ = false, added_first_ = false;
  dnnl::primitive_attr attributes_ = onednn::attributes();
  dnnl::primitive primitive_;
  std::optional<Reorder> source_reorder_, destination_reorder_;
  std::optional<memory> source_packed_, destination_packed_, weights_packed_;
  std::string name_;
};

}  // namespace

Result<std::unique_ptr<Convolution>> make_onednn_convolution(const ConvolutionProblem& problem, const float* weights,
                                                             int threads) {
  if (problem.axes.empty() || problem.axes.size() > 3) return unsupported("oneDNN convolves 1 to 3 spatial axes");
  std::unique_ptr<OnednnConvolution> convolution;
  NARROW_RETURN_IF_ERROR(onednn::guarded("preparing a convolution", [&] {
    const onednn::ThreadScope scope(threads);
    convolution = std::make_unique<OnednnConvolution>(problem, threads);
    if (weights != nullptr) convolution->keep(weights);
  }));
  return std::unique_ptr<Convolution>(std::move(convolution));
}

}  // namespace narrow::kernels
