// Regions, deformable and causal convolution, and what puts elements into images: against definitions written out here
// and against the plain operators they become in special cases.
#include "operators/test_support.h"

namespace narrow::operators::testing {
namespace {

Tensor numbers(const Shape& shape, unsigned seed) { return small_numbers(DType::kF32, shape, seed); }

void expect_equal(const Tensor& found, const Tensor& expected, double tolerance = 1e-4) {
  ASSERT_EQ(found.shape(), expected.shape());
  for (std::int64_t i = 0; i < found.size(); ++i) ASSERT_NEAR(found.at_as_double(i), expected.at_as_double(i), tolerance) << i;
}

// ---- regions --------------------------------------------------------------------------------------------------------

// The mean of a plane over a bin is its value at the bin's centre.
TEST(RoiAlign, AveragesAPlaneToTheCentresOfItsBins) {
  const Shape shape = {2, 2, 12, 16};
  const auto plane = [](double y, double x, std::int64_t image, std::int64_t c) { return 3 * y - 2 * x + 100.0 * static_cast<double>(image) + 10.0 * static_cast<double>(c); };
  const Tensor x = fill(DType::kF32, shape, [&](std::int64_t i) {
    const auto at = unravel(i, shape);
    return plane(static_cast<double>(at[2]), static_cast<double>(at[3]), at[0], at[1]);
  });
  const Tensor rois = Tensor::from<float>({2, 4}, {4, 6, 20, 18, 6, 4, 12, 14});  // x1 y1 x2 y2, at twice the scale
  const Tensor images = ints({1, 0});
  for (const bool half : {true, false}) {
    for (const std::int64_t ratio : {0, 1, 3}) {
      const Tensor y = run1("RoiAlign", {x, rois, images},
                            {{"output_height", std::int64_t{3}}, {"output_width", std::int64_t{2}}, {"sampling_ratio", ratio}, {"spatial_scale", 0.5f},
                             {"coordinate_transformation_mode", std::string(half ? "half_pixel" : "output_half_pixel")}});
      ASSERT_EQ(y.shape(), (Shape{2, 2, 3, 2}));
      for (std::int64_t i = 0; i < y.size(); ++i) {
        const auto at = unravel(i, y.shape());
        const auto edge = [&](int k) { return rois.at_as_double(at[0] * 4 + k) * 0.5 - (half ? 0.5 : 0); };
        const double row = edge(1) + (edge(3) - edge(1)) * (static_cast<double>(at[2]) + 0.5) / 3;
        const double column = edge(0) + (edge(2) - edge(0)) * (static_cast<double>(at[3]) + 0.5) / 2;
        EXPECT_NEAR(y.at_as_double(i), plane(row, column, images.at_as_double(at[0]) == 1 ? 1 : 0, at[1]), 1e-3);
      }
    }
  }
}

TEST(RoiAlign, RefusesRegionsThatAreNone) {
  const Tensor x = numbers({1, 1, 4, 4}, 1);
  const auto ok = [&](float far, std::int64_t image) { return run("RoiAlign", {x, Tensor::from<float>({1, 4}, {0, 0, far, far}), ints({image})}).ok(); };
  EXPECT_TRUE(ok(4, 0));
  EXPECT_FALSE(ok(4, 1));
  EXPECT_FALSE(ok(4, -1));
  EXPECT_FALSE(ok(1e30f, 0));
  EXPECT_FALSE(ok(NAN, 0));
  EXPECT_FALSE(run("RoiAlign", {x, Tensor::from<float>({1, 4}, {0, 0, 1, 1}), ints({0})}, {{"output_height", std::int64_t{1} << 40}}).ok());
  EXPECT_EQ(inferred("RoiAlign", {f32({1, 3, 4, 4}), f32({sym("R"), 4}), s64({sym("R")})}, {{"output_width", std::int64_t{7}}}), "f32[R,3,1,7]");
}

TEST(MaxRoiPool, TakesTheLargestOfEachBin) {
  const Tensor x = fill(DType::kF32, {1, 1, 4, 6}, [](std::int64_t i) { return static_cast<double>(i); });
  const Tensor rois = Tensor::from<float>({2, 5}, {0, 0, 0, 5, 3, 0, 2, 1, 3, 2});
  const Tensor y = run1("MaxRoiPool", {x, rois}, {{"pooled_shape", std::vector<std::int64_t>{2, 2}}});
  expect_equal(y, Tensor::from<float>({2, 1, 2, 2}, {8, 11, 20, 23, 8, 9, 14, 15}));
  EXPECT_FALSE(run("MaxRoiPool", {x, Tensor::from<float>({1, 5}, {3, 0, 0, 5, 3})}, {{"pooled_shape", std::vector<std::int64_t>{2, 2}}}).ok());
  EXPECT_FALSE(run("MaxRoiPool", {x, Tensor::from<float>({1, 5}, {0, 0, 0, 1e30f, 3})}, {{"pooled_shape", std::vector<std::int64_t>{2, 2}}}).ok());
}

// ---- convolutions ---------------------------------------------------------------------------------------------------

TEST(DeformConv, WithoutOffsetsIsConv) {
  for (const std::int64_t groups : {1, 2}) {
    for (const std::int64_t offset_groups : {1, 2}) {
      const Tensor x = numbers({2, 4, 7, 6}, 1), w = numbers({6, 4 / groups, 3, 2}, 2), b = numbers({6}, 3);
      const Attributes attributes = {{"group", groups}, {"strides", std::vector<std::int64_t>{2, 1}}, {"pads", std::vector<std::int64_t>{1, 0, 2, 1}},
                                     {"dilations", std::vector<std::int64_t>{1, 2}}};
      const Tensor expected = run1("Conv", {x, w, b}, attributes);
      Attributes own = attributes;
      own.push_back({"offset_group", offset_groups});
      const Shape& out = expected.shape();
      const Tensor offset = fill(DType::kF32, {2, offset_groups * 12, out[2], out[3]}, [](std::int64_t) { return 0; });
      expect_equal(run1("DeformConv", {x, w, offset, b}, own), expected);
      const Tensor half = fill(DType::kF32, {2, offset_groups * 6, out[2], out[3]}, [](std::int64_t) { return 0.5; });
      const Tensor halved = run1("DeformConv", {x, w, offset, Tensor(), half}, own);
      const Tensor plain = run1("Conv", {x, w}, attributes);
      for (std::int64_t i = 0; i < plain.size(); ++i) ASSERT_NEAR(halved.at_as_double(i), plain.at_as_double(i) / 2, 1e-4);
    }
  }
}

// An offset per tap, position and axis, on an image that is a plane: each tap reads the plane at its moved place.
TEST(DeformConv, ReadsEachTapWhereItsOffsetSays) {
  const auto plane = [](double y, double x) { return 2 * y + 5 * x; };
  const Tensor x = fill(DType::kF32, {1, 1, 14, 14}, [&](std::int64_t i) { return plane(static_cast<double>(i / 14), static_cast<double>(i % 14)); });
  const Tensor w = numbers({1, 1, 2, 2}, 4);
  std::mt19937 random(5);
  const Tensor offset = fill(DType::kF32, {1, 8, 5, 5}, [&](std::int64_t) { return static_cast<double>(static_cast<int>(random() % 9) - 4) / 4; });
  const Tensor y = run1("DeformConv", {x, w, offset}, {{"strides", std::vector<std::int64_t>{2, 2}}, {"dilations", std::vector<std::int64_t>{5, 5}}});
  ASSERT_EQ(y.shape(), (Shape{1, 1, 5, 5}));
  for (std::int64_t row = 1; row < 4; ++row) {  // inner ones, whose taps stay inside
    for (std::int64_t column = 1; column < 4; ++column) {
      double sum = 0;
      for (std::int64_t tap = 0; tap < 4; ++tap) {
        const auto moved = [&](std::int64_t axis) { return offset.at_as_double(((tap * 2 + axis) * 5 + row) * 5 + column); };
        sum += w.at_as_double(tap) * plane(static_cast<double>(row * 2 + tap / 2 * 5) + moved(0), static_cast<double>(column * 2 + tap % 2 * 5) + moved(1));
      }
      EXPECT_NEAR(y.at_as_double(row * 5 + column), sum, 1e-3);
    }
  }
}

TEST(DeformConv, NamesShapesThatDoNotFit) {
  const Tensor x = numbers({1, 2, 5, 5}, 1), w = numbers({2, 2, 3, 3}, 2);
  const auto good = fill(DType::kF32, {1, 18, 3, 3}, [](std::int64_t) { return 0; }), bad = fill(DType::kF32, {1, 16, 3, 3}, [](std::int64_t) { return 0; });
  EXPECT_TRUE(run("DeformConv", {x, w, good}).ok());
  EXPECT_FALSE(run("DeformConv", {x, w, bad}).ok());
  EXPECT_FALSE(run("DeformConv", {x, w, good}, {{"group", std::int64_t{2}}}).ok());
  EXPECT_FALSE(run("DeformConv", {x, w, good}, {{"offset_group", std::int64_t{0}}}).ok());
  EXPECT_FALSE(run("DeformConv", {x, w, good, Tensor(), good}).ok());
  EXPECT_EQ(inferred("DeformConv", {f32({sym("N"), 2, 5, 5}), f32({4, 2, 3, 3}), f32({sym("N"), 18, 3, 3})}), "f32[N,4,3,3]");
}

TEST(CausalConvWithState, EqualsItsDefinitionAndGoesOnFromItsState) {
  const std::int64_t batch = 2, channels = 3, length = 7, taps = 4;
  const Tensor x = numbers({batch, channels, length}, 1), w = numbers({channels, 1, taps}, 2), b = numbers({channels}, 3);
  const auto whole = run("CausalConvWithState", {x, w, b}, {}, 2);
  ASSERT_TRUE(whole.ok());
  for (std::int64_t i = 0; i < x.size(); ++i) {
    const auto at = unravel(i, x.shape());
    double sum = b.at_as_double(at[1]);
    for (std::int64_t k = 0; k < taps; ++k) {
      const std::int64_t t = at[2] + k - (taps - 1);
      if (t >= 0) sum += w.at_as_double(at[1] * taps + k) * x.at_as_double((at[0] * channels + at[1]) * length + t);
    }
    EXPECT_NEAR((*whole)[0].at_as_double(i), sum, 1e-4);
  }
  // The sequence in two calls, the second of fewer steps than are carried.
  const auto part = [&](std::int64_t from, std::int64_t to) {
    return fill(DType::kF32, {batch, channels, to - from}, [&](std::int64_t i) { return x.at_as_double(i / (to - from) * length + from + i % (to - from)); });
  };
  const auto first = run("CausalConvWithState", {part(0, 5), w, b}, {}, 2);
  const auto second = run("CausalConvWithState", {part(5, 7), w, b, (*first)[1]}, {}, 2);
  ASSERT_TRUE(second.ok());
  expect_equal((*second)[1], (*whole)[1]);
  for (std::int64_t row = 0; row < batch * channels; ++row) {
    for (std::int64_t t = 0; t < 2; ++t) EXPECT_NEAR((*second)[0].at_as_double(row * 2 + t), (*whole)[0].at_as_double(row * length + 5 + t), 1e-4);
  }
  const Tensor silu = run1("CausalConvWithState", {x, w, b}, {{"activation", std::string("silu")}});
  for (std::int64_t i = 0; i < x.size(); ++i) {
    const double v = (*whole)[0].at_as_double(i);
    EXPECT_NEAR(silu.at_as_double(i), v / (1 + std::exp(-v)), 1e-4);
  }
  EXPECT_FALSE(run("CausalConvWithState", {x, w, b}, {{"activation", std::string("gelu")}}).ok());
  EXPECT_FALSE(run("CausalConvWithState", {x, w, b, x}).ok());
  EXPECT_EQ(inferred("CausalConvWithState", {f32({sym("N"), 3, sym("T")}), f32({3, 1, 4})}, {}, {}, 1, 2), "f32[N,3,3]");
}

// ---- images ---------------------------------------------------------------------------------------------------------

TEST(Col2Im, AddsOverlappingBlocks) {
  const std::vector<std::int64_t> strides = {2, 1}, pads = {1, 0, 0, 1}, dilations = {1, 2};
  const Shape image = {5, 6}, block = {2, 3};
  const std::int64_t rows = (5 + 1 - 2) / 2 + 1, columns = (6 + 1 - 5) / 1 + 1;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kS32, DType::kU8}) {
    const Tensor x = small_numbers(dtype, {2, 2 * 6, rows * columns}, 5);
    const Tensor y = run1("Col2Im", {x, ints(image), ints(block)}, {{"strides", strides}, {"pads", pads}, {"dilations", dilations}});
    std::vector<double> expected(2 * 2 * 30);
    for (std::int64_t i = 0; i < x.size(); ++i) {
      const auto at = unravel(i, {2, 2, 2, 3, rows, columns});
      const std::int64_t row = at[4] * 2 - 1 + at[2], column = at[5] + at[3] * 2;
      if (row >= 0 && row < 5 && column < 6) expected[static_cast<std::size_t>(((at[0] * 2 + at[1]) * 5 + row) * 6 + column)] += x.at_as_double(i);
    }
    ASSERT_EQ(y.shape(), (Shape{2, 2, 5, 6}));
    for (std::int64_t i = 0; i < y.size(); ++i) EXPECT_EQ(y.at_as_double(i), expected[static_cast<std::size_t>(i)]);
  }
  EXPECT_FALSE(run("Col2Im", {numbers({1, 6, 3}, 1), ints(image), ints(block)}).ok());
  EXPECT_FALSE(run("Col2Im", {numbers({1, 6, 3}, 1), ints({5, -6}), ints(block)}).ok());
  EXPECT_FALSE(run("Col2Im", {numbers({1, 6, 3}, 1), ints(image), ints({0, 3})}).ok());
  EXPECT_EQ(inferred("Col2Im", {f32({sym("N"), 12, 9}), s64({2}), s64({2})}, {}, {Tensor(), ints(image), ints(block)}), "f32[N,2,5,6]");
}

TEST(MaxUnpool, PutsMaximaBackWhereTheyCameFrom) {
  const Attributes attributes = {{"kernel_shape", std::vector<std::int64_t>{2, 2}}, {"strides", std::vector<std::int64_t>{2, 2}}};
  const Tensor x = fill(DType::kF32, {2, 3, 4, 6}, [](std::int64_t i) { return static_cast<double>((i * 37) % 101 + 1); });
  const auto pooled = run("MaxPool", {x}, attributes, 2);
  ASSERT_TRUE(pooled.ok());
  const Tensor y = run1("MaxUnpool", {(*pooled)[0], (*pooled)[1]}, attributes);
  ASSERT_EQ(y.shape(), x.shape());
  expect_equal(run1("MaxPool", {y}, attributes), (*pooled)[0]);
  for (std::int64_t i = 0; i < y.size(); ++i) EXPECT_TRUE(y.at_as_double(i) == 0 || y.at_as_double(i) == x.at_as_double(i));
  const Tensor larger = run1("MaxUnpool", {(*pooled)[0], (*pooled)[1], ints({2, 3, 5, 7})}, attributes);
  for (std::int64_t i = 0; i < larger.size(); ++i) {
    const auto at = unravel(i, larger.shape());
    const double expected = at[2] < 4 && at[3] < 6 ? y.at_as_double(ravel(at, y.shape())) : 0;
    EXPECT_EQ(larger.at_as_double(i), expected);
  }
  EXPECT_FALSE(run("MaxUnpool", {(*pooled)[0], (*pooled)[1], ints({2, 3, 3, 6})}, attributes).ok());
  EXPECT_FALSE(run("MaxUnpool", {numbers({1, 1, 1, 1}, 1), fill(DType::kS64, {1, 1, 1, 1}, [](std::int64_t) { return 4; })}, attributes).ok());
  EXPECT_FALSE(run("MaxUnpool", {numbers({1, 1, 1, 1}, 1), fill(DType::kS64, {1, 1, 1, 1}, [](std::int64_t) { return -1; })}, attributes).ok());
}

TEST(CenterCropPad, KeepsTheMiddle) {
  for (std::int64_t in = 1; in <= 6; ++in) {
    for (std::int64_t out = 0; out <= 8; ++out) {
      const Tensor x = fill(DType::kS32, {2, in}, [](std::int64_t i) { return static_cast<double>(i + 1); });
      const Tensor y = run1("CenterCropPad", {x, ints({out})}, {{"axes", std::vector<std::int64_t>{-1}}});
      ASSERT_EQ(y.shape(), (Shape{2, out}));
      for (std::int64_t i = 0; i < y.size(); ++i) {
        const std::int64_t at = out < in ? i % out + (in - out) / 2 : i % out - (out - in) / 2;
        EXPECT_EQ(y.at_as_double(i), at >= 0 && at < in ? x.at_as_double(i / out * in + at) : 0);
      }
    }
  }
  EXPECT_FALSE(run("CenterCropPad", {numbers({2, 3}, 1), ints({-1, 3})}).ok());
  EXPECT_FALSE(run("CenterCropPad", {numbers({2, 3}, 1), ints({3})}).ok());
  EXPECT_EQ(inferred("CenterCropPad", {f32({sym("N"), 5, 6}), s64({2})}, {{"axes", std::vector<std::int64_t>{1, 2}}}, {Tensor(), ints({3, 4})}), "f32[N,3,4]");
}

}  // namespace
}  // namespace narrow::operators::testing
