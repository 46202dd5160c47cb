#include <gtest/gtest.h>

#include "operators/run_node.h"

namespace narrow::operators {
namespace {

using namespace testing;

// By numpy's rule, element by element in f64.
std::vector<double> oracle(const Tensor& a, const Tensor& b, const Shape& batch, std::int64_t m, std::int64_t n, std::int64_t k) {
  Shape sa = a.shape(), sb = b.shape();
  if (sa.size() == 1) sa.insert(sa.begin(), 1);
  if (sb.size() == 1) sb.push_back(1);
  const std::vector<float> av = a.to_float(), bv = b.to_float();
  const auto matrix_at = [&](const Shape& s, std::vector<std::int64_t> position) {
    std::int64_t at = 0;
    const std::size_t skip = position.size() - (s.size() - 2);
    for (std::size_t d = 0; d + 2 < s.size(); ++d) at = at * s[d] + (s[d] == 1 ? 0 : position[skip + d]);
    return at;
  };
  std::vector<double> y;
  std::int64_t matrices = 1;
  for (std::int64_t d : batch) matrices *= d;
  for (std::int64_t i = 0; i < matrices; ++i) {
    std::vector<std::int64_t> position(batch.size());
    std::int64_t rest = i;
    for (std::size_t d = batch.size(); d-- > 0;) { position[d] = rest % batch[d]; rest /= batch[d]; }
    const std::int64_t at = matrix_at(sa, position) * m * k, bt = matrix_at(sb, position) * k * n;
    for (std::int64_t r = 0; r < m; ++r)
      for (std::int64_t c = 0; c < n; ++c) {
        double sum = 0;
        for (std::int64_t p = 0; p < k; ++p) sum += static_cast<double>(av[at + r * k + p]) * bv[bt + p * n + c];
        y.push_back(sum);
      }
  }
  return y;
}

struct Case {
  Shape a, b, batch;
  std::int64_t m, n, k;
  Shape out;
};
const Case kCases[] = {
    {{3, 4}, {4, 5}, {}, 3, 5, 4, {3, 5}},
    {{4}, {4, 5}, {}, 1, 5, 4, {5}},
    {{3, 4}, {4}, {}, 3, 1, 4, {3}},
    {{4}, {4}, {}, 1, 1, 4, {}},
    {{2, 3, 4}, {4, 5}, {2}, 3, 5, 4, {2, 3, 5}},
    {{2, 3, 4}, {2, 4, 5}, {2}, 3, 5, 4, {2, 3, 5}},
    {{3, 4}, {6, 4, 5}, {6}, 3, 5, 4, {6, 3, 5}},
    {{2, 1, 3, 4}, {7, 4, 5}, {2, 7}, 3, 5, 4, {2, 7, 3, 5}},
    {{2, 7, 3, 4}, {2, 1, 4, 5}, {2, 7}, 3, 5, 4, {2, 7, 3, 5}},
    {{4}, {2, 7, 4, 5}, {2, 7}, 1, 5, 4, {2, 7, 5}},
    {{2, 7, 3, 4}, {4}, {2, 7}, 3, 1, 4, {2, 7, 3}},
    {{1, 1, 300}, {300, 70}, {1}, 1, 70, 300, {1, 1, 70}},
    {{1, 3, 4}, {1, 1, 1, 4, 5}, {1, 1, 1}, 3, 5, 4, {1, 1, 1, 3, 5}},
    {{0, 4}, {4, 5}, {}, 0, 5, 4, {0, 5}},
    {{3, 0}, {0, 5}, {}, 3, 5, 0, {3, 5}},
};

TEST(MatMul, BroadcastsLikeNumpy) {
  std::mt19937 random(5);
  for (const Case& c : kCases) {
    SCOPED_TRACE(to_string(c.a) + " x " + to_string(c.b));
    const Tensor a = random_tensor(c.a, random), b = random_tensor(c.b, random);
    const graph::Node node = make_node("MatMul", 2, 1);
    auto y = run_node(node, {a, b});
    ASSERT_TRUE(y.ok()) << y.error().to_string();
    ASSERT_EQ((*y)[0].shape(), c.out);
    const std::vector<double> want = oracle(a, b, c.batch, c.m, c.n, c.k);
    ASSERT_EQ(want.size(), (*y)[0].size());
    for (std::size_t i = 0; i < want.size(); ++i) ASSERT_NEAR((*y)[0].data<float>()[i], want[i], 1e-5);
    auto types = infer_node(node, {graph::Type::of(a), graph::Type::of(b)});
    ASSERT_TRUE(types.ok()) << types.error().to_string();
    EXPECT_EQ((*types)[0].static_shape(), c.out);
  }
}

TEST(MatMul, OtherElementTypes) {
  const auto ints = run_node(make_node("MatMul", 2, 1), {Tensor::from<std::int32_t>({1, 2}, {3, -4}), Tensor::from<std::int32_t>({2, 2}, {5, 6, 7, 8})});
  ASSERT_TRUE(ints.ok());
  EXPECT_EQ((*ints)[0].to_int64(), (Ints{-13, -14}));
  const auto doubles = run_node(make_node("MatMul", 2, 1), {Tensor::from<double>({1, 2}, {1e-9, 1.0}), Tensor::from<double>({2, 1}, {1.0, 1.0})});
  ASSERT_TRUE(doubles.ok());
  EXPECT_EQ((*doubles)[0].data<double>()[0], 1.0 + 1e-9);
}

TEST(MatMul, MisfitsAreNamed) {
  using graph::Type;
  EXPECT_FALSE(infer_node(make_node("MatMul", 2, 1), {Type::tensor(DType::kF32, {3, 4}), Type::tensor(DType::kF32, {5, 4})}).ok());
  EXPECT_FALSE(infer_node(make_node("MatMul", 2, 1), {Type::tensor(DType::kF32, {2, 3, 4}), Type::tensor(DType::kF32, {3, 4, 5})}).ok());
  std::mt19937 random(1);
  EXPECT_FALSE(run_node(make_node("MatMul", 2, 1), {random_tensor({3, 4}, random), random_tensor({5, 4}, random)}).ok());
  EXPECT_FALSE(run_node(make_node("MatMul", 2, 1), {random_tensor({}, random), random_tensor({4}, random)}).ok());
  auto symbolic = infer_node(make_node("MatMul", 2, 1), {Type::tensor(DType::kF32, {graph::Dim("N"), graph::Dim("T"), 4}), Type::tensor(DType::kF32, {4, 5})});
  ASSERT_TRUE(symbolic.ok());
  EXPECT_EQ(graph::to_string((*symbolic)[0]), "f32[N,T,5]");
}

TEST(Gemm, EveryVariant) {
  std::mt19937 random(9);
  const std::int64_t m = 3, n = 5, k = 4;
  for (int trans_a : {0, 1})
    for (int trans_b : {0, 1})
      for (const Shape& c_shape : {Shape{-1}, Shape{}, Shape{1}, Shape{n}, Shape{1, n}, Shape{m, 1}, Shape{m, n}, Shape{1, 1}}) {
        SCOPED_TRACE(::testing::Message() << trans_a << trans_b << to_string(c_shape));
        const Tensor a = random_tensor(trans_a ? Shape{k, m} : Shape{m, k}, random), b = random_tensor(trans_b ? Shape{n, k} : Shape{k, n}, random);
        const bool has_c = c_shape != Shape{-1};
        const Tensor c = has_c ? random_tensor(c_shape, random) : Tensor();
        const Attributes attributes = {{"transA", std::int64_t{trans_a}}, {"transB", std::int64_t{trans_b}}, {"alpha", 0.5f}, {"beta", -2.0f}};
        auto y = run_node(make_node("Gemm", 3, 1, attributes), {a, b, c});
        ASSERT_TRUE(y.ok()) << y.error().to_string();
        for (std::int64_t i = 0; i < m; ++i)
          for (std::int64_t j = 0; j < n; ++j) {
            double want = 0;
            for (std::int64_t p = 0; p < k; ++p) want += static_cast<double>(a.data<float>()[trans_a ? p * m + i : i * k + p]) * b.data<float>()[trans_b ? j * k + p : p * n + j];
            want *= 0.5;
            if (has_c) {
              const std::int64_t rows = c.rank() == 2 ? c.shape()[0] : 1, columns = c.rank() > 0 ? c.shape().back() : 1;
              want += -2.0 * c.data<float>()[(rows == 1 ? 0 : i) * columns + (columns == 1 ? 0 : j)];
            }
            ASSERT_NEAR((*y)[0].data<float>()[i * n + j], want, 1e-5);
          }
      }
  EXPECT_FALSE(run_node(make_node("Gemm", 3, 1), {random_tensor({3, 4}, random), random_tensor({4, 5}, random), random_tensor({4}, random)}).ok());
  EXPECT_FALSE(run_node(make_node("Gemm", 2, 1), {random_tensor({3, 4}, random), random_tensor({5, 4}, random)}).ok());
}

TEST(MatMul, WeightAxisFollowsTheLayout) {
  const Operator* gemm = find_operator("", "Gemm");
  EXPECT_EQ(gemm->quant.weight_axis(make_node("Gemm", 2, 1), 2), 1);
  EXPECT_EQ(gemm->quant.weight_axis(make_node("Gemm", 2, 1, {{"transB", std::int64_t{1}}}), 2), 0);
  EXPECT_EQ(find_operator("", "MatMul")->quant.weight_axis(make_node("MatMul", 2, 1), 3), 2);
}

}  // namespace
}  // namespace narrow::operators
