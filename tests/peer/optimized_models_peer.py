"""Models as ONNX Runtime's optimizer leaves them (extended level: FusedConv, FusedGemm, QuickGelu, …) give in narrow what they
give in ONNX Runtime; and quantized, SqueezeNet so optimized does as well as it does plain."""
import pathlib
import sys
import tempfile

import numpy as np

from harness import SKIPPED, OnnxRuntime, check, check_model, imagenet_caffe, narrow, shared, sqnr_db
from runtime_peer import TOLERANCE, compare, random_feeds

SQUEEZENET = "vision/squeezenet1.1/squeezenet1.1.onnx"


def optimize(path, out):
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(out)
    options.log_severity_level = 4
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run_all(root, folder):
    compared = 0
    for path in sorted(root.rglob("*.onnx")):
        name = str(path.relative_to(root))
        if any(part in name for part in ("malformed", "conformance", "superres", "silero")):  # silero: random numbers are no state
            continue
        optimized = pathlib.Path(folder, path.name)
        try:
            optimize(path, optimized)
            model = OnnxRuntime(optimized)
        except Exception as error:
            print(f"{name}: not compared, ONNX Runtime cannot load it ({str(error)[:60]})")
            continue
        model.plain = OnnxRuntime(optimized, optimized=False).session
        worst = max(compare(optimized, model, random_feeds(model, seed, {"batch_size": 2, "N": 2}))[0] for seed in range(2))
        print(f"{name}: {worst:.2e}", flush=True)
        check(worst <= TOLERANCE, f"{name} differs by {worst}")
        compared += 1
    return compared


def quantize_squeezenet(folder):
    images, _ = imagenet_caffe(48)
    np.save(f"{folder}/images.npy", images[:32])
    plain, optimized = shared(SQUEEZENET), pathlib.Path(folder, "optimized.onnx")
    optimize(plain, optimized)
    expected = OnnxRuntime(plain).run(images[32:])[0]
    quality = {}
    for name, path in (("plain", plain), ("optimized", optimized)):
        out = pathlib.Path(folder, f"{name}_int8.onnx")
        narrow("quantize", path, "-o", out, "--method", "static", "--data", f"{folder}/images.npy", "--quiet")
        check_model(out)
        quality[name] = sqnr_db(expected, OnnxRuntime(out).run(images[32:])[0])
        print(f"squeezenet {name}: {quality[name]:.1f} dB, {out.stat().st_size} of {path.stat().st_size} bytes")
        check(out.stat().st_size < 0.35 * path.stat().st_size, f"the {name} model did not shrink")
    check(quality["optimized"] >= quality["plain"] - 1, f"the optimized model lost more: {quality}")


def main():
    root = shared("MANIFEST.tsv").parent
    with tempfile.TemporaryDirectory() as folder:
        compared = run_all(root, folder)
        quantize_squeezenet(folder)
    if compared == 0:
        sys.exit(SKIPPED)


if __name__ == "__main__":
    main()
