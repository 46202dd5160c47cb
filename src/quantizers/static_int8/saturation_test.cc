#include "quantizers/static_int8/saturation.h"

#include <gtest/gtest.h>

#include <cmath>

#include "quantizers/small_models.h"

namespace narrow::quantizers::static_int8 {
namespace {

using namespace testing;
using calibration::Range;

constexpr Range kEverything{-INFINITY, INFINITY};

Range useful(const Model& model, ValueId id) { return useful_range(model.graph, graph::Uses(model.graph), id); }

TEST(Saturation, FollowsWhatReadersTellApart) {
  const std::vector<std::pair<const char*, Range>> cases = {
      {"Sigmoid", {-8, 8}}, {"Tanh", {-4, 4}}, {"HardSwish", {-3, INFINITY}}, {"HardSigmoid", {-2.5f, 2.5f}},
      {"Relu", {0, INFINITY}}, {"Gelu", {-4, INFINITY}}, {"Exp", kEverything}, {"LeakyRelu", kEverything}};
  for (const auto& [op, expected] : cases) {
    ModelBuilder b;
    const ValueId x = b.input("x", {1, 4});
    const Model model = b.finish({b.node(op, "y", {x})});
    EXPECT_EQ(useful(model, x), expected) << op;
  }
}

TEST(Saturation, SiluKeepsItsUpperSideAndEveryReaderCounts) {
  for (bool swapped : {false, true}) {
    ModelBuilder b;
    const ValueId x = b.input("x", {1, 4});
    const ValueId s = b.node("Sigmoid", "s", {x});
    std::vector<ValueId> outputs = {b.node("Mul", "y", swapped ? std::vector{s, x} : std::vector{x, s})};
    const Model model = b.finish(outputs);
    EXPECT_EQ(useful(model, x), (Range{-8, INFINITY}));
  }
  ModelBuilder b;
  const ValueId x = b.input("x", {1, 4});
  const Model gated = b.finish({b.node("Mul", "y", {x, b.node("Sigmoid", "s", {b.input("other", {1, 4})})})});
  EXPECT_EQ(useful(gated, x), kEverything) << "gated by something else";
  ModelBuilder c;
  const ValueId v = c.input("v", {1, 4});
  const Model both = c.finish({c.node("Tanh", "t", {v}), c.node("Neg", "n", {v})});
  EXPECT_EQ(useful(both, v), kEverything);
  ModelBuilder d;
  const ValueId w = d.node("Neg", "w", {d.input("x", {1, 4})});
  const Model seen = d.finish({w, d.node("Tanh", "t", {w})});
  EXPECT_EQ(useful(seen, w), kEverything) << "an output of the model";
}

TEST(Saturation, CutsChosenRanges) {
  ModelBuilder b;
  const ValueId x = b.input("x", {1, 4}), y = b.input("y", {1, 4}), z = b.input("z", {1, 4});
  const Model model = b.finish({b.node("Sigmoid", "s", {x}), b.node("HardSwish", "h", {y}), b.node("Neg", "n", {z})});
  Ranges ranges = {{x, {-50, 3}}, {y, {-70, -20}}, {z, {-60, 60}}};
  cut_saturated(model.graph, ranges);
  EXPECT_EQ(ranges[x], (Range{-8, 3}));
  EXPECT_EQ(ranges[y], (Range{-3, -3}));
  EXPECT_EQ(ranges[z], (Range{-60, 60}));
}

}  // namespace
}  // namespace narrow::quantizers::static_int8
