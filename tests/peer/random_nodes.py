"""How random_graphs_peer.py draws a node of each operator.

A row of NODES is a function of a Draft: it takes values that the graph already has, makes constants, and adds one node. It
returns nothing when the graph holds no value that the operator takes. A value is exact when it came from the graph's inputs
by moving and integer arithmetic alone: only such values go into operators that jump (Floor, Cast to integers, ArgMax, …),
where a difference in the last bit would change everything behind them.
"""
import numpy as np

F, I, B = np.dtype(np.float32), np.dtype(np.int64), np.dtype(bool)


def unary(op, **attributes):
    def add(d):
        x = d.take(F)
        d.node(op, [x], **{k: v(d.r) if callable(v) else v for k, v in attributes.items()})
    return add


def jump(op, kind=F, **attributes):
    def add(d):
        d.node(op, [d.take(kind, exact=True)], exact=True, **{k: v(d.r) if callable(v) else v for k, v in attributes.items()})
    return add


def binary(op, kinds=(F, I), exact=False, out_exact=None):
    def add(d):
        kind = kinds[d.r.integers(len(kinds))]
        x = d.take(kind, exact=exact or kind != F)
        y = d.beside(x, exact=exact or kind != F)
        d.node(op, [x, y] if d.r.random() < 0.5 else [y, x], exact=(kind != F) if out_exact is None else out_exact)
    return add


def variadic(op, kinds=(F,)):
    def add(d):
        x = d.take(kinds[d.r.integers(len(kinds))], exact=False)
        d.node(op, [x, *(d.beside(x) for _ in range(d.r.integers(0, 3)))])
    return add


def reduction(op, old=False):
    def add(d):
        x = d.take(F, rank=(1, 5))
        axes = sorted(d.r.choice(x.rank, d.r.integers(1, x.rank + 1), replace=False).tolist())
        axes = [a - x.rank if d.r.random() < 0.3 else a for a in axes]
        d.node(op, [x, d.constant(np.array(axes, np.int64))] if d.r.random() < 0.8 else [x], keepdims=int(d.r.integers(2)))
    return add


def arg(op):
    def add(d):
        x = d.take(F, exact=True, rank=(1, 5))
        d.node(op, [x], exact=True, axis=d.axis(x), keepdims=int(d.r.integers(2)), select_last_index=int(d.r.integers(2)))
    return add


def along(op, rank=(1, 5), **attributes):
    def add(d):
        x = d.take(F, rank=rank)
        d.node(op, [x], axis=d.axis(x), **attributes)
    return add


# ---- shapes and movement ---------------------------------------------------------------------------------------------

def movement(draw, rank=(0, 5)):
    """A row whose node only moves elements of any type: draw(d, x) gives (further inputs, attributes)."""
    def row(op):
        def add(d):
            x = d.take(None, rank=rank)
            drawn = draw(d, x)
            if drawn is not None:
                inputs, attributes = drawn
                d.node(op, [x, *inputs], exact=x.exact, **attributes)
        return add
    return row


def reshape(d, x):
    target, left = [], x.size
    while left > 1 and len(target) < 4 and d.r.random() < 0.8:
        divisors = [k for k in range(1, left + 1) if left % k == 0]
        target.append(int(d.r.choice(divisors)))
        left //= target[-1]
    target.append(left)
    if x.size > 0 and d.r.random() < 0.3:
        target[d.r.integers(len(target))] = -1
    return [d.constant(np.array(target, np.int64))], {}


def squeeze(d, x):
    ones = [i for i, n in enumerate(x.shape) if n == 1]
    return ([d.constant(np.array(ones[:1], np.int64))], {}) if ones else None


def unsqueeze(d, x):
    return [d.constant(np.array([d.r.integers(-x.rank - 1, x.rank + 1)], np.int64))], {}


def expand(d, x):
    shape = [int(n) if n != 1 else int(d.r.integers(1, 4)) for n in x.shape]
    if d.r.random() < 0.3:
        shape = [int(d.r.integers(1, 3)), *shape]
    return [d.constant(np.array(shape, np.int64))], {}


def tile(d, x):
    return [d.constant(d.r.integers(1, 3, x.rank))], {}


def slices(d, x):
    axes = d.r.choice(x.rank, d.r.integers(1, x.rank + 1), replace=False)
    steps = d.r.choice([1, 1, 2, -1], len(axes))
    starts = [int(d.r.integers(0, max(1, x.shape[a] // 2 + 1))) if s > 0 else x.shape[a] - 1 for a, s in zip(axes, steps)]
    ends = [int(d.r.integers(x.shape[a] // 2, x.shape[a] + 3)) if s > 0 else -1000 for a, s in zip(axes, steps)]
    return [d.constant(np.array(v, np.int64)) for v in (starts, ends, axes, steps)], {}


def transpose(d, x):
    return [], {"perm": d.r.permutation(x.rank).tolist()} if d.r.random() < 0.9 else {}


def gather(d, x):
    axis = d.axis(x)
    n = x.shape[axis]
    return ([d.constant(d.r.integers(-n, n, d.r.integers(1, 4, d.r.integers(0, 3))))], {"axis": axis}) if n > 0 else None


def gather_elements(d, x):
    axis = d.axis(x)
    shape = list(x.shape)
    shape[axis] = int(d.r.integers(1, 4))
    return ([d.constant(d.r.integers(0, x.shape[axis], shape))], {"axis": axis}) if x.size > 0 else None


def gather_nd(d, x):
    depth = int(d.r.integers(1, x.rank + 1))
    if x.size == 0:
        return None
    return [d.constant(np.stack([d.r.integers(0, x.shape[k], 3) for k in range(depth)], -1))], {}


def compress(d, x):
    axis = d.axis(x)
    keep = d.r.random(x.shape[axis]) < 0.6
    return ([d.constant(keep)], {"axis": axis}) if keep.any() else None


def reverse_sequence(d, x):
    return [d.constant(d.r.integers(1, x.shape[1] + 1, x.shape[0]))], {"batch_axis": 0, "time_axis": 1}


def trilu(d, x):
    return ([d.constant(np.array(int(d.r.integers(-2, 3)), np.int64))] if d.r.random() < 0.7 else []), {"upper": int(d.r.integers(2))}


def pad(d):
    x = d.take(F, rank=(1, 5))
    mode = str(d.r.choice(["constant", "reflect", "edge", "wrap"]))
    most = 3 if mode in ("constant", "edge") else max(0, min(x.shape) - 1)
    pads = d.r.integers(0, most + 1, 2 * x.rank)
    value = [d.constant(np.float32(0.5))] if mode == "constant" and d.r.random() < 0.5 else []
    d.node("Pad", [x, d.constant(pads), *value], exact=x.exact, mode=mode)


def concat(d):
    x = d.take(None, rank=(1, 5))
    same = [v for v in d.values if v.dtype == x.dtype and v.shape == x.shape]
    parts = [x, *(same[d.r.integers(len(same))] for _ in range(d.r.integers(1, 4)))]
    d.node("Concat", parts, exact=all(p.exact for p in parts), axis=d.axis(x))


def split(d):
    x = d.take(None, rank=(1, 5))
    axis = d.axis(x)
    if x.shape[axis] < 2:
        return
    first = int(d.r.integers(1, x.shape[axis]))
    d.node("Split", [x, d.constant(np.array([first, x.shape[axis] - first], np.int64))], outputs=2, exact=x.exact, axis=axis)


def blocks(op):
    def add(d):
        x = d.take(F, rank=(4, 4))
        block = 2
        fits = x.shape[1] % 4 == 0 if op == "DepthToSpace" else x.shape[2] % 2 == 0 and x.shape[3] % 2 == 0
        if fits:
            d.node(op, [x], exact=x.exact, blocksize=block, **({"mode": str(d.r.choice(["DCR", "CRD"]))} if op == "DepthToSpace" else {}))
    return add


def scatter_elements(d):
    x = d.take(F, rank=(1, 4))
    axis = d.axis(x)
    shape = list(x.shape)
    shape[axis] = 1
    if x.size:
        d.node("ScatterElements", [x, d.constant(d.r.integers(0, x.shape[axis], shape)), d.constant(d.normal(*shape))], axis=axis,
               reduction=str(d.r.choice(["none", "add", "mul", "max", "min"])))


def scatter_nd(d):
    x = d.take(F, rank=(1, 4))
    rows = d.r.permutation(x.shape[0])[:2].reshape(-1, 1)
    d.node("ScatterND", [x, d.constant(rows.astype(np.int64)), d.constant(d.normal(len(rows), *x.shape[1:]))],
           reduction=str(d.r.choice(["none", "add", "mul", "max", "min"])))


def one_hot(d):
    x = d.take(I, exact=True, rank=(0, 3))
    d.node("OneHot", [x, d.constant(np.array(5, np.int64)), d.constant(np.array([0, 1], np.float32))], exact=True, axis=-1)


def top_k(d):
    x = d.take(F, exact=True, rank=(1, 4))
    axis = d.axis(x)
    if x.shape[axis] > 0 and len(np.unique(x.value)) == x.size:  # ties have no order
        d.node("TopK", [x, d.constant(np.array([d.r.integers(1, x.shape[axis] + 1)], np.int64))], outputs=2, exact=True, axis=axis,
               largest=int(d.r.integers(2)), sorted=1)


def cum(op):
    def add(d):
        x = d.take(F, rank=(1, 4))
        d.node(op, [x, d.constant(np.array(d.axis(x), np.int64))], exclusive=int(d.r.integers(2)), reverse=int(d.r.integers(2)))
    return add


def from_shape(op):
    def add(d):
        x = d.take(None)
        d.node(op, [x], exact=True)
    return add


def constant_of_shape(d):
    d.node("ConstantOfShape", [d.constant(d.r.integers(1, 4, d.r.integers(1, 4)))], exact=True)


def ranges(d):
    start, step = int(d.r.integers(-5, 5)), int(d.r.choice([-2, -1, 1, 3]))
    d.node("Range", [d.constant(np.array(v, np.int64)) for v in (start, start + step * int(d.r.integers(1, 7)), step)], exact=True)


def where(d):
    c, x = d.take(B, exact=True), d.take(F)
    y = d.like(x)
    if d.broadcasts(c.shape, x.shape):
        d.node("Where", [c, x, y], exact=x.exact and y.exact)


def non_zero(d):  # of a scalar ONNX Runtime gives [1, 1], the standard says [0, 1]
    d.node("NonZero", [d.take(F, exact=True, rank=(1, 5))], exact=True)


def eye_like(d):
    d.node("EyeLike", [d.take(F, rank=(2, 2))], exact=True, k=int(d.r.integers(-1, 2)))


def cast(d):
    x = d.take(None, exact=True)
    to = int(d.r.choice([1, 6, 7, 9, 10, 11]))
    d.node("Cast", [x], exact=True, to=to)


def cast_like(d):
    d.node("CastLike", [d.take(None, exact=True), d.take(None)], exact=True)


# ---- products, windows, normalizations --------------------------------------------------------------------------------

def matmul(d):
    x = d.take(F, rank=(2, 4))
    k, n = x.shape[-1], int(d.r.integers(1, 9))
    d.node("MatMul", [x, d.constant(d.normal(*([int(d.r.choice([1, x.shape[0]])), k, n] if x.rank == 3 and d.r.random() < 0.5 else [k, n])))])


def gemm(d):
    x = d.take(F, rank=(2, 2))
    ta, tb = int(d.r.integers(2)), int(d.r.integers(2))
    k, n = x.shape[0 if ta else 1], int(d.r.integers(1, 9))
    c = [d.constant(d.normal(*(s for s in ([n], [1, n], [1], [])[d.r.integers(4)])))] if d.r.random() < 0.7 else []
    d.node("Gemm", [x, d.constant(d.normal(*((n, k) if tb else (k, n)))), *c], transA=ta, transB=tb, alpha=float(d.r.choice([1, 0.5])), beta=float(d.r.choice([1, -2])))


def einsum(d):
    x = d.take(F, rank=(2, 3))
    n = int(d.r.integers(1, 6))
    if x.rank == 2:
        d.node("Einsum", [x, d.constant(d.normal(x.shape[1], n))], equation=str(d.r.choice(["ij,jk->ik", "ij,jk->ki", "ij,jk->k"])))
    else:
        d.node("Einsum", [x, d.constant(d.normal(x.shape[0], x.shape[2], n))], equation=str(d.r.choice(["bij,bjk->bik", "bij,bjk->ik"])))


def window(d, x, pads=True):
    kernel = [int(d.r.integers(1, min(3, n) + 1)) for n in x.shape[2:]]
    attributes = {"kernel_shape": kernel, "strides": d.r.integers(1, 3, len(kernel)).tolist()}
    how = d.r.integers(3) if pads else 0
    if how == 1:
        attributes["auto_pad"] = str(d.r.choice(["SAME_UPPER", "SAME_LOWER", "VALID"]))
    elif how == 2:
        attributes["pads"] = [int(d.r.integers(0, k)) for k in kernel + kernel]
    return kernel, attributes


def conv(d):
    x = d.take(F, rank=(3, 5))
    group = int(d.r.choice([g for g in (1, 2, x.shape[1]) if x.shape[1] % g == 0]))
    kernel, attributes = window(d, x)
    out = group * int(d.r.integers(1, 4))
    bias = [d.constant(d.normal(out))] if d.r.random() < 0.6 else []
    d.node("Conv", [x, d.constant(d.normal(out, x.shape[1] // group, *kernel)), *bias], group=group, **attributes)


def conv_transpose(d):
    x = d.take(F, rank=(3, 4))
    group = int(d.r.choice([g for g in (1, 2, x.shape[1]) if x.shape[1] % g == 0]))
    kernel, attributes = window(d, x, pads=False)
    d.node("ConvTranspose", [x, d.constant(d.normal(x.shape[1], int(d.r.integers(1, 4)), *kernel))], group=group, **attributes)


def pool(op):
    def add(d):
        x = d.take(F, rank=(3, 5))
        _, attributes = window(d, x)
        if op == "AveragePool":
            attributes["count_include_pad"] = int(d.r.integers(2))
        if op == "LpPool":
            attributes["p"] = int(d.r.integers(1, 4))
        elif "auto_pad" not in attributes and all(s <= k for s, k in zip(attributes["strides"], attributes["kernel_shape"])):
            attributes["ceil_mode"] = int(d.r.integers(2))  # else ONNX Runtime's shape rule and its kernel disagree
        d.node(op, [x], **attributes)
    return add


def global_pool(op):
    return lambda d: d.node(op, [d.take(F, rank=(3, 5))])


def batch_normalization(d):
    x = d.take(F, rank=(2, 5))
    c = x.shape[1]
    d.node("BatchNormalization", [x, *(d.constant(d.normal(c)) for _ in range(3)), d.constant(np.abs(d.normal(c)) + 0.1)])


def channel_scaled(op, **attributes):
    def add(d):
        x = d.take(F, rank=(3, 4))
        c = x.shape[1]
        if op == "GroupNormalization":
            attributes["num_groups"] = int(d.r.choice([g for g in (1, 2, c) if c % g == 0]))
        d.node(op, [x, d.constant(d.normal(c)), d.constant(d.normal(c))], **attributes)
    return add


def last_scaled(op):
    def add(d):
        x = d.take(F, rank=(1, 4))
        axis = int(d.r.integers(x.rank))
        shape = x.shape[axis:]
        d.node(op, [x, d.constant(d.normal(*shape)), *([d.constant(d.normal(*shape))] if d.r.random() < 0.7 else [])], axis=axis)
    return add


def resize(d):
    x = d.take(F, rank=(4, 4))
    mode = str(d.r.choice(["nearest", "linear", "cubic"]))
    scales = d.constant(np.array([1, 1, *d.r.choice([0.5, 1.5, 2.0], 2)], np.float32))
    d.node("Resize", [x, None, scales], mode=mode, coordinate_transformation_mode=str(d.r.choice(["half_pixel", "asymmetric", "pytorch_half_pixel"])),
           **({"nearest_mode": str(d.r.choice(["floor", "round_prefer_floor", "ceil"]))} if mode == "nearest" else {}))


def grid_sample(d):
    x = d.take(F, rank=(4, 4))
    grid = d.constant(np.tanh(d.normal(x.shape[0], 3, 4, 2)) * 1.2)
    d.node("GridSample", [x, grid], mode=str(d.r.choice(["linear", "nearest", "cubic"])), padding_mode=str(d.r.choice(["zeros", "border", "reflection"])),
           align_corners=int(d.r.integers(2)))


def prelu(d):
    x = d.take(F, rank=(2, 4))
    d.node("PRelu", [x, d.constant(d.normal(x.shape[1], *[1] * (x.rank - 2)))])


def clip(d):
    x = d.take(F)
    d.node("Clip", [x, d.constant(np.float32(-0.5)) if d.r.random() < 0.8 else None, d.constant(np.float32(0.7))])


def dropout(d):
    d.node("Dropout", [d.take(F)])


def power(d):
    d.node("Pow", [d.take(F), d.constant(np.float32(d.r.choice([2, 3])))])


def modulo(d):
    x = d.take(I, exact=True)
    d.node("Mod", [x, d.constant(np.array(int(d.r.choice([-3, 2, 5])), np.int64))], exact=True, fmod=int(d.r.integers(2)))


def bits(op):
    def add(d):
        x = d.take(I, exact=True)
        d.node(op, [x, d.constant(np.array(int(d.r.integers(0, 60)), np.int64))], exact=True)
    return add


def bit_shift(d):
    d.node("BitShift", [d.constant(d.r.integers(0, 200, (2, 3)).astype(np.uint8)), d.constant(d.r.integers(0, 8, (2, 3)).astype(np.uint8))],
           exact=True, direction=str(d.r.choice(["LEFT", "RIGHT"])))


def recurrent(op, gates):
    def add(d):
        x = d.take(F, rank=(3, 3))
        hidden, direction = int(d.r.integers(1, 7)), str(d.r.choice(["forward", "reverse", "bidirectional"]))
        n = 2 if direction == "bidirectional" else 1
        inputs = [x, d.constant(d.normal(n, gates * hidden, x.shape[2])), d.constant(d.normal(n, gates * hidden, hidden))]
        if d.r.random() < 0.6:
            inputs.append(d.constant(d.normal(n, 2 * gates * hidden)))
        d.node(op, inputs, outputs=2, hidden_size=hidden, direction=direction, **({"linear_before_reset": int(d.r.integers(2))} if op == "GRU" else {}))
    return add


# ---- quantization -----------------------------------------------------------------------------------------------------

def quantize(d):
    x = d.take(F, exact=True)
    kind = d.r.choice([np.uint8, np.int8])
    d.node("QuantizeLinear", [x, d.constant(np.float32(0.037)), d.constant(np.array(3, kind))], exact=True)


def dequantize(d):
    codes = d.r.integers(-128, 128, (2, int(d.r.integers(1, 6)))).astype(np.int8)
    d.node("DequantizeLinear", [d.constant(codes), d.constant(np.float32(0.05)), d.constant(np.array(-2, np.int8))])


def dynamic_quantize(d):
    d.node("DynamicQuantizeLinear", [d.take(F, exact=True)], outputs=3, exact=True)


def matmul_integer(d):
    m, k, n = d.r.integers(1, 9, 3)
    a, b = d.r.integers(0, 256, (m, k)).astype(np.uint8), d.r.integers(-128, 128, (k, n)).astype(np.int8)
    d.node("MatMulInteger", [d.constant(a), d.constant(b), d.constant(np.array(7, np.uint8))], exact=True)


def small(r):
    return float(r.choice([0.1, 0.5, 1.2]))


NODES = {
    **{op: unary(op) for op in "Abs Atan Asinh Cos Erf Exp HardSwish Identity Mish Neg Relu Sigmoid Sin Softplus Softsign Sqrt Tanh Sinh Cosh".split()},
    **{op: unary(op, alpha=small) for op in "Celu Elu LeakyRelu ThresholdedRelu".split()},
    "Selu": unary("Selu"), **{op: lambda d, op=op: d.node(op, [d.constant(1 + np.abs(d.normal(3, 4)))]) for op in ("Acosh", "Log")}, "HardSigmoid": unary("HardSigmoid", alpha=small), "Gelu": unary("Gelu", approximate=lambda r: str(r.choice(["none", "tanh"]))),
    "Shrink": jump("Shrink", lambd=small), "MeanVarianceNormalization": lambda d: d.node("MeanVarianceNormalization", [d.take(F, rank=(4, 4))]),
    **{op: jump(op) for op in "Ceil Floor Round Sign IsNaN IsInf Atanh Acos Asin Tan Reciprocal".split()}, "Not": jump("Not", B), "BitwiseNot": jump("BitwiseNot", I),
    "NonZero": non_zero, "Hardmax": lambda d: d.node("Hardmax", [d.take(F, exact=True, rank=(1, 4))], exact=True),
    **{op: binary(op) for op in "Add Sub Mul".split()}, "Div": binary("Div", (F,)),
    **{op: binary(op, (F, I), exact=True, out_exact=True) for op in "Equal Greater GreaterOrEqual Less LessOrEqual".split()},
    **{op: binary(op, (B,), exact=True, out_exact=True) for op in "And Or Xor".split()},
    **{op: variadic(op) for op in "Max Min Sum Mean".split()},
    **{op: bits(op) for op in "BitwiseAnd BitwiseOr BitwiseXor".split()}, "BitShift": bit_shift, "Mod": modulo, "Pow": power,
    **{op: reduction(op) for op in "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare".split()},
    "ArgMax": arg("ArgMax"), "ArgMin": arg("ArgMin"),
    "Softmax": along("Softmax"), "LogSoftmax": along("LogSoftmax"), "LpNormalization": along("LpNormalization", p=2), "Flatten": movement(lambda d, x: ([], {"axis": d.axis(x)}), (1, 5))("Flatten"),
    "Reshape": movement(reshape)("Reshape"), "Squeeze": movement(squeeze)("Squeeze"), "Unsqueeze": movement(unsqueeze, (0, 4))("Unsqueeze"), "Expand": movement(expand)("Expand"),
    "Tile": movement(tile, (1, 4))("Tile"), "Slice": movement(slices, (1, 5))("Slice"), "Transpose": movement(transpose, (1, 5))("Transpose"), "Gather": movement(gather, (1, 5))("Gather"),
    "GatherElements": movement(gather_elements, (1, 4))("GatherElements"), "GatherND": movement(gather_nd, (1, 4))("GatherND"), "Compress": movement(compress, (1, 4))("Compress"),
    "ReverseSequence": movement(reverse_sequence, (2, 4))("ReverseSequence"), "Trilu": movement(trilu, (2, 4))("Trilu"),
    "Pad": pad, "Concat": concat, "Split": split, "DepthToSpace": blocks("DepthToSpace"), "SpaceToDepth": blocks("SpaceToDepth"),
    "ScatterElements": scatter_elements, "ScatterND": scatter_nd, "OneHot": one_hot, "TopK": top_k, "CumSum": cum("CumSum"), "Shape": from_shape("Shape"), "Size": from_shape("Size"),
    "ConstantOfShape": constant_of_shape, "Range": ranges, "Where": where, "EyeLike": eye_like, "Cast": cast, "CastLike": cast_like,
    "MatMul": matmul, "Gemm": gemm, "Einsum": einsum, "Conv": conv, "ConvTranspose": conv_transpose, **{op: pool(op) for op in "AveragePool MaxPool LpPool".split()},
    **{op: global_pool(op) for op in "GlobalAveragePool GlobalMaxPool GlobalLpPool".split()}, "BatchNormalization": batch_normalization,
    "InstanceNormalization": channel_scaled("InstanceNormalization"), "GroupNormalization": channel_scaled("GroupNormalization"),
    "LayerNormalization": last_scaled("LayerNormalization"),
    "LRN": lambda d: d.node("LRN", [d.take(F, rank=(4, 4))], size=int(d.r.choice([1, 3, 5]))), "Resize": resize, "GridSample": grid_sample, "PRelu": prelu, "Clip": clip, "Dropout": dropout,
    "LSTM": recurrent("LSTM", 4), "GRU": recurrent("GRU", 3), "RNN": recurrent("RNN", 1), "Det": lambda d: d.node("Det", [d.constant(d.normal(2, 3, 3))]),
    "QuantizeLinear": quantize, "DequantizeLinear": dequantize, "DynamicQuantizeLinear": dynamic_quantize, "MatMulInteger": matmul_integer,
}
