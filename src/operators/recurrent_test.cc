#include <gtest/gtest.h>

#include <cmath>

#include "operators/run_node.h"

namespace narrow::operators {
namespace {

using namespace testing;

struct Case {
  std::string op;
  std::string direction = "forward";
  std::int64_t steps = 4, batch = 3, input = 5, hidden = 4;
  bool bias = true, initial = true, peephole = false, lengths = false, batch_first = false;
  bool input_forget = false, linear_before_reset = false;
  float clip = 0;
};

struct Inputs {
  Tensor x, w, r, b, lengths, h0, c0, p;
};

double sigmoid(double v) { return 1 / (1 + std::exp(-v)); }

// The recurrence of one direction and one batch entry, by the formulas of the standard, in f64.
struct Oracle {
  const Case& c;
  const Inputs& in;
  std::int64_t d, n, gates;

  double at(const Tensor& t, std::vector<std::int64_t> position) const {
    std::int64_t index = 0;
    for (std::size_t i = 0; i < position.size(); ++i) index = index * t.shape()[i] + position[i];
    return t.data<float>()[static_cast<std::size_t>(index)];
  }
  double state0(const Tensor& t, std::int64_t i) const {
    if (!t.defined()) return 0;
    return c.batch_first ? at(t, {n, d, i}) : at(t, {d, n, i});
  }
  double from_x(std::int64_t gate, std::int64_t i, std::int64_t t) const {
    double sum = in.b.defined() ? at(in.b, {d, gate * c.hidden + i}) : 0.0;
    for (std::int64_t k = 0; k < c.input; ++k) sum += (c.batch_first ? at(in.x, {n, t, k}) : at(in.x, {t, n, k})) * at(in.w, {d, gate * c.hidden + i, k});
    return sum;
  }
  double from_h(std::int64_t gate, std::int64_t i, const std::vector<double>& h) const {
    double sum = in.b.defined() ? at(in.b, {d, (gates + gate) * c.hidden + i}) : 0.0;
    for (std::int64_t k = 0; k < c.hidden; ++k) sum += h[k] * at(in.r, {d, gate * c.hidden + i, k});
    return sum;
  }
  double clip(double v) const { return c.clip > 0 ? std::min<double>(c.clip, std::max<double>(-c.clip, v)) : v; }
  double peep(std::int64_t which, std::int64_t i, double cell) const { return in.p.defined() ? at(in.p, {d, which * c.hidden + i}) * cell : 0.0; }

  // Outputs per step (empty beyond the length), then the final state and cell.
  void run(std::vector<std::vector<double>>& y, std::vector<double>& h, std::vector<double>& cell) const {
    const std::int64_t length = in.lengths.defined() ? in.lengths.data<std::int32_t>()[n] : c.steps;
    const bool reverse = c.direction == "reverse" || d == 1;
    h.assign(c.hidden, 0);
    cell.assign(c.hidden, 0);
    for (std::int64_t i = 0; i < c.hidden; ++i) { h[i] = state0(in.h0, i); cell[i] = state0(in.c0, i); }
    y.assign(c.steps, {});
    for (std::int64_t s = 0; s < length; ++s) {
      const std::int64_t t = reverse ? length - 1 - s : s;
      std::vector<double> next(c.hidden), next_cell = cell;
      for (std::int64_t i = 0; i < c.hidden; ++i) {
        if (c.op == "RNN") {
          next[i] = std::tanh(clip(from_x(0, i, t) + from_h(0, i, h)));
        } else if (c.op == "GRU") {
          const double z = sigmoid(clip(from_x(0, i, t) + from_h(0, i, h)));
          double candidate;
          if (c.linear_before_reset) {
            const double r = sigmoid(clip(from_x(1, i, t) + from_h(1, i, h)));
            candidate = from_x(2, i, t) + r * from_h(2, i, h);
          } else {
            std::vector<double> rh(c.hidden);
            for (std::int64_t k = 0; k < c.hidden; ++k) rh[k] = sigmoid(clip(from_x(1, k, t) + from_h(1, k, h))) * h[k];
            candidate = from_x(2, i, t) + from_h(2, i, rh);
          }
          next[i] = (1 - z) * std::tanh(clip(candidate)) + z * h[i];
        } else {
          const double input = sigmoid(clip(from_x(0, i, t) + from_h(0, i, h) + peep(0, i, cell[i])));
          const double forget = c.input_forget ? 1 - input : sigmoid(clip(from_x(2, i, t) + from_h(2, i, h) + peep(2, i, cell[i])));
          next_cell[i] = forget * cell[i] + input * std::tanh(clip(from_x(3, i, t) + from_h(3, i, h)));
          next[i] = sigmoid(clip(from_x(1, i, t) + from_h(1, i, h) + peep(1, i, next_cell[i]))) * std::tanh(next_cell[i]);
        }
      }
      h = next;
      cell = next_cell;
      y[t] = h;
    }
  }
};

void check(const Case& c) {
  SCOPED_TRACE(c.op + " " + c.direction);
  std::mt19937 random(3);
  const std::int64_t directions = c.direction == "bidirectional" ? 2 : 1, gates = c.op == "LSTM" ? 4 : c.op == "GRU" ? 3 : 1;
  const bool lstm = c.op == "LSTM";
  Inputs in;
  in.x = random_tensor(c.batch_first ? Shape{c.batch, c.steps, c.input} : Shape{c.steps, c.batch, c.input}, random);
  in.w = random_tensor({directions, gates * c.hidden, c.input}, random);
  in.r = random_tensor({directions, gates * c.hidden, c.hidden}, random);
  const Shape state = c.batch_first ? Shape{c.batch, directions, c.hidden} : Shape{directions, c.batch, c.hidden};
  if (c.bias) in.b = random_tensor({directions, 2 * gates * c.hidden}, random);
  if (c.lengths) in.lengths = Tensor::from<std::int32_t>({3}, {2, 4, 1});
  if (c.initial) in.h0 = random_tensor(state, random);
  if (c.initial && lstm) in.c0 = random_tensor(state, random);
  if (c.peephole) in.p = random_tensor({directions, 3 * c.hidden}, random);
  Attributes attributes = {{"direction", c.direction}, {"hidden_size", c.hidden}, {"layout", std::int64_t{c.batch_first}}};
  if (c.clip > 0) attributes.emplace_back("clip", c.clip);
  if (c.input_forget) attributes.emplace_back("input_forget", std::int64_t{1});
  if (c.linear_before_reset) attributes.emplace_back("linear_before_reset", std::int64_t{1});
  std::vector<Tensor> inputs = {in.x, in.w, in.r, in.b, in.lengths, in.h0};
  if (lstm) inputs.insert(inputs.end(), {in.c0, in.p});
  const graph::Node node = make_node(c.op, static_cast<int>(inputs.size()), lstm ? 3 : 2, attributes);
  auto found = run_node(node, inputs);
  ASSERT_TRUE(found.ok()) << found.error().to_string();
  ASSERT_EQ((*found)[0].shape(), (c.batch_first ? Shape{c.batch, c.steps, directions, c.hidden} : Shape{c.steps, directions, c.batch, c.hidden}));
  ASSERT_EQ((*found)[1].shape(), state);
  for (std::int64_t d = 0; d < directions; ++d)
    for (std::int64_t n = 0; n < c.batch; ++n) {
      std::vector<std::vector<double>> y;
      std::vector<double> h, cell;
      const Oracle oracle{c, in, d, n, gates};
      oracle.run(y, h, cell);
      for (std::int64_t i = 0; i < c.hidden; ++i) {
        for (std::int64_t t = 0; t < c.steps; ++t) {
          const std::vector<std::int64_t> position = c.batch_first ? std::vector<std::int64_t>{n, t, d, i} : std::vector<std::int64_t>{t, d, n, i};
          ASSERT_NEAR(oracle.at((*found)[0], position), y[t].empty() ? 0.0 : y[t][i], 1e-5) << "d " << d << " n " << n << " t " << t;
        }
        const std::vector<std::int64_t> position = c.batch_first ? std::vector<std::int64_t>{n, d, i} : std::vector<std::int64_t>{d, n, i};
        ASSERT_NEAR(oracle.at((*found)[1], position), h[i], 1e-5);
        if (lstm) {
          ASSERT_NEAR(oracle.at((*found)[2], position), cell[i], 1e-5);
        }
      }
    }
  std::vector<graph::Type> types;
  for (const Tensor& t : inputs) types.push_back(t.defined() ? graph::Type::of(t) : graph::Type());
  auto inferred = infer_node(node, types);
  ASSERT_TRUE(inferred.ok()) << inferred.error().to_string();
  EXPECT_EQ((*inferred)[0].static_shape(), (*found)[0].shape());
  EXPECT_EQ((*inferred)[1].static_shape(), (*found)[1].shape());
}

TEST(Recurrent, MatchesTheFormulas) {
  for (const char* op : {"LSTM", "GRU", "RNN"}) {
    for (const char* direction : {"forward", "reverse", "bidirectional"}) {
      for (bool batch_first : {false, true}) {
        check({.op = op, .direction = direction, .batch_first = batch_first});
        check({.op = op, .direction = direction, .lengths = true, .batch_first = batch_first});
      }
      check({.op = op, .direction = direction, .bias = false, .initial = false});
      check({.op = op, .direction = direction, .clip = 0.3f});
      check({.op = op, .direction = direction, .batch = 1, .input = 20, .hidden = 33, .batch_first = true});
    }
  }
  check({.op = "LSTM", .direction = "bidirectional", .peephole = true, .lengths = true});
  check({.op = "LSTM", .peephole = true, .input_forget = true});
  check({.op = "GRU", .direction = "bidirectional", .lengths = true, .linear_before_reset = true});
  check({.op = "GRU", .bias = false, .linear_before_reset = true});
}

// One unit, one step: the activation shows directly.
TEST(Recurrent, NamedActivations) {
  const Tensor x = Tensor::from<float>({1, 2, 1}, {0.7f, -0.9f}), w = Tensor::from<float>({1, 1, 1}, {1}), r = Tensor::from<float>({1, 1, 1}, {0});
  const auto run = [&](const char* name, std::vector<float> alpha, std::vector<float> beta) {
    auto y = run_node(make_node("RNN", 3, 1, {{"activations", std::vector<std::string>{name}}, {"activation_alpha", alpha}, {"activation_beta", beta}}), {x, w, r});
    return y.ok() ? (*y)[0].to_float() : std::vector<float>{-99, -99};
  };
  const auto near = [](const std::vector<float>& found, double a, double b) {
    EXPECT_NEAR(found[0], a, 1e-6);
    EXPECT_NEAR(found[1], b, 1e-6);
  };
  near(run("Relu", {}, {}), 0.7, 0);
  near(run("Sigmoid", {}, {}), sigmoid(0.7), sigmoid(-0.9));
  near(run("Affine", {2}, {3}), 4.4, 1.2);
  near(run("LeakyRelu", {}, {}), 0.7, -0.009);
  near(run("ThresholdedRelu", {0.8f}, {}), 0, 0);
  near(run("ScaledTanh", {2}, {0.5f}), 2 * std::tanh(0.35), 2 * std::tanh(-0.45));
  near(run("HardSigmoid", {}, {}), 0.64, 0.32);
  near(run("Elu", {1.5f}, {}), 0.7, 1.5 * (std::exp(-0.9) - 1));
  near(run("Softsign", {}, {}), 0.7 / 1.7, -0.9 / 1.9);
  near(run("Softplus", {}, {}), std::log1p(std::exp(0.7)), std::log1p(std::exp(-0.9)));
  near(run("Swirl", {}, {}), -99, -99);
}

TEST(Recurrent, NonsenseIsNamed) {
  std::mt19937 random(1);
  const Tensor x = random_tensor({2, 3, 4}, random), w = random_tensor({1, 20, 4}, random), r = random_tensor({1, 20, 5}, random);
  EXPECT_TRUE(run_node(make_node("LSTM", 3, 1), {x, w, r}).ok());
  EXPECT_FALSE(run_node(make_node("LSTM", 3, 1, {{"direction", "sideways"}}), {x, w, r}).ok());
  EXPECT_FALSE(run_node(make_node("LSTM", 3, 1, {{"direction", "bidirectional"}}), {x, w, r}).ok());
  EXPECT_FALSE(run_node(make_node("GRU", 3, 1), {x, w, r}).ok());
  EXPECT_FALSE(run_node(make_node("LSTM", 4, 1), {x, w, r, random_tensor({1, 20}, random)}).ok());
  EXPECT_FALSE(run_node(make_node("LSTM", 5, 1), {x, w, r, Tensor(), Tensor::from<std::int32_t>({3}, {1, 3, 2})}).ok());
  EXPECT_FALSE(run_node(make_node("LSTM", 5, 1), {x, w, r, Tensor(), Tensor::from<std::int32_t>({3}, {1, -1, 2})}).ok());
  EXPECT_FALSE(infer_node(make_node("LSTM", 3, 1, {{"hidden_size", std::int64_t{6}}}), {graph::Type::of(x), graph::Type::of(w), graph::Type::of(r)}).ok());
  EXPECT_FALSE(infer_node(make_node("LSTM", 3, 1, {{"activations", std::vector<std::string>{"Tanh"}}}), {graph::Type::of(x), graph::Type::of(w), graph::Type::of(r)}).ok());
}

}  // namespace
}  // namespace narrow::operators
