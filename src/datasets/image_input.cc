#include "datasets/image_input.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/text.h"

namespace narrow::datasets {
namespace {

bool is_channels(const graph::Dim& dim) { return dim.known() && (dim.size == 1 || dim.size == 3); }

template <typename T>
void write(const Image& image, const std::vector<std::vector<T>>& lookup, bool bgr, bool nhwc, T* out) {
  const std::size_t pixels = static_cast<std::size_t>(image.width) * image.height;
  const int channels = image.channels;
  for (int c = 0; c < channels; ++c) {
    const std::uint8_t* in = image.pixels.data() + (bgr ? channels - 1 - c : c);
    const T* table = lookup[static_cast<std::size_t>(c)].data();
    T* to = nhwc ? out + c : out + static_cast<std::size_t>(c) * pixels;
    const std::size_t step = nhwc ? static_cast<std::size_t>(channels) : 1;
    for (std::size_t i = 0; i < pixels; ++i) to[i * step] = table[in[i * channels]];
  }
}

template <typename T, typename Convert>
void write_as(const Image& image, const std::vector<std::vector<float>>& lookup, bool bgr, bool nhwc, Tensor& out, Convert convert) {
  std::vector<std::vector<T>> converted;
  for (const std::vector<float>& table : lookup) {
    converted.emplace_back();
    for (float value : table) converted.back().push_back(convert(value));
  }
  write<T>(image, converted, bgr, nhwc, static_cast<T*>(out.mutable_raw()));
}

}  // namespace

Result<ImageInput> ImageInput::create(const std::vector<InputSpec>& inputs, const Preprocess& preprocess) {
  if (inputs.size() != 1) {
    return unsupported(fmt::format("pictures feed a model with one input; this one has {}", inputs.size()))
        .hint("Give the inputs as .npz archives with an array per input name.");
  }
  const InputSpec& spec = inputs[0];
  const std::string found = graph::to_string(spec.type);
  if (spec.type.kind != graph::TypeKind::kTensor || spec.type.rank() != 4) {
    return unsupported(fmt::format("input '{}' is {}, pictures need a tensor of rank 4 (NCHW or NHWC)", spec.name, found))
        .hint("Give the inputs as .npy or .npz arrays.");
  }
  ImageInput input;
  input.name_ = spec.name;
  input.dtype_ = spec.type.dtype;
  input.preprocess_ = preprocess;
  if (input.dtype_ != DType::kF32 && input.dtype_ != DType::kF16 && input.dtype_ != DType::kU8 && input.dtype_ != DType::kS8) {
    return unsupported(fmt::format("input '{}' is {}, pictures become f32, f16, u8 or s8", spec.name, found));
  }
  const std::vector<graph::Dim>& dims = spec.type.dims;
  if (dims[0].known() && dims[0].size != 1) {
    return unsupported(fmt::format("input '{}' is {} with a fixed batch of {}, expected 1 or a symbolic batch", spec.name, found, dims[0].size))
        .hint("Export the model with batch 1 or a dynamic batch dimension.");
  }
  input.nhwc_ = preprocess.layout == Layout::kNhwc ||
                (preprocess.layout == Layout::kUnset && !is_channels(dims[1]) && is_channels(dims[3]));
  const graph::Dim& channels = input.nhwc_ ? dims[3] : dims[1];
  const graph::Dim& height = input.nhwc_ ? dims[1] : dims[2];
  const graph::Dim& width = input.nhwc_ ? dims[2] : dims[3];
  if (channels.known() && !is_channels(channels)) {
    return invalid_argument(fmt::format("input '{}' is {}: as {} it has {} channels, pictures have 1 or 3", spec.name, found,
                                        input.nhwc_ ? "NHWC" : "NCHW", channels.size))
        .hint(fmt::format("State layout={} in --preprocess.", input.nhwc_ ? "nchw" : "nhwc"));
  }
  const bool gray = preprocess.order == ChannelOrder::kGray;
  input.channels_ = channels.known() ? static_cast<int>(channels.size) : gray ? 1 : 3;
  if (preprocess.order != ChannelOrder::kUnset && gray != (input.channels_ == 1)) {
    return invalid_argument(fmt::format("preprocess: order={} does not fit input '{}' with {} channel{}", gray ? "gray" : "rgb or bgr",
                                        spec.name, input.channels_, input.channels_ == 1 ? "" : "s"));
  }
  input.bgr_ = preprocess.order == ChannelOrder::kBgr;
  for (const auto& [key, numbers] : {std::pair{"mean", &preprocess.mean}, std::pair{"std", &preprocess.std}}) {
    if (numbers->size() > 1 && static_cast<int>(numbers->size()) != input.channels_) {
      return invalid_argument(fmt::format("preprocess: {} has {} numbers, input '{}' has {} channel{}", key, numbers->size(), spec.name,
                                          input.channels_, input.channels_ == 1 ? "" : "s"));
    }
  }
  for (const graph::Dim* side : {&height, &width}) {
    if (side->known() && (side->size < 1 || side->size > kMaxImageSide)) {
      return unsupported(fmt::format("input '{}' is {}: pictures are 1 to {} pixels a side", spec.name, found, kMaxImageSide));
    }
  }
  input.height_ = height.known() ? static_cast<int>(height.size) : 0;
  input.width_ = width.known() ? static_cast<int>(width.size) : 0;

  const auto pick = [](const std::vector<float>& v, int c, float otherwise) {
    return v.empty() ? otherwise : v.size() == 1 ? v[0] : v[static_cast<std::size_t>(c)];
  };
  for (int c = 0; c < input.channels_; ++c) {
    const float mean = pick(preprocess.mean, c, 0), std = pick(preprocess.std, c, 1);
    std::vector<float>& table = input.lookup_.emplace_back(256);
    for (int v = 0; v < 256; ++v) table[static_cast<std::size_t>(v)] = (static_cast<float>(v) * preprocess.scale - mean) / std;
  }
  return input;
}

Result<Image> ImageInput::fit(Image image, const std::string& where) const {
  const Preprocess& p = preprocess_;
  int width = image.width, height = image.height;                        // after resizing
  int crop_width = p.crop_width, crop_height = p.crop_height;
  switch (p.resize) {
    case ResizeKind::kNone: break;
    case ResizeKind::kUnset:
      if (crop_width != 0) break;
      width = width_ != 0 ? width_ : image.width;
      height = height_ != 0 ? height_ : image.height;
      break;
    case ResizeKind::kExact:
      width = p.resize_width;
      height = p.resize_height;
      break;
    case ResizeKind::kShorterSide: {
      const std::int64_t side = p.resize_width;
      const bool landscape = image.width >= image.height;
      width = static_cast<int>(landscape ? std::min<std::int64_t>(side * image.width / image.height, kMaxImageSide) : side);
      height = static_cast<int>(landscape ? side : std::min<std::int64_t>(side * image.height / image.width, kMaxImageSide));
      if (crop_width == 0) {
        crop_width = width_;
        crop_height = height_;
      }
      break;
    }
    case ResizeKind::kLetterbox: {
      const double ratio = std::min(static_cast<double>(p.resize_width) / image.width, static_cast<double>(p.resize_height) / image.height);
      width = std::clamp(static_cast<int>(image.width * ratio), 1, p.resize_width);
      height = std::clamp(static_cast<int>(image.height * ratio), 1, p.resize_height);
      break;
    }
  }
  Box box{0, 0, width, height};
  if (crop_width != 0 && p.resize != ResizeKind::kLetterbox) {
    if (crop_width > width || crop_height > height) {
      return invalid_argument(fmt::format("{}: the picture is {} x {} (after resizing), too small for a crop of {} x {}", where, width,
                                          height, crop_width, crop_height))
          .hint("Give resize=… in --preprocess.");
    }
    box = {(width - crop_width) / 2, (height - crop_height) / 2, crop_width, crop_height};
  }
  Image fitted = resize_bilinear(image, width, height, box);
  if (p.resize == ResizeKind::kLetterbox) {
    Image ground{p.resize_width, p.resize_height, fitted.channels, {}};
    ground.pixels.assign(static_cast<std::size_t>(ground.width) * ground.height * ground.channels,
                         static_cast<std::uint8_t>(std::nearbyint(p.pad)));
    for (int y = 0; y < fitted.height; ++y) {
      std::copy_n(fitted.row(y), static_cast<std::size_t>(fitted.width) * fitted.channels, ground.row(y));
    }
    fitted = crop_width == 0 || crop_width > ground.width || crop_height > ground.height
                 ? std::move(ground)
                 : crop(ground, {(ground.width - crop_width) / 2, (ground.height - crop_height) / 2, crop_width, crop_height});
  }
  if ((width_ != 0 && fitted.width != width_) || (height_ != 0 && fitted.height != height_)) {
    return invalid_argument(fmt::format("{}: preprocessing gives {} x {} pixels, input '{}' expects {} x {} (width x height)", where,
                                        fitted.width, fitted.height, name_, width_ != 0 ? fmt::format("{}", width_) : "any",
                                        height_ != 0 ? fmt::format("{}", height_) : "any"))
        .hint("Choose a preset of the model's size, or resize=WxH in --preprocess.");
  }
  return fitted;
}

Result<Tensor> ImageInput::convert(Image image, const std::string& where) const {
  image = channels_ == 3 ? to_rgb(std::move(image)) : to_gray(std::move(image));
  NARROW_TRY(const Image fitted, fit(std::move(image), where));
  const Shape shape = nhwc_ ? Shape{1, fitted.height, fitted.width, channels_} : Shape{1, channels_, fitted.height, fitted.width};
  NARROW_TRY(Tensor tensor, Tensor::create(dtype_, shape));
  const auto rounded = [](float v, float low, float high) { return std::clamp(std::nearbyint(v), low, high); };
  switch (dtype_) {
    case DType::kF32: write<float>(fitted, lookup_, bgr_, nhwc_, tensor.mutable_data<float>().data()); break;
    case DType::kF16: write_as<base::Float16>(fitted, lookup_, bgr_, nhwc_, tensor, [](float v) { return base::to_float16(v); }); break;
    case DType::kU8:
      write_as<std::uint8_t>(fitted, lookup_, bgr_, nhwc_, tensor, [&](float v) { return static_cast<std::uint8_t>(rounded(v, 0, 255)); });
      break;
    default:
      write_as<std::int8_t>(fitted, lookup_, bgr_, nhwc_, tensor, [&](float v) { return static_cast<std::int8_t>(rounded(v, -128, 127)); });
      break;
  }
  return tensor;
}

Result<Sample> image_sample(const ImageInput& input, Image image, std::optional<std::int64_t> label, std::string name) {
  NARROW_TRY(Tensor tensor, input.convert(std::move(image), name));
  Sample sample;
  sample.inputs.emplace_back(input.name(), std::move(tensor));
  sample.label = label;
  sample.name = std::move(name);
  return sample;
}

}  // namespace narrow::datasets
