#include "evaluation/latency.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <thread>
#include <vector>

#include "evaluation/message.h"

namespace narrow::evaluation {
namespace {

// Takes `milliseconds`, holds `bytes` of touched memory, and fails or dies at run `last`.
class Sleeper final : public Workload {
 public:
  Sleeper(double milliseconds, std::size_t bytes, int last = -1, bool die = false)
      : milliseconds_(milliseconds), memory_(bytes, 'x'), last_(last), die_(die) {}
  Status run() override {
    if (runs_++ == last_) {
      if (die_) ::raise(SIGKILL);
      return corrupt("run failed").context("inside").hint("try less");
    }
    std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(milliseconds_));
    return {};
  }
  void describe(BenchResult& result) override {
    result.weight_bytes = 42;
    result.kernels.push_back({"node", "Conv", "reference", 1.5});
  }

 private:
  double milliseconds_;
  std::vector<char> memory_;
  int runs_ = 0, last_;
  bool die_;
};

Contestant sleeper(double milliseconds, std::size_t bytes = 0, int last = -1, bool die = false) {
  return {"sleeper", [=]() -> Result<std::unique_ptr<Workload>> {
            return std::unique_ptr<Workload>(std::make_unique<Sleeper>(milliseconds, bytes, last, die));
          }};
}

TEST(Quantile, Interpolates) {
  EXPECT_DOUBLE_EQ(quantile({4, 1, 3, 2}, 0.5), 2.5);
  EXPECT_DOUBLE_EQ(quantile({5}, 0.95), 5);
  EXPECT_DOUBLE_EQ(quantile({0, 10}, 0.95), 9.5);
  EXPECT_DOUBLE_EQ(quantile({}, 0.5), 0);
}

TEST(Latency, MeasuresEachInItsOwnProcess) {
  constexpr std::size_t kBig = 64 << 20;
  const auto results = measure_latency({sleeper(2), sleeper(5, kBig)}, {0.1, 5, {}});
  ASSERT_TRUE(results.ok()) << results.error().to_string();
  ASSERT_EQ(results->size(), 2u);
  EXPECT_GE((*results)[0].latency_ms_p50, 2);
  EXPECT_GE((*results)[1].latency_ms_p50, 5);
  EXPECT_LT((*results)[0].latency_ms_min, 4.5);
  for (const BenchResult& result : *results) {
    EXPECT_GE(result.runs, 5u);
    EXPECT_EQ(result.runs, result.latencies_ms.size());
    EXPECT_GE(result.latency_ms_p95, result.latency_ms_p50);
    EXPECT_EQ(result.weight_bytes, 42u);
    ASSERT_EQ(result.kernels.size(), 1u);
    EXPECT_EQ(result.kernels[0].implementation, "reference");
  }
  // The second holds the memory, the first does not.
  EXPECT_GT((*results)[1].peak_memory_bytes, (*results)[0].peak_memory_bytes + kBig / 2);
}

TEST(Latency, PassesErrorsOnWithHintAndFrames) {
  for (const int last : {0, 40}) {  // while warming up, and while measuring
    const auto results = measure_latency({sleeper(4, 0, last)}, {0.6, 5, {}});
    ASSERT_FALSE(results.ok());
    EXPECT_EQ(results.error().code(), ErrorCode::kCorrupt);
    EXPECT_EQ(results.error().message(), "run failed");
    EXPECT_EQ(results.error().hint(), "try less");
    ASSERT_EQ(results.error().frames().size(), 2u);
    EXPECT_EQ(results.error().frames()[0], "inside");
  }
}

TEST(Latency, SaysWhenTheProcessWasKilled) {
  const auto results = measure_latency({sleeper(1, 0, 1, true)}, {0.1, 5, {}});
  ASSERT_FALSE(results.ok());
  EXPECT_EQ(results.error().code(), ErrorCode::kResourceExhausted);
  EXPECT_NE(results.error().message().find("signal 9"), std::string::npos);
}

TEST(Message, SurvivesThePipeAndRefusesShortPayloads) {
  int fds[2];
  ASSERT_EQ(::pipe(fds), 0);
  const std::string payload = Packer().number<std::uint64_t>(7).text("héllo").number(1.5).bytes();
  ASSERT_TRUE(send_message(fds[1], 3, payload).ok());
  const auto message = receive_message(fds[0]);
  ASSERT_TRUE(message.ok());
  EXPECT_EQ(message->kind, 3u);
  Unpacker in(message->payload);
  EXPECT_EQ(in.number<std::uint64_t>(), 7u);
  EXPECT_EQ(in.text(), "héllo");
  EXPECT_EQ(in.number<double>(), 1.5);
  EXPECT_TRUE(in.ok());
  EXPECT_EQ(in.number<std::uint64_t>(), 0u);
  EXPECT_FALSE(in.ok());
  for (std::size_t size = 0; size < payload.size(); ++size) {
    Unpacker shorter(std::string_view(payload).substr(0, size));
    shorter.number<std::uint64_t>();
    shorter.text();
    shorter.number<double>();
    EXPECT_FALSE(shorter.ok()) << size;
  }
  ::close(fds[1]);
  EXPECT_FALSE(receive_message(fds[0]).ok());
  ::close(fds[0]);
}

}  // namespace
}  // namespace narrow::evaluation
