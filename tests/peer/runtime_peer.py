"""Every ONNX model of the shared data gives in narrow what it gives in ONNX Runtime: largest difference over largest
output at most 1e-4 (where ONNX Runtime with and without its optimizations differ by more, 1.5 times that: its sigmoid
of large negative numbers, in YuNet, holds two digits; where narrow's plain reference kernels differ from it by more, what those
do: sums of another order, in YOLOX), on random inputs and, for the models that carry state, over a sequence of real audio
frames."""
import os
import sys
import tempfile
import wave

import numpy as np

from harness import SKIPPED, OnnxRuntime, check, run_narrow, shared

TOLERANCE = 1e-4
TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(double)": np.float64,
         "tensor(float16)": np.float16, "tensor(bool)": np.bool_, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8}


def difference(expected, found):
    check(expected.shape == found.shape, f"shape {found.shape}, expected {expected.shape}")
    check(expected.dtype == found.dtype, f"type {found.dtype}, expected {expected.dtype}")
    if expected.size == 0:
        return 0.0
    expected, found = expected.astype(np.float64), found.astype(np.float64)
    check(bool((np.isnan(expected) == np.isnan(found)).all()), "NaN in different places")
    top = np.nanmax(np.abs(expected))
    return float(np.nanmax(np.abs(expected - found)) / (top if top > 0 else 1.0))


def compare(path, model, feeds):
    names = [o.name for o in model.session.get_outputs()]
    expected = model.session.run(None, feeds)
    found = run_narrow(path, feeds, names)
    plain = model.plain.run(None, feeds)
    worst = 0.0
    reference = [None] * len(names)
    if max(difference(np.asarray(e), f) for e, f in zip(expected, found)) > TOLERANCE and "NARROW_ISA" not in os.environ:
        os.environ["NARROW_ISA"] = "scalar"
        reference = run_narrow(path, feeds, names)
        del os.environ["NARROW_ISA"]
    for e, f, p, r in zip(expected, found, plain, reference):
        own = max(difference(np.asarray(e), np.asarray(p)), 0.0 if r is None else difference(np.asarray(e), r))
        worst = max(worst, difference(np.asarray(e), f) * min(1.0, TOLERANCE / (1.5 * own) if own > 0 else 1.0))
    return worst, expected


def random_feeds(model, seed, sizes):
    random = np.random.default_rng(seed)
    feeds = {}
    for given in model.session.get_inputs():
        shape = [d if isinstance(d, int) and d > 0 else sizes.get(d, 1) for d in given.shape]
        dtype = TYPES[given.type]
        if np.issubdtype(dtype, np.floating):
            scale = [1.0, 50.0, 0.01][seed % 3]
            feeds[given.name] = (random.standard_normal(shape) * scale).astype(dtype)
        elif dtype == np.bool_:
            feeds[given.name] = random.integers(0, 2, shape).astype(dtype)
        else:
            feeds[given.name] = random.integers(0, 100, shape).astype(dtype)
    return feeds


def audio():
    with wave.open(str(shared("audio/wav/micro_speech/yes_1000ms.wav"))) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768


def silero(path, model):
    sound, worst = audio(), 0.0
    state, context = np.zeros((2, 1, 128), np.float32), np.zeros(64, np.float32)
    for at in range(0, 512 * 6, 512):
        frame = sound[at:at + 512]
        feeds = {"input": np.concatenate([context, frame])[None], "state": state, "sr": np.array(16000, np.int64)}
        found, expected = compare(path, model, feeds)
        worst, state, context = max(worst, found), expected[1], frame[-64:]
    return worst


def dtln(path, model):
    sound, worst = audio(), 0.0
    frame_input, state_input = [i.name for i in model.session.get_inputs()]
    width = model.session.get_inputs()[0].shape[-1]
    state = np.zeros((1, 2, 128, 2), np.float32)
    for at in range(2000, 2000 + 128 * 6, 128):
        block = sound[at:at + 512]
        frame = np.abs(np.fft.rfft(block)).astype(np.float32) if width == 257 else block
        found, expected = compare(path, model, {frame_input: frame.reshape(1, 1, width), state_input: state})
        worst, state = max(worst, found), expected[1]
    return worst


def super_resolution(path):
    """The standard part of a model that decodes and encodes images itself, in com.microsoft.extensions: what lies between,
    with its float values made outputs so that rounding to pixels does not hide or invent differences."""
    import onnx
    model = onnx.load(path)
    graph = model.graph
    decode, encode = (next(n for n in graph.node if n.op_type == kind) for kind in ("DecodeImage", "EncodeImage"))
    pixels_in, pixels_out = decode.output[0], encode.input[0]
    kept = [n for n in graph.node if not n.domain and encode.output[0] not in n.input]
    network = next(n.output[0] for n in kept if n.op_type == "DepthToSpace")
    resized = [n.output[0] for n in kept if n.op_type == "Resize"][1:]
    del graph.input[:], graph.output[:]
    tensor = onnx.helper.make_tensor_value_info
    graph.input.append(tensor(pixels_in, onnx.TensorProto.UINT8, ["h", "w", 3]))
    graph.output.append(tensor(pixels_out, onnx.TensorProto.UINT8, ["H", "W", 3]))
    graph.output.extend(tensor(name, onnx.TensorProto.FLOAT, None) for name in (network, *resized))
    for node in kept:  # opset 18 asks for the attribute, this exporter left it out
        if node.op_type == "Split" and len(node.input) < 2 and all(a.name != "num_outputs" for a in node.attribute):
            node.attribute.append(onnx.helper.make_attribute("num_outputs", len(node.output)))
    del graph.node[:]
    graph.node.extend(kept)
    opsets = [o for o in model.opset_import if o.domain in ("", "ai.onnx")]
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    cropped = next(n.output[0] for n in kept if n.op_type == "Slice")
    graph.output.append(tensor(cropped, onnx.TensorProto.UINT8, None))
    with tempfile.TemporaryDirectory() as folder:
        part = f"{folder}/standard_part.onnx"
        onnx.save(model, part)
        runtime, names = OnnxRuntime(part), [pixels_out, cropped, network, *resized]

        def both(height, width):
            feeds = {pixels_in: np.random.default_rng(height).integers(0, 256, (height, width, 3)).astype(np.uint8)}
            return runtime.session.run(names, feeds), run_narrow(part, feeds, names)

        def check_pixels(expected, found, share):
            codes = np.abs(expected.astype(int) - found.astype(int))
            check(codes.max() <= 1 and (codes > 0).mean() <= share, f"pixels differ by up to {codes.max()}, {(codes > 0).mean():.4f} of them")

        # ONNX Runtime resizes bytes in fixed point: a few come out one apart, and the network is shown other pixels.
        expected, found = both(240, 320)
        check_pixels(expected[1], found[1], 2e-3)
        # At the network's own size nothing is resized before it.
        expected, found = both(224, 224)
        check_pixels(expected[1], found[1], 0)
        check_pixels(expected[0], found[0], 1e-3)
        worst = max(difference(e, f) for e, f in zip(expected[2:], found[2:]))
    return worst


def main():
    root = shared("MANIFEST.tsv").parent
    wanted = sys.argv[1:]
    failed = []
    compared = 0
    for path in sorted(root.rglob("*.onnx")):
        name = str(path.relative_to(root))
        if "malformed" in name or "conformance" in name or (wanted and not any(w in name for w in wanted)):
            continue
        try:
            if "superres" not in name:
                model = OnnxRuntime(path)
                model.plain = OnnxRuntime(path, optimized=False).session
        except Exception as error:  # what the peer cannot open cannot be compared
            print(f"{name}: not compared, ONNX Runtime cannot load it ({str(error)[:60]})")
            continue
        try:
            if "superres" in name:
                worst = super_resolution(path)
            elif "silero" in name:
                worst = silero(path, model)
            elif "dtln" in name:
                worst = dtln(path, model)
            else:
                sizes = {"batch_size": 2, "sequence_length": 3, "past_sequence_length": 4, "N": 2}
                worst = max(compare(path, model, random_feeds(model, seed, sizes))[0] for seed in range(3))
        except AssertionError as error:
            failed.append(name)
            print(f"{name}: FAILED {str(error)[-400:]}")
            continue
        compared += 1
        print(f"{name}: {worst:.2e}{'' if worst <= TOLERANCE else '  TOO FAR'}", flush=True)
        if worst > TOLERANCE:
            failed.append(name)
    check(not failed, f"differ from ONNX Runtime: {', '.join(failed)}")
    if compared == 0:
        sys.exit(SKIPPED)


if __name__ == "__main__":
    main()
