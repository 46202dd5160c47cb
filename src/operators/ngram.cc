// TfIdfVectorizer: how often each n-gram of a pool stands in each row of tokens.
#include <algorithm>
#include <array>
#include <map>

#include "base/checked.h"
#include "operators/dispatch.h"
#include "operators/families.h"

namespace narrow::operators {
namespace {

using graph::Node;
using graph::Type;

constexpr std::int64_t kMaxCoordinate = std::int64_t{1} << 31;

// The pool of one node. Its n-grams are numbered in the order in which they stand in it.
struct Pool {
  std::vector<std::int64_t> starts;      // where the n-grams of length 1, 2, … begin
  std::vector<std::int64_t> coordinates; // of the output, per n-gram
  std::int64_t width = 0;                // of the output

  static Result<Pool> read(const Node& node, std::int64_t tokens) {
    Pool pool;
    pool.starts = node.get_ints("ngram_counts");
    pool.coordinates = node.get_ints("ngram_indexes");
    if (pool.starts.empty() || pool.coordinates.empty()) return corrupt(fmt::format("{}: the attributes ngram_counts and ngram_indexes are missing", where(node)));
    std::int64_t grams = 0;
    for (std::size_t n = 0; n < pool.starts.size(); ++n) {
      const std::int64_t end = n + 1 < pool.starts.size() ? pool.starts[n + 1] : tokens;
      const std::int64_t length = end - pool.starts[n], size = static_cast<std::int64_t>(n) + 1;
      if (pool.starts[n] < 0 || end > tokens || length < 0 || length % size != 0) {
        return corrupt(fmt::format("{}: ngram_counts {} does not divide a pool of {} tokens into n-grams", where(node), to_string(pool.starts), tokens));
      }
      grams += length / size;
    }
    if (grams != static_cast<std::int64_t>(pool.coordinates.size())) {
      return corrupt(fmt::format("{}: the pool has {} n-grams, but ngram_indexes has {} numbers", where(node), grams, pool.coordinates.size()));
    }
    const auto [least, most] = std::minmax_element(pool.coordinates.begin(), pool.coordinates.end());
    if (*least < 0 || *most >= kMaxCoordinate) return corrupt(fmt::format("{}: ngram_indexes goes from {} to {}", where(node), *least, *most));
    pool.width = *most + 1;
    return pool;
  }
};

std::int64_t pool_size(const Node& node) {
  const auto* strings = node.find("pool_strings");
  const auto* list = strings == nullptr ? nullptr : std::get_if<std::vector<std::string>>(&strings->value);
  return static_cast<std::int64_t>(list != nullptr ? list->size() : node.get_ints("pool_int64s").size());
}

Status infer_tfidf(InferContext& context) {
  const Node& node = context.node();
  NARROW_TRY(const Pool pool, Pool::read(node, pool_size(node)));
  NARROW_RETURN_IF_ERROR(check_rank(context, 0, 1, 2));
  Type y = Type::tensor(DType::kF32);
  if (context.input(0).ranked) {
    y = Type::tensor(DType::kF32, context.input(0).dims);
    y.dims.back() = graph::Dim(pool.width);
  }
  context.set_output(0, std::move(y));
  return {};
}

template <typename Token>
using Dictionary = std::map<std::vector<Token>, std::int64_t>;  // n-gram -> coordinate

template <typename Token>
Dictionary<Token> make_dictionary(const Pool& pool, const std::vector<Token>& tokens) {
  Dictionary<Token> dictionary;
  std::size_t gram = 0;
  for (std::size_t n = 0; n < pool.starts.size(); ++n) {
    const auto end = static_cast<std::size_t>(n + 1 < pool.starts.size() ? pool.starts[n + 1] : static_cast<std::int64_t>(tokens.size()));
    for (auto at = static_cast<std::size_t>(pool.starts[n]); at < end; at += n + 1) {
      dictionary.emplace(std::vector<Token>(tokens.begin() + at, tokens.begin() + at + n + 1), pool.coordinates[gram++]);
    }
  }
  return dictionary;
}

// Adds the counts of one row. Tokens of an n-gram stand 1 to `max_skip` + 1 apart.
template <typename Token>
void count_row(const Dictionary<Token>& dictionary, const Token* row, std::int64_t length, std::int64_t shortest, std::int64_t longest,
               std::int64_t max_skip, float* counts) {
  std::vector<Token> gram;
  for (std::int64_t n = shortest; n <= longest; ++n) {
    for (std::int64_t step = 1; step <= (n == 1 ? 1 : max_skip + 1); ++step) {
      for (std::int64_t at = 0; at + (n - 1) * step < length; ++at) {
        gram.clear();
        for (std::int64_t i = 0; i < n; ++i) gram.push_back(row[at + i * step]);
        if (const auto found = dictionary.find(gram); found != dictionary.end()) ++counts[found->second];
      }
    }
  }
}

template <typename Token>
Status run_with(const Node& node, RunContext& context, const std::vector<Token>& tokens, const std::vector<Token>& pool_tokens) {
  const Tensor& x = context.input(0);
  NARROW_TRY(const Pool pool, Pool::read(node, static_cast<std::int64_t>(pool_tokens.size())));
  const std::string mode = node.get_string("mode", "");
  if (mode != "TF" && mode != "IDF" && mode != "TFIDF") return corrupt(fmt::format("{}: the mode is '{}', expected TF, IDF or TFIDF", where(node), mode));
  const std::vector<float> weights = node.get_floats("weights");
  Shape shape = x.shape();
  const std::int64_t length = shape.back(), rows = x.rank() == 2 ? shape[0] : 1;
  shape.back() = pool.width;
  NARROW_TRY(Tensor * y, context.output(0, DType::kF32, shape));
  float* counts = y->mutable_data<float>().data();
  std::fill_n(counts, y->size(), 0.0f);
  const Dictionary<Token> dictionary = make_dictionary(pool, pool_tokens);
  const std::int64_t known = static_cast<std::int64_t>(pool.starts.size());  // no longer n-gram is in the pool
  const std::int64_t shortest = std::max<std::int64_t>(1, node.get_int("min_gram_length", 1));
  const std::int64_t longest = std::min(node.get_int("max_gram_length", 1), known);
  const std::int64_t max_skip = std::clamp<std::int64_t>(node.get_int("max_skip_count", 0), 0, length);
  for (std::int64_t r = 0; r < rows; ++r, counts += pool.width) {
    count_row(dictionary, tokens.data() + r * length, length, shortest, longest, max_skip, counts);
    for (std::int64_t i = 0; mode != "TF" && i < pool.width; ++i) {
      const float weight = i < static_cast<std::int64_t>(weights.size()) ? weights[static_cast<std::size_t>(i)] : 1.0f;
      counts[i] = mode == "IDF" ? (counts[i] > 0 ? weight : 0.0f) : counts[i] * weight;
    }
  }
  return {};
}

Status run_tfidf(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  if (x.rank() != 1 && x.rank() != 2) return invalid_argument(fmt::format("{}: the input has shape {}, expected rank 1 or 2", where(node), to_string(x.shape())));
  if (x.dtype() == DType::kString) {
    const auto* strings = node.find("pool_strings");
    const auto* pool = strings == nullptr ? nullptr : std::get_if<std::vector<std::string>>(&strings->value);
    return run_with<std::string>(node, context, x.strings(), pool == nullptr ? std::vector<std::string>{} : *pool);
  }
  if (!contains(kIndexTypes, x.dtype())) return dtype_error(node, x.dtype());
  return run_with<std::int64_t>(node, context, x.to_int64(), node.get_ints("pool_int64s"));
}

const std::array kOperators = {
    Operator{.name = "TfIdfVectorizer", .since = 9, .infer = infer_tfidf, .run = run_tfidf},
};

}  // namespace

std::span<const Operator> ngram_operators() { return kOperators; }

}  // namespace narrow::operators
