#include "narrow/result.h"

#include <gtest/gtest.h>

#include <memory>

namespace narrow {
namespace {

Result<std::unique_ptr<int>> make(bool good) {
  if (!good) return corrupt("conv1: weight 'w' has shape [64,3], expected rank 4").hint("Re-export the model.");
  return std::make_unique<int>(7);
}

Result<int> use(bool good) {
  NARROW_TRY(auto pointer, make(good));
  return *pointer + 1;
}

Status pass_on(bool good) {
  NARROW_RETURN_IF_ERROR(make(good));
  return {};
}

TEST(Result, TryGivesTheValueOrReturnsTheError) {
  EXPECT_EQ(*use(true), 8);
  ASSERT_FALSE(use(false).ok());
  EXPECT_EQ(use(false).error().code(), ErrorCode::kCorrupt);
  EXPECT_TRUE(pass_on(true).ok());
  EXPECT_FALSE(pass_on(false).ok());
}

TEST(Error, TextHasFramesInOrderAndTheNearestHint) {
  Result<int> r = use(false).context("while importing a.onnx").context("while quantizing");
  const Error error = std::move(r).error().hint("a later, farther hint");
  EXPECT_EQ(error.to_string(),
            "corrupt file: conv1: weight 'w' has shape [64,3], expected rank 4\n"
            "  while importing a.onnx\n  while quantizing\nhint: Re-export the model.");
}

TEST(Error, HostileNamesAreEscaped) {
  EXPECT_EQ(corrupt("node '\x1b]0;x\x07'").to_string(), "corrupt file: node '\\x1b]0;x\\x07'");
}

}  // namespace
}  // namespace narrow
