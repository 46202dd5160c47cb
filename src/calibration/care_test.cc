#include "calibration/care.h"

#include <gtest/gtest.h>

#include <string>

namespace narrow::calibration {
namespace {

TEST(DataCare, NamesTheSampleThatStretchesRanges) {
  for (const int place : {0, 7, 19}) {
    DataCare care(10);
    for (int sample = 0; sample < 20; ++sample) {
      for (std::size_t v = 0; v < 10; ++v) {
        const float reach = sample == place && v < 6 ? 9.0f : 1.0f + 0.01f * static_cast<float>(sample);
        care.see(v, v % 2 == 0 ? -reach : 0.0f, v % 2 == 0 ? 0.5f : reach);
      }
      care.end_sample("sample " + std::to_string(sample));
    }
    CalibrationTable table;
    care.report(table);
    ASSERT_EQ(table.outliers.size(), 1u) << place;
    EXPECT_EQ(table.outliers[0].name, "sample " + std::to_string(place));
    EXPECT_EQ(table.outliers[0].values, 6u);
    EXPECT_NEAR(table.outliers[0].factor, 9 / 1.19, 0.2);
  }
}

TEST(DataCare, NamesNobodyWhereAllAreAlike) {
  DataCare care(4);
  for (int sample = 0; sample < 9; ++sample) {
    for (std::size_t v = 0; v < 4; ++v) care.see(v, -1, 1.0f + 0.02f * static_cast<float>(sample));
    care.end_sample("s");
  }
  CalibrationTable table;
  care.report(table);
  EXPECT_TRUE(table.outliers.empty());
}

TEST(DataCare, TellsHowFarRangesHadCome) {
  DataCare care(2);
  for (int sample = 1; sample <= 10; ++sample) {
    care.see(0, 0, static_cast<float>(sample));  // grows to the end
    care.see(1, 0, 1);                           // known from the first
    care.end_sample("s");
  }
  CalibrationTable table;
  care.report(table);
  ASSERT_EQ(table.convergence.size(), 5u);
  for (const auto& [i, samples, coverage] : {std::tuple(0, 1u, 0.55), std::tuple(1, 2u, 0.6), std::tuple(2, 4u, 0.7), std::tuple(3, 8u, 0.9), std::tuple(4, 10u, 1.0)}) {
    EXPECT_EQ(table.convergence[i].samples, samples);
    EXPECT_NEAR(table.convergence[i].coverage, coverage, 1e-6);
  }
}

}  // namespace
}  // namespace narrow::calibration
