// The judge itself: what it takes for equal, and what it makes of the list of expected failures.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>

#include "conformance/compare.h"
#include "conformance/expectations.h"

namespace narrow::conformance {
namespace {

Tensor f32(std::vector<float> values) {
  return Tensor::from<float>({static_cast<std::int64_t>(values.size())}, std::span<const float>(values));
}
Tensor f16(float value) { return Tensor::scalar(base::to_float16(value)); }
Tensor bf16(float value) { return Tensor::scalar(base::to_bfloat16(value)); }

TEST(Difference, FloatsMayDifferByAThousandth) {
  EXPECT_EQ(difference(f32({1, -1000, 0}), f32({1.0009f, -1000.9f, 0.9e-7f})), "");
  EXPECT_NE(difference(f32({1}), f32({1.0011f})), "");
  EXPECT_NE(difference(f32({0}), f32({2e-7f})), "");
  EXPECT_NE(difference(f32({1, 2, 3}), f32({1, 2.5f, 3.5f})).find("element 1 is 2.5"), std::string::npos);
  EXPECT_NE(difference(f32({1, 2, 3}), f32({1, 2.1f, 3.1f})).find("2 of 3 differ"), std::string::npos);
}

TEST(Difference, NaNIsNaNAndInfinityHasASign) {
  const float nan = std::nanf(""), inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(difference(f32({nan, inf, -inf}), f32({nan, inf, -inf})), "");
  EXPECT_NE(difference(f32({nan}), f32({1})), "");
  EXPECT_NE(difference(f32({1}), f32({nan})), "");
  EXPECT_NE(difference(f32({inf}), f32({-inf})), "");
  EXPECT_NE(difference(f32({inf}), f32({3e38f})), "");
}

TEST(Difference, HalvesMayDifferByTwoUnits) {
  EXPECT_EQ(difference(f16(1), f16(1 + 0x1p-10f)), "");
  EXPECT_NE(difference(f16(1), f16(1 + 0x1.8p-9f)), "");
  EXPECT_EQ(difference(bf16(1), bf16(1 + 0x1p-7f)), "");
  EXPECT_NE(difference(bf16(1), bf16(1 + 0x1.8p-6f)), "");
}

TEST(Difference, IntegersTypesAndShapesAreExact) {
  const auto big = std::int64_t{1} << 60;
  EXPECT_EQ(difference(Tensor::scalar(big), Tensor::scalar(big)), "");
  EXPECT_NE(difference(Tensor::scalar(big), Tensor::scalar(big + 1)), "");
  EXPECT_NE(difference(Tensor::scalar<std::int32_t>(7), Tensor::scalar<std::int64_t>(7)), "");
  EXPECT_NE(difference(f32({1}), Tensor::scalar(1.0f)), "");
  EXPECT_NE(difference(Tensor::from_strings({1}, {"a"}), Tensor::from_strings({1}, {"b"})), "");
  EXPECT_NE(difference(f32({1}), Tensor()), "");
}

TEST(Difference, SequencesTensorByTensor) {
  const auto pair = [](float last) { return RuntimeValue::sequence(DType::kF32, {f32({1}), f32({last})}); };
  const RuntimeValue empty = RuntimeValue::sequence(DType::kF32, {});
  EXPECT_EQ(difference(pair(2), pair(2)), "");
  EXPECT_NE(difference(pair(2), pair(3)).find("tensor 1"), std::string::npos);
  EXPECT_NE(difference(pair(2), empty), "");
  EXPECT_NE(difference(empty, RuntimeValue::sequence(DType::kS64, {})), "");
  EXPECT_NE(difference(RuntimeValue(f32({1})), RuntimeValue::nothing()), "");
  EXPECT_EQ(difference(RuntimeValue::nothing(), RuntimeValue::nothing()), "");
}

Result<Expectations> read(const std::string& text) {
  const auto path = std::filesystem::temp_directory_path() / "narrow_expectations_test.tsv";
  std::ofstream(path) << text;
  auto read = read_expectations(path);
  std::filesystem::remove(path);
  return read;
}

TEST(Expectations, AreReadLineByLine) {
  const auto list = read("# a comment\nnode/test_a\tin\tall\tbecause\n\nnode/test_b\tstrings\tavx2,avx512\tno strings\n");
  ASSERT_TRUE(list.ok()) << list.error().to_string();
  ASSERT_EQ(list->size(), 2u);
  EXPECT_TRUE(list->at("node/test_a").fails_on("scalar"));
  EXPECT_EQ(list->at("node/test_b").scope, "strings");
  EXPECT_TRUE(list->at("node/test_b").fails_on("avx512"));
  EXPECT_FALSE(list->at("node/test_b").fails_on("avx512vnni"));
}

TEST(Expectations, SayWhichLineIsWrong) {
  EXPECT_NE(read("node/test_a\tin\tall\n").error().message().find(":1:"), std::string::npos);
  EXPECT_NE(read("#\nnode/test_a\tmaybe\tall\twhy\n").error().message().find(":2:"), std::string::npos);
  EXPECT_FALSE(read("node/test_a\tin\tall\twhy\nnode/test_a\tin\tall\twhy\n").ok());
}

}  // namespace
}  // namespace narrow::conformance
