// Einsum: products of tensors summed over the labels that the output leaves out. Evaluated label by label, one output
// element at a time; exporters write matrix products as MatMul, so this is for the rest.
#include <algorithm>
#include <array>
#include <map>
#include <string>

#include "base/checked.h"
#include "operators/dispatch.h"
#include "operators/families.h"
#include "operators/strided_copy.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using graph::TypeKind;

// Labels are letters; the dimensions that "..." stands for get the labels 0, 1, … from the last one backwards.
struct Equation {
  std::vector<std::vector<int>> inputs;
  std::vector<int> output;
};

Error malformed(const Node& node, std::string_view why) {
  return corrupt(fmt::format("{}: equation '{}': {}", where(node), node.get_string("equation", ""), why));
}

constexpr int kLetters = 256;  // below: letters by code; from here on: ellipsis dimensions
constexpr std::size_t kMaxLabels = 64;

// One term; `rank` -1 when not known and the term has no ellipsis.
Result<std::vector<int>> parse_term(const Node& node, std::string_view term, int rank, int ellipsis_dims) {
  std::vector<int> labels;
  bool ellipsis = false;
  for (std::size_t i = 0; i < term.size(); ++i) {
    const char c = term[i];
    if (c == '.') {
      if (ellipsis || term.substr(i, 3) != "...") return malformed(node, "'.' belongs in one '...' a term");
      ellipsis = true;
      i += 2;
      const auto letters = static_cast<int>(std::count_if(term.begin(), term.end(), [](char l) { return l != '.'; }));
      const int dims = rank >= 0 ? rank - letters : ellipsis_dims;
      if (dims < 0) return malformed(node, "a term has more labels than its input has dimensions");
      for (int d = dims; d-- > 0;) labels.push_back(kLetters + d);
    } else if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) {
      labels.push_back(c);
    } else {
      return malformed(node, fmt::format("unexpected character {}", static_cast<int>(c)));
    }
  }
  if (rank >= 0 && static_cast<int>(labels.size()) != rank) {
    return malformed(node, fmt::format("a term has {} labels but its input has rank {}", labels.size(), rank));
  }
  if (labels.size() > kMaxLabels) return malformed(node, "too many labels");
  return labels;
}

Result<Equation> parse(const Node& node, const std::vector<int>& ranks) {
  std::string text = node.get_string("equation", "");
  std::erase(text, ' ');
  const std::size_t arrow = text.find("->");
  const std::string left = text.substr(0, arrow);
  Equation equation;
  int ellipsis = 0;
  std::size_t at = 0;
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    const std::size_t comma = left.find(',', at);
    if ((comma == std::string::npos) != (i + 1 == ranks.size())) return malformed(node, fmt::format("expected {} terms", ranks.size()));
    const std::string term = left.substr(at, comma == std::string::npos ? comma : comma - at);
    NARROW_TRY(auto labels, parse_term(node, term, ranks[i], 0));
    ellipsis = std::max<int>(ellipsis, static_cast<int>(std::count_if(labels.begin(), labels.end(), [](int l) { return l >= kLetters; })));
    equation.inputs.push_back(std::move(labels));
    at = comma + 1;
  }
  if (arrow != std::string::npos) {
    NARROW_TRY(equation.output, parse_term(node, std::string_view(text).substr(arrow + 2), -1, ellipsis));
  } else {
    // Without an arrow: the ellipsis, then the labels that occur once, in alphabetical order.
    std::map<int, int> count;
    for (const auto& labels : equation.inputs) for (int label : labels) ++count[label];
    for (int d = ellipsis; d-- > 0;) equation.output.push_back(kLetters + d);
    for (const auto& [label, n] : count) {
      if (label < kLetters && n == 1) equation.output.push_back(label);
    }
  }
  for (std::size_t i = 0; i < equation.output.size(); ++i) {
    const int label = equation.output[i];
    bool known = label >= kLetters;
    for (const auto& labels : equation.inputs) known = known || std::find(labels.begin(), labels.end(), label) != labels.end();
    if (!known) return malformed(node, "an output label is in no input");
    if (std::count(equation.output.begin(), equation.output.end(), label) > 1) return malformed(node, "an output label is given twice");
  }
  return equation;
}

Status infer_einsum(InferContext& context) {
  const Node& node = context.node();
  std::vector<std::size_t> all;
  std::vector<int> ranks;
  bool ranked = true;
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    NARROW_RETURN_IF_ERROR(check_dtype(context, i, kNumericTypes));
    all.push_back(i);
    ranked = ranked && context.input(i).ranked;
    ranks.push_back(context.input(i).rank());
  }
  NARROW_TRY(const DType dtype, common_dtype(context, all));
  if (dtype == DType::kUndefined) return {};
  if (!ranked) {
    context.set_output(0, Type::tensor(dtype));
    return {};
  }
  NARROW_TRY(const Equation equation, parse(node, ranks));
  std::map<int, Dim> sizes;
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    for (std::size_t d = 0; d < equation.inputs[i].size(); ++d) {
      const auto [it, added] = sizes.emplace(equation.inputs[i][d], context.input(i).dims[d]);
      if (added) continue;
      NARROW_TRY(it->second, broadcast_dim(node, it->second, context.input(i).dims[d]));
    }
  }
  Type out = Type::tensor(dtype, std::vector<Dim>{});
  for (int label : equation.output) out.dims.push_back(sizes[label]);
  context.set_output(0, out);
  return {};
}

Status run_einsum(const Node& node, RunContext& context) {
  std::vector<int> ranks;
  for (std::size_t i = 0; i < context.input_count(); ++i) {
    ranks.push_back(context.input(i).rank());
    const DType dtype = context.input(i).dtype();
    if (dtype != context.input(0).dtype() || !contains(kNumericTypes, dtype)) return dtype_error(node, dtype);
  }
  NARROW_TRY(const Equation equation, parse(node, ranks));
  std::map<int, std::int64_t> sizes;
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    for (std::size_t d = 0; d < equation.inputs[i].size(); ++d) {
      const std::int64_t size = context.input(i).shape()[d];
      const auto [it, added] = sizes.emplace(equation.inputs[i][d], size);
      if (added || it->second == size || size == 1) continue;
      if (it->second != 1) return malformed(node, fmt::format("a label has size {} and {}", it->second, size));
      it->second = size;
    }
  }
  // Loops: the output's labels, then those that are summed. Each input's stride over a label is 0 where it lacks it.
  std::vector<int> labels = equation.output;
  Shape shape;
  for (int label : labels) shape.push_back(sizes[label]);
  for (const auto& [label, size] : sizes) {
    if (std::find(labels.begin(), labels.end(), label) == labels.end()) labels.push_back(label);
  }
  std::int64_t terms = 1;
  for (std::size_t l = shape.size(); l < labels.size(); ++l) {
    const auto next = base::checked_mul(terms, sizes[labels[l]]);
    if (!next) return malformed(node, "the summed sizes overflow");
    terms = *next;
  }
  std::vector<std::vector<std::int64_t>> strides(ranks.size(), std::vector<std::int64_t>(labels.size(), 0));
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    const auto own = strides_of(context.input(i).shape());
    for (std::size_t d = 0; d < own.size(); ++d) {
      if (context.input(i).shape()[d] == 1) continue;
      const auto l = std::find(labels.begin(), labels.end(), equation.inputs[i][d]) - labels.begin();
      strides[i][l] += own[d];  // a label given twice in one term walks the diagonal
    }
  }
  // Three lists of a million elements each make more products than anybody waits for.
  constexpr std::int64_t kMaxProducts = std::int64_t{1} << 44;
  const auto outputs = base::checked_product(shape);
  const auto products = outputs ? base::checked_mul(*outputs, terms) : std::nullopt;
  if (!products || *products > kMaxProducts) return resource_exhausted(fmt::format("{}: the sum has too many terms", where(node)));
  NARROW_TRY(Tensor * y, context.output(0, context.input(0).dtype(), shape));
  dispatch(NumericList{}, y->dtype(), [&]<typename T>() {
    using C = Compute<T>;
    using Sum = std::conditional_t<std::is_integral_v<C>, std::uint64_t, double>;
    parallel_ranges(context.pool(), y->size(), [&](std::int64_t begin, std::int64_t end) {
      std::vector<const T*> start(ranks.size()), at(ranks.size());
      std::vector<std::int64_t> counter(labels.size());
      for (std::int64_t o = begin; o < end; ++o) {
        for (std::size_t i = 0; i < ranks.size(); ++i) start[i] = pointer<T>(context.input(i));
        std::int64_t rest = o;
        for (std::size_t l = shape.size(); l-- > 0;) {
          for (std::size_t i = 0; i < ranks.size(); ++i) start[i] += rest % shape[l] * strides[i][l];
          rest /= shape[l];
        }
        at = start;
        std::fill(counter.begin(), counter.end(), 0);
        Sum sum = 0;
        for (std::int64_t t = 0; t < terms; ++t) {
          Sum product = 1;
          for (const T* p : at) product *= static_cast<Sum>(load(*p));
          sum += product;
          for (std::size_t l = labels.size(); l-- > shape.size();) {
            const std::int64_t size = sizes.find(labels[l])->second;
            for (std::size_t i = 0; i < ranks.size(); ++i) at[i] += strides[i][l];
            if (++counter[l] < size) break;
            for (std::size_t i = 0; i < ranks.size(); ++i) at[i] -= strides[i][l] * size;
            counter[l] = 0;
          }
        }
        pointer<T>(*y)[o] = store<T>(static_cast<C>(sum));
      }
    }, terms);
  });
  return {};
}

const std::array kOperators = {
    Operator{.name = "Einsum", .since = 12, .min_inputs = 1, .max_inputs = -1, .infer = infer_einsum, .run = run_einsum},
};

}  // namespace

std::span<const Operator> einsum_operators() { return kOperators; }

}  // namespace narrow::operators
