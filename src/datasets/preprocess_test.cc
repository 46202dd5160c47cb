#include "datasets/preprocess.h"

#include <gtest/gtest.h>

#include <random>

namespace narrow::datasets {
namespace {

Preprocess parsed(std::string_view text) {
  const auto p = parse_preprocess(text);
  EXPECT_TRUE(p.ok()) << text << ": " << (p.ok() ? "" : p.error().to_string());
  return p.ok() ? *p : Preprocess{};
}

std::string problem(std::string_view text) {
  const auto p = parse_preprocess(text);
  return p.ok() ? "accepted" : p.error().to_string();
}

TEST(Preprocess, Presets) {
  const Preprocess caffe = parsed("caffe-bgr-227");
  EXPECT_EQ(caffe.resize, ResizeKind::kShorterSide);
  EXPECT_EQ(caffe.resize_width, 256);
  EXPECT_EQ(caffe.crop_width, 227);
  EXPECT_EQ(caffe.crop_height, 227);
  EXPECT_EQ(caffe.order, ChannelOrder::kBgr);
  EXPECT_EQ(caffe.scale, 1);
  EXPECT_EQ(caffe.mean, (std::vector<float>{104, 117, 123}));
  EXPECT_TRUE(caffe.std.empty());

  const Preprocess imagenet = parsed("imagenet-384");
  EXPECT_EQ(imagenet.resize_width, 439);  // 384 * 256 / 224
  EXPECT_EQ(imagenet.crop_width, 384);
  EXPECT_EQ(imagenet.scale, 1.0f / 255.0f);
  EXPECT_EQ(imagenet.std, (std::vector<float>{0.229f, 0.224f, 0.225f}));

  EXPECT_EQ(parsed("imagenet").resize, ResizeKind::kUnset);
  EXPECT_EQ(parsed("imagenet").mean.size(), 3u);
  EXPECT_EQ(parsed("rgb-255-224").scale, 1);
  EXPECT_EQ(parsed("tf-224").scale, 1.0f / 127.5f);
  EXPECT_EQ(parsed("tf-224").mean, std::vector<float>{1});
  EXPECT_EQ(parsed("none"), Preprocess{});
  EXPECT_EQ(parsed(""), Preprocess{});
}

TEST(Preprocess, Lists) {
  const Preprocess p = parsed("resize=256, crop=227 ,order=bgr,mean=104/117/123,std=1/1/1,scale=1,layout=nchw");
  EXPECT_EQ(p.resize_width, 256);
  EXPECT_EQ(p.mean, (std::vector<float>{104, 117, 123}));
  EXPECT_EQ(p.layout, Layout::kNchw);
  EXPECT_EQ(parsed("scale=1/255").scale, 1.0f / 255.0f);
  EXPECT_EQ(parsed("resize=320x240").resize, ResizeKind::kExact);
  EXPECT_EQ(parsed("resize=320x240").resize_width, 320);
  EXPECT_EQ(parsed("resize=320x240").resize_height, 240);
  EXPECT_EQ(parsed("resize=letterbox-416,pad=0").resize, ResizeKind::kLetterbox);
  EXPECT_EQ(parsed("resize=letterbox-416,pad=0").pad, 0);
  const Preprocess changed = parsed("imagenet-224,resize=224x224,crop=none");
  EXPECT_EQ(changed.resize, ResizeKind::kExact);
  EXPECT_EQ(changed.crop_width, 0);
  EXPECT_EQ(changed.mean.size(), 3u);
}

TEST(Preprocess, ErrorsNameTheKeyAndTheNearest) {
  EXPECT_NE(problem("rezise=256").find("did you mean 'resize'"), std::string::npos) << problem("rezise=256");
  EXPECT_NE(problem("imagnet-224").find("'imagenet'"), std::string::npos) << problem("imagnet-224");
  EXPECT_NE(problem("imagenet-0").find("size of 1"), std::string::npos);
  EXPECT_NE(problem("imagenet-x").find("size of 1"), std::string::npos);
  for (const char* bad : {"mean=", "mean=1/2", "mean=1/2/3/4", "mean=nan", "std=0", "std=1/0/1", "scale=0", "scale=1/0", "scale=x", "resize=0",
                          "resize=-1", "resize=1x", "resize=99999999999", "crop=0", "order=rbg", "layout=hwc", "pad=256", "resize=letterbox",
                          "crop=227,crop=224", "=1", "crop", "imagenet-224,tf-224", ","}) {
    EXPECT_NE(problem(bad), "accepted") << bad;
  }
}

TEST(Preprocess, TextRoundTrips) {
  for (const char* text : {"imagenet-224", "caffe-bgr-227", "rgb-255-224", "tf-224", "none", "imagenet", "scale=1/255", "resize=letterbox-416x320,pad=0.5",
                           "resize=none", "order=gray,layout=nhwc", "mean=0.1,std=3/4/5"}) {
    const Preprocess p = parsed(text);
    EXPECT_EQ(parsed(to_string(p)), p) << text << " became " << to_string(p);
  }
  std::mt19937 random(1);
  for (int i = 0; i < 500; ++i) {
    Preprocess p;
    const auto size = [&] { return 1 + static_cast<int>(random() % 2000); };
    p.resize = static_cast<ResizeKind>(random() % 5);
    if (p.resize > ResizeKind::kNone) p.resize_width = p.resize_height = size();
    if (p.resize == ResizeKind::kExact || p.resize == ResizeKind::kLetterbox) p.resize_height = size();
    if (random() % 2) { p.crop_width = size(); p.crop_height = size(); }
    p.order = static_cast<ChannelOrder>(random() % 4);
    p.layout = static_cast<Layout>(random() % 3);
    p.scale = std::ldexp(static_cast<float>(random()) + 1, -static_cast<int>(random() % 40));
    for (std::size_t n = random() % 2 ? 3 : random() % 2; p.mean.size() < n;) p.mean.push_back(static_cast<float>(random()) / 7e6f);
    for (std::size_t n = random() % 2 ? 3 : random() % 2; p.std.size() < n;) p.std.push_back(static_cast<float>(random() + 1) / 9e8f);
    p.pad = static_cast<float>(random() % 2550) / 10;
    EXPECT_EQ(parsed(to_string(p)), p) << to_string(p);
  }
}

}  // namespace
}  // namespace narrow::datasets
