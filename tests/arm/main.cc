// The tests of the integer kernels as one program for an emulated ARM; says which kernel the processor was given.
#include <gtest/gtest.h>

#include <cstdio>

#include "kernels/gemm_s8/gemm_s8.h"

int main(int argc, char** argv) {
  std::printf("fastest: %s\n", narrow::kernels::gemm_s8_name());
  std::fflush(stdout);
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
