"""Random graphs of the operators that narrow lists give in narrow what they give in ONNX Runtime, and quantize.

Each graph grows from a few inputs, node by node, by the rows of random_nodes.py; some input dimensions are symbolic. An operator
that narrow lists and that has no row must be in ELSEWHERE with its reason. By hand: random_graphs_peer.py [first seed [graphs]]
"""
import collections
import pathlib
import sys
import tempfile

import numpy as np
import onnx
from onnx import helper, numpy_helper

from harness import OnnxRuntime, check, narrow, narrow_process, run_narrow
from random_nodes import B, F, I, NODES

GRAPHS, NODES_A_GRAPH, OPSET, TOLERANCE = 120, 12, 21, 1e-4
LARGEST = 1e4  # a node whose output leaves this range is taken back: nothing behind it would say anything

ELSEWHERE = {
    "subgraphs, sequences and optionals: the conformance cases": "If Loop Scan SequenceMap SequenceConstruct SequenceEmpty SequenceAt SequenceErase SequenceInsert "
    "SequenceLength SplitToSequence ConcatFromSequence Optional OptionalGetElement OptionalHasElement Constant",
    "random by definition": "RandomNormal RandomNormalLike RandomUniform RandomUniformLike Bernoulli Multinomial",
    "newer than this opset or unknown to ONNX Runtime's CPU provider: the conformance cases": "Attention LinearAttention FlexAttention RotaryEmbedding TensorScatter BitCast "
    "SwiGLU CausalConvWithState CumProd AffineGrid Swish RMSNormalization SimplifiedLayerNormalization",
    "wants inputs of its own kind: the conformance cases": "BlackmanWindow HammingWindow HannWindow MelWeightMatrix DFT STFT CenterCropPad Col2Im DeformConv MaxRoiPool RoiAlign MaxUnpool "
    "NonMaxSuppression NegativeLogLikelihoodLoss SoftmaxCrossEntropyLoss Unique ConvInteger QLinearConv QLinearMatMul TfIdfVectorizer",
}


class Value:
    def __init__(self, name, value, exact):
        self.name, self.value, self.exact = name, np.asarray(value), exact
        self.dtype, self.shape, self.rank, self.size = self.value.dtype, list(self.value.shape), self.value.ndim, self.value.size


class NothingFits(Exception):
    pass


class Draft:
    """A graph that grows; every value is known, so that a row can draw what fits."""

    def __init__(self, seed):
        self.r = np.random.default_rng(seed)
        self.values, self.constants, self.nodes, self.drawn = [], [], [], []
        for i in range(3):
            rank = (4, int(self.r.integers(1, 5)), 3)[i]
            self.values.append(Value(f"x{i}", self.normal(*(self.r.choice([1, 2, 3, 4, 6], rank))), True))
        self.values.append(Value("x3", self.r.integers(-4, 9, self.r.integers(1, 4, 2)), True))
        self.values.append(Value("x4", self.r.random(self.r.integers(1, 4, 2)) < 0.5, True))
        self.inputs = list(self.values)

    def normal(self, *shape):
        return np.asarray(self.r.standard_normal([int(n) for n in shape]), np.float32)

    def axis(self, x):
        return int(self.r.integers(-x.rank, x.rank))

    @staticmethod
    def broadcasts(a, b):
        return all(m == n or m == 1 or n == 1 for m, n in zip(a[::-1], b[::-1]))

    def take(self, dtype, exact=False, rank=(0, 6)):
        fits = [v for v in self.values if (dtype is None or v.dtype == dtype) and v.exact >= exact and rank[0] <= v.rank <= rank[1] and v.size > 0]
        if not fits:
            raise NothingFits
        return fits[self.r.integers(max(0, len(fits) - 4) if self.r.random() < 0.6 else 0, len(fits))]

    def like(self, x):
        same = [v for v in self.values if v.dtype == x.dtype and v.shape == x.shape]
        return same[self.r.integers(len(same))]

    def beside(self, x, exact=False):
        """A value that broadcasts with x: another of the graph, or a constant."""
        fits = [v for v in self.values if v.dtype == x.dtype and v.exact >= exact and self.broadcasts(v.shape, x.shape)]
        if fits and self.r.random() < 0.6:
            return fits[self.r.integers(len(fits))]
        shape = [n if self.r.random() < 0.5 else 1 for n in x.shape[int(self.r.integers(0, x.rank + 1)):]]
        return self.constant({F: lambda: self.normal(*shape), I: lambda: self.r.integers(-3, 4, shape), B: lambda: np.asarray(self.r.random(shape) < 0.5)}.get(
            x.dtype, lambda: np.ones(shape, x.dtype))())

    def constant(self, array):
        array = np.asarray(array)
        if array.dtype == np.int32 or (array.dtype.kind == "i" and array.dtype.itemsize == 8):
            array = array.astype(np.int64)
        self.constants.append(Value(f"c{len(self.constants)}", array, True))
        return self.constants[-1]

    def node(self, op, inputs, outputs=1, exact=False, **attributes):
        """Adds the node when ONNX Runtime runs it and its outputs are ordinary numbers."""
        names = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        node = helper.make_node(op, [v.name if v else "" for v in inputs], names, name=f"n{len(self.nodes)}", **attributes)
        given = {v.name: v for v in inputs if v}
        held = [v for v in given.values() if v in self.constants]
        try:
            model = model_of([node], [v for v in given.values() if v not in held], names, held)
            results = OnnxRuntime(model.SerializeToString(), optimized=False).session.run(names, {v.name: v.value for v in given.values() if v not in held})
        except Exception:  # what it refuses is not compared
            return
        if any(r.dtype.kind == "f" and r.size and not (np.abs(r) < LARGEST).all() for r in results) or any(r.size > 20000 for r in results):
            return
        if any(r.dtype not in (F, I, B, np.dtype(np.int32), np.dtype(np.uint8), np.dtype(np.int8), np.dtype(np.float64), np.dtype(np.float16)) for r in results):
            return
        self.nodes.append(node)
        self.drawn.append(op)
        self.values += [Value(n, r, exact) for n, r in zip(names, results)]


def model_of(nodes, inputs, outputs, held, symbolic=lambda v: v.shape):
    given = [helper.make_tensor_value_info(v.name, helper.np_dtype_to_tensor_dtype(v.dtype), symbolic(v)) for v in inputs]
    graph = helper.make_graph(nodes, "random", given, [onnx.ValueInfoProto(name=n) for n in outputs], [numpy_helper.from_array(v.value, v.name) for v in held])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def grow(seed):
    draft, rows = Draft(seed), list(NODES)
    for _ in range(NODES_A_GRAPH * 4):
        if len(draft.nodes) >= NODES_A_GRAPH:
            break
        try:
            NODES[rows[draft.r.integers(len(rows))]](draft)
        except NothingFits:
            pass
    return draft


def compare(seed, folder):
    draft = grow(seed)
    read = {name for node in draft.nodes for name in node.input}
    ends = [v.name for v in draft.values if v not in draft.inputs and (v.name not in read or draft.r.random() < 0.2)]
    used = [v for v in draft.inputs if v.name in read]
    if not ends or not used:
        return draft
    open_dims = draft.r.random() < 0.5
    model = model_of(draft.nodes, used, ends, [c for c in draft.constants if c.name in read],
                     lambda v: [f"{v.name}_{i}" if open_dims and draft.r.random() < 0.4 else n for i, n in enumerate(v.shape)])
    path = pathlib.Path(folder, "graph.onnx")
    onnx.save(model, path)
    by_name = {v.name: v for v in draft.values}
    outputs = run_narrow(path, {v.name: v.value for v in used}, ends)
    for name, found in zip(ends, outputs):
        expected = by_name[name].value
        check(expected.dtype == found.dtype and expected.shape == found.shape, f"{name}: {found.dtype}{found.shape}, expected {expected.dtype}{expected.shape}")
        if expected.size == 0:
            continue
        if expected.dtype.kind != "f":
            check((expected == found).all(), f"{name}: {(expected != found).mean():.1%} of the elements differ")
            continue
        away = np.abs(expected.astype(np.float64) - found).max() / max(np.abs(expected).max(), 1e-2)
        check(away <= TOLERANCE * (10 if expected.dtype == np.float16 else 1), f"{name}: off by {away:.2e} of the largest element")
    quantize(path, used, folder)
    return draft


def quantize(path, inputs, folder):
    """Every method gives a file that ONNX Runtime opens, or says in one clean message that there is nothing to do."""
    np.savez(f"{folder}/calibration.npz", **{v.name: np.stack([v.value] * 3) for v in inputs})
    for method in ("static", "dynamic", "fp16"):
        made = pathlib.Path(folder, f"{method}.onnx")
        made.unlink(missing_ok=True)
        data = ["--data", f"{folder}/calibration.npz", "--max-drop", "100%"] if method == "static" else []
        done = narrow_process("quantize", path, "-o", made, "--method", method, "--quiet", *data)
        if done.returncode in (0, 5):  # 5: the written file misses the target of accuracy, as fp16 may out of its range
            try:
                OnnxRuntime(made)
            except Exception as error:
                raise AssertionError(f"{method}: {str(error)[-400:]}") from error
        else:
            check("quantized already" in done.stderr or done.returncode > 0 and "unsupported" in done.stderr and not made.exists(), f"{method}: exit {done.returncode}, {done.stderr}")


def check_table():
    listed = {entry["name"] for entry in narrow("list", "operators", "--json")}
    known = set(NODES) | {op for ops in ELSEWHERE.values() for op in ops.split()}
    missing = sorted(op for op in listed if "." not in op and op not in known)
    check(not missing, f"operators without a row in random_nodes.py: {', '.join(missing)}")


def main():
    first, graphs = int(sys.argv[1]) if len(sys.argv) > 1 else 0, int(sys.argv[2]) if len(sys.argv) > 2 else GRAPHS
    check_table()
    counts, failed = collections.Counter(), []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + graphs):
            try:
                counts.update(compare(seed, folder).drawn)
            except AssertionError as error:
                failed.append(seed)
                print(f"seed {seed}: {str(error)[-700:]}", flush=True)
    print(f"{graphs} graphs, {sum(counts.values())} nodes of {len(counts)} operators; {len(failed)} graphs differ")
    never = sorted(set(NODES) - set(counts))
    print("not drawn: " + ", ".join(never))
    check(not failed, f"seeds {failed}")
    if graphs >= GRAPHS:
        check(len(never) <= len(NODES) // 10, "too many rows never made a node")


if __name__ == "__main__":
    main()
