// The measuring server: forked while the program is still small, it forks one child per model on request.
#include "narrow/bench.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <optional>

#include "api/data_impl.h"
#include "api/model_impl.h"
#include "evaluation/energy_estimate.h"
#include "evaluation/latency.h"
#include "evaluation/memory.h"
#include "evaluation/message.h"
#include "evaluation/session.h"
#include "evaluation/work.h"
#include "narrow/run.h"
#include "operators/infer.h"
#include "runtime/session.h"

namespace narrow {
namespace {

using evaluation::Packer;
using evaluation::Unpacker;

enum Kind : std::uint32_t { kRequest, kProgress, kResults, kFailed };

constexpr int kProfiledRuns = 50;
constexpr std::chrono::milliseconds kProfiledTime(500);

class ModelWorkload final : public evaluation::Workload {
 public:
  static Result<std::unique_ptr<evaluation::Workload>> make(const std::string& path, const BenchOptions& options) {
    auto workload = std::make_unique<ModelWorkload>();
    NARROW_TRY(Model model, Model::load(path));
    workload->batch_ = options.batch;
    workload->explain_ = options.explain;
    graph::Graph& graph = workload->graph_ = model.impl().model.graph.clone();
    if (options.batch != 0) NARROW_RETURN_IF_ERROR(set_batch(graph, static_cast<std::int64_t>(options.batch), path));
    NARROW_TRY(workload->inputs_, make_inputs(model, graph, options, workload->guessed_));
    workload->session_options_.threads = options.threads;
    NARROW_TRY(workload->session_, evaluation::open_session(graph, workload->session_options_));
    return std::unique_ptr<evaluation::Workload>(std::move(workload));
  }

  Status run() override {
    auto ran = session_->run(inputs_);
    if (ran.ok()) return {};
    if (batch_ > 1) {
      return invalid_argument(fmt::format("the model does not run on a batch of {}: {}", batch_, ran.error().message()))
          .hint("Its graph holds the batch that it was exported with; export it with an open batch dimension, or leave --batches out.");
    }
    if (guessed_.empty()) return std::move(ran).error();
    return invalid_argument(fmt::format("the model does not run on inputs of guessed shape ({}): {}", guessed_, ran.error().message()))
        .hint("Give real shapes with --shape NAME=…, or real inputs with --data.");
  }

  void describe(BenchResult& result) override {
    const runtime::MemoryUse use = session_->memory();
    result.batch = batch_;
    result.energy_estimate_mj = estimate_energy(graph_.clone(), inputs_);
    result.weight_bytes = use.weights;
    result.arena_bytes = use.arena;
    result.arena_unshared_bytes = use.arena_unshared;
    if (!explain_) return;
    // Clocks around every node cost time: they run after what was measured.
    session_.reset();
    session_options_.profile = true;
    auto session = evaluation::open_session(graph_, session_options_);
    if (!session.ok()) return;
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kProfiledRuns && (i < 3 || std::chrono::steady_clock::now() - start < kProfiledTime); ++i) {
      if (!(*session)->run(inputs_).ok()) return;
    }
    for (const runtime::NodeProfile& node : (*session)->profile()) {
      const double calls = static_cast<double>(std::max<std::int64_t>(node.calls, 1));
      result.kernels.push_back({node.name, node.op_type, node.implementation, node.total_ms / calls});
    }
    std::stable_sort(result.kernels.begin(), result.kernels.end(),
                     [](const KernelTime& a, const KernelTime& b) { return a.ms_per_run > b.ms_per_run; });
  }

 private:
  // Every input gets `batch` samples, and all that was known of the values behind them is found out anew.
  static Status set_batch(graph::Graph& graph, std::int64_t batch, const std::string& path) {
    for (const graph::ValueId id : fed_inputs(graph)) {
      graph::Value& input = graph.value(id);
      if (!input.type.ranked || input.type.dims.empty() || (input.type.dims[0].known() && input.type.dims[0].size != 1 && input.type.dims[0].size != batch)) {
        return invalid_argument(fmt::format("'{}': input '{}' is {}: its first dimension cannot become a batch of {}", path, input.name, to_string(input.type), batch));
      }
      input.type.dims[0] = batch;
    }
    for (const graph::Node& node : graph.nodes) {
      for (const graph::ValueId id : node.outputs) {
        if (id != graph::kNoValue) graph.value(id).type = {};
      }
    }
    NARROW_TRY([[maybe_unused]] const operators::Inference inference, operators::infer_types(graph));
    return {};
  }

  // Nothing when the graph cannot be typed.
  static std::optional<double> estimate_energy(graph::Graph graph, const std::vector<runtime::NamedTensor>& inputs) {
    for (const auto& [name, tensor] : inputs) {
      if (const graph::ValueId id = graph.find_value(name); id != graph::kNoValue) graph.value(id).type = graph::Type::of(tensor);
    }
    if (!operators::infer_types(graph).ok()) return std::nullopt;
    return evaluation::estimate_millijoules(evaluation::count_work(graph), evaluation::this_machine());
  }

  static Result<std::vector<runtime::NamedTensor>> make_inputs(const Model& model, const graph::Graph& graph, const BenchOptions& options, std::string& guessed) {
    if (!options.data.empty()) {
      NARROW_TRY(const Data data, Data::open(options.data, model, {options.preprocess, "", 1, options.tokenizer}));
      NARROW_TRY(datasets::Sample sample, data.impl().samples->read(0));
      return std::move(sample.inputs);
    }
    std::vector<datasets::InputSpec> specs;
    for (const graph::ValueId id : fed_inputs(graph)) specs.push_back({graph.value(id).name, graph.value(id).type});
    for (const auto& [name, shape] : options.shapes) {
      const auto spec = std::find_if(specs.begin(), specs.end(), [&name = name](const auto& s) { return s.name == name; });
      if (spec == specs.end()) return invalid_argument(fmt::format("'{}' has no input '{}'", model.impl().model.source_path, name));
      spec->type = graph::Type::tensor(spec->type.dtype, {shape.begin(), shape.end()});
      if (options.batch != 0 && !shape.empty()) spec->type.dims[0] = static_cast<std::int64_t>(options.batch);
    }
    NARROW_TRY(const auto dataset, datasets::synthetic_dataset(specs, 1, options.seed));
    NARROW_TRY(datasets::Sample sample, dataset->read(0));
    for (const datasets::InputSpec& spec : specs) {
      if (spec.type.static_shape()) continue;
      const auto made = std::find_if(sample.inputs.begin(), sample.inputs.end(), [&](const auto& input) { return input.first == spec.name; });
      if (made != sample.inputs.end()) guessed += fmt::format("{}{} {}", guessed.empty() ? "" : ", ", spec.name, to_string(made->second.shape()));
    }
    return std::move(sample.inputs);
  }

  std::unique_ptr<runtime::Session> session_;
  std::vector<runtime::NamedTensor> inputs_;
  graph::Graph graph_;
  runtime::SessionOptions session_options_;
  bool explain_ = false;
  std::uint64_t batch_ = 0;
  std::string guessed_;  // the inputs of which the model leaves the shape open, and what was taken
};

std::string pack_request(const std::vector<std::string>& models, const BenchOptions& options) {
  Packer packer;
  packer.number(options.threads).number(options.seconds).number(options.min_runs).number(options.seed);
  packer.text(options.data).text(options.preprocess).text(options.tokenizer).number(options.explain).number(options.batch);
  packer.number<std::uint64_t>(options.shapes.size());
  for (const auto& [name, shape] : options.shapes) {
    packer.text(name).number<std::uint64_t>(shape.size());
    for (const std::int64_t dim : shape) packer.number(dim);
  }
  packer.number<std::uint64_t>(models.size());
  for (const std::string& model : models) packer.text(model);
  return packer.bytes();
}

std::vector<std::string> unpack_request(const std::string& payload, BenchOptions& options) {
  Unpacker in(payload);
  options.threads = in.number<int>();
  options.seconds = in.number<double>();
  options.min_runs = in.number<std::uint64_t>();
  options.seed = in.number<std::uint64_t>();
  options.data = in.text();
  options.preprocess = in.text();
  options.tokenizer = in.text();
  options.explain = in.number<bool>();
  options.batch = in.number<std::uint64_t>();
  for (auto n = in.number<std::uint64_t>(); n != 0 && in.ok(); --n) {
    std::string name = in.text();
    std::vector<std::int64_t> shape(in.number<std::uint64_t>());
    for (std::int64_t& dim : shape) dim = in.number<std::int64_t>();
    options.shapes.emplace_back(std::move(name), std::move(shape));
  }
  std::vector<std::string> models;
  for (auto n = in.number<std::uint64_t>(); n != 0 && in.ok(); --n) models.push_back(in.text());
  return models;
}

// The server's life; returns when the other side closes its pipe.
void serve(int in, int out) {
  while (true) {
    const auto message = evaluation::receive_message(in);
    if (!message.ok()) return;
    BenchOptions options;
    const std::vector<std::string> models = unpack_request(message->payload, options);
    evaluation::LatencyOptions latency{options.seconds, options.min_runs, {}};
    latency.progress = [&](std::string_view, std::size_t done, std::size_t total) {
      (void)evaluation::send_message(out, kProgress, Packer().number<std::uint64_t>(done).number<std::uint64_t>(total).bytes());
    };
    std::vector<evaluation::Contestant> contestants;
    for (const std::string& path : models) {
      contestants.push_back({path, [&options, path] { return ModelWorkload::make(path, options); }});
    }
    const auto results = evaluation::measure_latency(contestants, latency);
    Packer packer;
    if (results.ok()) {
      packer.number<std::uint64_t>(results->size());
      for (const BenchResult& result : *results) evaluation::pack(packer, result);
    } else {
      evaluation::pack_error(packer, results.error());
    }
    if (!evaluation::send_message(out, results.ok() ? kResults : kFailed, packer.bytes()).ok()) return;
  }
}

}  // namespace

struct Bench::Impl {
  pid_t pid = -1;
  int in = -1, out = -1;  // to and from the server

  ~Impl() {
    if (pid < 0) return;
    ::close(in);
    ::close(out);
    ::kill(pid, SIGKILL);
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {}
  }
};

Bench::Bench(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Bench::Bench(Bench&&) noexcept = default;
Bench& Bench::operator=(Bench&&) noexcept = default;
Bench::~Bench() = default;

Result<Bench> Bench::start() {
  if (evaluation::thread_count() != 1) {
    return invalid_argument("a Bench must be started while the process has one thread")
        .hint("Start it first thing in the program.");
  }
  int to[2], from[2];
  if (::pipe2(to, O_CLOEXEC) != 0) return io_error("cannot make a pipe to the measuring process");
  if (::pipe2(from, O_CLOEXEC) != 0) {
    ::close(to[0]);
    ::close(to[1]);
    return io_error("cannot make a pipe to the measuring process");
  }
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) {
    for (const int fd : {to[0], to[1], from[0], from[1]}) ::close(fd);
    return resource_exhausted("cannot start the measuring process");
  }
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(1);
    ::signal(SIGINT, SIG_DFL);
    ::signal(SIGTERM, SIG_DFL);
    ::close(to[1]);
    ::close(from[0]);
    serve(to[0], from[1]);
    ::_exit(0);
  }
  ::close(to[0]);
  ::close(from[1]);
  ::signal(SIGPIPE, SIG_IGN);
  auto impl = std::make_unique<Impl>();
  impl->pid = pid;
  impl->in = to[1];
  impl->out = from[0];
  return Bench(std::move(impl));
}

Result<std::vector<BenchResult>> Bench::run(const std::vector<std::string>& models, const BenchOptions& options) {
  if (options.batch != 0 && !options.data.empty()) return invalid_argument("a batch is made of random inputs: data and a batch do not go together");
  if (options.threads < 1) return invalid_argument(fmt::format("{} threads make no sense, expected 1 or more", options.threads));
  NARROW_RETURN_IF_ERROR(evaluation::send_message(impl_->in, kRequest, pack_request(models, options)));
  while (true) {
    NARROW_TRY(const evaluation::Message message, evaluation::receive_message(impl_->out));
    Unpacker in(message.payload);
    if (message.kind == kProgress) {
      const auto done = in.number<std::uint64_t>(), total = in.number<std::uint64_t>();
      if (options.progress) options.progress("measuring", done, total);
      continue;
    }
    if (message.kind == kFailed) return evaluation::unpack_error(in);
    std::vector<BenchResult> results;
    for (auto n = in.number<std::uint64_t>(); n != 0 && in.ok(); --n) {
      results.push_back(evaluation::unpack_bench_result(in));
      results.back().threads = options.threads;
    }
    return results;
  }
}

}  // namespace narrow
