"""Planted damage is found: a model is hurt in one of six ways drawn at random, and `narrow diagnose` names that way first.

    tests/peer/diagnose_peer.py [PLANTS [SEED]]

Plants: weights of depthwise layers with one scale, one channel made 200 times larger (and its readers' weights smaller),
calibration with another mean, with the channels reversed, with another range of values, on three near-identical samples.
Quantized by narrow or by ONNX Runtime's quantize_static. The data given are the samples calibrated on, prepared rightly. At least 9 of 10 must be named rightly and first. The
models are those of benchmarks/peers/zoo.py that the packages at hand can rebuild; NARROW_ZOO keeps them between runs.
"""
import os
import pathlib
import sys
import tempfile

import numpy as np
import onnx
from onnx import numpy_helper

from harness import SOURCE, check, narrow, skip

sys.path.insert(0, str(SOURCE / "benchmarks" / "peers"))

MODELS = ("squeezenet1.1", "resnet20", "mobilenet_v2", "vww")
DEPTHWISE = ("mobilenet_v2", "vww")
EXPECTED = {"per_tensor": "per_tensor_weights", "outlier": "outlier_channels", "mean": "calibration_mean",
            "bgr": "calibration_channel_order", "range": "calibration_value_range", "samples": "calibration_samples"}
# What each model's inputs become by the mistake; mean and range as the model's own preprocessing suggests them.
MEAN = {"squeezenet1.1": lambda x: x + 112, "resnet20": lambda x: x + 2, "mobilenet_v2": lambda x: x + 1, "vww": lambda x: x - 0.5}
RANGE = {"squeezenet1.1": lambda x: x / 255, "resnet20": lambda x: x * 255, "mobilenet_v2": lambda x: x * 127.5 + 127.5, "vww": lambda x: x * 255}


def calibration_data(kind, name, images, randomly):
    if kind == "mean":
        return MEAN[name](images)
    if kind == "range":
        return RANGE[name](images)
    if kind == "bgr":
        return images[:, ::-1]
    if kind == "samples":
        one = images[randomly.integers(len(images))]
        return np.stack([one + 0.01 * np.std(one) * randomly.standard_normal(one.shape) for _ in range(3)])
    return images


def live_channel(model, value, images, randomly):
    """A channel of `value` that is no weaker than most."""
    import onnxruntime as ort
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.add().name = value
    session = ort.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    largest = np.max([session.run([value], {session.get_inputs()[0].name: image[None]})[0][0].max((1, 2)) for image in images[:8]], 0)
    alive = np.flatnonzero(largest >= np.median(largest[largest > 0]))
    return int(alive[randomly.integers(len(alive))])


def scale_channel(source, destination, images, randomly, factor=200):
    """One channel between two convolutions made `factor` times larger, the reader's weights smaller: the same function."""
    model = onnx.load(source)
    weights = {i.name: i for i in model.graph.initializer}
    readers, makers = {}, {}
    for node in model.graph.node:
        for value in node.input:
            readers.setdefault(value, []).append(node)
        for value in node.output:
            makers[value] = node
    pairs = []
    for node in model.graph.node:
        before = makers.get(node.input[0]) if node.op_type == "Relu" else None
        after = readers.get(node.output[0], [])
        if before is not None and before.op_type in ("Conv", "BatchNormalization") and len(readers[node.input[0]]) == 1:
            if after and all(reader.op_type == "Conv" for reader in after):
                pairs.append((before, node.output[0], after))
    before, value, after = pairs[randomly.integers(len(pairs))]
    channel = live_channel(model, value, images, randomly)

    def change(name, how):
        array = numpy_helper.to_array(weights[name]).copy()
        how(array)
        weights[name].CopyFrom(numpy_helper.from_array(array, name))

    def scaled(index, by):
        def how(array):
            array[index] *= by
        return how

    for name in before.input[1:3]:
        change(name, scaled(channel, factor))
    for reader in after:
        depthwise = numpy_helper.to_array(weights[reader.input[1]]).shape[1] == 1
        change(reader.input[1], scaled(channel if depthwise else (slice(None), channel), 1 / factor))
    onnx.save(model, destination)


def by_onnxruntime(source, destination, images, per_channel):
    from onnxruntime import quantization as q

    class Reader(q.CalibrationDataReader):
        def __init__(self):
            self.feeds = iter({name: image[None]} for image in images)

        def get_next(self):
            return next(self.feeds, None)

    name = onnx.load(source).graph.input[0].name
    q.quantize_static(str(source), str(destination), Reader(), per_channel=per_channel,
                      activation_type=q.QuantType.QUInt8, weight_type=q.QuantType.QInt8)


def plant(kind, entry, by, work, randomly):
    """(float model, quantized model) with the damage `kind`."""
    model, made, data = entry.model, work / "made.onnx", work / "calibration.npz"
    with np.load(entry.data) as file:
        name = next(n for n in file.files if n != "labels")
        images = file[name]
    images = np.ascontiguousarray(calibration_data(kind, entry.name, images, randomly), np.float32)
    if kind == "outlier":
        model = work / "outlier.onnx"
        scale_channel(str(entry.model), str(model), images, randomly)
    if by == "onnxruntime":
        by_onnxruntime(model, made, images, per_channel=kind != "per_tensor")
    else:
        np.savez(data, **{name: images})
        observer = ("min_max", "percentile", "mse")[randomly.integers(3)]
        narrow("quantize", model, "-o", made, "--method", "static", "--data", data, "--preprocess", "none", "--observer", observer,
               "--quiet", *(["--per-tensor"] if kind == "per_tensor" else []), exit_code=(0, 5))
    return model, made


def main():
    try:
        import zoo
    except ImportError as error:
        skip(f"the models cannot be rebuilt: {error}")
    count, seed = (int(a) for a in [*sys.argv[1:], *("30", "20")[len(sys.argv) - 1:]])
    randomly = np.random.default_rng(seed)
    right, wrong = 0, []
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        kept = os.environ.get("NARROW_ZOO") or work / "zoo"
        for at in range(count):
            kind = list(EXPECTED)[randomly.integers(len(EXPECTED))]
            name = (DEPTHWISE if kind == "per_tensor" else MODELS)[randomly.integers(2 if kind == "per_tensor" else len(MODELS))]
            by = ("narrow", "onnxruntime")[randomly.integers(2)]
            if kind == "outlier" and name == "mobilenet_v2":
                name = "resnet20"  # a Clip at 6 does not let a channel grow
            entry = zoo.entry(kept, name)
            model, made = plant(kind, entry, by, work, randomly)
            found = narrow("diagnose", model, made, "--data", entry.data, "--preprocess", "none", "--json", "--quiet")
            first = found["findings"][0]["cause"] if found["findings"] else "nothing"
            causes = [f"{f['cause']} {f.get('gain_db', float('nan')):.1f}" for f in found["findings"][:3]]
            good = first == EXPECTED[kind]
            right += good
            if not good:
                wrong.append((kind, name, by, causes))
            print(f"{at + 1}: {kind} on {name} by {by}: {'right' if good else 'WRONG'}: {causes}; "
                  f"{found['findings'][0]['evidence'] if found['findings'] else ''}", flush=True)
    print(f"{right} of {count} plants named rightly and first")
    check(right >= 0.9 * count, f"{right} of {count} plants found: {wrong}")


if __name__ == "__main__":
    main()
