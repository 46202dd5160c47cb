"""Every shared ONNX model, imported and exported again, is accepted by the ONNX checker and computes bit for bit what the
original computes in ONNX Runtime (graph optimizations off)."""
import collections
import pathlib
import sys
import tempfile

import numpy as np
import onnx

import harness

NUMPY = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16,
         "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(int8)": np.int8, "tensor(uint8)": np.uint8,
         "tensor(bool)": np.bool_}
# Symbolic dimensions and inputs that random numbers do not suit.
SHAPES = {("basic_pitch", "serving_default_input_2:0"): [1, 43844, 1], ("silero_vad", "input"): [1, 576],
          ("silero_vad", "state"): [2, 1, 128]}
VALUES = {("silero_vad", "sr"): np.array(16000, np.int64)}


def feeds(path, session):
    random = np.random.default_rng(0)
    made = {}
    for item in session.get_inputs():
        key = (path.parent.name, item.name)
        if key in VALUES:
            made[item.name] = VALUES[key]
            continue
        shape = SHAPES.get(key) or [d if isinstance(d, int) else 1 for d in item.shape]
        made[item.name] = random.uniform(-1, 1, shape).astype(NUMPY[item.type])
    return made


def operators(graph, count):
    for node in graph.node:
        if node.op_type != "Constant":
            count[node.domain, node.op_type] += 1
        for attribute in node.attribute:
            if attribute.HasField("g"):
                operators(attribute.g, count)
    return count


def check_round_trip(path, folder):
    copy = folder / path.name
    harness.narrow("convert", path, copy)
    custom = {o.domain for o in onnx.load(path).opset_import} - {"", "ai.onnx", "ai.onnx.ml"}
    onnx.checker.check_model(str(copy), full_check=True)
    before, after = operators(onnx.load(path).graph, collections.Counter()), operators(onnx.load(copy).graph, collections.Counter())
    harness.check(before == after, f"{path.name}: operators changed: {before - after} became {after - before}")
    harness.check([o.name for o in onnx.load(path).graph.output] == [o.name for o in onnx.load(copy).graph.output], path.name)
    sizes = f"{path.stat().st_size} -> {copy.stat().st_size} bytes, opset {onnx.load(path).opset_import[0].version} -> " \
            f"{[o.version for o in onnx.load(copy).opset_import if not o.domain][0]}"
    if custom:
        print(f"{path.name}: checked, not run ({', '.join(custom)}); {sizes}")
        return
    reference, ours = (harness.OnnxRuntime(p, optimized=False) for p in (path, copy))
    inputs = feeds(path, reference.session)
    for name, expected, found in zip(ours.session.get_outputs(), reference.run(**inputs), ours.run(**inputs)):
        harness.check(expected.dtype == found.dtype and np.array_equal(expected, found, equal_nan=True),
                      f"{path.name}: output {name.name} differs by {np.abs(expected - found).max()}")
    print(f"{path.name}: equal; {sizes}")


def main():
    root = harness.shared("vision").parent
    models = sorted(p for p in root.rglob("*.onnx") if "malformed" not in p.parts)
    harness.check(len(models) >= 11, f"expected 11 models, found {len(models)}")
    with tempfile.TemporaryDirectory() as folder:
        for path in models:
            check_round_trip(path, pathlib.Path(folder))


if __name__ == "__main__":
    sys.exit(main())
