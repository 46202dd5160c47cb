#include "planning/remedies.h"

namespace narrow::planning {
namespace {

using quantizers::Recipe;

bool always(const Facts&, const targets::Target&) { return true; }
bool has_convolutions(const Facts& facts, const targets::Target&) { return facts.convolution > 0; }

constexpr Remedy kRemedies[] = {
    {"observer-percentile", "ranges that leave out rare values", "static", When::kAlways, always,
     [](Recipe& r) { r.observer = "percentile"; }},
    {"observer-entropy", "ranges of least information lost", "static", When::kAlways, always, [](Recipe& r) { r.observer = "entropy"; }},
    {"observer-mse", "ranges of least squared error", "static", When::kAlways, always, [](Recipe& r) { r.observer = "mse"; }},
    {"rounding-gptq", "weights rounded for their layer's outputs on calibration inputs (GPTQ)", "static", When::kAlways, always,
     [](Recipe& r) { r.rounding = "gptq"; }},
    {"smoothing", "what is hard to round moved from activations to weights (SmoothQuant)", "static", When::kOnMiss, always,
     [](Recipe& r) { r.smoothing = 0.5; }},
    {"equalization", "channels between layers scaled to equal ranges, high biases absorbed", "static", When::kOnMiss, has_convolutions,
     [](Recipe& r) { r.equalization = true; }},
    {"rounding-adaptive", "scales searched and codes descended upon as well", "static", When::kOnMiss, always,
     [](Recipe& r) { r.rounding = "adaptive"; }},
    {"split-channels", "the outlier channels of each layer split in two", "static", When::kOnMiss, has_convolutions,
     [](Recipe& r) { r.split_channels = 0.02; }},
};

}  // namespace

std::span<const Remedy> remedies() { return kRemedies; }

}  // namespace narrow::planning
