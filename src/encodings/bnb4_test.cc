#include "encodings/bnb4.h"

#include <gtest/gtest.h>

namespace narrow::encodings {
namespace {

// bitsandbytes.functional.create_dynamic_map() of bitsandbytes 0.50.2.
TEST(DynamicMap, IsThatOfBitsandbytes) {
  const auto map = dynamic_map();
  EXPECT_EQ(map[0], -0x1.fc6666p-1f);
  EXPECT_EQ(map[1], -0x1.f53334p-1f);
  EXPECT_EQ(map[2], -0x1.ee0000p-1f);
  EXPECT_EQ(map[3], -0x1.e6ccccp-1f);
  EXPECT_EQ(map[127], 0);
  EXPECT_FLOAT_EQ(map[128], 5.5e-7f);
  EXPECT_FLOAT_EQ(map[254], 0.99296875f);
  EXPECT_EQ(map[255], 1);
  for (std::size_t i = 1; i < map.size(); ++i) EXPECT_LT(map[i - 1], map[i]);
  for (std::size_t i = 0; i < 127; ++i) EXPECT_EQ(map[i], -map[254 - i]);
}

}  // namespace
}  // namespace narrow::encodings
