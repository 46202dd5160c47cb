// Tensors made from attributes and numbers.
#include "operators/element_type.h"
#include "operators/test_support.h"

namespace narrow::operators {
namespace {

using namespace testing;

TEST(Constant, EveryValueAttribute) {
  EXPECT_EQ(run1("Constant", {}, {{"value", Tensor::from<float>({2}, {1, 2})}}).to_float(), (std::vector<float>{1, 2}));
  EXPECT_EQ(run1("Constant", {}, {{"value_float", 2.5f}}).to_float(), (std::vector<float>{2.5f}));
  EXPECT_EQ(run1("Constant", {}, {{"value_int", std::int64_t{7}}}).shape(), Shape{});
  EXPECT_EQ(run1("Constant", {}, {{"value_ints", std::vector<std::int64_t>{7, 8}}}).to_int64(), (std::vector<std::int64_t>{7, 8}));
  EXPECT_EQ(run1("Constant", {}, {{"value_floats", std::vector<float>{7, 8}}}).shape(), Shape{2});
  EXPECT_EQ(run1("Constant", {}, {{"value_string", std::string("s")}}).strings()[0], "s");
  EXPECT_EQ(run1("Constant", {}, {{"value_strings", std::vector<std::string>{"a", "b"}}}).strings()[1], "b");
  EXPECT_FALSE(run("Constant", {}).ok());
}

TEST(ConstantOfShape, AnyValueAndShape) {
  EXPECT_EQ(run1("ConstantOfShape", {ints({2, 3})}).to_float(), std::vector<float>(6, 0.0f));
  for (DType dtype : numeric_types()) {
    const Tensor y = run1("ConstantOfShape", {ints({4})}, {{"value", fill(dtype, {1}, [](std::int64_t) { return 3.0; })}});
    EXPECT_EQ(y.dtype(), dtype);
    for (std::int64_t i = 0; i < 4; ++i) EXPECT_EQ(y.at_as_double(i), 3);
  }
  EXPECT_EQ(run1("ConstantOfShape", {ints({})}).shape(), Shape{});
  EXPECT_EQ(run1("ConstantOfShape", {ints({0, 2})}).size(), 0);
  EXPECT_FALSE(run("ConstantOfShape", {ints({-1})}).ok());
  EXPECT_FALSE(run("ConstantOfShape", {ints({std::int64_t{1} << 60, 1 << 20})}).ok());
  EXPECT_FALSE(run("ConstantOfShape", {ints({2})}, {{"value", Tensor::from<float>({2}, {1, 2})}}).ok());
  EXPECT_NE(inferred("ConstantOfShape", {s64({1})}, {}, {ints({-4})}).find("negative or overflows"), std::string::npos);
}

TEST(Range, UpDownAndEmpty) {
  const auto range = [](std::int64_t a, std::int64_t b, std::int64_t d) { return run("Range", {Tensor::scalar(a), Tensor::scalar(b), Tensor::scalar(d)}); };
  EXPECT_EQ(range(1, 7, 2)->front().to_int64(), (std::vector<std::int64_t>{1, 3, 5}));
  EXPECT_EQ(range(5, 0, -2)->front().to_int64(), (std::vector<std::int64_t>{5, 3, 1}));
  EXPECT_EQ(range(5, 0, 2)->front().size(), 0);
  EXPECT_FALSE(range(0, 5, 0).ok());
  EXPECT_FALSE(range(std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max(), 1).ok());
  EXPECT_EQ(run1("Range", {Tensor::scalar(0.0f), Tensor::scalar(1.0f), Tensor::scalar(0.25f)}).to_float(), (std::vector<float>{0, 0.25f, 0.5f, 0.75f}));
  EXPECT_FALSE(run("Range", {Tensor::scalar(0.0f), Tensor::scalar(std::nanf("")), Tensor::scalar(1.0f)}).ok());
  EXPECT_EQ(inferred("Range", {s64({}), s64({}), s64({})}), "s64[?]");
}

TEST(EyeLike, DiagonalsOfAnyType) {
  const Tensor x = *Tensor::create(DType::kF32, {3, 4});
  for (std::int64_t k : {-9, -2, 0, 1, 9}) {
    const Tensor y = run1("EyeLike", {x}, {{"k", k}, {"dtype", number_of(DType::kS32)}});
    for (std::int64_t i = 0; i < 12; ++i) EXPECT_EQ(y.at_as_double(i), i % 4 - i / 4 == k ? 1 : 0);
  }
  EXPECT_EQ(inferred("EyeLike", {f32({sym("N"), 4})}), "f32[N,4]");
  EXPECT_NE(inferred("EyeLike", {f32({3})}).find("expected rank 2"), std::string::npos);
}

TEST(OneHot, AxesNegativeAndOutside) {
  const Tensor at = Tensor::from<std::int64_t>({2, 2}, {0, -1, 5, 2});
  const Tensor values = Tensor::from<float>({2}, {-1, 4});
  for (std::int64_t axis : {-1, 0, 1}) {
    const Tensor y = run1("OneHot", {at, Tensor::scalar<std::int64_t>(3), values}, {{"axis", axis}});
    const std::size_t a = static_cast<std::size_t>(axis < 0 ? 2 : axis);
    for (std::int64_t i = 0; i < y.size(); ++i) {
      auto index = unravel(i, y.shape());
      const std::int64_t k = index[a];
      index.erase(index.begin() + static_cast<std::ptrdiff_t>(a));
      double hot = at.at_as_double(ravel(index, at.shape()));
      if (hot < 0) hot += 3;
      EXPECT_EQ(y.at_as_double(i), hot == static_cast<double>(k) ? 4 : -1);
    }
  }
  EXPECT_FALSE(run("OneHot", {at, Tensor::scalar<std::int64_t>(-3), values}).ok());
  EXPECT_FALSE(run("OneHot", {at, Tensor::scalar<std::int64_t>(3), Tensor::scalar(1.0f)}).ok());
  EXPECT_EQ(inferred("OneHot", {s64({sym("N")}), s64({}), f32({2})}, {}, {Tensor(), Tensor::scalar<std::int64_t>(7)}), "f32[N,7]");
}

}  // namespace
}  // namespace narrow::operators
