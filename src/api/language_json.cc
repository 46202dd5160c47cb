#include <cmath>
#include <nlohmann/json.hpp>

#include "narrow/json.h"

namespace narrow {
namespace {

using Json = nlohmann::ordered_json;

std::string finish(const Json& json) { return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"; }
Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

}  // namespace

std::string to_json(const LanguageInfo& info) {
  Json kinds = Json::array();
  for (const auto& kind : info.kinds) kinds.push_back({{"kind", kind.name}, {"tensors", kind.tensors}, {"bytes", kind.bytes}});
  return finish({{"architecture", info.architecture}, {"layers", info.layers}, {"hidden", info.hidden}, {"heads", info.heads}, {"key_heads", info.key_heads},
                 {"intermediate", info.intermediate}, {"vocabulary", info.vocabulary}, {"positions", info.positions}, {"parameters", info.parameters},
                 {"size_bytes", info.size_bytes}, {"weights", kinds}});
}

std::string to_json(const LanguageQuantization& q) {
  Json linears = Json::array();
  for (const LinearReport& linear : q.linears) {
    linears.push_back({{"name", linear.name}, {"method", linear.method}, {"bits", linear.bits}, {"group_size", linear.group_size}, {"error", number(linear.error)},
                       {"rounding_error", number(linear.rounding_error)}, {"fell_back", linear.fell_back}, {"note", linear.note}});
  }
  const Json budget = q.budget ? Json{{"wanted", q.budget->wanted}, {"used", number(q.budget->used)}, {"expected_loss", number(q.budget->expected_loss)}} : Json(nullptr);
  return finish({{"method", q.method}, {"format", q.format}, {"size_bytes", q.bytes_after}, {"size_bytes_before", q.bytes_before}, {"calibration_tokens", q.calibration_tokens},
                 {"resumed_blocks", q.resumed_blocks}, {"bits_per_weight", budget}, {"linears", linears}, {"recipe", q.recipe}});
}

std::string to_json(const PerplexityFigures& f) {
  return finish({{"perplexity", number(f.perplexity)}, {"mean_nll", number(f.mean_nll)}, {"predicted", f.predicted}, {"windows", f.windows}, {"tokens", f.tokens},
                 {"context", f.context}, {"stride", f.stride}});
}

std::string to_json(const Generated& g) {
  return finish({{"text", g.text}, {"prompt_tokens", g.prompt_tokens}, {"tokens", g.tokens}, {"prompt_seconds", number(g.prompt_seconds)}, {"seconds", number(g.seconds)}});
}

}  // namespace narrow
