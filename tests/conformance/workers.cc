#include "conformance/workers.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>

namespace narrow::conformance {
namespace {

// What one process is to do: every `step`-th case from `next`.
struct Share {
  base::Isa isa;
  std::size_t next, step;
};

struct Worker {
  Share share;
  pid_t pid = -1;
  int pipe = -1;
  std::string received;
};

// A record: how many modes failed, then each mode's text, each with its length in front.
void append_text(std::string& out, const std::string& text) {
  const auto size = static_cast<std::uint32_t>(text.size());
  out.append(reinterpret_cast<const char*>(&size), sizeof size);
  out += text;
}

// Takes one record off the front of `received`; false when it is not complete yet.
bool take_outcome(std::string& received, Outcome& outcome) {
  std::size_t at = 0;
  for (std::string& text : outcome) {
    std::uint32_t size = 0;
    if (received.size() - at < sizeof size) return false;
    std::memcpy(&size, received.data() + at, sizeof size);
    at += sizeof size;
    if (received.size() - at < size) return false;
    text = received.substr(at, size);
    at += size;
  }
  received.erase(0, at);
  return true;
}

void write_all(int pipe, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(pipe, bytes.data(), bytes.size());
    if (written <= 0) ::_exit(3);  // the parent is gone
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
}

[[noreturn]] void work(const std::vector<Case>& cases, const Share& share, int seconds, int pipe) {
  ::setenv("NARROW_ISA", std::string(base::to_string(share.isa)).c_str(), 1);
  for (std::size_t i = share.next; i < cases.size(); i += share.step) {
    const itimerval limit = {{0, 0}, {seconds, 0}};  // of processor time: a busy machine makes no case fail
    ::setitimer(ITIMER_PROF, &limit, nullptr);
    std::string record;
    for (const std::string& text : check(cases[i])) append_text(record, text);
    write_all(pipe, record);
  }
  ::_exit(0);
}

Result<Worker> start(const std::vector<Case>& cases, const Share& share, int seconds) {
  int ends[2];
  if (::pipe(ends) != 0) return resource_exhausted("cannot make a pipe");
  const pid_t pid = ::fork();
  if (pid < 0) return resource_exhausted("cannot start a process");
  if (pid == 0) {
    ::close(ends[0]);
    work(cases, share, seconds, ends[1]);
  }
  ::close(ends[1]);
  return Worker{share, pid, ends[0], {}};
}

std::string how_it_ended(int status, int seconds) {
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGPROF) return fmt::format("it took more than {} s of processor time", seconds);
  if (WIFSIGNALED(status)) return fmt::format("CRASH: signal {} ({})", WTERMSIG(status), ::strsignal(WTERMSIG(status)));
  return fmt::format("CRASH: the process ended with code {}", WEXITSTATUS(status));
}

}  // namespace

Status check_all(const std::vector<Case>& cases, const WorkerOptions& options,
                 const std::function<void(std::size_t, base::Isa, const Outcome&)>& report) {
  std::deque<Share> waiting;
  const auto jobs = static_cast<std::size_t>(std::max(1, options.jobs));
  for (const base::Isa isa : options.isas) {
    for (std::size_t j = 0; j < jobs; ++j) waiting.push_back({isa, j, jobs});
  }
  std::vector<Worker> running;
  while (!waiting.empty() || !running.empty()) {
    while (running.size() < jobs && !waiting.empty()) {
      const Share share = waiting.front();
      waiting.pop_front();
      if (share.next >= cases.size()) continue;
      NARROW_TRY(Worker worker, start(cases, share, options.seconds_a_case));
      running.push_back(std::move(worker));
    }
    std::vector<pollfd> watched;
    for (const Worker& worker : running) watched.push_back({worker.pipe, POLLIN, 0});
    ::poll(watched.data(), watched.size(), -1);
    for (std::size_t w = watched.size(); w-- > 0;) {
      if (watched[w].revents == 0) continue;
      Worker& worker = running[w];
      char buffer[65536];
      const ssize_t size = ::read(worker.pipe, buffer, sizeof buffer);
      if (size > 0) worker.received.append(buffer, static_cast<std::size_t>(size));
      Outcome outcome;
      while (take_outcome(worker.received, outcome)) {
        report(worker.share.next, worker.share.isa, outcome);
        worker.share.next += worker.share.step;
      }
      if (size > 0) continue;
      int status = 0;
      ::waitpid(worker.pid, &status, 0);
      ::close(worker.pipe);
      if (worker.share.next < cases.size()) {  // it died over a case: that one is done, another process goes on
        outcome.fill(how_it_ended(status, options.seconds_a_case));
        report(worker.share.next, worker.share.isa, outcome);
        worker.share.next += worker.share.step;
        waiting.push_front(worker.share);
      }
      running.erase(running.begin() + static_cast<std::ptrdiff_t>(w));
    }
  }
  return {};
}

}  // namespace narrow::conformance
