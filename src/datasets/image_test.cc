#include "datasets/image.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <random>
#include <string>

#include "wire/inflate.h"

namespace narrow::datasets {
namespace {

std::vector<std::uint8_t> load(const std::string& name) {
  std::ifstream file(std::string(NARROW_SOURCE_DIR) + "/testdata/images/" + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

Image picture() {  // what testdata/images/make.py draws
  Image image{23, 17, 3, std::vector<std::uint8_t>(23 * 17 * 3)};
  for (int y = 0; y < 17; ++y) {
    for (int x = 0; x < 23; ++x) {
      for (int c = 0; c < 3; ++c) image.row(y)[3 * x + c] = static_cast<std::uint8_t>(x * 11 + y * 7 + c * 50 + (x * y) % 13 * 3);
    }
  }
  return image;
}

// Name, channels, CRC-32 of the pixels: printed by testdata/images/make.py.
const struct {
  const char* name;
  int channels;
  std::uint32_t crc;
} kPictures[] = {
    {"rgb.jpg", 3, 2712782666u},  {"progressive.jpg", 3, 2712782666u}, {"gray.jpg", 1, 1970143667u}, {"cmyk.jpg", 3, 2929762853u},
    {"rgb.png", 3, 3721567883u},  {"rgba.png", 3, 3721567883u},        {"palette.png", 3, 1505578094u}, {"gray.png", 1, 2043067908u},
    {"bits.png", 1, 3471749905u}, {"rgb.ppm", 3, 3721567883u},         {"gray.pgm", 1, 2043067908u}, {"gray16.png", 1, 2043067908u},
};

TEST(Image, DecodesAsPillowDoes) {
  for (const auto& p : kPictures) {
    const auto image = decode_image(load(p.name), p.name);
    ASSERT_TRUE(image.ok()) << image.error().to_string();
    EXPECT_EQ(image->width, 23) << p.name;
    EXPECT_EQ(image->height, 17) << p.name;
    EXPECT_EQ(image->channels, p.channels) << p.name;
    EXPECT_EQ(wire::crc32_of(image->pixels), p.crc) << p.name;
  }
}

TEST(Image, CutOffPicturesAreErrors) {
  for (const auto& p : kPictures) {
    const std::vector<std::uint8_t> whole = load(p.name);
    for (std::size_t n = 0; n + 20 < whole.size(); ++n) {
      const auto image = decode_image(std::span(whole).first(n), p.name);
      EXPECT_FALSE(image.ok()) << p.name << " cut to " << n << " of " << whole.size();
    }
  }
}

TEST(Image, FlippedBitsEndCleanly) {
  std::mt19937 random(1);
  for (const auto& p : kPictures) {
    const std::vector<std::uint8_t> whole = load(p.name);
    for (int i = 0; i < 400; ++i) {
      std::vector<std::uint8_t> damaged = whole;
      for (int k = 0; k < 1 + i % 3; ++k) damaged[random() % damaged.size()] ^= static_cast<std::uint8_t>(1 << (random() % 8));
      const auto image = decode_image(damaged, p.name);
      if (image.ok()) {
        EXPECT_EQ(image->pixels.size(), static_cast<std::size_t>(image->width) * image->height * image->channels);
      }
    }
  }
}

TEST(Image, BombsAreRefusedBeforeMemoryIsTaken) {
  std::vector<std::uint8_t> jpeg = load("rgb.jpg");
  for (std::size_t i = 0; i + 8 < jpeg.size(); ++i) {
    if (jpeg[i] == 0xFF && jpeg[i + 1] == 0xC0) {  // the frame header: height and width
      jpeg[i + 5] = jpeg[i + 6] = jpeg[i + 7] = jpeg[i + 8] = 0xF0;
      break;
    }
  }
  auto image = decode_image(jpeg, "bomb.jpg");
  ASSERT_FALSE(image.ok());
  EXPECT_NE(image.error().to_string().find("61680"), std::string::npos) << image.error().to_string();
  const std::string pnm = "P6 65000 65000 255\n";
  EXPECT_FALSE(decode_image(std::vector<std::uint8_t>(pnm.begin(), pnm.end()), "bomb.ppm").ok());
}

TEST(Image, OtherFilesAreNamed) {
  const std::string text = "GIF89a";
  const auto image = decode_image(std::vector<std::uint8_t>(text.begin(), text.end()), "folder/x.gif");
  ASSERT_FALSE(image.ok());
  EXPECT_EQ(image.error().code(), ErrorCode::kUnsupported);
  EXPECT_NE(image.error().to_string().find("folder/x.gif"), std::string::npos);
  EXPECT_FALSE(decode_image({}, "empty").ok());
  EXPECT_TRUE(has_image_extension("a.JPG"));
  EXPECT_FALSE(has_image_extension(".jpg"));
  EXPECT_FALSE(has_image_extension("a.jpg.txt"));
}

// CRC-32 of Pillow's Image.resize(size, BILINEAR), printed by testdata/images/make.py.
TEST(Image, ResizesAsPillowDoes) {
  const struct {
    int width, height;
    std::uint32_t crc;
  } kSizes[] = {{11, 9, 1843713895u}, {46, 40, 2444861058u}, {7, 30, 1535478462u}, {23, 9, 3615820556u}, {23, 17, 3721567883u}};
  for (const auto& s : kSizes) {
    const Image out = resize_bilinear(picture(), s.width, s.height, {0, 0, s.width, s.height});
    EXPECT_EQ(wire::crc32_of(out.pixels), s.crc) << s.width << "x" << s.height;
  }
  EXPECT_EQ(wire::crc32_of(to_gray(picture()).pixels), 2043067908u);
}

TEST(Image, ABoxOfAResizeIsTheResizesBox) {
  std::mt19937 random(2);
  for (int i = 0; i < 200; ++i) {
    const int width = 1 + static_cast<int>(random() % 60), height = 1 + static_cast<int>(random() % 60);
    Image source = i % 2 == 0 ? picture() : to_gray(picture());
    const Image whole = resize_bilinear(source, width, height, {0, 0, width, height});
    Box box;
    box.x = static_cast<int>(random() % width);
    box.y = static_cast<int>(random() % height);
    box.width = 1 + static_cast<int>(random() % (width - box.x));
    box.height = 1 + static_cast<int>(random() % (height - box.y));
    EXPECT_EQ(resize_bilinear(source, width, height, box).pixels, crop(whole, box).pixels);
  }
}

}  // namespace
}  // namespace narrow::datasets
