// The families of operators, one function a file. operators.cc makes the table of them.
#pragma once

#include <span>

#include "operators/operator.h"

namespace narrow::operators {

std::span<const Operator> convolution_operators();
std::span<const Operator> identity_operators();
std::span<const Operator> matmul_operators();
std::span<const Operator> normalization_operators();
std::span<const Operator> pooling_operators();
std::span<const Operator> recurrent_operators();
std::span<const Operator> resize_operators();
std::span<const Operator> softmax_operators();
std::span<const Operator> quantize_operators();
std::span<const Operator> dynamic_lstm_operators();
std::span<const Operator> integer_pooling_operators();
std::span<const Operator> integer_elementwise_operators();
std::span<const Operator> integer_matmul_operators();
std::span<const Operator> integer_conv_operators();
std::span<const Operator> activation_operators();
std::span<const Operator> elementwise_binary_operators();
std::span<const Operator> elementwise_unary_operators();
std::span<const Operator> logic_operators();
std::span<const Operator> select_operators();
std::span<const Operator> shape_operators();
std::span<const Operator> transpose_operators();
std::span<const Operator> concat_operators();
std::span<const Operator> slice_operators();
std::span<const Operator> pad_operators();
std::span<const Operator> expand_operators();
std::span<const Operator> gather_operators();
std::span<const Operator> constant_operators();
std::span<const Operator> cast_operators();
std::span<const Operator> reduce_operators();
std::span<const Operator> conditional_operators();
std::span<const Operator> loop_operators();
std::span<const Operator> gated_operators();
std::span<const Operator> ngram_operators();
std::span<const Operator> sequence_operators();
std::span<const Operator> optional_operators();
std::span<const Operator> scatter_operators();
std::span<const Operator> search_operators();
std::span<const Operator> sequence_axis_operators();
std::span<const Operator> einsum_operators();
std::span<const Operator> selection_operators();
std::span<const Operator> signal_operators();
std::span<const Operator> signal_window_operators();
std::span<const Operator> attention_operators();
std::span<const Operator> rotary_embedding_operators();
std::span<const Operator> microsoft_attention_operators();
std::span<const Operator> group_query_attention_operators();
std::span<const Operator> linear_attention_operators();
std::span<const Operator> flex_attention_operators();
std::span<const Operator> skip_normalization_operators();
std::span<const Operator> gelu_operators();
std::span<const Operator> fused_product_operators();
std::span<const Operator> linear_operators();
std::span<const Operator> inverse_operators();
std::span<const Operator> grid_sample_operators();
std::span<const Operator> roi_pooling_operators();
std::span<const Operator> deform_conv_operators();
std::span<const Operator> causal_conv_operators();
std::span<const Operator> rearrange_operators();
std::span<const Operator> determinant_operators();
std::span<const Operator> random_operators();
std::span<const Operator> loss_operators();
std::span<const Operator> matmul_nbits_operators();
std::span<const Operator> gather_quantized_operators();
std::span<const Operator> integer_reduce_operators();
std::span<const Operator> quantized_fusion_operators();

}  // namespace narrow::operators
