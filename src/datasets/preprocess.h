// From a picture to a model's input: resize, crop, channel order, scale, mean, std, layout; as a preset or as a list.
//
//   preset   imagenet-224   resize=256, crop=224, order=rgb, scale=1/255, mean=0.485/0.456/0.406, std=0.229/0.224/0.225
//            caffe-bgr-227  resize=256, crop=227, order=bgr, mean=104/117/123            (values 0..255 minus the mean)
//            rgb-255-224    resize=256, crop=224, order=rgb                              (values 0..255)
//            tf-224         resize=256, crop=224, order=rgb, scale=1/127.5, mean=1       (values -1..1)
//            none           pixel values 0..255 as they are, resized to the model's input size
//            The number is the crop; the shorter side is first resized to 256 when the crop is 193..256, otherwise to
//            crop * 256 / 224 rounded. Without a number ("imagenet") the picture is resized to the model's input size.
//   list     keys in any order, the first item may be a preset: "imagenet-224,resize=224x224,crop=none"
//     resize=N            shorter side N, the longer side N * long / short rounded down
//     resize=WxH          exactly W x H
//     resize=letterbox-N  the longer side N; placed top left on an N x N (or letterbox-WxH) ground of value `pad`
//     crop=N | WxH        from the centre: left = (width - W) / 2 and top = (height - H) / 2, rounded down
//     order=rgb|bgr|gray  default rgb; gray for a model whose input has one channel
//     scale, mean, std    x' = (x * scale - mean) / std for pixel values x in 0..255; mean and std one number, or one a
//                         channel in the order given by `order`, separated by '/'; scale a number or a fraction (1/255)
//     pad=V               letterbox ground in pixel values, default 114
//     layout=nchw|nhwc    default: what the model's input shape shows
//
// Resizing is bilinear with antialiasing (image.h). Said nothing about resize: resized exactly to the model's input size,
// or only cropped when crop is given. Resized by shorter side without crop: cropped to the model's input size.
// resize=none and crop=none switch a step off.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "narrow/result.h"

namespace narrow::datasets {

enum class ResizeKind { kUnset, kNone, kShorterSide, kExact, kLetterbox };
enum class ChannelOrder { kUnset, kRgb, kBgr, kGray };
enum class Layout { kUnset, kNchw, kNhwc };

struct Preprocess {
  ResizeKind resize = ResizeKind::kUnset;
  int resize_width = 0, resize_height = 0;  // kShorterSide: both the side
  int crop_width = 0, crop_height = 0;      // 0: no crop was asked for
  ChannelOrder order = ChannelOrder::kUnset;
  float scale = 1;
  std::vector<float> mean, std;             // empty: 0 and 1; otherwise 1 or a number a channel, std never 0
  float pad = 114;
  Layout layout = Layout::kUnset;

  bool operator==(const Preprocess&) const = default;
};

struct PresetSummary {
  std::string_view name, summary;
};
std::span<const PresetSummary> preset_summaries();  // "imagenet-N", …, for people

// "" is "none". Errors: invalid_argument naming the key or preset and the nearest known ones.
Result<Preprocess> parse_preprocess(std::string_view text);

// A list that parses back to the same; "none" for the default.
std::string to_string(const Preprocess& preprocess);

}  // namespace narrow::datasets
