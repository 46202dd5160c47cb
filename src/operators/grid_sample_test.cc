// Sampling against closed forms: planes are reproduced by every smooth mode, borders by explicit formulas.
#include "operators/test_support.h"

namespace narrow::operators::testing {
namespace {

Attributes mode(const char* name, const char* padding = "zeros", int align = 0) {
  return {{"mode", std::string(name)}, {"padding_mode", std::string(padding)}, {"align_corners", std::int64_t{align}}};
}

// A grid of one row of points, given as pixel positions (slowest axis first).
Tensor grid_of(const std::vector<std::vector<double>>& points, const Shape& spatial, bool align) {
  const std::int64_t rank = static_cast<std::int64_t>(spatial.size());
  Shape shape = {1};
  for (std::int64_t d = 0; d + 1 < rank; ++d) shape.push_back(1);
  shape.push_back(static_cast<std::int64_t>(points.size()));
  shape.push_back(rank);
  return fill(DType::kF32, shape, [&](std::int64_t i) {
    const std::int64_t d = rank - 1 - i % rank;
    const double at = points[i / rank][d], size = static_cast<double>(spatial[d]);
    return align ? 2 * at / (size - 1) - 1 : (2 * at + 1) / size - 1;
  });
}

TEST(GridSample, InterpolatesPlanesExactlyInTwoAndThreeDimensions) {
  for (const Shape& spatial : {Shape{6, 8}, Shape{5, 6, 7}}) {
    Shape shape = {1, 2};
    shape.insert(shape.end(), spatial.begin(), spatial.end());
    const auto plane = [&](std::span<const double> at, std::int64_t c) {
      double v = static_cast<double>(c) * 10;
      for (std::size_t d = 0; d < at.size(); ++d) v += at[d] * static_cast<double>(d + 1);
      return v;
    };
    const Tensor x = fill(DType::kF32, shape, [&](std::int64_t i) {
      const auto at = unravel(i, shape);
      const std::vector<double> position(at.begin() + 2, at.end());
      return plane(position, at[1]);
    });
    std::vector<std::vector<double>> points;
    for (double t : {1.0, 1.25, 2.5, 2.75, 3.0}) points.push_back(std::vector<double>(spatial.size(), t));
    points.back()[0] = 1.5;
    for (const int align : {0, 1}) {
      for (const char* name : {"linear", "cubic"}) {
        const Tensor y = run1("GridSample", {x, grid_of(points, spatial, align != 0)}, mode(name, "border", align));
        for (std::size_t p = 0; p < points.size(); ++p) {
          // Cubic convolution with a = -0.75 reproduces a slope only at pixels and halfway between.
          const bool exact = std::all_of(points[p].begin(), points[p].end(), [](double v) { return v * 2 == std::floor(v * 2); });
          if (std::string(name) == "cubic" && !exact) continue;
          for (std::int64_t c = 0; c < 2; ++c) {
            EXPECT_NEAR(y.at_as_double(c * static_cast<std::int64_t>(points.size()) + static_cast<std::int64_t>(p)), plane(points[p], c), 1e-4) << name << p;
          }
        }
      }
    }
  }
}

// One row of pixels 1, 2, 3, 4: what lies left and right of it.
TEST(GridSample, ContinuesBeyondTheBorderAsAsked) {
  const Tensor x = fill(DType::kF32, {1, 1, 1, 4}, [](std::int64_t i) { return static_cast<double>(i + 1); });
  const auto sample = [&](double at, const char* name, const char* padding, int align) {
    const Tensor grid = fill(DType::kF32, {1, 1, 1, 2}, [&](std::int64_t i) { return i == 1 ? 0 : align ? 2 * at / 3 - 1 : (2 * at + 1) / 4 - 1; });
    return run1("GridSample", {x, grid}, mode(name, padding, align)).at_as_double(0);
  };
  EXPECT_NEAR(sample(-0.25, "linear", "zeros", 0), 0.75, 1e-5);
  EXPECT_NEAR(sample(3.5, "linear", "zeros", 0), 2.0, 1e-5);
  EXPECT_NEAR(sample(9, "linear", "zeros", 0), 0, 1e-5);
  EXPECT_NEAR(sample(-7, "linear", "border", 0), 1, 1e-5);
  EXPECT_NEAR(sample(7, "nearest", "border", 0), 4, 1e-5);
  EXPECT_NEAR(sample(-0.5, "cubic", "border", 0), 0.90625, 1e-5);  // pixels 1, 1, 1, 2 by -3/32, 19/32, 19/32, -3/32
  EXPECT_NEAR(sample(-9, "cubic", "border", 0), 1, 1e-5);
  EXPECT_NEAR(sample(-1, "linear", "reflection", 0), 1, 1e-5);    // about the outer edge, -0.5
  EXPECT_NEAR(sample(-1.5, "linear", "reflection", 0), 1.5, 1e-5);
  EXPECT_NEAR(sample(-1, "linear", "reflection", 1), 2, 1e-5);    // about the centre of the first pixel
  EXPECT_NEAR(sample(4, "linear", "reflection", 1), 3, 1e-5);
  EXPECT_NEAR(sample(3 + 6 * 4 + 1, "linear", "reflection", 1), 3, 1e-4);  // whole periods away
  EXPECT_EQ(sample(0.5, "nearest", "zeros", 0), 1);  // half way: to the even pixel
  EXPECT_EQ(sample(1.5, "nearest", "zeros", 0), 3);
}

TEST(GridSample, StaysInsideTheImageWhateverTheGridHolds) {
  const Tensor x = fill(DType::kF32, {1, 1, 3, 1}, [](std::int64_t i) { return static_cast<double>(i + 1); });
  for (const float v : {1e30f, -1e30f, INFINITY, -INFINITY, NAN, 1e9f}) {
    const Tensor grid = fill(DType::kF32, {1, 1, 1, 2}, [&](std::int64_t) { return v; });
    for (const char* name : {"nearest", "linear", "cubic"}) {
      for (const char* padding : {"zeros", "border", "reflection"}) {
        for (const int align : {0, 1}) EXPECT_TRUE(run("GridSample", {x, grid}, mode(name, padding, align)).ok());
      }
      EXPECT_EQ(run1("GridSample", {x, grid}, mode(name)).at_as_double(0), 0);
    }
  }
}

TEST(GridSample, TakesEveryTypeAndNamesWhatDoesNotFit) {
  for (DType dtype : numeric_types()) {
    const Tensor x = fill(dtype, {1, 1, 2, 2}, [](std::int64_t i) { return static_cast<double>(i * 4); });
    const Tensor grid = fill(DType::kF32, {1, 1, 1, 2}, [](std::int64_t) { return 0; });
    const Tensor y = run1("GridSample", {x, grid});
    EXPECT_EQ(y.dtype(), dtype);
    EXPECT_EQ(y.at_as_double(0), 6);  // the middle of 0, 4, 8, 12
  }
  const Tensor x = fill(DType::kF32, {2, 1, 2, 2}, [](std::int64_t) { return 0; });
  const auto result = run("GridSample", {x, fill(DType::kF32, {1, 1, 1, 2}, [](std::int64_t) { return 0; })});
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().message().find("node 'n' (GridSample)"), std::string::npos);
  EXPECT_FALSE(run("GridSample", {x, x}, mode("spline")).ok());
  EXPECT_EQ(inferred("GridSample", {f32({sym("N"), 3, 5, 6}), f32({sym("N"), 7, sym("W"), 2})}), "f32[N,3,7,W]");
  EXPECT_NE(inferred("GridSample", {f32({1, 3, 5, 6}), f32({1, 7, 7, 3})}).find("error"), std::string::npos);
}

// A grid of the identity samples every pixel at its centre, so the image comes back.
TEST(AffineGrid, IdentityGivesTheImageBack) {
  for (const Shape& spatial : {Shape{3, 4}, Shape{1, 5}, Shape{2, 3, 4}}) {
    for (const int align : {0, 1}) {
      const std::int64_t rank = static_cast<std::int64_t>(spatial.size());
      Shape shape = {2, 3};
      shape.insert(shape.end(), spatial.begin(), spatial.end());
      const Tensor theta = fill(DType::kF32, {2, rank, rank + 1}, [&](std::int64_t i) { return i % (rank * (rank + 1)) % (rank + 2) == 0 ? 1 : 0; });
      const Tensor grid = run1("AffineGrid", {theta, ints(shape)}, {{"align_corners", std::int64_t{align}}});
      const Tensor x = small_numbers(DType::kF32, shape, 3);
      const Tensor y = run1("GridSample", {x, grid}, mode("linear", "border", align));
      ASSERT_EQ(y.shape(), shape);
      for (std::int64_t i = 0; i < x.size(); ++i) EXPECT_NEAR(y.at_as_double(i), x.at_as_double(i), 1e-5);
    }
  }
}

TEST(AffineGrid, MovesAndTurnsCoordinates) {
  // x' = 2y + 0.5, y' = -x + 0.25, over one pixel at x = -0.5, y = 0.
  const Tensor theta = Tensor::from<float>({1, 2, 3}, {0, 2, 0.5f, -1, 0, 0.25f});
  const Tensor grid = run1("AffineGrid", {theta, ints({1, 1, 1, 2})});
  ASSERT_EQ(grid.shape(), (Shape{1, 1, 2, 2}));
  const double expected[] = {0.5, 0.75, 0.5, -0.25};
  for (int i = 0; i < 4; ++i) EXPECT_NEAR(grid.at_as_double(i), expected[i], 1e-6);
  EXPECT_FALSE(run("AffineGrid", {theta, ints({1, 1, 2})}).ok());
  EXPECT_FALSE(run("AffineGrid", {theta, ints({1, 1, -2, 2})}).ok());
  EXPECT_EQ(inferred("AffineGrid", {f32({2, 2, 3}), s64({4})}, {}, {Tensor(), ints({2, 3, 5, 7})}), "f32[2,5,7,2]");
}

}  // namespace
}  // namespace narrow::operators::testing
