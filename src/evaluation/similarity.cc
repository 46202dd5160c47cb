#include "evaluation/similarity.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace narrow::evaluation {
namespace {

// The row of 0 and 1 that says which positions hold text; empty when the model reads none.
std::vector<float> mask_of(const datasets::Sample& sample) {
  for (const auto& [name, tensor] : sample.inputs) {
    const std::string_view bare = std::string_view(name).substr(0, name.find(':'));
    if (bare.ends_with("attention_mask") || bare.ends_with("input_mask")) return tensor.to_float();
  }
  return {};
}

}  // namespace

std::vector<float> sentence_embedding(const datasets::Sample& sample, std::span<const Tensor> outputs,
                                      std::span<const std::string> output_names) {
  if (outputs.empty()) return {};
  const auto named = std::find(output_names.begin(), output_names.end(), "sentence_embedding");
  const std::size_t chosen = named == output_names.end() ? 0 : static_cast<std::size_t>(named - output_names.begin());
  const Tensor& output = outputs[chosen];
  const Shape& shape = output.shape();
  const bool usable = is_float(output.dtype()) && (shape.size() == 2 || shape.size() == 3) && shape[0] == 1 && output.size() > 0;
  if (!usable) return {};
  const std::vector<float> values = output.to_float();
  if (shape.size() == 2) return values;
  const auto length = static_cast<std::size_t>(shape[1]), hidden = static_cast<std::size_t>(shape[2]);
  std::vector<float> mask = mask_of(sample);
  if (mask.size() != length) mask.assign(length, 1);
  std::vector<double> sum(hidden, 0);
  double count = 0;
  for (std::size_t i = 0; i < length; ++i) {
    if (mask[i] == 0) continue;
    ++count;
    for (std::size_t j = 0; j < hidden; ++j) sum[j] += values[i * hidden + j];
  }
  std::vector<float> mean(hidden);
  for (std::size_t j = 0; j < hidden; ++j) mean[j] = static_cast<float>(sum[j] / std::max(count, 1.0));
  return mean;
}

double cosine_similarity(std::span<const float> a, std::span<const float> b) {
  double dot = 0, aa = 0, bb = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    dot += static_cast<double>(a[i]) * b[i];
    aa += static_cast<double>(a[i]) * a[i];
    bb += static_cast<double>(b[i]) * b[i];
  }
  const double norm = std::sqrt(aa) * std::sqrt(bb);
  return norm > 0 ? dot / norm : 0;
}

std::vector<double> average_ranks(std::span<const double> values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return values[a] < values[b]; });
  std::vector<double> ranks(values.size());
  for (std::size_t i = 0; i < order.size();) {
    std::size_t end = i + 1;
    while (end < order.size() && values[order[end]] == values[order[i]]) ++end;
    const double rank = static_cast<double>(i + 1 + end) / 2;
    for (; i < end; ++i) ranks[order[i]] = rank;
  }
  return ranks;
}

double spearman(std::span<const double> a, std::span<const double> b) {
  const std::vector<double> x = average_ranks(a), y = average_ranks(b);
  const double middle = static_cast<double>(x.size() + 1) / 2;  // the mean of all ranks
  double xy = 0, xx = 0, yy = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    xy += (x[i] - middle) * (y[i] - middle);
    xx += (x[i] - middle) * (x[i] - middle);
    yy += (y[i] - middle) * (y[i] - middle);
  }
  const double norm = std::sqrt(xx) * std::sqrt(yy);
  return norm > 0 ? xy / norm : 0;
}

}  // namespace narrow::evaluation
