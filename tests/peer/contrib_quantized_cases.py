"""Random single-node models of com.microsoft's operators on codes and packed weights, for contrib_operators_peer.py."""
import numpy as np

from contrib_cases import Case, maybe, normal, shape, size, trimmed

# ONNX Runtime rounds some operators in fixed point or from sums in another order: a code beside the exact one is right too.
NEAR = 1.01


def case(op, inputs, outputs, attributes=None, constants=(), **more):
    made = trimmed(Case(op, [None if x is None else np.asarray(x) for x in inputs], outputs, attributes or {}, **more))
    made.constants = tuple(i for i in constants if i < len(made.inputs) and made.inputs[i] is not None)
    return made


def codes(r, dtype, *dims):
    info = np.iinfo(dtype)
    return np.asarray(r.integers(info.min, info.max + 1, dims), dtype)


def eight_bits(r):
    return np.dtype(r.choice(["uint8", "int8"]))


def scale(r, *dims):
    return np.asarray(r.uniform(0.01, 0.06, dims), np.float32)


def parameters(r, dtype):
    """A scale and a zero point for a whole tensor."""
    return [scale(r), codes(r, dtype)]


# ---- element by element ------------------------------------------------------------------------------------------------


def linear(r, x_type, q_type, per_axis):
    s = shape(r)
    axis = int(r.integers(len(s)))
    dims = (s[axis],) if per_axis else ()
    return s, scale(r, *dims), codes(r, q_type, *dims), ({"axis": axis} if per_axis else {})


def quantize_linear(r):
    dtype = np.dtype(r.choice(["uint8", "int8", "uint16", "int16"]))
    s, by, zero, attributes = linear(r, np.float32, dtype, bool(r.integers(2)))
    return case("QuantizeLinear", [normal(r, *s) * 3, by, zero], [True], attributes)


def dequantize_linear(r):
    dtype = np.dtype(r.choice(["uint8", "int8", "uint16", "int16"]))
    s, by, zero, attributes = linear(r, np.float32, dtype, bool(r.integers(2)))
    return case("DequantizeLinear", [codes(r, dtype, *s), by, maybe(r, zero, 0.8)], [True], attributes) if not attributes else \
        case("DequantizeLinear", [codes(r, dtype, *s), by, zero], [True], attributes)


def two_shapes(r):
    s = shape(r)
    t = [d if r.random() < 0.6 else 1 for d in s][int(r.integers(len(s))):]
    return (s, t) if r.random() < 0.5 else (t, s)


def qlinear_binary(r, op):
    dtype, (a, b) = eight_bits(r), two_shapes(r)
    return case(op, [codes(r, dtype, *a), *parameters(r, dtype), codes(r, dtype, *b), *parameters(r, dtype), scale(r) * 2, codes(r, dtype)], [True], codes=NEAR)


def qlinear_add(r):
    return qlinear_binary(r, "QLinearAdd")


def qlinear_mul(r):
    return qlinear_binary(r, "QLinearMul")


def qlinear_where(r):
    dtype, (a, b) = eight_bits(r), two_shapes(r)
    condition = r.integers(0, 2, [d if r.random() < 0.7 else 1 for d in (a if len(a) >= len(b) else b)]).astype(bool)
    return case("QLinearWhere", [condition, codes(r, dtype, *a), *parameters(r, dtype), codes(r, dtype, *b), *parameters(r, dtype), scale(r), codes(r, dtype)],
                [True], constants=(2, 3, 5, 6, 7, 8), codes=NEAR)


def qlinear_concat(r):
    dtype, s = eight_bits(r), shape(r)
    axis = int(r.integers(len(s)))
    inputs = [scale(r), codes(r, dtype)]
    for _ in range(int(r.integers(1, 4))):
        part = list(s)
        part[axis] = int(r.integers(1, 4))
        inputs += [codes(r, dtype, *part), *parameters(r, dtype)]
    held = tuple(i for i in range(len(inputs)) if i < 2 or i % 3 != 2)
    return case("QLinearConcat", inputs, [True], {"axis": axis - len(s) * int(r.integers(2))}, constants=held, codes=NEAR)


def qlinear_unary(r, op, attributes):
    dtype = eight_bits(r)
    return case(op, [codes(r, dtype, *shape(r)), *parameters(r, dtype), *parameters(r, dtype)], [True], attributes,
                constants=(1, 2, 3, 4) if r.integers(2) else (), codes=NEAR)


def qlinear_leaky_relu(r):
    return qlinear_unary(r, "QLinearLeakyRelu", {"alpha": float(r.choice([0.01, 0.2, 1.5]))} if r.integers(2) else {})


def qlinear_sigmoid(r):
    return qlinear_unary(r, "QLinearSigmoid", {})


def qlinear_softmax(r):
    dtype, s = eight_bits(r), shape(r)
    # Its sums are in fixed point; with the usual output scale a code or two may go either way.
    zero = np.array(0 if dtype == np.uint8 else -128, dtype)
    axis = int(r.integers(len(s)))
    return case("QLinearSoftmax", [codes(r, dtype, *s), np.float32(0.05), codes(r, dtype), np.array(1 / 256, np.float32), zero], [True],
                {"axis": axis, "opset": int(r.choice([9, 12, 13]))}, constants=(1, 2, 3, 4), codes=2 * NEAR)


# ---- windows -----------------------------------------------------------------------------------------------------------


def window(r, spatial, kernel):
    pads = [int(r.integers(0, k)) for k in kernel * 2]
    return {"kernel_shape": kernel, "strides": [int(d) for d in r.integers(1, 3, spatial)], "pads": pads}


def image(r, dtype, channels, spatial, last):
    dims = [int(d) for d in r.integers(4, 8, spatial)]
    return codes(r, dtype, size(r, 1, 2), *(dims + [channels] if last else [channels] + dims))


def qlinear_average_pool(r):
    dtype, spatial, last = eight_bits(r), size(r, 1, 2, 3), int(r.integers(2))
    attributes = window(r, spatial, [int(d) for d in r.integers(1, 4, spatial)]) | {"channels_last": last, "count_include_pad": int(r.integers(2))}
    return case("QLinearAveragePool", [image(r, dtype, size(r, 1, 3, 5), spatial, last), *parameters(r, dtype), *parameters(r, dtype)], [True], attributes,
                codes=NEAR)


def qlinear_global_average_pool(r):
    dtype, last = eight_bits(r), int(r.integers(2))
    return case("QLinearGlobalAveragePool", [image(r, dtype, size(r, 1, 3, 5), size(r, 1, 2, 3), last), *parameters(r, dtype), *parameters(r, dtype)], [True],
                {"channels_last": last}, codes=NEAR)


def qlinear_conv(r):
    dtype, spatial, last, group = eight_bits(r), size(r, 1, 2), int(r.integers(2)), size(r, 1, 2)
    w_type = np.dtype("int8") if dtype == np.int8 else eight_bits(r)
    kernel = [int(d) for d in r.integers(1, 4, spatial)]
    filters = group * size(r, 1, 2, 5)
    w_scale = scale(r, filters) if r.integers(2) else scale(r)
    x = image(r, dtype, group * 3, spatial, last)
    w_zero = np.zeros(w_scale.shape, w_type) if w_type == np.int8 else np.full(w_scale.shape, 120, w_type)
    inputs = [x, *parameters(r, dtype), codes(r, w_type, filters, 3, *kernel), w_scale, w_zero, np.float32(r.uniform(0.2, 0.5)),
              codes(r, dtype), maybe(r, r.integers(-3000, 3000, filters).astype(np.int32))]
    return case("QLinearConv", inputs, [True], window(r, spatial, kernel) | {"group": group, "channels_last": last}, constants=(1, 2, 3, 4, 5, 6, 7),
                codes=NEAR)


# ---- products ----------------------------------------------------------------------------------------------------------


def product(r):
    """Codes of two matrices, and the parameters of the right one."""
    m, k, n = size(r, 1, 3, 7), size(r, 1, 5, 20, 33), size(r, 1, 4, 18)
    a_type = eight_bits(r)
    b_type = np.dtype("int8") if a_type == np.int8 else eight_bits(r)
    per_column = bool(r.integers(2))
    return m, k, n, a_type, b_type, scale(r, n) if per_column else scale(r), codes(r, b_type, *((n,) if per_column else ()))


def qgemm(r):
    m, k, n, a_type, b_type, b_scale, b_zero = product(r)
    trans_a, trans_b = int(r.integers(2)), int(r.integers(2))
    a, b = codes(r, a_type, *((k, m) if trans_a else (m, k))), codes(r, b_type, *((n, k) if trans_b else (k, n)))
    c = maybe(r, r.integers(-500, 500, [(n,), (m, n), (1, n), (m, 1), (1,), ()][int(r.integers(6))]).astype(np.int32))
    y = [np.float32(0.5), codes(r, a_type)] if r.integers(2) else [None, None]
    attributes = {"transA": trans_a, "transB": trans_b, "alpha": float(r.choice([1.0, 0.5]))}
    return case("QGemm", [a, *parameters(r, a_type), b, b_scale, b_zero, c, *y], [True], attributes, constants=(3, 4, 5), codes=NEAR)


def matmul_integer_to_float(r):
    m, k, n, a_type, b_type, b_scale, b_zero = product(r)
    a = codes(r, a_type, *([2] if r.integers(2) else []), m, k)
    inputs = [a, codes(r, b_type, k, n), scale(r), b_scale, maybe(r, codes(r, a_type)), maybe(r, b_zero), maybe(r, normal(r, n))]
    return case("MatMulIntegerToFloat", inputs, [True], constants=(1,))


def dynamic_quantize_matmul(r):
    m, k, n, _, _, b_scale, _ = product(r)
    b_type = eight_bits(r)
    b_zero = codes(r, b_type, *b_scale.shape)
    inputs = [normal(r, m, k), codes(r, b_type, k, n), b_scale, maybe(r, b_zero), maybe(r, normal(r, n))]
    # A rounding tie of the left side may go the other way.
    return case("DynamicQuantizeMatMul", inputs, [True], constants=(1,), tolerance=0.01)


def matmul_nbits(r):
    bits, group = size(r, 2, 4, 8), size(r, 16, 32, 64)
    k, n = size(r, 16, 40, 64, 96, 130), size(r, 1, 6, 16, 37)
    groups = -(-k // group)
    row = -(-groups * bits // 8)
    kind = r.choice(["none", "packed", "float"])
    zeros = {"none": None, "packed": codes(r, np.uint8, n * row), "float": normal(r, n, groups) + 2 ** (bits - 1)}[kind]
    bias = maybe(r, normal(r, n), 0.4)
    # ONNX Runtime reads a group index in its plain 4-bit path only.
    index = r.permutation(np.arange(groups * group) // group).astype(np.int32)[:k] if bits == 4 and bias is None and r.random() < 0.25 else None
    a = normal(r, *([2] if r.integers(2) else []), size(r, 1, 3, 9, 70), k)
    inputs = [a, codes(r, np.uint8, n, groups, group * bits // 8), scale(r, n, groups), zeros, index, bias]
    return case("MatMulNBits", inputs, [True], {"K": k, "N": n, "bits": bits, "block_size": group}, constants=(1, 2, 3, 4))


def matmul_bnb4(r):
    group, k, n = size(r, 16, 64), size(r, 16, 48, 65), size(r, 1, 6, 17)
    total = n * k
    inputs = [normal(r, size(r, 1, 5), k), codes(r, np.uint8, -(-total // 2)), scale(r, -(-total // group))]
    return case("MatMulBnb4", inputs, [True], {"K": k, "N": n, "block_size": group, "quant_type": int(r.integers(2))}, constants=(1, 2))


def gather_block_quantized(r):
    bits, group = size(r, 4, 8), size(r, 16, 32)
    rows, columns = size(r, 3, 10), size(r, 32, 64, 128)
    per_byte = 8 // bits
    groups = -(-columns // group)
    data = codes(r, np.uint8, rows, columns // per_byte)
    zeros = maybe(r, codes(r, np.uint8, rows, -(-groups // per_byte)))
    indices = r.integers(-rows, rows, shape(r)[:2]).astype(r.choice(["int32", "int64"]))
    return case("GatherBlockQuantized", [data, indices, scale(r, rows, groups), zeros], [True],
                {"bits": bits, "block_size": group, "quantize_axis": 1, "gather_axis": 0}, constants=(0, 2, 3))


# ---- layers ------------------------------------------------------------------------------------------------------------


def dynamic_quantize_lstm(r):
    steps, batch, inputs, hidden = size(r, 1, 4), size(r, 1, 3), size(r, 3, 8), size(r, 2, 6)
    direction = str(r.choice(["forward", "reverse", "bidirectional"]))
    d = 2 if direction == "bidirectional" else 1
    dtype = eight_bits(r)
    per_column = bool(r.integers(2))
    dims = (d, 4 * hidden) if per_column else (d,)
    zero = np.zeros(dims, dtype) if dtype == np.int8 else np.full(dims, 128, dtype)
    lengths = r.integers(1, steps + 1, batch).astype(np.int32) if r.random() < 0.4 else None
    state = maybe(r, normal(r, d, batch, hidden))
    cell = None if state is None else normal(r, d, batch, hidden)
    attributes = {"hidden_size": hidden, "direction": direction}
    if r.random() < 0.3:
        attributes["clip"] = 0.6
    peephole = maybe(r, normal(r, d, 3 * hidden), 0.3)
    return case("DynamicQuantizeLSTM", [normal(r, steps, batch, inputs), codes(r, dtype, d, inputs, 4 * hidden), codes(r, dtype, d, hidden, 4 * hidden),
                                        maybe(r, normal(r, d, 8 * hidden)), lengths, state, cell, peephole, scale(r, *dims) / 3, zero, scale(r, *dims) / 3, zero],
                [True, True, True], attributes, constants=(1, 2, 8, 9, 10, 11), tolerance=0.02)


def qattention(r):
    batch, length, heads, head, inputs = size(r, 1, 3), size(r, 1, 4), size(r, 1, 2, 3), size(r, 4, 8), size(r, 5, 16)
    hidden = heads * head
    a_type = np.dtype("uint8")
    b_type = eight_bits(r)
    per_column = bool(r.integers(2))
    dims = (3 * hidden,) if per_column else ()
    past_length = size(r, 1, 3) if r.random() < 0.4 else None
    total = length + (past_length or 0)
    mask = [None, r.integers(1, total + 1, batch).astype(np.int32), r.integers(0, 2, (batch, total)).astype(np.int32)][int(r.integers(3))]
    if mask is not None and mask.ndim == 2:
        mask[:, 0] = 1
    past = normal(r, 2, batch, heads, past_length, head) if past_length else None
    attributes = {"num_heads": heads, "unidirectional": int(r.integers(2))}
    zero = np.zeros(dims, b_type) if b_type == np.int8 else np.full(dims, 130, b_type)
    inputs = [codes(r, a_type, batch, length, inputs), codes(r, b_type, inputs, 3 * hidden), normal(r, 3 * hidden), scale(r) / 4, scale(r, *dims) / 4, mask,
              codes(r, a_type), zero, past]
    return case("QAttention", inputs, [True, past is not None], attributes, constants=(1, 4, 7))


def qembed_layer_normalization(r):
    dtype, hidden, batch, length = eight_bits(r), size(r, 4, 16), size(r, 1, 3), size(r, 1, 5)
    segments = bool(r.integers(2))
    ids = r.integers(0, 9, (batch, length)).astype(np.int32)
    kinds = r.integers(0, 2, (batch, length)).astype(np.int32) if segments else None
    mask = maybe(r, r.integers(0, 2, (batch, length)).astype(np.int32))
    parts = [codes(r, dtype, 9, hidden), codes(r, dtype, 6, hidden), codes(r, dtype, 2, hidden) if segments else None, codes(r, dtype, hidden), codes(r, dtype, hidden)]
    scales = [None if p is None else scale(r) for p in parts]
    zeros = [None if p is None else codes(r, dtype) for p in parts]
    return case("QEmbedLayerNormalization", [ids, kinds, *parts, mask, *scales, *zeros], [True, True], {"epsilon": 1e-5})


CASES = [quantize_linear, dequantize_linear, qlinear_add, qlinear_mul, qlinear_where, qlinear_concat, qlinear_leaky_relu, qlinear_sigmoid, qlinear_softmax,
         qlinear_average_pool, qlinear_global_average_pool, qlinear_conv, qgemm, matmul_integer_to_float, dynamic_quantize_matmul,
         matmul_nbits, matmul_bnb4, gather_block_quantized, dynamic_quantize_lstm, qattention, qembed_layer_normalization]
