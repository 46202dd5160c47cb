// Random graphs give the same bits with shared memory as node by node with everything kept.
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "operators/infer.h"
#include "runtime/session.h"

namespace narrow::runtime {
namespace {

using graph::Graph;
using graph::Node;
using graph::Type;
using graph::ValueId;

class RandomGraph {
 public:
  explicit RandomGraph(unsigned seed) : random_(seed) {
    for (int i = 0; i < 2; ++i) {
      const ValueId x = graph.add_value("x" + std::to_string(i), Type::tensor(DType::kF32, {4, 6}));
      graph.inputs.push_back(x);
      square_.push_back(x);
    }
    flat_shape_ = graph.add_constant("flat", Tensor::from<std::int64_t>({1}, {24}));
    square_shape_ = graph.add_constant("square", Tensor::from<std::int64_t>({2}, {4, 6}));
    row_ = graph.add_constant("row", Tensor::from<float>({6}, {1, -2, 3, -4, 5, -6}));
    const int nodes = 5 + static_cast<int>(random_() % 40);
    for (int n = 0; n < nodes; ++n) grow();
    for (int o = 0; o < 3; ++o) graph.outputs.push_back(pick(square_));
    if (!flat_.empty()) graph.outputs.push_back(pick(flat_));
  }

  Graph graph;

 private:
  ValueId pick(const std::vector<ValueId>& from) {
    // Mostly recent values, so that old ones die and their memory is taken over.
    const std::size_t back = random_() % std::min<std::size_t>(from.size(), random_() % 4 == 0 ? from.size() : 3);
    return from[from.size() - 1 - back];
  }
  ValueId add(const char* op, std::vector<ValueId> inputs, const char* attribute = nullptr, std::int64_t number = 0) {
    Node node;
    node.op_type = op;
    node.name = op + std::to_string(graph.nodes.size());
    node.inputs = std::move(inputs);
    node.outputs = {graph.add_value(node.name, {})};
    if (attribute != nullptr) node.set(attribute, number);
    graph.nodes.push_back(node);
    return node.outputs[0];
  }
  void grow() {
    switch (random_() % 9) {
      case 0: square_.push_back(add("Add", {pick(square_), pick(square_)})); break;
      case 1: square_.push_back(add("Mul", {pick(square_), row_})); break;
      case 2: square_.push_back(add("Sub", {pick(square_), pick(square_)})); break;
      case 3: square_.push_back(add("Relu", {pick(square_)})); break;
      case 4: square_.push_back(add("Neg", {pick(square_)})); break;
      case 5: flat_.push_back(add("Reshape", {pick(square_), flat_shape_})); break;
      case 6: square_.push_back(add("Identity", {pick(square_)})); break;
      case 7:
        if (!flat_.empty()) square_.push_back(add("Reshape", {pick(flat_), square_shape_}));
        break;
      default:
        if (!flat_.empty()) flat_.push_back(add("Add", {pick(flat_), pick(flat_)}));
        break;
    }
  }

  std::mt19937 random_;
  std::vector<ValueId> square_, flat_;
  ValueId flat_shape_, square_shape_, row_;
};

TEST(RandomGraph, SharedMemoryChangesNothing) {
  std::uint64_t arena = 0, unshared = 0;
  for (unsigned seed = 0; seed < 300; ++seed) {
    const RandomGraph made(seed);
    const Graph& graph = made.graph;
    std::mt19937 random(seed);
    std::map<ValueId, Tensor> kept;
    std::vector<NamedTensor> inputs;
    for (ValueId id : graph.inputs) {
      Tensor x = *Tensor::create(DType::kF32, {4, 6});
      for (float& v : x.mutable_data<float>()) v = static_cast<float>(static_cast<int>(random() % 17) - 8) / 4;
      kept[id] = x;
      inputs.emplace_back(graph.value(id).name, x);
    }
    for (std::size_t v = 0; v < graph.values.size(); ++v) {
      if (graph.values[v].constant) kept[static_cast<ValueId>(v)] = *graph.values[v].constant;
    }
    for (const Node& node : graph.nodes) {
      std::vector<const Tensor*> arguments;
      for (ValueId id : node.inputs) arguments.push_back(&kept[id]);
      auto out = operators::evaluate_node(node, arguments);
      ASSERT_TRUE(out.ok()) << out.error().to_string();
      kept[node.outputs[0]] = (*out)[0].clone();
    }

    SessionOptions options;
    const bool tapping = seed % 2 == 0;
    std::size_t taps = 0;
    if (tapping) {
      for (const Node& node : graph.nodes) options.tapped.push_back(node.outputs[0]);
      options.tap = [&](ValueId id, const Tensor& tensor) -> Status {
        EXPECT_EQ(tensor.to_float(), kept[id].to_float()) << "seed " << seed << " value " << graph.value(id).name;
        ++taps;
        return {};
      };
    }
    auto session = Session::create(graph, options);
    ASSERT_TRUE(session.ok()) << session.error().to_string();
    for (int run = 0; run < 2; ++run) {
      auto outputs = (*session)->run(inputs);
      ASSERT_TRUE(outputs.ok()) << outputs.error().to_string();
      for (std::size_t o = 0; o < outputs->size(); ++o) {
        EXPECT_EQ((*outputs)[o].shape(), kept[graph.outputs[o]].shape());
        EXPECT_EQ((*outputs)[o].to_float(), kept[graph.outputs[o]].to_float()) << "seed " << seed << " output " << o;
      }
    }
    EXPECT_EQ(taps, tapping ? graph.nodes.size() * 2 : 0u);
    arena += (*session)->memory().arena;
    unshared += (*session)->memory().arena_unshared;
  }
  EXPECT_LT(arena * 2, unshared) << "memory was hardly shared, the test proves little";
}

// A chain of Ifs, each inside the other's branch, where the innermost reads a value of the outermost graph.
TEST(Subgraphs, NestedTwentyFiveDeep) {
  constexpr int kDepth = 25;
  const auto level = [](auto& self, int depth) -> Graph {
    Graph graph;
    graph.name = "level" + std::to_string(depth);
    const ValueId x = graph.add_value("x", {}), go = graph.add_value("go", {});
    graph.value(x).captured = graph.value(go).captured = true;
    Node node;
    node.name = "n" + std::to_string(depth);
    if (depth == kDepth) {
      node.op_type = "Add";
      node.inputs = {x, x};
    } else {
      node.op_type = "If";
      node.inputs = {go};
      node.set("then_branch", std::make_shared<Graph>(self(self, depth + 1)));
      Graph other;
      other.name = "else" + std::to_string(depth);
      const ValueId captured = other.add_value("x", {});
      other.value(captured).captured = true;
      Node identity;
      identity.name = "same" + std::to_string(depth);
      identity.op_type = "Identity";
      identity.inputs = {captured};
      identity.outputs = {other.add_value("e" + std::to_string(depth), {})};
      other.nodes.push_back(identity);
      other.outputs = identity.outputs;
      node.set("else_branch", std::make_shared<Graph>(std::move(other)));
    }
    node.outputs = {graph.add_value("y" + std::to_string(depth), {})};
    graph.nodes.push_back(node);
    graph.outputs = node.outputs;
    return graph;
  };
  Graph graph = level(level, 0);
  graph.value(graph.find_value("x")).captured = graph.value(graph.find_value("go")).captured = false;
  graph.value(graph.find_value("x")).type = Type::tensor(DType::kF32, {graph::Dim("N")});
  graph.value(graph.find_value("go")).type = Type::tensor(DType::kBool, {});
  graph.inputs = {graph.find_value("x"), graph.find_value("go")};
  auto session = Session::create(graph, {});
  ASSERT_TRUE(session.ok()) << session.error().to_string();
  for (bool go : {true, false, true}) {
    Tensor flag = *Tensor::create(DType::kBool, {});
    *static_cast<std::uint8_t*>(flag.mutable_raw()) = go;
    const std::vector<NamedTensor> inputs = {{"x", Tensor::from<float>({2}, {1.5f, -2})}, {"go", flag}};
    auto outputs = (*session)->run(inputs);
    ASSERT_TRUE(outputs.ok()) << outputs.error().to_string();
    EXPECT_EQ((*outputs)[0].to_float(), go ? (std::vector<float>{3, -4}) : (std::vector<float>{1.5f, -2}));
  }
}

}  // namespace
}  // namespace narrow::runtime
