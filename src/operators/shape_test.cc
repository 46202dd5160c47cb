// Shapes: reading them, changing them, and following them through shape arithmetic with symbols.
#include "operators/test_support.h"

namespace narrow::operators {
namespace {

using namespace testing;

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();

TEST(Shape, StartAndEnd) {
  const Tensor x = *Tensor::create(DType::kF32, {2, 3, 4});
  EXPECT_EQ(run1("Shape", {x}).to_int64(), (std::vector<std::int64_t>{2, 3, 4}));
  EXPECT_EQ(run1("Shape", {x}, {{"start", std::int64_t{-2}}, {"end", std::int64_t{-1}}}).to_int64(), (std::vector<std::int64_t>{3}));
  EXPECT_EQ(run1("Shape", {x}, {{"start", std::int64_t{2}}, {"end", std::int64_t{1}}}).size(), 0);
  EXPECT_EQ(run1("Shape", {x}, {{"start", std::int64_t{-9}}, {"end", std::int64_t{99}}}).size(), 3);
  EXPECT_EQ(run1("Size", {x}).to_int64(), (std::vector<std::int64_t>{24}));
}

TEST(Reshape, ResolvesCopiesAndRemainders) {
  const Tensor x = small_numbers(DType::kF32, {2, 3, 4}, 1);
  const auto shape = [&](std::vector<std::int64_t> to) { return run1("Reshape", {x, ints(std::move(to))}).shape(); };
  EXPECT_EQ(shape({6, 4}), (Shape{6, 4}));
  EXPECT_EQ(shape({0, -1}), (Shape{2, 12}));
  EXPECT_EQ(shape({-1}), (Shape{24}));
  EXPECT_EQ(shape({1, 0, -1, 1}), (Shape{1, 3, 8, 1}));
  EXPECT_EQ(run1("Reshape", {x, ints({4, 6})}).to_float(), x.to_float());
  const Tensor empty = *Tensor::create(DType::kF32, {0, 3});
  EXPECT_EQ(run1("Reshape", {empty, ints({3, 0})}, {{"allowzero", std::int64_t{1}}}).shape(), (Shape{3, 0}));
  EXPECT_EQ(run1("Reshape", {empty, ints({-1, 3})}).shape(), (Shape{0, 3}));
}

TEST(Reshape, RefusesTheImpossible) {
  const Tensor x = small_numbers(DType::kF32, {2, 3, 4}, 1);
  for (const std::vector<std::int64_t>& to : {std::vector<std::int64_t>{5, -1}, {25}, {-1, -1}, {-2, 12}, {1, 1, 1, 0},
                                              {std::int64_t{1} << 40, std::int64_t{1} << 40}, {kMost, -1}}) {
    EXPECT_FALSE(run("Reshape", {x, ints(to)}).ok()) << to_string(to);
    EXPECT_EQ(inferred("Reshape", {f32({2, 3, 4}), s64({2})}, {}, {Tensor(), ints(to)}).substr(0, 6), "error:") << to_string(to);
  }
  EXPECT_FALSE(run("Reshape", {x, ints({-1, 0})}, {{"allowzero", std::int64_t{1}}}).ok());
  EXPECT_FALSE(run("Reshape", {x, Tensor::scalar<std::int64_t>(24)}).ok());
}

TEST(Reshape, TypesKeepWhatIsKnown) {
  const auto reshaped = [](std::vector<graph::Dim> dims, std::vector<std::int64_t> to) {
    return inferred("Reshape", {f32(std::move(dims)), s64({static_cast<std::int64_t>(to.size())})}, {}, {Tensor(), ints(to)});
  };
  EXPECT_EQ(reshaped({sym("N"), 3, 4}, {0, -1}), "f32[N,12]");
  EXPECT_EQ(reshaped({sym("N"), 3, 4}, {-1, 12}), "f32[N,12]");
  EXPECT_EQ(reshaped({sym("N"), 3, 4}, {-1, 6}), "f32[?,6]");
  EXPECT_EQ(reshaped({sym("N"), sym("M")}, {-1}), "f32[?]");
  EXPECT_EQ(reshaped({sym("N"), graph::Dim(), 4}, {0, 0, 2, -1}), "f32[N,?,2,?]");
  EXPECT_EQ(inferred("Reshape", {f32({2, 3}), s64({3})}), "f32[?,?,?]");
  EXPECT_EQ(inferred("Reshape", {f32({2, 3}), s64({graph::Dim()})}), "f32[*]");
}

TEST(Flatten, AroundAnyAxis) {
  const Tensor x = *Tensor::create(DType::kF32, {2, 3, 4});
  const auto shape = [&](std::int64_t axis) { return run1("Flatten", {x}, {{"axis", axis}}).shape(); };
  EXPECT_EQ(shape(0), (Shape{1, 24}));
  EXPECT_EQ(shape(1), (Shape{2, 12}));
  EXPECT_EQ(shape(3), (Shape{24, 1}));
  EXPECT_EQ(shape(-1), (Shape{6, 4}));
  EXPECT_FALSE(run("Flatten", {x}, {{"axis", std::int64_t{4}}}).ok());
  EXPECT_EQ(inferred("Flatten", {f32({sym("N"), 3, 4})}), "f32[N,12]");
  EXPECT_EQ(inferred("Flatten", {graph::Type::tensor(DType::kF32)}), "f32[?,?]");
  EXPECT_NE(inferred("Flatten", {f32({2})}, {{"axis", std::int64_t{-2}}}).find("axis -2"), std::string::npos);
}

TEST(Squeeze, AndUnsqueeze) {
  const Tensor x = *Tensor::create(DType::kF32, {1, 3, 1});
  EXPECT_EQ(run1("Squeeze", {x}).shape(), (Shape{3}));
  EXPECT_EQ(run1("Squeeze", {x, ints({-1})}).shape(), (Shape{1, 3}));
  EXPECT_FALSE(run("Squeeze", {x, ints({1})}).ok());
  EXPECT_FALSE(run("Squeeze", {x, ints({3})}).ok());
  EXPECT_FALSE(run("Squeeze", {x, ints({0, -3})}).ok());
  EXPECT_EQ(run1("Unsqueeze", {x, ints({0, -1})}).shape(), (Shape{1, 1, 3, 1, 1}));
  EXPECT_FALSE(run("Unsqueeze", {x, ints({4})}).ok());
  EXPECT_FALSE(run("Unsqueeze", {x, ints({0, 0})}).ok());
  EXPECT_FALSE(run("Unsqueeze", {x, Tensor::from<std::int64_t>({200}, std::vector<std::int64_t>(200, 0))}).ok());
  EXPECT_EQ(inferred("Squeeze", {f32({sym("N"), 1}), s64({1})}, {}, {Tensor(), ints({1})}), "f32[N]");
  EXPECT_EQ(inferred("Squeeze", {f32({sym("N"), 1})}), "f32[*]");
  EXPECT_EQ(inferred("Squeeze", {f32({2, 1})}), "f32[2]");
  EXPECT_EQ(inferred("Unsqueeze", {f32({sym("N")}), s64({2})}, {}, {Tensor(), ints({0, 2})}), "f32[1,N,1]");
  EXPECT_NE(inferred("Squeeze", {f32({2, 3}), s64({1})}, {}, {Tensor(), ints({1})}).find("only 1 can be squeezed"), std::string::npos);
}

// Builds graphs of several nodes by value name.
struct Chain {
  graph::Graph graph;
  graph::ValueId input(graph::Type type) {
    graph.inputs.push_back(graph.add_value("x", std::move(type)));
    return graph.inputs.back();
  }
  graph::ValueId constant(Tensor tensor) { return graph.add_constant("c", std::move(tensor)); }
  graph::ValueId add(std::string op, std::vector<graph::ValueId> inputs, Attributes attributes = {}) {
    graph::Node node;
    node.name = op;
    node.op_type = std::move(op);
    node.inputs = std::move(inputs);
    node.attributes = std::move(attributes);
    node.outputs = {graph.add_value("y", {})};
    graph.nodes.push_back(node);
    return node.outputs[0];
  }
  std::string type(graph::ValueId id) {
    auto result = infer_types(graph);
    return result.ok() ? graph::to_string(graph.value(id).type) : result.error().to_string();
  }
};

// x of [N, 3, H, 4]: the shape is taken apart, computed with and put together again.
TEST(ShapeArithmetic, SymbolsReachTheReshape) {
  Chain c;
  const auto x = c.input(f32({sym("N"), 3, sym("H"), 4}));
  const auto shape = c.add("Shape", {x});
  const auto n = c.add("Gather", {shape, c.constant(Tensor::scalar<std::int64_t>(0))});
  const auto h = c.add("Slice", {shape, c.constant(ints({2})), c.constant(ints({3}))});
  const auto w = c.add("Gather", {shape, c.constant(Tensor::scalar<std::int64_t>(3))});
  const auto double_w = c.add("Mul", {w, c.constant(Tensor::scalar<std::int64_t>(2))});
  const auto target = c.add("Concat", {c.add("Unsqueeze", {n, c.constant(ints({0}))}), h, c.constant(ints({-1})),
                                       c.add("Unsqueeze", {double_w, c.constant(ints({0}))})},
                            {{"axis", std::int64_t{0}}});
  const auto y = c.add("Reshape", {x, target});
  EXPECT_EQ(c.type(y), "f32[N,H,?,8]");
}

TEST(ShapeArithmetic, KnownDimsFoldAndSymbolsDoNot) {
  Chain c;
  const auto x = c.input(f32({sym("N"), 6}));
  const auto cast = c.add("Cast", {c.add("Shape", {x}), }, {{"to", std::int64_t{6}}});
  const auto back = c.add("Cast", {cast}, {{"to", std::int64_t{7}}});
  const auto kept = c.add("Squeeze", {c.add("Slice", {back, c.constant(ints({1})), c.constant(ints({2}))})});
  const auto half = c.add("Div", {kept, c.constant(Tensor::scalar<std::int64_t>(2))});
  const auto target = c.add("Concat", {c.constant(ints({0})), c.add("Unsqueeze", {half, c.constant(ints({0}))}), c.constant(ints({2}))},
                            {{"axis", std::int64_t{0}}});
  EXPECT_EQ(c.type(c.add("Reshape", {x, target})), "f32[N,3,2]");
}

TEST(ShapeArithmetic, BatchOfOneAxisStaysASymbol) {
  Chain c;
  const auto x = c.input(f32({sym("N"), 2, 3}));
  const auto n = c.add("Shape", {x}, {{"start", std::int64_t{0}}, {"end", std::int64_t{1}}});
  const auto target = c.add("Concat", {n, c.constant(ints({-1}))}, {{"axis", std::int64_t{0}}});
  EXPECT_EQ(c.type(c.add("Reshape", {x, target})), "f32[N,6]");
  EXPECT_EQ(c.type(c.add("Expand", {c.constant(Tensor::from<float>({1, 5}, {1, 2, 3, 4, 5})), c.add("Concat", {n, c.constant(ints({5}))}, {{"axis", std::int64_t{0}}})})),
            "f32[N,5]");
  EXPECT_EQ(c.type(c.add("ConstantOfShape", {n})), "f32[N]");
  EXPECT_EQ(c.type(c.add("Range", {c.constant(Tensor::scalar<std::int64_t>(0)), c.add("Squeeze", {n}), c.constant(Tensor::scalar<std::int64_t>(1))})),
            "s64[N]");
  EXPECT_EQ(c.type(c.add("Tile", {c.constant(Tensor::from<float>({1, 2}, {1, 2})), c.add("Concat", {n, c.constant(ints({2}))}, {{"axis", std::int64_t{0}}})})),
            "f32[N,4]");
}

// How exporters write x.expand(N, -1): where the wanted shape is -1, the dimension stays.
TEST(ShapeArithmetic, ExpandThroughEqualAndWhere) {
  Chain c;
  const auto x = c.input(f32({sym("N"), 2}));
  const auto n = c.add("Shape", {x}, {{"start", std::int64_t{0}}, {"end", std::int64_t{1}}});
  const auto wanted = c.add("Concat", {n, c.constant(ints({-1, 7}))}, {{"axis", std::int64_t{0}}});
  const auto ones = c.add("ConstantOfShape", {c.constant(ints({3}))}, {{"value", ints({1})}});
  const auto minus = c.constant(ints({-1, -1, -1}));
  const auto shape = c.add("Where", {c.add("Equal", {wanted, minus}), ones, wanted});
  EXPECT_EQ(c.type(c.add("Expand", {c.constant(Tensor::from<float>({1, 3, 1}, {1, 2, 3})), shape})), "f32[N,3,7]");
}

}  // namespace
}  // namespace narrow::operators
