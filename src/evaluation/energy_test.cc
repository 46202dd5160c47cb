#include "evaluation/energy.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace narrow::evaluation {
namespace {

class Powercap : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = std::filesystem::path(::testing::TempDir()) / "narrow_powercap";
    std::filesystem::remove_all(root_);
    std::filesystem::create_directories(root_);
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  void set(const std::string& domain, std::uint64_t energy) {
    std::filesystem::create_directories(root_ / domain);
    std::ofstream(root_ / domain / "energy_uj") << energy;
    std::ofstream(root_ / domain / "max_energy_range_uj") << 1000;
  }
  std::filesystem::path root_;
};

TEST_F(Powercap, AddsPackagesAndLeavesOutTheirParts) {
  set("intel-rapl:0", 100);
  set("intel-rapl:1", 10);
  set("intel-rapl:0:0", 5);
  EnergyMeter meter(root_);
  EXPECT_TRUE(meter.available());
  EXPECT_EQ(meter.describe(), "RAPL, 2 packages");
  set("intel-rapl:0", 150);
  set("intel-rapl:1", 11);
  set("intel-rapl:0:0", 900);
  EXPECT_EQ(meter.microjoules(), 51.0);
}

TEST_F(Powercap, SurvivesTheCounterWrappingAround) {
  set("intel-rapl:0", 990);
  EnergyMeter meter(root_);
  set("intel-rapl:0", 20);
  EXPECT_EQ(meter.microjoules(), 30.0);
}

TEST_F(Powercap, SaysWhenThereIsNone) {
  EnergyMeter meter(root_ / "missing");
  EXPECT_FALSE(meter.available());
  EXPECT_EQ(meter.describe(), "no meter");
  EXPECT_FALSE(meter.microjoules());
}

TEST(EnergyText, SaysWhatIsMeasuredAndWhatEstimated) {
  BenchResult result;
  result.energy_note = "no meter";
  EXPECT_EQ(energy_text(result), "no meter");
  result.energy_estimate_mj = 1.234;
  EXPECT_EQ(energy_text(result), "≈ 1.23 mJ est.");
  result.energy_mj_per_run = 5.0;
  EXPECT_EQ(energy_text(result), "5 mJ");
}

}  // namespace
}  // namespace narrow::evaluation
