#include "planning/decision.h"

#include <fmt/format.h>

#include <array>

#include "base/text.h"

namespace narrow::planning {
namespace {

constexpr std::array<std::string_view, 3> kPriorities = {"latency", "size", "accuracy"};

std::string data_answer(const Facts& facts) {
  if (!facts.data) return "none";
  return fmt::format("{} {} samples", facts.samples, facts.labels ? "labelled" : "unlabelled");
}

std::string data_consequence(const Facts& facts, const Wishes& wishes) {
  if (facts.labels) return fmt::format("the task metric may fall by {:g} points", wishes.max_drop);
  if (facts.data) return fmt::format("without labels the float model is the judge: {:g} % of the best classes may differ, or of the outputs' power be noise", wishes.max_drop);
  return "ranges of activations cannot be measured";
}

std::string target_answer(const targets::Target& target) {
  return fmt::format("{}: {} {} activations, bias {}", target.name, target.activation.symmetric ? "symmetric" : "asymmetric",
                     to_string(target.activation.storage_type), target.bias == targets::BiasRule::kInt32 ? "in 32-bit integers" : "in float");
}

}  // namespace

Result<Priority> parse_priority(const std::string& name) {
  for (std::size_t i = 0; i < kPriorities.size(); ++i) {
    if (kPriorities[i] == name) return static_cast<Priority>(i);
  }
  return invalid_argument(fmt::format("there is no priority '{}', expected latency, size or accuracy{}", base::escape_controls(name), base::did_you_mean(name, kPriorities)));
}

Result<Decision> decide(const Facts& facts, const Wishes& wishes) {
  Decision decision;
  std::vector<PlanStep>& path = decision.path;
  path.push_back({"Could the model be trained again?", wishes.retraining ? "yes" : "no",
                  wishes.retraining ? "quantization-aware training would recover most, but narrow does not train yet: methods after training come first"
                                    : "methods after training"});
  if (wishes.retraining) {
    decision.notes.push_back("quantization-aware training (QAT) is deferred: narrow does not train yet. What follows needs no training; train only if it misses");
  }
  path.push_back({"What is the model?", std::string(kind_name(facts.kind)), ""});
  std::string& kind = path.back().consequence;
  path.push_back({"Which data are there?", data_answer(facts), data_consequence(facts, wishes)});
  const bool dynamic = wishes.target->dynamic_matmul || wishes.target->dynamic_lstm;
  path.push_back({"What does the target accept?", target_answer(*wishes.target), dynamic ? "ranges may be taken while it runs" : "ranges must be fixed beforehand: no dynamic quantization"});
  path.push_back({"What comes first?", std::string(kPriorities[static_cast<std::size_t>(wishes.priority)]),
                  wishes.priority == Priority::kAccuracy ? "of what meets the targets, the most accurate"
                  : wishes.priority == Priority::kSize   ? "of what meets the targets, the smallest"
                                                         : "of what meets the targets, what keeps most work in integers"});

  std::vector<std::string>& methods = decision.methods;
  switch (facts.kind) {
    case Kind::kLanguage:
      kind = "its weights are what memory has to carry: few bits for weights, float for activations";
      methods = facts.data ? std::vector<std::string>{"gptq", "awq", "rounding-mse"} : std::vector<std::string>{"rounding-mse", "hqq"};
      decision.reason = facts.data ? "a language model with text to calibrate on" : "a language model without data";
      break;
    case Kind::kRecurrent:
      kind = "states have no fixed ranges: weights in integers, ranges of activations taken at run time";
      if (dynamic) methods.push_back("dynamic");
      if (!dynamic && facts.data) methods.push_back("static");
      methods.insert(methods.end(), {"weight-only", "fp16"});
      decision.reason = "the model is recurrent: its states have no fixed ranges";
      break;
    case Kind::kTransformer:
    case Kind::kMatrix:
      kind = "ranges taken at run time cost little beside its matrix products, and need no data";
      if (dynamic) methods.push_back("dynamic");
      if (facts.data) methods.push_back("static");
      methods.insert(methods.end(), {"weight-only", "fp16"});
      decision.reason = "the weights are in matrix products: ranges taken at run time cost little there";
      break;
    case Kind::kConvolutional:
      kind = "convolutions gain from integers when ranges are fixed: static";
      if (facts.data) methods.push_back("static");
      methods.push_back("fp16");
      decision.reason = facts.data ? "the model is convolutional and there are calibration data"
                                   : "the model is convolutional, and without data there are no ranges for integers";
      break;
    case Kind::kNothing:
      return unsupported("the model has no convolution, matrix product or recurrent layer with weights: nothing to gain by quantizing")
          .hint("Use --method fp16 to halve what is stored.");
  }
  path.push_back({"Method", methods.front(), decision.reason});
  return decision;
}

}  // namespace narrow::planning
