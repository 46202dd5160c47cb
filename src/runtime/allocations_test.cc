// Once warm, a network's inference allocates as often however deep it is: what is counted belongs to the call (the list of
// inputs, the outputs handed on), not to its nodes.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <random>

#include "runtime/session.h"

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

namespace {
std::atomic<bool> counting{false};
std::atomic<long> allocations{0};

void count() {
  if (counting.load(std::memory_order_relaxed)) allocations.fetch_add(1, std::memory_order_relaxed);
}
}  // namespace

// In place of the C library's, under operator new as well.
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void* malloc(std::size_t size) { return count(), __libc_malloc(size); }
void* calloc(std::size_t number, std::size_t size) { return count(), __libc_calloc(number, size); }
void* realloc(void* old, std::size_t size) { return count(), __libc_realloc(old, size); }
void* aligned_alloc(std::size_t alignment, std::size_t size) { return count(), __libc_memalign(alignment, size); }
}

namespace narrow::runtime {
namespace {

using graph::Graph;
using graph::Node;
using graph::Type;
using graph::ValueId;

constexpr std::int64_t kChannels = 20, kSide = 9;

template <typename T>
Tensor random_codes(Shape shape, std::mt19937& random) {
  Tensor tensor = *Tensor::create(kDTypeOf<T>, std::move(shape));
  for (T& v : tensor.mutable_data<T>()) v = static_cast<T>(static_cast<int>(random() % 21) - 10);
  return tensor;
}

ValueId add_node(Graph& graph, const std::string& domain, const std::string& op, std::vector<ValueId> inputs) {
  Node node;
  node.name = op + std::to_string(graph.nodes.size());
  node.domain = domain;
  node.op_type = op;
  node.inputs = std::move(inputs);
  node.outputs = {graph.add_value(node.name + "_out", {})};
  graph.nodes.push_back(node);
  return graph.nodes.back().outputs[0];
}

// `depth` blocks of a 3x3, a depthwise and a 1x1 convolution, f32 or on codes, each with its shape changed and changed back.
Graph chain(int depth, bool integer) {
  std::mt19937 random(1);
  Graph graph;
  ValueId at = graph.add_value("x", Type::tensor(integer ? DType::kU8 : DType::kF32, {1, kSide, kSide, kChannels}));
  graph.inputs = {at};
  const auto constant = [&](Tensor t) { return graph.add_constant("c" + std::to_string(graph.values.size()), std::move(t)); };
  const ValueId flat = constant(Tensor::from<std::int64_t>({2}, {kSide * kSide, kChannels})), image = constant(Tensor::from<std::int64_t>({4}, {1, kSide, kSide, kChannels}));
  for (int block = 0; block < depth; ++block) {
    for (const auto& [kernel, group] : {std::pair<std::int64_t, std::int64_t>{3, 1}, {3, kChannels}, {1, 1}}) {
      const Shape w = {kChannels, kChannels / group, kernel, kernel};
      if (integer) {
        at = add_node(graph, "narrow", "QConv", {at, constant(Tensor::scalar(0.1f)), constant(Tensor::scalar<std::uint8_t>(9)), constant(random_codes<std::int8_t>(w, random)),
                                                 constant(Tensor::scalar(0.02f)), constant(Tensor::scalar<std::int8_t>(0)), constant(Tensor::scalar(0.1f)), constant(Tensor::scalar<std::uint8_t>(9))});
      } else {
        at = add_node(graph, "narrow", "Conv", {at, constant(random_codes<float>(w, random)), constant(random_codes<float>({kChannels}, random))});
        graph.nodes.back().set("activation", std::string(block % 2 == 0 ? "swish" : "relu"));
        graph.nodes.back().set("alpha", block % 2 == 0 ? 1.0f : 0.0f);
      }
      graph.nodes.back().set("channels_last", std::int64_t{1});
      graph.nodes.back().set("group", group);
      graph.nodes.back().set("pads", std::vector<std::int64_t>(4, kernel / 2));
      graph.nodes.back().set("kernel_shape", std::vector<std::int64_t>{kernel, kernel});
    }
    at = add_node(graph, "", "Reshape", {add_node(graph, "", "Reshape", {at, flat}), image});
  }
  graph.outputs = {at};
  return graph;
}

// Of the fourth run.
long allocations_of(const Graph& graph, int threads) {
  auto session = Session::create(graph, {.threads = threads});
  EXPECT_TRUE(session.ok()) << session.error().to_string();
  const NamedTensor input{"x", *Tensor::create(graph.value(graph.inputs[0]).type.dtype, {1, kSide, kSide, kChannels})};
  for (int run = 0; run < 4; ++run) {
    allocations = 0;
    counting = run == 3;
    const auto outputs = (*session)->run({&input, 1});
    counting = false;
    EXPECT_TRUE(outputs.ok());
  }
  return allocations;
}

TEST(Allocations, DoNotGrowWithDepth) {
  for (bool integer : {false, true}) {
    for (int threads : {1, 2}) {
      const long shallow = allocations_of(chain(2, integer), threads), deep = allocations_of(chain(12, integer), threads);
      EXPECT_GT(shallow, 0) << "the list of outputs at least is counted";
      EXPECT_EQ(shallow, deep) << (integer ? "codes, " : "f32, ") << threads << " threads";
      EXPECT_LT(deep, 40);
    }
  }
}

}  // namespace
}  // namespace narrow::runtime

#endif
