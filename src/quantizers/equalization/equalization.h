// Changes of the float model that make it easier to quantize and leave what it computes (Nagel et al. 2019, "Data-Free
// Quantization through Weight Equalization and Bias Correction"; Zhao et al. 2019, "Improving Neural Network Quantization
// without Retraining using Outlier Channel Splitting").
#pragma once

#include <map>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "narrow/result.h"
#include "quantizers/layer_inputs.h"

namespace narrow::quantizers {

// Mean and spread of each channel of a value, as BatchNormalization knows them from training.
struct ChannelMoments {
  std::vector<double> mean, deviation;
};
// The same once every value is clipped to [low, high], values taken as normal.
ChannelMoments clipped_moments(const ChannelMoments& in, double low, double high);
// By name of the values that BatchNormalization writes, and of those that follow from them through Relu, Clip, sums and
// pooling by averages. Take them before BatchNormalization is folded.
std::map<std::string, ChannelMoments> batch_norm_moments(const graph::Graph& graph);

// Scales the channels between pairs of layers so that the range of each channel's weights is the same on both sides, until nothing
// moves. Precondition: types are inferred. Returns the number of pairs.
int equalize_layers(graph::Graph& graph);

// The values that the second layers of pairs read: what the next function wants to know of calibration.
std::vector<std::string> equalized_values(const graph::Graph& graph);

// The same where it pays: of each pair, that scaling of its channels (to equal weights, to equal activations, half of either, none)
// which leaves least noise at the second layer's outputs when weights and the activation between have 8 bits. With a scale for each
// output channel weights hardly gain, and activations can lose. Returns the number of pairs scaled.
int equalize_layers(graph::Graph& graph, const std::map<std::string, ChannelsSeen>& seen, bool per_channel);

// Of channels that Relu hardly ever cuts (mean - 3 deviations > 0), what they have too much goes into the next layer's bias.
// Only where a Relu and no padding lies between. Precondition: channels were not scaled since `moments` were taken. Returns the
// number of channels.
int absorb_high_biases(graph::Graph& graph, const std::map<std::string, ChannelMoments>& moments);

// Splits, of the input channels of each second layer of a pair, that share (rounded up) with the largest products of weights into
// two halves: the layer before makes the channel twice, halved. Returns the number of channels added.
int split_channels(graph::Graph& graph, double share);

}  // namespace narrow::quantizers
