"""The table in src/targets/onnxruntime.cc against the runtime itself: DequantizeLinear → operator → QuantizeLinear is one
integer kernel in the graph that ONNX Runtime optimises to for what the table lists, and stays three for what it leaves out."""
import pathlib
import re
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from harness import SOURCE, check

FLOAT = ("Tanh", "HardSwish", "Sub", "Div", "Exp", "GlobalMaxPool")
I64 = {"Reshape": [[1, 64]], "Slice": [[0], [2], [1]], "Squeeze": [[0]], "Unsqueeze": [[0]], "Split": [[2, 2]], "Expand": [[2, 4, 4, 4]],
       "Tile": [[1, 2, 1, 1]], "Gather": [[0, 2]], "ReduceMax": [[1]], "ReduceMin": [[1]]}
ATTRIBUTES = {"MaxPool": {"kernel_shape": [2, 2]}, "AveragePool": {"kernel_shape": [2, 2]}, "Concat": {"axis": 1}, "Gather": {"axis": 1},
              "Split": {"axis": 1}, "DepthToSpace": {"blocksize": 2}, "Softmax": {"axis": -1},
              "Resize": {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}}
WEIGHTS = {"Conv": (4, 4, 1, 1), "MatMul": (4, 4), "Gemm": (4, 4)}


def graph_of(op):
    constants, nodes, inputs = [], [], []

    def constant(name, array):
        constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    scale, zero = constant("s", np.float32(0.05)), constant("z", np.uint8(3))
    sizes = [4, 4] if op in ("Gemm", "MatMul") else [1, 4, 4, 4]

    def dequantized(name):
        inputs.append(helper.make_tensor_value_info(name, TensorProto.UINT8, sizes))
        nodes.append(helper.make_node("DequantizeLinear", [name, scale, zero], [name + "_d"]))
        return name + "_d"

    given = [dequantized("x")]
    if op in WEIGHTS:
        codes = constant("w", np.random.default_rng(0).integers(-127, 127, WEIGHTS[op]).astype(np.int8))
        nodes.append(helper.make_node("DequantizeLinear", [codes, constant("ws", np.float32(0.01)), constant("wz", np.int8(0))], ["w_d"]))
        given.append("w_d")
    elif op in ("Add", "Mul", "Concat", "Sub", "Div"):
        given.append(dequantized("y"))
    elif op == "Resize":
        given += ["", constant("scales", np.array([1, 1, 2, 2], np.float32))]
    given += [constant(f"i{i}", np.array(v, np.int64)) for i, v in enumerate(I64.get(op, []))]
    made = ["r0", "r1"] if op == "Split" else ["r0"]
    nodes.append(helper.make_node(op, given, made, **ATTRIBUTES.get(op, {})))
    # Bounded results keep the parameters that the runtime's kernels ask for.
    bounded = {"Sigmoid": (np.float32(1 / 256), np.uint8(0)), "Softmax": (np.float32(1 / 256), np.uint8(0))}.get(op)
    out = (constant("os", bounded[0]), constant("oz", bounded[1])) if bounded else (scale, zero)
    for name in made:
        nodes.append(helper.make_node("QuantizeLinear", [name, *out], [name + "_q"]))
    outputs = [helper.make_tensor_value_info(name + "_q", TensorProto.UINT8, None) for name in made]
    return helper.make_model(helper.make_graph(nodes, op, inputs, outputs, constants), opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def optimised(model, work):
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(pathlib.Path(work, "optimized.onnx"))
    options.log_severity_level = 4
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [n.op_type for n in onnx.load(options.optimized_model_filepath).graph.node]


def main():
    table = (SOURCE / "src/targets/onnxruntime.cc").read_text()
    rows = re.findall(r"\{\.op_type = \"(\w+)\"(.*)\}", table)
    listed = [op for op, rest in rows if "on_codes" not in rest]
    check(len(listed) >= 20, f"the table reads as {listed}")
    wrong = []
    with tempfile.TemporaryDirectory() as work:
        for op in [*listed, *FLOAT]:
            found = optimised(graph_of(op), work)
            fused = "QuantizeLinear" not in found and "DequantizeLinear" not in found
            print(f"{op}: {' '.join(found)}")
            if fused != (op in listed):
                wrong.append(op)
    check(not wrong, f"ONNX Runtime does otherwise with {', '.join(wrong)}")


main()
