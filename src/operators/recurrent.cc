// LSTM, GRU and RNN.
#include "kernels/recurrent/recurrent.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <limits>
#include <new>
#include <stdexcept>

#include "base/text.h"
#include "operators/families.h"
#include "operators/float_io.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using kernels::Activation;
using kernels::RecurrentKind;
using kernels::RecurrentProblem;

Error bad_node(const Node& node, std::string what) {
  return corrupt(fmt::format("node '{}' ({}): {}", node.name, node.op_type, what));
}

struct NamedActivation {
  std::string_view name;
  Activation::Function function;
  bool takes_alpha = false, takes_beta = false;
  float alpha = 0, beta = 0;
};
constexpr NamedActivation kActivations[] = {
    {"sigmoid", Activation::Function::kSigmoid},
    {"tanh", Activation::Function::kTanh},
    {"relu", Activation::Function::kRelu},
    {"affine", Activation::Function::kAffine, true, true, 1.0f, 0.0f},
    {"leakyrelu", Activation::Function::kLeakyRelu, true, false, 0.01f},
    {"thresholdedrelu", Activation::Function::kThresholdedRelu, true, false, 1.0f},
    {"scaledtanh", Activation::Function::kScaledTanh, true, true, 1.0f, 1.0f},
    {"hardsigmoid", Activation::Function::kHardSigmoid, true, true, 0.2f, 0.5f},
    {"elu", Activation::Function::kElu, true, false, 1.0f},
    {"softsign", Activation::Function::kSoftsign},
    {"softplus", Activation::Function::kSoftplus},
};

struct RecurrentAttributes {
  RecurrentKind kind = RecurrentKind::kLstm;
  std::int64_t directions = 1;
  bool reverse = false;       // of a single direction
  bool batch_first = false;   // layout 1
  bool input_forget = false, linear_before_reset = false;
  float clip = 0;
  std::int64_t hidden = 0;    // 0: not stated
  std::vector<Activation> activations;  // per direction: f, g, h / f, g / f

  std::int64_t gates() const { return kind == RecurrentKind::kLstm ? 4 : kind == RecurrentKind::kGru ? 3 : 1; }
  std::size_t functions() const { return kind == RecurrentKind::kLstm ? 3 : kind == RecurrentKind::kGru ? 2 : 1; }
};

Status read_activations(const Node& node, RecurrentAttributes& attributes) {
  std::vector<std::string> names;
  if (const graph::Attribute* given = node.find("activations")) {
    if (const auto* list = std::get_if<std::vector<std::string>>(&given->value)) names = *list;
  }
  if (names.empty()) {
    for (std::int64_t d = 0; d < attributes.directions; ++d) {
      if (attributes.kind != RecurrentKind::kRnn) names.push_back("Sigmoid");
      names.push_back("Tanh");
      if (attributes.kind == RecurrentKind::kLstm) names.push_back("Tanh");
    }
  }
  const std::size_t expected = attributes.functions() * static_cast<std::size_t>(attributes.directions);
  if (names.size() != expected) return bad_node(node, fmt::format("activations names {} functions, expected {}", names.size(), expected));
  // Parameters go, in order, to the functions that take them.
  const std::vector<float> alphas = node.get_floats("activation_alpha"), betas = node.get_floats("activation_beta");
  std::size_t alpha = 0, beta = 0;
  for (const std::string& name : names) {
    std::string lower;
    for (char c : name) lower += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    const auto* found = std::find_if(std::begin(kActivations), std::end(kActivations), [&](const NamedActivation& a) { return a.name == lower; });
    if (found == std::end(kActivations)) return bad_node(node, fmt::format("activation '{}' is not one of ONNX's", base::escape_controls(name)));
    Activation activation = {found->function, found->alpha, found->beta};
    if (found->takes_alpha && alpha < alphas.size()) activation.alpha = alphas[alpha++];
    if (found->takes_beta && beta < betas.size()) activation.beta = betas[beta++];
    attributes.activations.push_back(activation);
  }
  return {};
}

Result<RecurrentAttributes> read_recurrent(const Node& node) {
  RecurrentAttributes attributes;
  attributes.kind = node.op_type == "LSTM" ? RecurrentKind::kLstm : node.op_type == "GRU" ? RecurrentKind::kGru : RecurrentKind::kRnn;
  const std::string direction = node.get_string("direction", "forward");
  if (direction == "bidirectional") {
    attributes.directions = 2;
  } else if (direction == "reverse") {
    attributes.reverse = true;
  } else if (direction != "forward") {
    return bad_node(node, fmt::format("direction is '{}', expected forward, reverse or bidirectional", base::escape_controls(direction)));
  }
  attributes.batch_first = node.get_int("layout", 0) != 0;
  attributes.input_forget = node.get_int("input_forget", 0) != 0;
  attributes.linear_before_reset = node.get_int("linear_before_reset", 0) != 0;
  attributes.clip = node.get_float("clip", 0.0f);
  attributes.hidden = node.get_int("hidden_size", 0);
  if (attributes.hidden < 0) return bad_node(node, fmt::format("hidden_size is {}, expected 1 or more", attributes.hidden));
  NARROW_RETURN_IF_ERROR(read_activations(node, attributes));
  return attributes;
}

// ---- types ----

Status infer_recurrent(InferContext& context) {
  const Node& node = context.node();
  NARROW_TRY(const RecurrentAttributes attributes, read_recurrent(node));
  const Type& x = context.input(0);
  const Type& w = context.input(1);
  const Type& r = context.input(2);
  for (const Type* type : {&x, &w, &r}) {
    if (type->ranked && type->rank() != 3) return bad_node(node, fmt::format("an input is {}, expected rank 3", graph::to_string(*type)));
  }
  Dim hidden, batch, steps;
  if (attributes.hidden > 0) hidden = attributes.hidden;
  if (r.ranked && r.dims[2].known()) hidden = r.dims[2];
  if (attributes.hidden > 0 && hidden.size != attributes.hidden) {
    return bad_node(node, fmt::format("hidden_size is {} but R is {}", attributes.hidden, graph::to_string(r)));
  }
  const auto expect = [&](const Type& type, const char* name, std::size_t axis, const Dim& want) -> Status {
    if (!type.ranked || !type.dims[axis].known() || !want.known() || type.dims[axis].size == want.size) return {};
    return bad_node(node, fmt::format("{} is {}, expected {} along axis {}", name, graph::to_string(type), want.size, axis));
  };
  const Dim rows = hidden.known() && hidden.size < (1 << 29) ? Dim(hidden.size * attributes.gates()) : Dim();
  NARROW_RETURN_IF_ERROR(expect(w, "W", 0, attributes.directions));
  NARROW_RETURN_IF_ERROR(expect(r, "R", 0, attributes.directions));
  NARROW_RETURN_IF_ERROR(expect(w, "W", 1, rows));
  NARROW_RETURN_IF_ERROR(expect(r, "R", 1, rows));
  if (x.ranked) {
    NARROW_RETURN_IF_ERROR(expect(w, "W", 2, x.dims[2]));
    batch = x.dims[attributes.batch_first ? 0 : 1];
    steps = x.dims[attributes.batch_first ? 1 : 0];
  }
  // One type for all three; in a body X is often captured from where nothing is known of it.
  const DType dtype = x.dtype != DType::kUndefined ? x.dtype : w.dtype != DType::kUndefined ? w.dtype : r.dtype;
  const Dim directions(attributes.directions);
  const Type state = Type::tensor(dtype, attributes.batch_first ? std::vector<Dim>{batch, directions, hidden} : std::vector<Dim>{directions, batch, hidden});
  context.set_output(0, Type::tensor(dtype, attributes.batch_first ? std::vector<Dim>{batch, steps, directions, hidden} : std::vector<Dim>{steps, directions, batch, hidden}));
  context.set_output(1, state);
  if (attributes.kind == RecurrentKind::kLstm) context.set_output(2, state);
  return {};
}

// ---- running ----

class RecurrentKernel final : public Kernel {
 public:
  static Result<std::unique_ptr<Kernel>> prepare(const PrepareContext& context) {
    auto kernel = std::make_unique<RecurrentKernel>();
    kernel->node_ = *context.node;
    kernel->threads_ = context.threads;
    NARROW_TRY(kernel->attributes_, read_recurrent(*context.node));
    return std::unique_ptr<Kernel>(std::move(kernel));
  }

  Status run(RunContext& context) override {
    try {
      return run_directions(context);
    } catch (const std::bad_alloc&) {
      return resource_exhausted("out of memory for the states");
    } catch (const std::length_error&) {
      return resource_exhausted("the states do not fit");
    }
  }

 private:
  struct Inputs {
    FloatInput x, w, r, bias, peephole;
  };

  Status run_directions(RunContext& context) {
    const Tensor& x = context.input(0);
    const Tensor& r = context.input(2);
    if (x.rank() != 3 || r.rank() != 3) return misfit(0, x.shape(), {-1, -1, -1});
    const std::int64_t directions = attributes_.directions, hidden = r.shape()[2], input = x.shape()[2];
    const bool batch_first = attributes_.batch_first;
    const std::int64_t batch = x.shape()[batch_first ? 0 : 1], steps = x.shape()[batch_first ? 1 : 0];
    if (hidden > std::numeric_limits<std::int32_t>::max()) return misfit(2, r.shape(), {-1, -1, -1});
    const std::int64_t rows = attributes_.gates() * hidden;
    const Shape state_shape = batch_first ? Shape{batch, directions, hidden} : Shape{directions, batch, hidden};
    NARROW_RETURN_IF_ERROR(expect(context, 1, {directions, rows, input}));
    NARROW_RETURN_IF_ERROR(expect(context, 2, {directions, rows, hidden}));
    NARROW_RETURN_IF_ERROR(expect(context, 3, {directions, 2 * rows}));
    NARROW_RETURN_IF_ERROR(expect(context, 4, {batch}));
    NARROW_RETURN_IF_ERROR(expect(context, 5, state_shape));
    const bool lstm = attributes_.kind == RecurrentKind::kLstm;
    if (lstm) {
      NARROW_RETURN_IF_ERROR(expect(context, 6, state_shape));
      NARROW_RETURN_IF_ERROR(expect(context, 7, {directions, 3 * hidden}));
    }
    NARROW_TRY(const std::vector<std::int32_t> lengths, read_lengths(context, steps));

    Inputs in;
    NARROW_TRY(in.x, FloatInput::open(x, "X"));
    NARROW_TRY(in.w, FloatInput::open(context.input(1), "W"));
    NARROW_TRY(in.r, FloatInput::open(r, "R"));
    NARROW_RETURN_IF_ERROR(open_optional(context, 3, in.bias));
    if (lstm) NARROW_RETURN_IF_ERROR(open_optional(context, 7, in.peephole));
    NARROW_TRY(std::vector<float> state, read_state(context, 5, batch, hidden));
    std::vector<float> cell;
    if (lstm) {
      NARROW_TRY(cell, read_state(context, 6, batch, hidden));
    }
    FloatOutput y;
    const bool wants_y = context.wants_output(0);
    if (wants_y) {
      NARROW_TRY(y, FloatOutput::create(context, 0, x.dtype(), batch_first ? Shape{batch, steps, directions, hidden} : Shape{steps, directions, batch, hidden}));
    }
    for (std::int64_t d = 0; d < directions; ++d) {
      RecurrentProblem problem = problem_of(d, steps, batch, input, hidden);
      kernels::RecurrentArguments arguments;
      arguments.x = in.x.data();
      arguments.scratch = &scratch_;
      arguments.w = in.w.data() + d * rows * input;
      arguments.r = in.r.data() + d * rows * hidden;
      if (context.has_input(3)) arguments.bias = in.bias.data() + d * 2 * rows;
      if (lstm && context.has_input(7)) arguments.peephole = in.peephole.data() + d * 3 * hidden;
      if (!lengths.empty()) arguments.lengths = lengths.data();
      if (wants_y) arguments.y = y.data() + d * (batch_first ? hidden : batch * hidden);
      arguments.state = state.data() + d * batch * hidden;
      if (lstm) arguments.cell = cell.data() + d * batch * hidden;
      NARROW_RETURN_IF_ERROR(kernels::run_recurrent(problem, arguments, threads_));
    }
    if (wants_y) y.store();
    NARROW_RETURN_IF_ERROR(write_state(context, 1, x.dtype(), state_shape, state));
    return lstm ? write_state(context, 2, x.dtype(), state_shape, cell) : Status();
  }

  Error misfit(std::size_t i, const Shape& found, const Shape& expected) const {
    return invalid_argument(fmt::format("node '{}' ({}): input {} has shape {}, expected {}", node_.name, node_.op_type, i, to_string(found), to_string(expected)));
  }

  Status expect(RunContext& context, std::size_t i, const Shape& shape) const {
    if (!context.has_input(i) || context.input(i).shape() == shape) return {};
    return misfit(i, context.input(i).shape(), shape);
  }

  Result<std::vector<std::int32_t>> read_lengths(RunContext& context, std::int64_t steps) const {
    std::vector<std::int32_t> lengths;
    if (!context.has_input(4)) return lengths;
    if (!is_integer(context.input(4).dtype())) return invalid_argument(fmt::format("node '{}' ({}): sequence_lens is {}, expected s32", node_.name, node_.op_type, to_string(context.input(4).dtype())));
    for (std::int64_t length : context.input(4).to_int64()) {
      if (length < 0 || length > steps) {
        return invalid_argument(fmt::format("node '{}' ({}): a sequence length is {}, expected 0 to {}", node_.name, node_.op_type, length, steps));
      }
      lengths.push_back(static_cast<std::int32_t>(length));
    }
    return lengths;
  }

  Status open_optional(RunContext& context, std::size_t i, FloatInput& input) const {
    if (!context.has_input(i)) return {};
    NARROW_TRY(input, FloatInput::open(context.input(i), "an input"));
    return {};
  }

  // [directions, batch, hidden], whatever the layout; zeros when omitted.
  Result<std::vector<float>> read_state(RunContext& context, std::size_t i, std::int64_t batch, std::int64_t hidden) const {
    const std::int64_t directions = attributes_.directions;
    std::vector<float> state(static_cast<std::size_t>(directions * batch * hidden));
    if (!context.has_input(i)) return state;
    NARROW_TRY(const FloatInput given, FloatInput::open(context.input(i), "an initial state"));
    for (std::int64_t d = 0; d < directions; ++d) {
      for (std::int64_t n = 0; n < batch; ++n) {
        std::copy_n(given.data() + (attributes_.batch_first ? n * directions + d : d * batch + n) * hidden, hidden, state.begin() + (d * batch + n) * hidden);
      }
    }
    return state;
  }

  Status write_state(RunContext& context, std::size_t i, DType dtype, const Shape& shape, const std::vector<float>& state) const {
    if (!context.wants_output(i)) return {};
    NARROW_TRY(FloatOutput out, FloatOutput::create(context, i, dtype, shape));
    const std::int64_t directions = attributes_.directions, hidden = shape[2], batch = shape[attributes_.batch_first ? 0 : 1];
    for (std::int64_t d = 0; d < directions; ++d) {
      for (std::int64_t n = 0; n < batch; ++n) {
        std::copy_n(state.begin() + (d * batch + n) * hidden, hidden, out.data() + (attributes_.batch_first ? n * directions + d : d * batch + n) * hidden);
      }
    }
    out.store();
    return {};
  }

  RecurrentProblem problem_of(std::int64_t d, std::int64_t steps, std::int64_t batch, std::int64_t input, std::int64_t hidden) const {
    RecurrentProblem problem;
    problem.kind = attributes_.kind;
    problem.steps = steps;
    problem.batch = batch;
    problem.input = input;
    problem.hidden = hidden;
    problem.reverse = attributes_.reverse || d == 1;
    const Activation* functions = attributes_.activations.data() + static_cast<std::size_t>(d) * attributes_.functions();
    problem.f = functions[0];
    if (attributes_.functions() > 1) problem.g = functions[1];
    if (attributes_.functions() > 2) problem.h = functions[2];
    problem.clip = attributes_.clip;
    problem.input_forget = attributes_.input_forget;
    problem.linear_before_reset = attributes_.linear_before_reset;
    const std::int64_t width = attributes_.directions * hidden;  // one y step of one entry, all directions
    if (attributes_.batch_first) {
      problem.x_step = input;
      problem.x_batch = steps * input;
      problem.y_step = width;
      problem.y_batch = steps * width;
    } else {
      problem.x_step = batch * input;
      problem.x_batch = input;
      problem.y_step = batch * width;
      problem.y_batch = hidden;
    }
    return problem;
  }

  Node node_;
  int threads_ = 1;
  RecurrentAttributes attributes_;
  kernels::RecurrentScratch scratch_;
};

// W is the weight input; R (input 2) is a weight of the same layout and is quantized in the same way.
constexpr QuantRule kRecurrentRule = {.role = QuantRole::kCompute, .weight_input = 1};

const std::array kOperators = {
    Operator{.name = "LSTM", .since = 22, .min_inputs = 3, .max_inputs = 8, .min_outputs = 0, .max_outputs = 3, .infer = infer_recurrent,
             .prepare = RecurrentKernel::prepare, .quant = kRecurrentRule},
    Operator{.name = "GRU", .since = 22, .min_inputs = 3, .max_inputs = 6, .min_outputs = 0, .max_outputs = 2, .infer = infer_recurrent,
             .prepare = RecurrentKernel::prepare, .quant = kRecurrentRule},
    Operator{.name = "RNN", .since = 22, .min_inputs = 3, .max_inputs = 6, .min_outputs = 0, .max_outputs = 2, .infer = infer_recurrent,
             .prepare = RecurrentKernel::prepare},
};

}  // namespace

std::span<const Operator> recurrent_operators() { return kOperators; }

}  // namespace narrow::operators
