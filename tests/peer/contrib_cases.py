"""Random single-node models of com.microsoft's operators, for contrib_operators_peer.py.

A table row is a function of a numpy generator that gives a Case. Shapes, attributes and which optional inputs and outputs
exist are drawn anew each time. Another table of rows (quantized operators, say) is one more file like this one and one more
entry in contrib_operators_peer.py.
"""
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Case:
    op: str
    inputs: list                      # arrays; None where omitted
    outputs: list                     # of bools: does the node have that output
    attributes: dict = field(default_factory=dict)
    domain: str = "com.microsoft"
    constants: tuple = ()             # inputs, by number, that the model holds itself
    compared: dict = field(default_factory=dict)  # output number -> the part of it that has a meaning (an index)
    tolerance: float = 1e-4           # of the largest expected number
    codes: float = 0.5                # how far integers may be apart; 0.5: not at all
    opset: int = 17


def normal(r, *shape):
    return r.standard_normal(shape).astype(np.float32)


def maybe(r, value, share=0.5):
    return value if r.random() < share else None


def size(r, *choices):
    return int(r.choice(choices))


def trimmed(case):
    """Without omitted inputs at the end."""
    while case.inputs and case.inputs[-1] is None:
        case.inputs.pop()
    return case


def halved(case):
    """With f16 where there was f32."""
    case.inputs = [x.astype(np.float16) if x is not None and x.dtype == np.float32 else x for x in case.inputs]
    case.tolerance = max(case.tolerance, 2e-2)
    return case


def shape(r):
    return [int(d) for d in r.integers(1, 6, r.integers(1, 5))]


def gelu(r):
    return Case("Gelu", [normal(r, *shape(r)) * 3], [True])


def quick_gelu(r):
    return Case("QuickGelu", [normal(r, *shape(r)) * 3], [True], {"alpha": float(r.choice([1.0, 1.702, 0.5]))} if r.random() < 0.7 else {})


def fast_gelu(r):
    s = shape(r)
    return trimmed(Case("FastGelu", [normal(r, *s) * 3, maybe(r, normal(r, s[-1]))], [True]))


def bias_gelu(r):
    s = shape(r)
    return Case("BiasGelu", [normal(r, *s) * 3, normal(r, s[-1])], [True])


def skip_layer_normalization(r):
    batch, length, hidden = size(r, 1, 2, 3), size(r, 1, 2, 5), size(r, 4, 8, 24)
    x = (batch, length, hidden)
    skip = [x, (1, length, hidden), (length, hidden)][r.integers(3)]
    inputs = [normal(r, *x), normal(r, *skip), normal(r, hidden), maybe(r, normal(r, hidden)), maybe(r, normal(r, hidden))]
    return trimmed(Case("SkipLayerNormalization", inputs, [True, False, False, bool(r.integers(2))], {"epsilon": float(r.choice([1e-5, 1e-12, 0.1]))}))


def skip_simplified_layer_normalization(r):
    x = (size(r, 1, 2, 3), size(r, 1, 2, 5), size(r, 4, 8, 24))
    inputs = [normal(r, *x), normal(r, *x), normal(r, x[-1]), maybe(r, normal(r, x[-1]))]
    return trimmed(Case("SkipSimplifiedLayerNormalization", inputs, [True, False, False, bool(r.integers(2))], {"epsilon": float(r.choice([1e-5, 0.1]))}))


def simplified_layer_normalization(r):
    s = shape(r)
    axis = int(r.integers(len(s)))
    return Case("SimplifiedLayerNormalization", [normal(r, *s), normal(r, *s[axis:])], [True],
                {"axis": axis if r.random() < 0.5 else axis - len(s), "epsilon": 1e-5, "stash_type": 1}, domain="")


def embed_layer_normalization(r):
    batch, length, hidden = size(r, 1, 2, 3), size(r, 1, 4, 7), size(r, 4, 8, 24)
    segments = r.random() < 0.6
    ids = lambda rows: r.integers(0, rows, (batch, length)).astype(np.int32)
    mask = maybe(r, (np.arange(length)[None] < r.integers(1, length + 1, (batch, 1))).astype(np.int32))
    position_ids = maybe(r, r.integers(0, 9, (int(r.choice([1, batch])), length)).astype(np.int32), 0.4)
    inputs = [ids(11), ids(2) if segments else None, normal(r, 11, hidden), normal(r, 9, hidden), normal(r, 2, hidden) if segments else None, normal(r, hidden),
              normal(r, hidden), mask, position_ids]
    return trimmed(Case("EmbedLayerNormalization", inputs, [True, True, bool(r.integers(2))], {"epsilon": 1e-5}))


def fused_matmul(r):
    batch = [int(d) for d in r.integers(1, 4, r.integers(0, 3))]
    m, k, n = (int(d) for d in r.integers(1, 7, 3))
    attributes = {"alpha": float(r.choice([1.0, 0.5, -2.0]))}

    def side(side_name, rows, columns, dims):
        trans, trans_batch = bool(r.integers(2)), len(dims) > 0 and r.random() < 0.3
        attributes["trans" + side_name], attributes["transBatch" + side_name] = int(trans), int(trans_batch)
        matrix = [columns, rows] if trans else [rows, columns]
        return normal(r, *([matrix[0]] + dims + [matrix[1]] if trans_batch else dims + matrix))

    a = side("A", m, k, batch)
    b = side("B", k, n, batch if r.random() < 0.7 or attributes["transBatchA"] else [])
    return Case("FusedMatMul", [a, b], [True], attributes)


def transpose_matmul(r):
    case = fused_matmul(r)
    while case.attributes["transBatchA"] or case.attributes["transBatchB"]:
        case = fused_matmul(r)
    case.op = "TransposeMatMul"
    case.attributes = {k: v for k, v in case.attributes.items() if "Batch" not in k}
    return case


def fused_gemm(r):
    m, k, n = (int(d) for d in r.integers(1, 9, 3))
    activation, parameters = [("Relu", {}), ("Sigmoid", {}), ("Tanh", {}), ("LeakyRelu", {"activation_alpha": 0.2}),
                              ("Elu", {"activation_alpha": 0.7}), ("HardSigmoid", {"activation_alpha": 0.3, "activation_beta": 0.4}),
                              ("Softplus", {}), ("Softsign", {}), ("Selu", {"activation_alpha": 1.5, "activation_gamma": 1.1}),
                              ("ThresholdedRelu", {"activation_alpha": 0.4})][r.integers(10)]
    trans_a, trans_b = int(r.integers(2)), int(r.integers(2))
    c = [None, normal(r, n), normal(r, m, n), normal(r, 1, n), normal(r, m, 1)][r.integers(5)]
    inputs = [normal(r, *((k, m) if trans_a else (m, k))), normal(r, *((n, k) if trans_b else (k, n))), c]
    return trimmed(Case("FusedGemm", inputs, [True], {"transA": trans_a, "transB": trans_b, "alpha": 0.7, "beta": 1.3, "activation": activation, **parameters}))


def fused_conv(r):
    channels, out, group = size(r, 2, 4), size(r, 4, 8), size(r, 1, 2)
    side, kernel = size(r, 5, 8), size(r, 1, 3)
    activation, parameters = [("Relu", []), ("Sigmoid", []), ("Tanh", []), ("LeakyRelu", [0.2]), ("Clip", [-0.5, 0.7]), ("HardSigmoid", [0.3, 0.4])][r.integers(6)]
    pad, stride = int(r.integers(0, 2)), int(r.integers(1, 3))
    attributes = {"group": group, "kernel_shape": [kernel, kernel], "pads": [pad] * 4, "strides": [stride, stride], "activation": activation}
    if parameters:
        attributes["activation_params"] = parameters
    reach = (side + 2 * pad - kernel) // stride + 1
    inputs = [normal(r, 2, channels, side, side), normal(r, out, channels // group, kernel, kernel), maybe(r, normal(r, out), 0.7), maybe(r, normal(r, 2, out, reach, reach))]
    return trimmed(Case("FusedConv", inputs, [True], attributes, constants=(1,) if r.integers(2) else ()))


def inverse(r):
    n = size(r, 1, 2, 3, 8)
    batch = [int(d) for d in r.integers(1, 4, r.integers(0, 3))]
    return Case("Inverse", [normal(r, *batch, n, n) + 3 * np.eye(n, dtype=np.float32)], [True], tolerance=1e-3)


def trilu(r):
    s = [int(d) for d in r.integers(1, 6, r.integers(2, 4))]
    k = maybe(r, np.array(r.integers(-6, 7), np.int64))
    return trimmed(Case("Trilu", [normal(r, *s), k], [True], {"upper": int(r.integers(2))}))


def rotary_embedding(r):
    batch, length, heads, head, rows = size(r, 1, 2, 3), size(r, 1, 3, 6), size(r, 1, 2, 4), size(r, 8, 16, 32), 20
    attributes = {"interleaved": int(r.integers(2))}
    half = head // 2
    if r.random() < 0.3:
        half = head // 4
        attributes |= {"rotary_embedding_dim": 2 * half, "num_heads": heads}
    x = normal(r, batch, heads, length, head) if r.random() < 0.4 else normal(r, batch, length, heads * head)
    positions = np.array([r.integers(0, rows - length)]) if r.random() < 0.5 else r.integers(0, rows, (batch, length))
    angles = normal(r, rows, half)
    return Case("RotaryEmbedding", [x, positions.astype(np.int64), np.cos(angles), np.sin(angles)], [True], attributes)


def key_mask(r, batch, queries, total, kinds):
    """A mask of int32: by lengths, by zeros and ones a key, or a query and key; each row keeps at least one key."""
    kind = kinds[r.integers(len(kinds))]
    if kind == "none":
        return None
    if kind == "ends":
        return r.integers(1, total + 1, batch).astype(np.int32)
    if kind == "ends and starts":
        starts = r.integers(0, total, batch)
        return np.concatenate([r.integers(starts + 1, total + 1), starts]).astype(np.int32)
    mask = r.integers(0, 2, (batch, total) if kind == "keys" else (batch, queries, total)).astype(np.int32)
    mask[..., 0] = 1
    return mask


def attention(r):
    batch, length, heads, head, hidden = size(r, 1, 2, 3), size(r, 1, 2, 5), size(r, 1, 2, 4), size(r, 4, 8), size(r, 6, 16)
    value_head = head if r.random() < 0.6 else size(r, 4, 12)
    past = size(r, 0, 3) if value_head == head and r.random() < 0.5 else None
    total = length + (past or 0)
    attributes = {"num_heads": heads, "unidirectional": int(r.integers(2))}
    if value_head != head or r.random() < 0.3:
        attributes["qkv_hidden_sizes"] = [heads * head, heads * head, heads * value_head]
    if r.random() < 0.3:
        attributes["scale"] = 0.3
    if r.random() < 0.3:
        attributes["mask_filter_value"] = -5.0
    columns = heads * (2 * head + value_head)
    mask = key_mask(r, batch, length, total, ["none", "ends", "ends and starts", "keys", "queries and keys"])
    bias = maybe(r, normal(r, size(r, 1, batch), size(r, 1, heads), length, total), 0.4) if past is None else None
    inputs = [normal(r, batch, length, hidden), normal(r, hidden, columns) * 0.3, normal(r, columns), mask,
              normal(r, 2, batch, heads, past, head) if past is not None else None, bias]
    present = past is not None or (value_head == head and bool(r.integers(2)))
    return trimmed(Case("Attention", inputs, [True, present], attributes))


def multi_head_attention(r):
    batch, length, heads, head = size(r, 1, 2, 3), size(r, 1, 2, 5), size(r, 1, 2, 4), size(r, 4, 8)
    keys = length if r.random() < 0.5 else size(r, 1, 4, 6)
    value_head = head if r.random() < 0.6 else size(r, 4, 12)
    past = size(r, 1, 3) if value_head == head and r.random() < 0.4 else None
    split = past is None and r.random() < 0.3
    total = keys + (past or 0)
    # With more keys than queries ONNX Runtime hides later keys from all queries but the last.
    attributes = {"num_heads": heads, "unidirectional": int(r.integers(2)) if keys <= length else 0}
    if r.random() < 0.3:
        attributes["scale"] = 0.3
    if r.random() < 0.3:
        attributes["mask_filter_value"] = -5.0
    key = normal(r, batch, heads, keys, head) if split else normal(r, batch, keys, heads * head)
    value = normal(r, batch, heads, keys, value_head) if split else normal(r, batch, keys, heads * value_head)
    bias = None if split else maybe(r, normal(r, heads * (2 * head + value_head)))
    mask = key_mask(r, batch, length, total, ["none", "ends", "keys", "queries and keys"])
    added = maybe(r, normal(r, size(r, 1, batch), size(r, 1, heads), length, total), 0.4)
    cache = [normal(r, batch, heads, past, head) for _ in range(2)] if past is not None else [None, None]
    present = past is not None or (not split and bool(r.integers(2)))
    return trimmed(Case("MultiHeadAttention", [normal(r, batch, length, heads * head), key, value, bias, mask, added, *cache], [True, present, present], attributes))


def group_query_attention(r):
    key_heads, group, head = size(r, 1, 2), size(r, 1, 2, 3), size(r, 16, 32)
    heads, kind = key_heads * group, r.choice(["prompt", "step", "chunk"])
    batch = 1 if kind == "chunk" else size(r, 1, 2, 3)
    length = 1 if kind == "step" else size(r, 2, 5)
    past = 0 if kind == "prompt" else size(r, 3, 6)
    capacity = past + (length if r.random() < 0.5 else 0) + size(r, 0, 4) if past else size(r, 0, length + 3)
    total = past + length
    counts = np.full(batch, total)
    if kind == "step":
        counts[1:] = r.integers(2, total + 1, batch - 1)
    if past:
        capacity = max(capacity, past)
    attributes = {"num_heads": heads, "kv_num_heads": key_heads}
    if r.random() < 0.3:
        attributes["scale"] = 0.3
    if r.random() < 0.3:
        attributes["softcap"] = 2.0
    if r.random() < 0.3:
        attributes["local_window_size"] = int(r.integers(1, 5))
    if r.random() < 0.2:
        attributes["smooth_softmax"] = 1
    if r.random() < 0.5:
        query, key, value = normal(r, batch, length, heads * head), normal(r, batch, length, key_heads * head), normal(r, batch, length, key_heads * head)
    else:
        query, key, value = normal(r, batch, length, (heads + 2 * key_heads) * head), None, None
    cache = [normal(r, batch, key_heads, capacity, head) for _ in range(2)] if past or capacity else [None, None]
    cosines = sines = None
    if r.random() < 0.5:
        angles = normal(r, 24, head // 2)
        attributes |= {"do_rotary": 1, "rotary_interleaved": int(r.integers(2))}
        cosines, sines = np.cos(angles), np.sin(angles)
    added = maybe(r, normal(r, size(r, 1, batch), size(r, 1, heads), length, total), 0.3)
    sinks = maybe(r, normal(r, heads), 0.2) if "smooth_softmax" not in attributes else None
    present = (np.s_[:, :, :min(counts)],)[0]
    inputs = [query, key, value, *cache, (counts - 1).astype(np.int32), np.array([total], np.int32), cosines, sines, None, added, sinks]
    return trimmed(Case("GroupQueryAttention", inputs, [True, True, True], attributes, compared={1: present, 2: present}))


def gather_nd(r):
    s = [int(d) for d in r.integers(1, 5, r.integers(1, 4))]
    depth = int(r.integers(1, len(s) + 1))
    count = size(r, 1, 3)
    indices = np.stack([r.integers(0, d, count) for d in s[:depth]], -1)
    return Case("GatherND", [normal(r, *s), indices.astype(np.int64 if r.random() < 0.5 else np.int32)], [True])


def pad(r):
    s = [int(d) for d in r.integers(2, 5, r.integers(1, 4))]
    mode = str(r.choice(["constant", "edge", "reflect"]))
    pads = r.integers(0, 2, 2 * len(s)).astype(np.int64)
    value = maybe(r, np.array([1.5], np.float32)) if mode == "constant" else None
    return trimmed(Case("Pad", [normal(r, *s), pads.reshape(1, -1) if r.random() < 0.3 else pads, value], [True], {"mode": mode}, constants=(1,) if r.integers(2) else ()))


def number_range(r):
    kind = [np.float32, np.int32, np.int64][r.integers(3)]
    return Case("Range", [np.array(v, kind) for v in (r.integers(-5, 5), r.integers(5, 20), r.integers(1, 4))], [True])


CASES = [gelu, quick_gelu, fast_gelu, bias_gelu, skip_layer_normalization, skip_simplified_layer_normalization, simplified_layer_normalization,
         embed_layer_normalization, fused_matmul, transpose_matmul, fused_gemm, fused_conv, inverse, trilu, rotary_embedding, attention, multi_head_attention,
         group_query_attention, gather_nd, pad, number_range]
