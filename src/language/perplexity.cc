#include "language/perplexity.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "language/architectures/architectures.h"
#include "language/decoder.h"
#include "runtime/session.h"

namespace narrow::language {
namespace {

using graph::Dim;
using graph::Graph;
using graph::Node;
using graph::Type;
using graph::ValueId;

constexpr std::int64_t kUsualContext = 2048;
constexpr std::int64_t kMostTokens = 2048, kMostLogits = 1 << 24;  // of one run

// The likelihood of `targets` in place of all logits.
void append_likelihood(Graph& graph) {
  const ValueId logits = graph.outputs[0];
  const ValueId targets = graph.add_value("targets", Type::tensor(DType::kS64, {Dim("batch"), Dim("length"), Dim(1)}));
  graph.inputs.push_back(targets);
  const auto add = [&](const char* op, std::vector<ValueId> inputs) {
    Node node;
    node.name = node.op_type = op;
    node.inputs = std::move(inputs);
    node.outputs = {graph.add_value(op, Type())};
    node.set("axis", std::int64_t{-1});
    graph.nodes.push_back(std::move(node));
    return graph.nodes.back().outputs[0];
  };
  graph.outputs = {add("GatherElements", {add("LogSoftmax", {logits}), targets})};
}

}  // namespace

Result<Perplexity> measure_perplexity(const Spec& spec, const WeightSource& weights, std::span<const std::int64_t> tokens, const PerplexityOptions& options) {
  if (!spec.known) return unknown_architecture("config.json", spec.family);
  if (spec.encoder) return unsupported(fmt::format("'{}' is an encoder: it predicts no next token, so its texts have no perplexity", spec.family)).hint("Judge it on scored pairs of sentences: --metric spearman.");
  Perplexity result;
  const std::int64_t context = options.context != 0 ? options.context : std::min(kUsualContext, spec.max_positions);
  const std::int64_t stride = options.stride != 0 ? options.stride : context;
  const auto count = static_cast<std::int64_t>(tokens.size());
  if (context < 2 || stride < 1 || stride > context) return invalid_argument(fmt::format("a context of {} tokens with stride {} makes no windows", context, stride)).hint("The context is at least 2, the stride from 1 to the context.");
  if (context > spec.max_positions) return invalid_argument(fmt::format("a context of {} tokens is more than the model's {} positions", context, spec.max_positions)).hint(fmt::format("Use --context {} or less.", spec.max_positions));
  if (count < context) return invalid_argument(fmt::format("the text has {} tokens, fewer than one window of {}", count, context)).hint("Give a longer text, or a smaller --context.");
  for (const std::int64_t token : tokens) {
    if (token < 0 || token >= spec.vocabulary) return invalid_argument(fmt::format("the text has token {}, but the model knows {}", token, spec.vocabulary)).hint("The tokenizer is not this model's: give its own with --tokenizer.");
  }
  std::int64_t windows = (count - context) / stride + 1;
  if (options.windows != 0) windows = std::min(windows, options.windows);

  DecoderOptions decoder;
  decoder.positions = context;
  NARROW_TRY(Graph graph, build_decoder(spec, weights, decoder));
  append_likelihood(graph);
  runtime::SessionOptions session_options;
  session_options.threads = options.threads;
  NARROW_TRY(const auto session, runtime::Session::create(graph, session_options));

  const std::int64_t length = context - 1;  // the last token of a window has no next one
  const std::int64_t batch = std::clamp<std::int64_t>(std::min(kMostTokens / length, kMostLogits / length / spec.vocabulary), 1, windows);
  double nll = 0;
  for (std::int64_t first = 0; first < windows; first += batch) {
    const std::int64_t now = std::min(batch, windows - first);
    Tensor ids = *Tensor::create(DType::kS64, {now, length}), positions = ids.clone(), targets = *Tensor::create(DType::kS64, {now, length, 1});
    for (std::int64_t w = 0; w < now; ++w) {
      for (std::int64_t i = 0; i < length; ++i) {
        const auto at = static_cast<std::size_t>(w * length + i), token = static_cast<std::size_t>((first + w) * stride + i);
        ids.mutable_data<std::int64_t>()[at] = tokens[token];
        positions.mutable_data<std::int64_t>()[at] = i;
        targets.mutable_data<std::int64_t>()[at] = tokens[token + 1];
      }
    }
    const runtime::NamedTensor inputs[] = {{"input_ids", ids}, {"position_ids", positions}, {"targets", targets}};
    NARROW_TRY(const std::vector<Tensor> outputs, session->run(inputs));
    const std::span<const float> found = outputs[0].data<float>();
    for (std::int64_t w = 0; w < now; ++w) {
      // Position i predicts token i + 1 of the window; of later windows the last `stride` tokens are new.
      const std::int64_t begin = first + w == 0 ? 0 : std::max<std::int64_t>(0, context - stride - 1);
      double sum = 0;
      for (std::int64_t i = begin; i < length; ++i) sum -= found[static_cast<std::size_t>(w * length + i)];
      nll += sum;
      result.predicted += length - begin;
    }
    if (options.progress) options.progress("perplexity", static_cast<std::size_t>(first + now), static_cast<std::size_t>(windows));
  }
  result.mean_nll = nll / static_cast<double>(result.predicted);
  result.perplexity = std::exp(result.mean_nll);
  result.windows = windows;
  result.tokens = count;
  result.context = context;
  result.stride = stride;
  return result;
}

}  // namespace narrow::language
