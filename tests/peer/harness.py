"""What the peer tests share: the narrow binary, the data, the real runtimes, and what a figure is compared with.

A test is a *_peer.py beside this file: a script that raises (or calls `check`) when narrow and a peer disagree.
By hand: NARROW_BIN=build/dev/bin/narrow NARROW_DATA=… <python of the peers> tests/peer/<name>_peer.py
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

SOURCE = pathlib.Path(__file__).resolve().parents[2]
TESTDATA = SOURCE / "testdata"
SKIPPED = 77


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(SKIPPED)


def check(condition, message):
    if not condition:
        raise AssertionError(message)


def check_close(what, found, expected, tolerance):
    print(f"{what}: {found:.4f}, expected {expected:.4f} within {tolerance}")
    check(abs(found - expected) <= tolerance + 1e-9, f"{what}: found {found}, expected {expected} within {tolerance}")


def shared(path):
    """A file of the shared data; the test is skipped where that data is not at hand."""
    root = pathlib.Path(os.environ.get("NARROW_DATA") or SOURCE.parent / "shared" / "data")
    if not (root / path).exists():
        skip(f"shared data not found: {path} under NARROW_DATA")
    return root / path


def narrow_process(*arguments):
    """Runs the command line to its end, whatever that is."""
    binary = os.environ.get("NARROW_BIN") or SOURCE / "build" / "dev" / "bin" / "narrow"
    return subprocess.run([str(binary), *map(str, arguments)], capture_output=True, text=True)


def narrow(*arguments, exit_code=0):
    """Runs the command line; returns its standard output, or with --json the parsed object. exit_code: what it must end
    with, one number or several."""
    done = narrow_process(*arguments)
    command = done.args
    allowed = exit_code if isinstance(exit_code, tuple) else (exit_code,)
    check(done.returncode in allowed,
          f"{' '.join(command)}\nexited {done.returncode}, expected {exit_code}\n{done.stdout}\n{done.stderr}")
    return json.loads(done.stdout) if "--json" in command else done.stdout


def run_narrow(path, feeds, names):
    """The outputs called `names` of the model, by `narrow run`."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["run", path, "--quiet"]
        for i, (name, array) in enumerate(feeds.items()):
            np.save(f"{folder}/in{i}.npy", array)
            arguments += ["--input", f"{name}={folder}/in{i}.npy"]
        for i, name in enumerate(names):
            arguments += ["--output", f"{name}={folder}/out{i}.npy"]
        narrow(*arguments)
        return [np.load(f"{folder}/out{i}.npy") for i in range(len(names))]


class OnnxRuntime:
    """One model, a path or the bytes of a file, in ONNX Runtime's CPU provider."""
    name = "onnxruntime"

    def __init__(self, path, threads=1, optimized=True):
        import onnxruntime as ort
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if not optimized:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        model = path if isinstance(path, bytes) else str(path)
        self.session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.inputs = [i.name for i in self.session.get_inputs()]

    def run(self, *arrays, **named):
        return self.session.run(None, named or dict(zip(self.inputs, arrays)))


class OpenVino:
    """One model in OpenVINO's CPU plugin, computing in f32 and int8 only (no silent bf16)."""
    name = "openvino"

    def __init__(self, path, threads=1):
        import openvino as ov
        core = ov.Core()
        model = core.read_model(str(path))
        self.compiled = core.compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1,
                                                          "INFERENCE_PRECISION_HINT": "f32"})
        self.request = self.compiled.create_infer_request()

    def run(self, *arrays, **named):
        results = self.request.infer(named or dict(enumerate(arrays)))
        return [np.array(results[output]) for output in self.compiled.outputs]


PEERS = (OnnxRuntime, OpenVino)


def top1(model, images, labels, batch=1):
    """Top-1 in percent; images f32 [n, …], already preprocessed; the model's first output are the scores."""
    right = 0
    for at in range(0, len(images), batch):
        scores = model.run(images[at:at + batch])[0].reshape(len(images[at:at + batch]), -1)
        right += int((scores.argmax(1) == labels[at:at + batch]).sum())
    return 100.0 * right / len(images)


def sqnr_db(expected, found):
    expected, found = np.asarray(expected, np.float64), np.asarray(found, np.float64)
    noise = np.square(expected - found).sum()
    return float("inf") if noise == 0 else 10 * np.log10(np.square(expected).sum() / noise)


def check_model(path):
    """The ONNX checker accepts the file, shapes included."""
    import onnx
    onnx.checker.check_model(str(path), full_check=True)


def imagenet_caffe(count=500):
    """(images f32 [n, 3, 227, 227], labels) of the shared ImageNet sample as SqueezeNet 1.1 wants them: shorter side to
    256, centre crop 227, BGR minus 104/117/123."""
    from PIL import Image
    folder = shared("imagenet")
    rows = [line.split("\t") for line in (folder / "labels.tsv").read_text().splitlines() if line[:1] not in ("", "#")]
    images, labels = [], []
    for name, label, *_ in rows[:count]:
        images.append(caffe_bgr(Image.open(folder / name).convert("RGB")))
        labels.append(int(label))
    return np.stack(images), np.array(labels)


def caffe_bgr(image, size=227, resize=256):
    from PIL import Image
    scale = resize / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.BILINEAR)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    pixels = np.asarray(image.crop((left, top, left + size, top + size)), np.float32)[:, :, ::-1]
    return np.ascontiguousarray((pixels - np.array([104, 117, 123], np.float32)).transpose(2, 0, 1))


def shapes(part):
    """(images f32 [n, 3, 32, 32], labels) of the embedded demo data: 'calibration' or 'test'."""
    with np.load(TESTDATA / "shapes" / f"{part}.npz") as data:
        return data["image"].astype(np.float32), data["labels"]
