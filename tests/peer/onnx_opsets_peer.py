"""Old forms of the ONNX operators mean what they meant: each case, in its own opset, gives the same numbers in ONNX
Runtime after import and export, both in the opset it came with and lifted to opset 21."""
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

import harness

F, I64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
RANDOM = np.random.default_rng(7)


def array(*shape):
    return RANDOM.uniform(-2, 2, shape).astype(np.float32)


def case(op, opset, inputs, attributes=None, constants=(), outputs=1, symbolic=False, types=None):
    """inputs: arrays fed at run time; constants: initializers that follow them (None: omitted)."""
    return dict(op=op, opset=opset, inputs=inputs, attributes=attributes or {}, constants=constants, outputs=outputs,
                symbolic=symbolic, types=types or [F] * outputs)


def cases():
    x = array(2, 3, 4, 4)
    for opset in (7, 9, 11, 12):
        for axis in (0, 1, 2, 3) + ((-1, -2) if opset >= 11 else ()):
            for op in ("Softmax", "LogSoftmax", "Hardmax"):
                for symbolic in (False, True):
                    yield case(op, opset, [x], {"axis": axis}, symbolic=symbolic)
        yield case("Softmax", opset, [array(2, 5)])
        yield case("Softmax", opset, [array(2, 5, 1, 1)], {"axis": 1})
        yield case("Softmax", opset, [array(2, 1, 5)], {"axis": 1})
    for opset in (13, 17):
        for axis in (0, 1, -1):
            yield case("Softmax", opset, [x], {"axis": axis})
    for op in "ReduceL1 ReduceL2 ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare".split():
        for opset in (7, 11, 12):
            for attributes in ({"axes": [1, 2]}, {"axes": [3], "keepdims": 0}, {}, {"keepdims": 0}):
                yield case(op, opset, [x], attributes)
        if op != "ReduceSum":
            yield case(op, 13, [x], {"axes": [-1, 1]})
        yield case(op, 18, [x], {}, [np.array([0, 2])])
        yield case(op, 18, [x], {"noop_with_empty_axes": 1})
    yield case("ReduceSum", 13, [x], {"keepdims": 0}, [np.array([-1])])
    for opset in (7, 11, 12):
        yield case("Squeeze", opset, [array(1, 3, 1)], {"axes": [0]})
        yield case("Squeeze", opset, [array(1, 3, 1)])
        yield case("Unsqueeze", opset, [x], {"axes": [0, 3]})
    yield case("Unsqueeze", 13, [x], {}, [np.array([0, -1])])
    for opset in (7, 11, 12):
        yield case("Split", opset, [x], {"axis": 3, "split": [1, 3]}, outputs=2)
        yield case("Split", opset, [x], {"axis": 2}, outputs=2)
    yield case("Split", 13, [x], {"axis": 2}, [np.array([1, 3])], outputs=2)
    yield case("Split", 13, [x], {"axis": 0}, outputs=2)
    yield case("Split", 18, [array(7)], {"num_outputs": 3}, outputs=3)
    yield case("Slice", 7, [x], {"axes": [1, 3], "starts": [0, -3], "ends": [2, 1000]})
    yield case("Slice", 9, [x], {"starts": [0, 1], "ends": [-1, 2]})
    yield case("Slice", 10, [x], {}, [np.array([0]), np.array([3]), np.array([2]), np.array([2])])
    for opset in (7, 10):
        for mode in ("constant", "reflect", "edge"):
            yield case("Pad", opset, [x], {"pads": [0, 0, 1, 2, 0, 0, 2, 1], "mode": mode})
        yield case("Pad", opset, [x], {"pads": [0, 1, 0, 2, 0, 0, 2, 0], "value": 1.5})
        yield case("Pad", opset, [x], {"pads": [0, 0, -1, 0, 0, 0, 0, -2]})
    yield case("Pad", 11, [x], {}, [np.array([0, 0, 1, 2, 0, 0, 2, 1]), np.array(0.5, np.float32)])
    for opset in (7, 10):
        for attributes in ({}, {"min": -0.5}, {"max": 0.25}, {"min": -1.0, "max": 1.0}):
            yield case("Clip", opset, [x], attributes)
    yield case("Clip", 11, [x], {}, [None, np.array(0.5, np.float32)])
    for opset in (7, 10):
        yield case("Dropout", opset, [x], {"ratio": 0.3})
    yield case("Dropout", 12, [x], {}, [np.array(0.3, np.float32)])
    for opset in (7, 9):
        yield case("TopK", opset, [array(4, 9)], {"k": 3}, outputs=2, types=[F, I64])
        yield case("TopK", opset, [array(9, 4)], {"k": 2, "axis": 0}, outputs=2, types=[F, I64])
    yield case("TopK", 10, [array(4, 9)], {}, [np.array([3])], outputs=2, types=[F, I64])
    yield case("TopK", 11, [array(4, 9)], {"largest": 0}, [np.array([3])], outputs=2, types=[F, I64])
    image, up = array(1, 2, 5, 4), np.array([1, 1, 2, 3], np.float32)
    for mode in ("nearest", "linear"):
        yield case("Upsample", 7, [image], {"mode": mode, "scales": [1.0, 1.0, 2.0, 3.0]})
        yield case("Upsample", 8, [image], {"mode": mode, "scales": [1.0, 1.0, 1.5, 2.5]})
        yield case("Upsample", 9, [image], {"mode": mode}, [up])
        for scales in ([1, 1, 2, 3], [1, 1, 1.6, 2.3], [1, 1, 0.6, 0.5]):
            yield case("Resize", 10, [image], {"mode": mode}, [np.array(scales, np.float32)])
    empty = np.zeros(0, np.float32)
    for coordinates in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"):
        for mode in ("nearest", "linear", "cubic"):
            attributes = {"mode": mode, "coordinate_transformation_mode": coordinates}
            yield case("Resize", 11, [image], attributes, [empty, np.array([1, 1, 1.6, 2.3], np.float32)])
            yield case("Resize", 11, [image], attributes, [empty, empty, np.array([1, 2, 8, 3])])
            yield case("Resize", 13, [image], attributes, [None, None, np.array([1, 2, 8, 3])])
    for rounding in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil"):
        yield case("Resize", 11, [image], {"nearest_mode": rounding, "coordinate_transformation_mode": "asymmetric"},
                   [empty, np.array([1, 1, 1.6, 2.3], np.float32)])
    yield case("Resize", 11, [image], {"mode": "nearest", "coordinate_transformation_mode": "tf_half_pixel_for_nn",
                                       "nearest_mode": "floor"}, [empty, np.array([1, 1, 1.6, 2.3], np.float32)])
    for opset in (7, 8, 9):
        yield case("BatchNormalization", opset, [x], {"epsilon": 1e-3},
                   [array(3), array(3), array(3), np.abs(array(3))])
    yield case("Gemm", 7, [array(3, 4), array(4, 5), array(5)], {"alpha": 0.5, "beta": 2.0})
    yield case("Gemm", 11, [array(4, 3), array(5, 4)], {"transA": 1, "transB": 1})
    indices = np.array([[0, 1, 2], [2, 0, 1]])
    yield case("Scatter", 9, [array(3, 3)], {}, [indices, array(2, 3)])
    yield case("ScatterElements", 11, [array(3, 3)], {"axis": 1}, [np.array([[0], [2], [1]]), array(3, 1)])
    yield case("ScatterElements", 16, [array(3, 3)], {"reduction": "add"}, [indices, array(2, 3)])
    yield case("ArgMax", 11, [x], {"axis": 2}, types=[I64])
    yield case("ArgMax", 12, [x], {"axis": -1, "select_last_index": 1}, types=[I64])
    for opset in (7, 8, 10, 12):
        yield case("MaxPool", opset, [x], {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 1, 0, 0]})
        yield case("AveragePool", opset, [x], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1})
    yield case("MaxPool", 10, [x], {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1})
    rois = np.array([[0, 0, 3, 3], [1, 0, 2, 3]], np.float32)
    yield case("RoiAlign", 10, [x], {"output_height": 2, "output_width": 2}, [rois, np.array([0, 1])])
    yield case("RoiAlign", 16, [x], {"output_height": 2, "output_width": 2}, [rois, np.array([0, 1])])
    grid = RANDOM.uniform(-1, 1, (2, 3, 3, 2)).astype(np.float32)
    for mode in ("bilinear", "nearest", "bicubic"):
        yield case("GridSample", 16, [x], {"mode": mode}, [grid])
    yield case("DFT", 17, [array(1, 6, 4, 1)], {"axis": 1})
    yield case("GroupNormalization", 18, [array(2, 6, 4)], {"num_groups": 3}, [array(3), array(3)])
    yield case("Flatten", 9, [x], {"axis": 2})
    yield case("Concat", 7, [x, x], {"axis": 1})
    yield case("Shape", 13, [x], types=[I64])
    yield case("Reshape", 7, [x], {}, [np.array([0, -1])])
    yield case("LSTM", 7, [array(5, 2, 3)], {"hidden_size": 4}, [array(1, 16, 3), array(1, 16, 4), array(1, 32)], outputs=3)
    yield case("GRU", 7, [array(5, 2, 3)], {"hidden_size": 4, "linear_before_reset": 1}, [array(1, 12, 3), array(1, 12, 4)], outputs=2)


def build(one, ranks=None):
    names = [f"x{i}" for i in range(len(one["inputs"]))]
    inputs = [helper.make_tensor_value_info(n, F, [f"d{i}" for i in range(v.ndim)] if one["symbolic"] else v.shape)
              for n, v in zip(names, one["inputs"])]
    wires, initializers = list(names), []
    for i, value in enumerate(one["constants"]):
        wires.append("" if value is None else f"c{i}")
        if value is not None:
            initializers.append(numpy_helper.from_array(value, f"c{i}"))
    outputs = [f"y{i}" for i in range(one["outputs"])]
    node = helper.make_node(one["op"], wires, outputs, **one["attributes"])
    graph = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info(o, t, None if ranks is None else [f"{o}_{i}" for i in range(ranks[o])])
                                                for o, t in zip(outputs, one["types"])], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", one["opset"])], ir_version=8)


def run(model, feeds):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"]).run(None, feeds)


def main():
    driver = pathlib.Path(os.environ["NARROW_BIN"]).parent / "onnx_convert"
    compared = without_reference = 0
    with tempfile.TemporaryDirectory() as folder:
        source, target = pathlib.Path(folder) / "source.onnx", pathlib.Path(folder) / "target.onnx"
        for one in cases():
            onnx.save(build(one), source)
            feeds = {f"x{i}": v for i, v in enumerate(one["inputs"])}
            try:
                expected = run(source, feeds)
            except Exception:  # ONNX Runtime lacks a kernel for this form
                without_reference += 1
                continue
            onnx.save(build(one, {f"y{i}": v.ndim for i, v in enumerate(expected)}), source)
            for opset in (0, 21):
                what = f"{one['op']} of opset {one['opset']} {one['attributes']} written as {opset or 'the same'}"
                done = subprocess.run([driver, source, target, str(opset)], capture_output=True, text=True)
                harness.check(done.returncode == 0, f"{what}: {done.stderr}")
                onnx.checker.check_model(str(target), full_check=True)
                if opset == 0:
                    harness.check(onnx.load(target).opset_import[0].version >= one["opset"], f"{what}: opset went down")
                for a, b in zip(expected, run(target, feeds)):
                    harness.check(a.dtype == b.dtype and a.shape == b.shape and np.allclose(a, b, rtol=1e-6, atol=1e-6),
                                  f"{what}: expected {a.ravel()[:4]}, found {b.ravel()[:4]}")
                compared += 1
    print(f"{compared} conversions compared, {without_reference} forms have no kernel in ONNX Runtime")
    harness.check(compared > 300, "too few cases ran")


if __name__ == "__main__":
    sys.exit(main())
