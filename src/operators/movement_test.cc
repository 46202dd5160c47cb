// Operators that move elements, against index arithmetic written out.
#include <numeric>

#include "operators/test_support.h"

namespace narrow::operators {
namespace {

using namespace testing;

std::vector<DType> moved_types() {
  std::vector<DType> types = numeric_types();
  types.push_back(DType::kBool);
  return types;
}

Tensor counted(DType dtype, const Shape& shape) {
  return fill(dtype, shape, [&](std::int64_t i) { return static_cast<double>(dtype == DType::kBool ? i * 7 % 3 == 0 : i % 100); });
}

std::string number(std::int64_t i) { return std::to_string(i); }

Tensor strings(const Shape& shape) {
  std::vector<std::string> values;
  for (std::int64_t i = 0; i < elements(shape); ++i) values.push_back("a string of some length " + number(i));
  return Tensor::from_strings(shape, std::move(values));
}

// y[at] must be x[source(at)].
void expect_moved(const Tensor& x, const Tensor& y, const std::function<std::vector<std::int64_t>(std::vector<std::int64_t>)>& source) {
  for (std::int64_t i = 0; i < y.size(); ++i) {
    const std::int64_t from = ravel(source(unravel(i, y.shape())), x.shape());
    if (x.dtype() == DType::kString) ASSERT_EQ(y.strings()[i], x.strings()[from]);
    else ASSERT_EQ(y.at_as_double(i), x.at_as_double(from)) << to_string(y.shape()) << " at " << i;
  }
}

TEST(Transpose, EveryPermutationOfEveryType) {
  for (const Shape& shape : {Shape{2, 3, 4, 5}, Shape{1, 70, 1, 33}, Shape{4, 0, 2, 3}}) {
    std::vector<std::int64_t> perm = {0, 1, 2, 3};
    do {
      for (DType dtype : moved_types()) {
        const Tensor x = counted(dtype, shape), y = run1("Transpose", {x}, {{"perm", perm}});
        for (int d = 0; d < 4; ++d) ASSERT_EQ(y.shape()[d], shape[perm[d]]);
        expect_moved(x, y, [&](std::vector<std::int64_t> at) {
          std::vector<std::int64_t> from(4);
          for (int d = 0; d < 4; ++d) from[perm[d]] = at[d];
          return from;
        });
      }
      expect_moved(strings(shape), run1("Transpose", {strings(shape)}, {{"perm", perm}}), [&](std::vector<std::int64_t> at) {
        std::vector<std::int64_t> from(4);
        for (int d = 0; d < 4; ++d) from[perm[d]] = at[d];
        return from;
      });
    } while (std::next_permutation(perm.begin(), perm.end()));
  }
}

TEST(Transpose, PackedElementsAndTheDefaultOrder) {
  Tensor x = *Tensor::create(DType::kS4, {3, 5});
  for (std::uint8_t i = 0; i < x.bytes(); ++i) static_cast<std::uint8_t*>(x.mutable_raw())[i] = static_cast<std::uint8_t>(i * 37 + 11);
  const Tensor y = run1("Transpose", {x});
  ASSERT_EQ(y.shape(), (Shape{5, 3}));
  expect_moved(x, y, [](std::vector<std::int64_t> at) { return std::vector<std::int64_t>{at[1], at[0]}; });
  EXPECT_EQ(run1("Transpose", {Tensor::scalar(3.0f)}).to_float(), std::vector<float>{3});
}

TEST(Transpose, BadPermutationsAreRefused) {
  for (const std::vector<std::int64_t>& perm : {std::vector<std::int64_t>{0, 0}, {0}, {0, 2}, {-1, 0}, {0, 1, 2}}) {
    EXPECT_NE(inferred("Transpose", {f32({2, 3})}, {{"perm", perm}}).find("not a permutation"), std::string::npos);
    EXPECT_FALSE(run("Transpose", {counted(DType::kF32, {2, 3})}, {{"perm", perm}}).ok());
  }
  EXPECT_EQ(inferred("Transpose", {f32({sym("N"), 3, 4})}, {{"perm", std::vector<std::int64_t>{2, 0, 1}}}), "f32[4,N,3]");
}

TEST(DepthToSpace, BothModesAndBack) {
  for (const char* mode : {"DCR", "CRD"}) {
    for (std::int64_t b : {1, 2, 3}) {
      const Shape in{2, 2 * b * b, 3, 4};
      const Tensor x = counted(DType::kF32, in);
      const Tensor y = run1("DepthToSpace", {x}, {{"blocksize", b}, {"mode", std::string(mode)}});
      ASSERT_EQ(y.shape(), (Shape{2, 2, 3 * b, 4 * b}));
      expect_moved(x, y, [&](std::vector<std::int64_t> at) {
        const std::int64_t row = at[2] % b, column = at[3] % b;
        const std::int64_t channel = mode[0] == 'D' ? (row * b + column) * 2 + at[1] : (at[1] * b + row) * b + column;
        return std::vector<std::int64_t>{at[0], channel, at[2] / b, at[3] / b};
      });
      EXPECT_EQ(run1("SpaceToDepth", {y}, {{"blocksize", b}, {"mode", std::string(mode)}}).to_float(), x.to_float());
    }
  }
  EXPECT_NE(inferred("DepthToSpace", {f32({1, 5, 2, 2})}, {{"blocksize", std::int64_t{2}}}).find("not a multiple of 4"), std::string::npos);
  EXPECT_NE(inferred("DepthToSpace", {f32({1, 4, 2, 2})}, {{"blocksize", std::int64_t{0}}}).find("blocksize is 0"), std::string::npos);
  EXPECT_EQ(inferred("DepthToSpace", {f32({sym("N"), 9, sym("H"), 2})}, {{"blocksize", std::int64_t{3}}}), "f32[N,1,?,6]");
}

TEST(Concat, AnyAxisAndCount) {
  for (std::int64_t axis = -3; axis < 3; ++axis) {
    for (DType dtype : moved_types()) {
      const std::size_t a = static_cast<std::size_t>(axis < 0 ? axis + 3 : axis);
      std::vector<Tensor> inputs;
      for (std::int64_t size : {2, 0, 5, 1}) {
        Shape shape{3, 4, 2};
        shape[a] = size;
        inputs.push_back(counted(dtype, shape));
      }
      const Tensor y = run1("Concat", inputs, {{"axis", axis}});
      ASSERT_EQ(y.shape()[a], 8);
      for (std::int64_t i = 0; i < y.size(); ++i) {
        auto at = unravel(i, y.shape());
        std::size_t part = 0;
        while (at[a] >= inputs[part].shape()[a]) at[a] -= inputs[part++].shape()[a];
        ASSERT_EQ(y.at_as_double(i), inputs[part].at_as_double(ravel(at, inputs[part].shape())));
      }
    }
  }
  const Tensor both = run1("Concat", {strings({2}), strings({1})}, {{"axis", std::int64_t{0}}});
  EXPECT_EQ(both.strings()[2], both.strings()[0]);
}

TEST(Concat, TypesAddUpAndConflictsAreNamed) {
  EXPECT_EQ(inferred("Concat", {f32({sym("N"), 3}), f32({sym("N"), 4})}, {{"axis", std::int64_t{1}}}), "f32[N,7]");
  EXPECT_EQ(inferred("Concat", {f32({sym("N"), 3}), f32({2, 3})}, {{"axis", std::int64_t{1}}}), "f32[2,6]");
  EXPECT_NE(inferred("Concat", {f32({2, 3}), f32({4, 3})}, {{"axis", std::int64_t{1}}}).find("dimension 0 is 2"), std::string::npos);
  EXPECT_NE(inferred("Concat", {f32({2, 3}), f32({2})}, {{"axis", std::int64_t{1}}}).find("expected rank 2"), std::string::npos);
  EXPECT_NE(inferred("Concat", {f32({2, 3})}, {{"axis", std::int64_t{2}}}).find("axis 2"), std::string::npos);
  EXPECT_NE(inferred("Concat", {f32({2, 3})}).find("axis is missing"), std::string::npos);
}

TEST(Split, SizesAndEqualParts) {
  const Tensor x = counted(DType::kF32, {2, 7, 3});
  const auto check = [&](const Result<std::vector<Tensor>>& parts, const std::vector<std::int64_t>& sizes) {
    ASSERT_TRUE(parts.ok());
    std::int64_t start = 0;
    for (std::size_t p = 0; p < sizes.size(); ++p) {
      ASSERT_EQ((*parts)[p].shape(), (Shape{2, sizes[p], 3}));
      expect_moved(x, (*parts)[p], [&](std::vector<std::int64_t> at) { at[1] += start; return at; });
      start += sizes[p];
    }
  };
  check(run("Split", {x, ints({1, 4, 2})}, {{"axis", std::int64_t{1}}}, 3), {1, 4, 2});
  check(run("Split", {x}, {{"axis", std::int64_t{-2}}, {"num_outputs", std::int64_t{3}}}, 3), {3, 3, 1});
  EXPECT_FALSE(run("Split", {x, ints({1, 4})}, {{"axis", std::int64_t{1}}}, 2).ok());
  EXPECT_FALSE(run("Split", {x, ints({-1, 8})}, {{"axis", std::int64_t{1}}}, 2).ok());
  EXPECT_EQ(inferred("Split", {f32({sym("N"), 6}), s64({2})}, {{"axis", std::int64_t{1}}}, {Tensor(), ints({2, 4})}, 1, 2), "f32[N,4]");
  EXPECT_EQ(inferred("Split", {f32({6, sym("N")})}, {{"num_outputs", std::int64_t{2}}}, {}, 1, 2), "f32[3,N]");
  EXPECT_NE(inferred("Split", {f32({6}), s64({2})}, {}, {Tensor(), ints({2, 3})}, 0, 2).find("adds up to 5, expected 6"), std::string::npos);
}

// numpy's basic slicing, one axis: the positions taken.
std::vector<std::int64_t> sliced(std::int64_t size, std::int64_t start, std::int64_t end, std::int64_t step) {
  std::vector<std::int64_t> out;
  if (start < 0) start += size;
  if (end < 0) end += size;
  if (step > 0) {
    start = std::clamp<std::int64_t>(start, 0, size);
    end = std::clamp<std::int64_t>(end, 0, size);
    for (std::int64_t i = start; i < end; i += step) out.push_back(i);
  } else {
    start = std::clamp<std::int64_t>(start, -1, size - 1);
    end = std::clamp<std::int64_t>(end, -1, size - 1);
    for (std::int64_t i = start; i > end; i += step) out.push_back(i);
  }
  return out;
}

TEST(Slice, EveryStartEndAndStep) {
  const Tensor x = counted(DType::kF32, {5, 3});
  for (std::int64_t start = -7; start <= 7; ++start) {
    for (std::int64_t end = -7; end <= 7; ++end) {
      for (std::int64_t step : {-3, -1, 1, 2, 9}) {
        const Tensor y = run1("Slice", {x, ints({start}), ints({end}), ints({0}), ints({step})});
        // A start before the first element, stepping down, takes the first element by the standard's clamping.
        std::vector<std::int64_t> rows = sliced(5, step < 0 ? std::max<std::int64_t>(start, -5) : start, end, step);
        if (step < 0 && end < -5) rows = sliced(5, std::max<std::int64_t>(start, -5), -6, step);
        ASSERT_EQ(y.shape(), (Shape{static_cast<std::int64_t>(rows.size()), 3})) << start << ":" << end << ":" << step;
        expect_moved(x, y, [&](std::vector<std::int64_t> at) { return std::vector<std::int64_t>{rows[at[0]], at[1]}; });
        EXPECT_EQ(inferred("Slice", {f32({5, 3}), s64({1}), s64({1}), s64({1}), s64({1})}, {},
                           {Tensor(), ints({start}), ints({end}), ints({0}), ints({step})}),
                  "f32[" + number(static_cast<std::int64_t>(rows.size())) + ",3]");
      }
    }
  }
}

TEST(Slice, ExtremesAndMistakes) {
  const std::int64_t most = std::numeric_limits<std::int64_t>::max(), least = std::numeric_limits<std::int64_t>::min();
  const Tensor x = counted(DType::kS32, {4});
  EXPECT_EQ(run1("Slice", {x, ints({-1}), ints({least}), ints({0}), ints({-1})}).to_int64(), (std::vector<std::int64_t>{3, 2, 1, 0}));
  EXPECT_EQ(run1("Slice", {x, ints({0}), ints({most}), ints({0}), ints({most})}).to_int64(), (std::vector<std::int64_t>{0}));
  EXPECT_EQ(run1("Slice", {x, ints({most}), ints({least}), ints({0}), ints({least})}).to_int64(), (std::vector<std::int64_t>{3}));
  EXPECT_FALSE(run("Slice", {x, ints({0}), ints({1}), ints({0}), ints({0})}).ok());
  EXPECT_FALSE(run("Slice", {x, ints({0}), ints({1, 2})}).ok());
  EXPECT_FALSE(run("Slice", {x, ints({0}), ints({1}), ints({1})}).ok());
  EXPECT_FALSE(run("Slice", {x, ints({0, 0}), ints({1, 1}), ints({0, -1})}).ok());
  EXPECT_EQ(inferred("Slice", {f32({sym("N"), sym("M")}), s64({1}), s64({1}), s64({1})}, {},
                     {Tensor(), ints({1}), ints({most}), ints({1})}), "f32[N,?]");
  EXPECT_EQ(inferred("Slice", {f32({sym("N")}), s64({1}), s64({1})}, {}, {Tensor(), ints({0}), ints({most})}), "f32[N]");
}

std::int64_t padded_source(std::int64_t at, std::int64_t size, const std::string& mode) {
  if (at >= 0 && at < size) return at;
  if (mode == "edge") return at < 0 ? 0 : size - 1;
  if (mode == "wrap") return ((at % size) + size) % size;
  while (size > 1 && (at < 0 || at >= size)) at = at < 0 ? -at : 2 * (size - 1) - at;  // reflect
  return size == 1 ? 0 : at;
}

TEST(Pad, EveryModeWithNegativePads) {
  for (const char* mode : {"constant", "reflect", "edge", "wrap"}) {
    for (const std::vector<std::int64_t>& pads : {std::vector<std::int64_t>{1, 2, 3, 0}, {0, 5, 7, 4}, {-1, 0, 2, -2}, {0, 0, 0, 0}, {9, 9, 9, 9}}) {
      for (DType dtype : {DType::kF32, DType::kS8, DType::kS64, DType::kBool, DType::kF16}) {
        const Tensor x = counted(dtype, {3, 4});
        const Tensor value = fill(dtype, {}, [](std::int64_t) { return 1.0; });
        const Tensor y = run1("Pad", {x, ints(pads), value}, {{"mode", std::string(mode)}});
        ASSERT_EQ(y.shape(), (Shape{3 + pads[0] + pads[2], 4 + pads[1] + pads[3]}));
        for (std::int64_t i = 0; i < y.size(); ++i) {
          const auto at = unravel(i, y.shape());
          const std::int64_t r = at[0] - pads[0], c = at[1] - pads[1];
          double expected = 1;
          if (mode[0] != 'c') expected = x.at_as_double(padded_source(r, 3, mode) * 4 + padded_source(c, 4, mode));
          else if (r >= 0 && r < 3 && c >= 0 && c < 4) expected = x.at_as_double(r * 4 + c);
          ASSERT_EQ(y.at_as_double(i), expected) << mode << " " << to_string(pads) << " at " << i;
        }
      }
    }
  }
}

TEST(Pad, AxesAndMistakes) {
  const Tensor x = counted(DType::kF32, {2, 3});
  EXPECT_EQ(run1("Pad", {x, ints({1, 2}), Tensor(), ints({-1})}).shape(), (Shape{2, 6}));
  EXPECT_FALSE(run("Pad", {x, ints({1, 2})}).ok());
  EXPECT_FALSE(run("Pad", {x, ints({-2, 0, -1, 0})}).ok());
  EXPECT_FALSE(run("Pad", {x, ints({0, 0, 0, 0})}, {{"mode", std::string("mirror")}}).ok());
  EXPECT_EQ(inferred("Pad", {f32({sym("N"), 3}), s64({4})}, {}, {Tensor(), ints({0, 1, 0, 1})}), "f32[N,5]");
  EXPECT_NE(inferred("Pad", {f32({2, 3}), s64({2})}, {}, {Tensor(), ints({0, 1})}).find("expected 4"), std::string::npos);
}

TEST(Expand, RepeatsAndRefuses) {
  const Tensor x = counted(DType::kF32, {3, 1});
  const Tensor y = run1("Expand", {x, ints({2, 1, 4})});
  ASSERT_EQ(y.shape(), (Shape{2, 3, 4}));
  for (std::int64_t i = 0; i < y.size(); ++i) EXPECT_EQ(y.at_as_double(i), broadcast_at(x, unravel(i, y.shape())));
  EXPECT_FALSE(run("Expand", {x, ints({2, 4})}).ok());
  EXPECT_FALSE(run("Expand", {x, ints({-1, 4})}).ok());
  EXPECT_FALSE(run("Expand", {x, ints({std::int64_t{1} << 40, std::int64_t{1} << 40, 3, 1})}).ok());
  EXPECT_FALSE(run("Expand", {x, ints({std::int64_t{1} << 50, 3, 1})}).ok());
  EXPECT_EQ(inferred("Expand", {f32({sym("N"), 1}), s64({2})}, {}, {Tensor(), ints({1, 5})}), "f32[N,5]");
}

TEST(Tile, RepeatsEachAxis) {
  const Tensor x = counted(DType::kS16, {2, 3});
  const Tensor y = run1("Tile", {x, ints({2, 3})});
  ASSERT_EQ(y.shape(), (Shape{4, 9}));
  expect_moved(x, y, [](std::vector<std::int64_t> at) { return std::vector<std::int64_t>{at[0] % 2, at[1] % 3}; });
  EXPECT_EQ(run1("Tile", {x, ints({0, 1})}).shape(), (Shape{0, 3}));
  EXPECT_FALSE(run("Tile", {x, ints({1})}).ok());
  EXPECT_FALSE(run("Tile", {x, ints({1, std::numeric_limits<std::int64_t>::max()})}).ok());
  EXPECT_EQ(inferred("Tile", {f32({sym("N"), 3}), s64({2})}, {}, {Tensor(), ints({1, 2})}), "f32[N,6]");
}

TEST(Gather, AnyAxisNegativeIndicesAllTypes) {
  for (DType dtype : moved_types()) {
    const Tensor x = counted(dtype, {4, 5, 3});
    for (std::int64_t axis = -3; axis < 3; ++axis) {
      const std::size_t a = static_cast<std::size_t>(axis < 0 ? axis + 3 : axis);
      const Tensor at = Tensor::from<std::int64_t>({2, 2}, {0, -1, 2, -3});
      const Tensor y = run1("Gather", {x, at}, {{"axis", axis}});
      expect_moved(x, y, [&](std::vector<std::int64_t> index) {
        const std::int64_t chosen = static_cast<std::int64_t>(at.at_as_double(index[a] * 2 + index[a + 1]));
        index.erase(index.begin() + static_cast<std::ptrdiff_t>(a) + 1);
        index[a] = chosen < 0 ? chosen + x.shape()[a] : chosen;
        return index;
      });
    }
  }
  EXPECT_EQ(run1("Gather", {strings({3}), Tensor::scalar<std::int32_t>(1)}).strings()[0], "a string of some length 1");
  EXPECT_FALSE(run("Gather", {counted(DType::kF32, {4}), ints({4})}).ok());
  EXPECT_FALSE(run("Gather", {counted(DType::kF32, {4}), ints({-5})}).ok());
  EXPECT_FALSE(run("Gather", {Tensor::scalar(1.0f), ints({0})}).ok());
  EXPECT_EQ(inferred("Gather", {f32({10, 4}), s64({sym("N"), 7})}), "f32[N,7,4]");
  EXPECT_NE(inferred("Gather", {f32({10, 4}), s64({1})}, {}, {Tensor(), ints({10})}).find("index 10"), std::string::npos);
}

TEST(GatherElements, AndGatherNd) {
  const Tensor x = counted(DType::kF32, {3, 4});
  const Tensor at = Tensor::from<std::int64_t>({2, 4}, {0, 1, 2, -1, 2, 2, 0, -3});
  const Tensor y = run1("GatherElements", {x, at}, {{"axis", std::int64_t{0}}});
  for (std::int64_t i = 0; i < 8; ++i) {
    const double row = at.at_as_double(i);
    EXPECT_EQ(y.at_as_double(i), x.at_as_double(static_cast<std::int64_t>(row < 0 ? row + 3 : row) * 4 + i % 4));
  }
  EXPECT_FALSE(run("GatherElements", {x, Tensor::from<std::int64_t>({2, 4}, {0, 1, 3, 0, 0, 0, 0, 0})}).ok());
  EXPECT_FALSE(run("GatherElements", {x, Tensor::from<std::int64_t>({1, 5}, {0, 0, 0, 0, 0})}).ok());
  const Tensor data = counted(DType::kF32, {2, 3, 4});
  const Tensor pairs = Tensor::from<std::int64_t>({3, 2}, {0, 2, 1, -1, -2, 0});
  const Tensor nd = run1("GatherND", {data, pairs});
  ASSERT_EQ(nd.shape(), (Shape{3, 4}));
  const std::int64_t starts[] = {8, 20, 0};
  for (std::int64_t i = 0; i < 12; ++i) EXPECT_EQ(nd.at_as_double(i), data.at_as_double(starts[i / 4] + i % 4));
  const Tensor batched = run1("GatherND", {data, Tensor::from<std::int64_t>({2, 1}, {1, 2})}, {{"batch_dims", std::int64_t{1}}});
  ASSERT_EQ(batched.shape(), (Shape{2, 4}));
  for (std::int64_t i = 0; i < 8; ++i) EXPECT_EQ(batched.at_as_double(i), data.at_as_double((i < 4 ? 4 : 20) + i % 4));
  EXPECT_FALSE(run("GatherND", {data, Tensor::from<std::int64_t>({1, 4}, {0, 0, 0, 0})}).ok());
  EXPECT_FALSE(run("GatherND", {data, Tensor::from<std::int64_t>({1, 2}, {0, 3})}).ok());
}

TEST(TensorScatter, WritesStepsLinearAndAroundTheEnd) {
  for (const Shape& shape : {Shape{2, 5, 3}, Shape{2, 2, 5, 3}, Shape{2, 5}}) {
    const int axis = shape.size() == 2 ? 1 : static_cast<int>(shape.size()) - 2;
    for (std::int64_t steps = 0; steps <= 5; ++steps) {
      for (std::int64_t start = 0; start < 8; ++start) {
        Shape part = shape;
        part[axis] = steps;
        const Tensor cache = counted(DType::kF16, shape);
        const Tensor update = fill(DType::kF16, part, [](std::int64_t i) { return static_cast<double>(i + 100); });
        const Attributes attributes = {{"axis", std::int64_t{axis}}, {"mode", std::string("circular")}};
        const Tensor y = run1("TensorScatter", {cache, update, ints({start, 1})}, attributes);
        for (std::int64_t i = 0; i < y.size(); ++i) {
          auto at = unravel(i, shape);
          const std::int64_t step = (at[axis] - (at[0] == 0 ? start : 1) + 10) % 5;
          double expected = cache.at_as_double(i);
          if (step < steps) {
            at[axis] = step;
            expected = update.at_as_double(ravel(at, part));
          }
          ASSERT_EQ(y.at_as_double(i), expected);
        }
        EXPECT_EQ(run("TensorScatter", {cache, update, ints({start, 0})}, {{"axis", std::int64_t{axis}}}).ok(), start + steps <= 5);
      }
    }
  }
  const Tensor cache = counted(DType::kF32, {1, 4, 2});
  EXPECT_FALSE(run("TensorScatter", {cache, counted(DType::kF32, {1, 5, 2})}).ok());
  EXPECT_FALSE(run("TensorScatter", {cache, counted(DType::kF32, {1, 2, 2}), ints({-1})}).ok());
  EXPECT_FALSE(run("TensorScatter", {cache, counted(DType::kF32, {1, 2, 2}), ints({0})}, {{"axis", std::int64_t{0}}}).ok());
}

TEST(Compress, AlongAnAxisAndFlat) {
  const Tensor x = counted(DType::kF32, {3, 2});
  const Tensor keep = fill(DType::kBool, {3}, [](std::int64_t i) { return static_cast<double>(i != 1); });
  EXPECT_EQ(run1("Compress", {x, keep}, {{"axis", std::int64_t{0}}}).to_float(), (std::vector<float>{0, 1, 4, 5}));
  EXPECT_EQ(run1("Compress", {x, keep}).to_float(), (std::vector<float>{0, 2}));
  EXPECT_FALSE(run("Compress", {x, keep}, {{"axis", std::int64_t{1}}}).ok());
}

}  // namespace
}  // namespace narrow::operators
