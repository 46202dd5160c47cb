#include "passes/lower_qdq.h"

#include <gtest/gtest.h>

#include <cmath>

#include "passes/run_graph.h"

namespace narrow::passes {
namespace {

using graph::kNoValue;
using testing::add_input;
using testing::add_node;
using testing::Attributes;
using testing::Graph;
using testing::Node;
using testing::random_tensor;
using testing::run_graph;
using testing::ValueId;
using Ints = std::vector<std::int64_t>;

// Builds quantized graphs the way insert_qdq writes them.
struct Builder {
  Graph graph;
  int made = 0;

  std::string name(const std::string& base) { return base + std::to_string(made++); }

  ValueId input(const Shape& shape) { return add_input(graph, name("x"), shape); }
  ValueId qdq(ValueId x, float scale, int zero, DType dtype = DType::kU8) {
    const ValueId s = graph.add_constant(name("scale"), Tensor::scalar<float>(scale));
    const ValueId z = dtype == DType::kU8 ? graph.add_constant(name("zero"), Tensor::scalar<std::uint8_t>(static_cast<std::uint8_t>(zero)))
                                          : graph.add_constant(name("zero"), Tensor::scalar<std::int8_t>(static_cast<std::int8_t>(zero)));
    return node("DequantizeLinear", {node("QuantizeLinear", {x, s, z}), s, z});
  }
  ValueId node(const std::string& op, std::vector<ValueId> inputs, const Attributes& attributes = {}) {
    return add_node(graph, op, name(op), std::move(inputs), attributes);
  }
  // Per-channel s8 weight on `axis`.
  ValueId weight(const Shape& shape, std::int64_t axis, unsigned seed, std::vector<float>* scales) {
    Tensor codes = *Tensor::create(DType::kS8, shape);
    std::mt19937 random(seed);
    for (std::int8_t& c : codes.mutable_data<std::int8_t>()) c = static_cast<std::int8_t>(static_cast<int>(random() % 255) - 127);
    scales->clear();
    for (std::int64_t i = 0; i < shape[static_cast<std::size_t>(axis)]; ++i) scales->push_back(0.001f + static_cast<float>(random() % 100) / 40000);
    const ValueId s = graph.add_constant(name("w_scale"), Tensor::from<float>({static_cast<std::int64_t>(scales->size())}, std::span<const float>(*scales)));
    const ValueId z = graph.add_constant(name("w_zero"), *Tensor::create(DType::kS8, {static_cast<std::int64_t>(scales->size())}));
    return node("DequantizeLinear", {graph.add_constant(name("w"), codes), s, z}, {{"axis", axis}});
  }
  ValueId bias(const std::vector<float>& w_scales, float x_scale, unsigned seed) {
    std::mt19937 random(seed);
    std::vector<std::int32_t> codes;
    std::vector<float> scales;
    for (float s : w_scales) {
      codes.push_back(static_cast<int>(random() % 3000) - 1500);
      scales.push_back(s * x_scale);
    }
    const std::int64_t n = static_cast<std::int64_t>(codes.size());
    const ValueId s = graph.add_constant(name("b_scale"), Tensor::from<float>({n}, std::span<const float>(scales)));
    return node("DequantizeLinear", {graph.add_constant(name("b"), Tensor::from<std::int32_t>({n}, std::span<const std::int32_t>(codes))), s, kNoValue}, {{"axis", std::int64_t{0}}});
  }
  ValueId conv(ValueId x, float x_scale, const Shape& w_shape, unsigned seed, const Attributes& attributes = {}) {
    std::vector<float> scales;
    const ValueId w = weight(w_shape, 0, seed, &scales);
    return node("Conv", {x, w, bias(scales, x_scale, seed + 1)}, attributes);
  }
};

int count(const Graph& graph, const std::string& op) {
  int n = 0;
  for (const Node& node : graph.nodes) n += node.op_type == op;
  return n;
}

// Runs the graph as it is and lowered. Outputs end in DequantizeLinear of the given step, or are f32.
Graph expect_same(const Graph& graph, const std::vector<Tensor>& inputs, double tolerance) {
  auto want = run_graph(graph, inputs);
  EXPECT_TRUE(want.ok()) << (want.ok() ? "" : want.error().to_string());
  Graph lowered = graph.clone();
  const Status status = lower_qdq(lowered);
  EXPECT_TRUE(status.ok()) << (status.ok() ? "" : status.error().to_string());
  auto got = run_graph(lowered, inputs);
  EXPECT_TRUE(got.ok()) << (got.ok() ? "" : got.error().to_string()) << graph::print(lowered);
  if (!want.ok() || !got.ok()) return lowered;
  EXPECT_EQ(lowered.outputs.size(), graph.outputs.size());
  for (std::size_t o = 0; o < want->size(); ++o) {
    EXPECT_EQ(lowered.value(lowered.outputs[o]).name, graph.value(graph.outputs[o]).name);
    const std::vector<float> a = (*want)[o].to_float(), b = (*got)[o].to_float();
    EXPECT_EQ((*want)[o].shape(), (*got)[o].shape());
    if (a.size() != b.size()) continue;
    float low = a[0], high = a[0];
    int differ = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      EXPECT_NEAR(a[i], b[i], tolerance * 1.001) << "output " << o << " element " << i;
      differ += std::fabs(a[i] - b[i]) > tolerance / 2;
      low = std::min(low, a[i]);
      high = std::max(high, a[i]);
    }
    EXPECT_GT(high, low) << "a constant output proves nothing";
    if (tolerance > 0.01) {
      EXPECT_LE(differ, static_cast<int>(a.size() / 50 + 1));
    }
  }
  return lowered;
}

TEST(LowerQdq, ConvolutionChainStaysChannelsLast) {
  for (DType dtype : {DType::kU8, DType::kS8}) {
    const int middle = dtype == DType::kU8 ? 128 : 0;
    Builder b;
    const ValueId x = b.qdq(b.input({2, 3, 12, 10}), 0.02f, middle - 5, dtype);
    const ValueId c1 = b.qdq(b.node("Relu", {b.conv(x, 0.02f, {8, 3, 3, 3}, 1, {{"pads", Ints{1, 1, 1, 1}}, {"strides", Ints{2, 1}}})}), 0.04f, middle - 128, dtype);
    const ValueId pool = b.qdq(b.node("MaxPool", {c1}, {{"kernel_shape", Ints{2, 2}}, {"strides", Ints{1, 1}}}), 0.04f, middle - 128, dtype);
    const ValueId deep = b.qdq(b.conv(pool, 0.04f, {8, 1, 3, 3}, 2, {{"group", std::int64_t{8}}, {"pads", Ints{1, 1, 1, 1}}}), 0.05f, middle, dtype);
    const ValueId wide = b.qdq(b.conv(pool, 0.04f, {8, 8, 1, 1}, 3), 0.06f, middle, dtype);
    const ValueId sum = b.qdq(b.node("Relu", {b.node("Add", {deep, wide})}), 0.07f, middle - 100, dtype);
    const ValueId both = b.qdq(b.node("Concat", {sum, wide}, {{"axis", std::int64_t{1}}}), 0.06f, middle, dtype);
    const ValueId mean = b.qdq(b.node("GlobalAveragePool", {both}), 0.03f, middle, dtype);
    b.graph.outputs = {mean};
    const Graph lowered = expect_same(b.graph, {random_tensor({2, 3, 12, 10}, 9, -2, 2)}, 0.03);
    EXPECT_EQ(count(lowered, "QConv"), 3);
    EXPECT_EQ(count(lowered, "ToCodes"), 1);
    EXPECT_EQ(count(lowered, "FromCodes"), 1);
    EXPECT_EQ(count(lowered, "Layout"), 0) << graph::print(lowered);
    EXPECT_EQ(count(lowered, "Relu") + count(lowered, "QuantizeLinear") + count(lowered, "DequantizeLinear"), 0);
  }
}

TEST(LowerQdq, ClipFoldsAndFloatReadersKeepFloat) {
  Builder b;
  const ValueId x = b.qdq(b.input({1, 4, 6, 6}), 0.03f, 100);
  const ValueId zero = b.graph.add_constant("low", Tensor::scalar<float>(0.0f)), six = b.graph.add_constant("high", Tensor::scalar<float>(0.6f));
  const ValueId clipped = b.qdq(b.node("Clip", {b.conv(x, 0.03f, {5, 4, 1, 1}, 4), zero, six}), 0.004f, 0);
  const ValueId real = b.conv(clipped, 0.004f, {3, 5, 1, 1}, 5);  // nobody quantizes this one
  b.graph.outputs = {clipped, real};
  const Graph lowered = expect_same(b.graph, {random_tensor({1, 4, 6, 6}, 3, -2, 2)}, 0.004);
  EXPECT_EQ(count(lowered, "QConv"), 2);
  EXPECT_EQ(count(lowered, "Clip"), 0);
}

TEST(LowerQdq, FloatBiasAndBiasOfAnotherScale) {
  Builder b;
  const ValueId x = b.qdq(b.input({1, 2, 5, 5}), 0.05f, 30);
  std::vector<float> scales;
  const ValueId w = b.weight({3, 2, 2, 2}, 0, 6, &scales);
  const ValueId y = b.qdq(b.node("Conv", {x, w, b.graph.add_constant("fb", Tensor::from<float>({3}, {1.5f, -0.25f, 3}))}), 0.05f, 128);
  const ValueId z = b.qdq(b.node("Conv", {x, w, b.bias(scales, 0.31f, 8)}), 0.05f, 128);
  b.graph.outputs = {y, z};
  EXPECT_EQ(count(expect_same(b.graph, {random_tensor({1, 2, 5, 5}, 4, -1, 8)}, 0.05), "QConv"), 2);
}

TEST(LowerQdq, GemmAndMatMulWithBias) {
  Builder b;
  const ValueId x = b.qdq(b.input({4, 20}), 0.02f, 128);
  std::vector<float> scales;
  const ValueId w = b.weight({7, 20}, 0, 10, &scales);
  const ValueId gemm = b.qdq(b.node("Gemm", {x, w, b.bias(scales, 0.02f, 11)}, {{"transB", std::int64_t{1}}}), 0.03f, 120);
  const ValueId w2 = b.weight({7, 9}, 1, 12, &scales);
  const ValueId product = b.node("MatMul", {gemm, w2});
  const ValueId added = b.qdq(b.node("Add", {b.graph.add_constant("mb", random_tensor({9}, 5)), product}), 0.02f, 128);
  const ValueId real = b.node("MatMul", {gemm, w2});
  b.graph.outputs = {added, real};
  const Graph lowered = expect_same(b.graph, {random_tensor({4, 20}, 6, -2, 2)}, 0.03);
  EXPECT_EQ(count(lowered, "QGemm"), 1);
  EXPECT_EQ(count(lowered, "QMatMul"), 2);
  EXPECT_EQ(count(lowered, "Add"), 0);
}

TEST(LowerQdq, FunctionsBecomeTables) {
  Builder b;
  const ValueId x = b.qdq(b.input({3, 50}), 0.05f, 128);
  const ValueId silu = b.qdq(b.node("Mul", {x, b.node("Sigmoid", {x})}), 0.04f, 10);
  const ValueId half = b.graph.add_constant("half", Tensor::scalar<float>(0.5f));
  const ValueId gelu = b.qdq(b.node("Mul", {b.node("Mul", {x, half}), b.node("Add", {b.node("Erf", {x}), b.graph.add_constant("one", Tensor::scalar<float>(1))})}), 0.04f, 10);
  b.graph.outputs = {silu, gelu};
  const Graph lowered = expect_same(b.graph, {random_tensor({3, 50}, 7, -6, 6)}, 0);
  EXPECT_EQ(count(lowered, "Lookup"), 2);
  EXPECT_EQ(count(lowered, "Sigmoid") + count(lowered, "Erf") + count(lowered, "Mul"), 0);
}

TEST(LowerQdq, ActivationsAreTablesOfTheirConvolution) {
  // x * sigmoid(x) with the sigmoid in 8 bits of its own, behind a convolution and behind a depthwise one.
  Builder b;
  const ValueId x = b.qdq(b.input({1, 20, 6, 7}), 0.02f, 120);
  const auto silu = [&](ValueId convolved) {
    const ValueId y = b.qdq(convolved, 0.05f, 110);
    return b.qdq(b.node("Mul", {y, b.qdq(b.node("Sigmoid", {y}), 1.0f / 255, 0)}), 0.03f, 12);
  };
  const ValueId first = silu(b.conv(x, 0.02f, {24, 20, 3, 3}, 40, {{"pads", Ints{1, 1, 1, 1}}}));
  b.graph.outputs = {silu(b.conv(first, 0.03f, {24, 1, 3, 3}, 41, {{"pads", Ints{1, 1, 1, 1}}, {"group", std::int64_t{24}}}))};
  const Graph lowered = expect_same(b.graph, {random_tensor({1, 20, 6, 7}, 9, -2, 2)}, 0.031);
  EXPECT_EQ(count(lowered, "QConv"), 2);
  EXPECT_EQ(count(lowered, "Lookup") + count(lowered, "QLinearMul"), 0);
}

TEST(LowerQdq, ATableThatOthersBypassStaysANode) {
  Builder b;
  const ValueId x = b.qdq(b.input({1, 8, 4, 4}), 0.02f, 120);
  const ValueId y = b.qdq(b.conv(x, 0.02f, {16, 8, 1, 1}, 42), 0.05f, 110);
  b.graph.outputs = {b.qdq(b.node("Sigmoid", {y}), 1.0f / 255, 0), y};
  const Graph lowered = expect_same(b.graph, {random_tensor({1, 8, 4, 4}, 10, -2, 2)}, 0.051);
  EXPECT_EQ(count(lowered, "Lookup"), 1);
}

TEST(LowerQdq, ReshapeMovesCodes) {
  Builder b;
  const ValueId x = b.qdq(b.input({2, 3, 4, 4}), 0.05f, 128);
  const ValueId y = b.qdq(b.conv(x, 0.05f, {6, 3, 1, 1}, 20), 0.05f, 128);
  const ValueId flat = b.qdq(b.node("Flatten", {y}, {{"axis", std::int64_t{1}}}), 0.05f, 128);
  std::vector<float> scales;
  const ValueId w = b.weight({96, 5}, 1, 21, &scales);
  b.graph.outputs = {b.node("MatMul", {flat, w})};
  const Graph lowered = expect_same(b.graph, {random_tensor({2, 3, 4, 4}, 8, -4, 4)}, 0.05);
  EXPECT_EQ(count(lowered, "Layout"), 1);
  EXPECT_EQ(count(lowered, "DequantizeLinear"), 0);
}

TEST(LowerQdq, SixteenBitsAndBlocksStayAsTheyAre) {
  Builder b;
  const ValueId x = b.input({1, 8});
  const ValueId s = b.graph.add_constant("s", Tensor::scalar<float>(0.001f)), z = b.graph.add_constant("z", Tensor::scalar<std::uint16_t>(30000));
  const ValueId wide = b.node("DequantizeLinear", {b.node("QuantizeLinear", {x, s, z}), s, z});
  std::vector<float> scales;
  b.graph.outputs = {b.node("MatMul", {wide, b.weight({8, 4}, 1, 30, &scales)})};
  const Graph lowered = expect_same(b.graph, {random_tensor({1, 8}, 9, -4, 4)}, 0);
  EXPECT_EQ(count(lowered, "MatMul"), 1);
}

}  // namespace
}  // namespace narrow::passes
