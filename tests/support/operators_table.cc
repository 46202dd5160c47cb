// operators_table FILE [--check]: writes docs/operators.md from the operator and target tables, or says how it differs.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "operators/operator.h"
#include "targets/target.h"

namespace {

using namespace narrow;
using operators::Operator;
using operators::QuantRole;

constexpr std::string_view kIntroduction = R"(# Operators

Made from the operator and target tables by `cmake --build --preset dev --target docs_operators`; a test holds it to them.

Every operator imports and survives a round trip, also one that is not listed here: it is carried as it came, and so are its
types. *Runs* says whether narrow computes it; *since* is the opset whose newest definition it follows (older ones are brought
up to it at import). *Static INT8* says what becomes of the operator: **layer** is quantized for itself (weights, activations,
bias), **follows** computes in integers when its neighbours do, **moves** passes codes on unchanged, **folds** disappears into
the range of the layer before it, and — stays float. The last columns say on which targets it then computes in integers.
)";

std::string_view role_of(const Operator& op) {
  switch (op.quant.role) {
    case QuantRole::kCompute: return "layer";
    case QuantRole::kFollow: return "follows";
    case QuantRole::kTransport: return "moves";
    case QuantRole::kActivation: return "folds";
    case QuantRole::kNone: break;
  }
  return "—";
}

std::string render() {
  std::vector<const Operator*> rows;
  for (const auto& family : operators::operator_families()) {
    for (const Operator& op : family) {
      if (op.domain != "narrow") rows.push_back(&op);  // what passes make for the runtime is in no file
    }
  }
  std::sort(rows.begin(), rows.end(), [](const Operator* a, const Operator* b) { return std::pair(a->domain, a->name) < std::pair(b->domain, b->name); });
  std::string out(kIntroduction);
  std::string_view domain = "none";
  std::size_t runs = 0;
  for (const Operator* op : rows) {
    if (op->domain != domain) {
      domain = op->domain;
      out += fmt::format("\n## {}\n\n| operator | runs | since | static INT8 |", domain.empty() ? "ai.onnx" : domain);
      for (const targets::Target& target : targets::targets()) out += fmt::format(" {} |", target.name);
      out += "\n|---|---|---|---|";
      for (std::size_t i = 0; i < targets::targets().size(); ++i) out += "---|";
      out += '\n';
    }
    const bool run = op->prepare != nullptr || op->run != nullptr;
    runs += run ? 1 : 0;
    out += fmt::format("| {} | {} | {} | {} |", op->name, run ? "yes" : "carried", op->since, role_of(*op));
    for (const targets::Target& target : targets::targets()) {
      out += op->domain.empty() && op->quant.role != QuantRole::kNone && target.find(op->name) != nullptr ? " yes |" : " |";
    }
    out += '\n';
  }
  return out + fmt::format("\n{} operators, {} of them run.\n", rows.size(), runs);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const std::string text = render();
  if (argc < 3) {
    std::ofstream file(argv[1], std::ios::binary | std::ios::trunc);
    file << text;
    return file.good() ? 0 : 1;
  }
  std::ifstream file(argv[1], std::ios::binary);
  std::stringstream found;
  found << file.rdbuf();
  if (found.str() == text) return 0;
  std::fprintf(stderr, "%s does not say what the tables say: cmake --build --preset dev --target docs_operators\n", argv[1]);
  return 1;
}
