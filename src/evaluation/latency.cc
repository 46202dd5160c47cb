#include "evaluation/latency.h"

#include <fmt/format.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <optional>

#include "evaluation/energy.h"
#include "evaluation/memory.h"
#include "evaluation/message.h"

namespace narrow::evaluation {
namespace {

enum Kind : std::uint32_t { kBurst, kFinish, kReady, kTimes, kFacts, kFailed };

// A burst is this long at least, so that the caches are a model's own again after the other's turn.
constexpr double kBurstSeconds = 0.1;
constexpr double kWarmUpSeconds = 0.15;
constexpr int kWarmUpRuns = 3;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Status report_failure(int out, const Error& error) {
  Packer packer;
  pack_error(packer, error);
  return send_message(out, kFailed, packer.bytes());
}

Status serve(const Contestant& contestant, int in, int out) {
  BenchResult facts;
  const double loading = now();
  auto made = contestant.make();
  if (!made.ok()) return report_failure(out, made.error());
  Workload& workload = **made;
  const double first = now();
  facts.load_ms = (first - loading) * 1e3;
  if (Status status = workload.run(); !status.ok()) return report_failure(out, status.error());
  const double start = now();
  facts.first_run_ms = (start - first) * 1e3;
  for (int i = 0; i < kWarmUpRuns || now() - start < kWarmUpSeconds; ++i) {
    if (Status status = workload.run(); !status.ok()) return report_failure(out, status.error());
    if (i >= kWarmUpRuns && now() - start > 2.0) break;
  }
  NARROW_RETURN_IF_ERROR(send_message(out, kReady, {}));
  while (true) {
    NARROW_TRY(const Message message, receive_message(in));
    if (message.kind == kFinish) break;
    Packer times;
    const double burst = now();
    // The first run of a burst refills the caches; it is not counted.
    if (Status status = workload.run(); !status.ok()) return report_failure(out, status.error());
    do {
      const double before = now();
      if (Status status = workload.run(); !status.ok()) return report_failure(out, status.error());
      times.number((now() - before) * 1e3);
    } while (now() - burst < kBurstSeconds);
    NARROW_RETURN_IF_ERROR(send_message(out, kTimes, times.bytes()));
  }
  facts.peak_memory_bytes = peak_resident_bytes();  // before a profile takes some of its own
  workload.describe(facts);
  Packer packer;
  pack(packer, facts);
  return send_message(out, kFacts, packer.bytes());
}

class Child {
 public:
  static Result<std::unique_ptr<Child>> start(const Contestant& contestant) {
    int to[2], from[2];
    if (::pipe2(to, O_CLOEXEC) != 0) return io_error("cannot make a pipe to a measuring process");
    if (::pipe2(from, O_CLOEXEC) != 0) {
      ::close(to[0]);
      ::close(to[1]);
      return io_error("cannot make a pipe to a measuring process");
    }
    const pid_t parent = ::getpid();
    const pid_t pid = ::fork();
    if (pid < 0) {
      for (const int fd : {to[0], to[1], from[0], from[1]}) ::close(fd);
      return resource_exhausted("cannot start a measuring process");
    }
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent) ::_exit(1);
      ::signal(SIGINT, SIG_DFL);
      ::signal(SIGTERM, SIG_DFL);
      ::signal(SIGBUS, SIG_DFL);
      ::close(to[1]);
      ::close(from[0]);
      ::_exit(serve(contestant, to[0], from[1]).ok() ? 0 : 1);
    }
    ::close(to[0]);
    ::close(from[1]);
    return std::unique_ptr<Child>(new Child(contestant.name, pid, to[1], from[0]));
  }

  ~Child() {
    ::close(in_);
    ::close(out_);
    reap(true);
  }

  Status send(Kind kind) { return send_message(in_, kind, {}); }

  // The next message, which must be of `kind`.
  Result<std::string> expect(Kind kind) {
    auto received = receive_message(out_);
    if (received.ok() && received->kind == kind) return std::move(received->payload);
    if (received.ok() && received->kind == kFailed) {
      Unpacker unpacker(received->payload);
      return unpack_error(unpacker).context(fmt::format("while measuring '{}'", name_));
    }
    const int status = reap(false);
    if (WIFSIGNALED(status)) {
      return resource_exhausted(fmt::format("the process that measured '{}' was killed by signal {}", name_,
                                            WTERMSIG(status)))
          .hint("Signal 9 usually means that memory ran out; signal 7, that the file was truncated while in use.");
    }
    return internal_error(fmt::format("the process that measured '{}' ended unexpectedly", name_));
  }

 private:
  Child(std::string name, pid_t pid, int in, int out) : name_(std::move(name)), pid_(pid), in_(in), out_(out) {}

  int reap(bool end) {
    if (pid_ < 0) return 0;
    if (end) ::kill(pid_, SIGKILL);
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {}
    pid_ = -1;
    return status;
  }

  std::string name_;
  pid_t pid_;
  int in_, out_;
};

struct Tally {
  std::vector<double> times;
  double busy_seconds = 0, microjoules = 0;
  bool metered = true;
};

BenchResult summarize(const Tally& tally, BenchResult facts, const EnergyMeter& meter, const std::string& name) {
  facts.path = name;
  facts.latencies_ms = tally.times;
  facts.runs = tally.times.size();
  facts.latency_ms_p50 = quantile(tally.times, 0.5);
  facts.latency_ms_p95 = quantile(tally.times, 0.95);
  facts.latency_ms_p99 = quantile(tally.times, 0.99);
  facts.latency_ms_min = *std::min_element(tally.times.begin(), tally.times.end());
  const double sum = std::accumulate(tally.times.begin(), tally.times.end(), 0.0);
  facts.latency_ms_mean = sum / static_cast<double>(tally.times.size());
  facts.throughput_per_s = 1e3 / facts.latency_ms_mean * static_cast<double>(std::max<std::uint64_t>(facts.batch, 1));
  facts.energy_note = meter.describe();
  if (meter.available() && tally.metered && tally.busy_seconds > 0) {
    // A burst also holds its uncounted first run: scale by the time that the counted ones took.
    facts.energy_mj_per_run = tally.microjoules * 1e-3 * (sum * 1e-3 / tally.busy_seconds) / static_cast<double>(tally.times.size());
  }
  return facts;
}

}  // namespace

double quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double position = share * static_cast<double>(values.size() - 1);
  const std::size_t below = static_cast<std::size_t>(position);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (values[above] - values[below]) * (position - static_cast<double>(below));
}

Result<std::vector<BenchResult>> measure_latency(const std::vector<Contestant>& contestants,
                                                 const LatencyOptions& options) {
  ::signal(SIGPIPE, SIG_IGN);
  std::vector<std::unique_ptr<Child>> children;
  // One after another, so that loading one does not disturb the peak or the warm-up of another.
  for (const Contestant& contestant : contestants) {
    NARROW_TRY(std::unique_ptr<Child> child, Child::start(contestant));
    NARROW_RETURN_IF_ERROR([&]() -> Status {
      NARROW_TRY([[maybe_unused]] const std::string ready, child->expect(kReady));
      return {};
    }());
    children.push_back(std::move(child));
  }

  EnergyMeter meter;
  std::vector<Tally> tallies(contestants.size());
  const auto satisfied = [&](const Tally& tally) {
    const double seconds = std::accumulate(tally.times.begin(), tally.times.end(), 0.0) * 1e-3;
    // However slow a model is, it gets no more than ten times the asked time.
    return (seconds >= options.seconds && tally.times.size() >= options.min_runs) ||
           (seconds >= options.seconds * 10 && tally.times.size() >= 3);
  };
  const auto rounds = static_cast<std::size_t>(std::ceil(options.seconds / kBurstSeconds));
  for (std::size_t round = 0; !std::all_of(tallies.begin(), tallies.end(), satisfied); ++round) {
    for (std::size_t i = 0; i < children.size(); ++i) {
      if (satisfied(tallies[i])) continue;
      const auto before = meter.microjoules();
      const double start = now();
      NARROW_RETURN_IF_ERROR(children[i]->send(kBurst));
      NARROW_TRY(const std::string payload, children[i]->expect(kTimes));
      tallies[i].busy_seconds += now() - start;
      const auto after = meter.microjoules();
      if (before && after) tallies[i].microjoules += *after - *before;
      else tallies[i].metered = false;
      Unpacker unpacker(payload);
      for (std::size_t n = payload.size() / sizeof(double); n != 0; --n) tallies[i].times.push_back(unpacker.number<double>());
    }
    if (options.progress) options.progress("measuring", std::min(round + 1, rounds), rounds);
  }

  std::vector<BenchResult> results;
  for (std::size_t i = 0; i < children.size(); ++i) {
    NARROW_RETURN_IF_ERROR(children[i]->send(kFinish));
    NARROW_TRY(const std::string payload, children[i]->expect(kFacts));
    Unpacker unpacker(payload);
    results.push_back(summarize(tallies[i], unpack_bench_result(unpacker), meter, contestants[i].name));
  }
  return results;
}

void pack(Packer& packer, const BenchResult& r) {
  packer.text(r.path).number(r.threads).number(r.runs).number(r.batch);
  packer.number(r.latency_ms_p50).number(r.latency_ms_p95).number(r.latency_ms_p99).number(r.load_ms).number(r.first_run_ms);
  packer.number(r.latency_ms_min).number(r.latency_ms_mean).number(r.throughput_per_s).number(r.peak_memory_bytes);
  packer.number(r.weight_bytes).number(r.arena_bytes).number(r.arena_unshared_bytes);
  packer.number(r.energy_mj_per_run.value_or(-1.0)).number(r.energy_estimate_mj.value_or(-1.0)).text(r.energy_note);
  packer.number<std::uint64_t>(r.latencies_ms.size());
  for (const double time : r.latencies_ms) packer.number(time);
  packer.number<std::uint64_t>(r.kernels.size());
  for (const KernelTime& k : r.kernels) packer.text(k.node).text(k.op_type).text(k.implementation).number(k.ms_per_run);
}

BenchResult unpack_bench_result(Unpacker& in) {
  BenchResult r;
  r.path = in.text();
  r.threads = in.number<int>();
  r.runs = in.number<std::uint64_t>();
  r.batch = in.number<std::uint64_t>();
  r.latency_ms_p50 = in.number<double>();
  r.latency_ms_p95 = in.number<double>();
  r.latency_ms_p99 = in.number<double>();
  r.load_ms = in.number<double>();
  r.first_run_ms = in.number<double>();
  r.latency_ms_min = in.number<double>();
  r.latency_ms_mean = in.number<double>();
  r.throughput_per_s = in.number<double>();
  r.peak_memory_bytes = in.number<std::uint64_t>();
  r.weight_bytes = in.number<std::uint64_t>();
  r.arena_bytes = in.number<std::uint64_t>();
  r.arena_unshared_bytes = in.number<std::uint64_t>();
  if (const double energy = in.number<double>(); energy >= 0) r.energy_mj_per_run = energy;
  if (const double estimate = in.number<double>(); estimate >= 0) r.energy_estimate_mj = estimate;
  r.energy_note = in.text();
  for (auto n = in.number<std::uint64_t>(); n != 0 && in.ok(); --n) r.latencies_ms.push_back(in.number<double>());
  for (auto n = in.number<std::uint64_t>(); n != 0 && in.ok(); --n) {
    KernelTime k;
    k.node = in.text();
    k.op_type = in.text();
    k.implementation = in.text();
    k.ms_per_run = in.number<double>();
    r.kernels.push_back(std::move(k));
  }
  return r;
}

}  // namespace narrow::evaluation
