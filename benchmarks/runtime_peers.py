#!/usr/bin/env python3
"""Latency of one run: narrow, ONNX Runtime and OpenVINO on the same float and INT8 files, in turn, on pinned cores.

The INT8 file of each model is made by narrow (static, 50 samples) and is the same for all three. A figure is
the median over rounds of each process's median.

    NARROW_DATA=… <python of the peers> benchmarks/runtime_peers.py [--models squeezenet1.1 …] [--threads 1 2] [--rounds 5]
"""
import argparse
import json
import pathlib
import sys
import tempfile
import time

import numpy as np
from common import NARROW, find_key, harness, interleaved, median, run_process, table, write_results

# name: (file, calibration data, preprocessing): near enough to what each was trained with, since only speed is measured
MODELS = {
    "squeezenet1.1": ("vision/squeezenet1.1/squeezenet1.1.onnx", "imagenet", "caffe-bgr-227"),
    "resnet20": ("vision/cifar10_resnet_pt/resnet20_cifar10.onnx", "cifar10/test_2000.bin", "scale=1/255,mean=0.5,std=0.25"),
    "mnist": ("vision/mnist_cnn/mnist.onnx", "mnist", "scale=1/127.5,mean=1"),
    "yolox_nano": ("vision/yolox_nano/yolox_nano.onnx", "imagenet", "none"),
    "ultraface": ("vision/ultraface/version-RFB-320.onnx", "imagenet", "scale=1/128,mean=1"),
}


def peer_worker(kind, path, threads, seconds):
    """Run in a process of its own: the median latency of one peer, in ms."""
    import onnxruntime
    described = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).get_inputs()
    rng = np.random.default_rng(1)
    inputs = [rng.standard_normal([d if isinstance(d, int) else 1 for d in i.shape]).astype(np.float32) for i in described]
    model = {"onnxruntime": harness.OnnxRuntime, "openvino": harness.OpenVino}[kind](path, threads=int(threads))
    times, stop = [], time.perf_counter() + float(seconds)
    for at in range(1000000):
        begin = time.perf_counter()
        model.run(*inputs)
        times.append((time.perf_counter() - begin) * 1e3)
        if at > 20 and time.perf_counter() > stop:
            break
    print(json.dumps({"latency_ms_p50": median(times[len(times) // 10:])}))


def latency(command, threads):
    output = run_process(command, cores=range(threads))["output"]
    return find_key(json.loads(output[output.index("{"):]), "latency_ms_p50")


def measures(path, threads, seconds):
    def of_peer(kind):
        return lambda: latency([sys.executable, __file__, "--peer-worker", kind, path, threads, seconds], threads)

    return {"narrow": lambda: latency([NARROW, "bench", path, "--threads", threads, "--json", "--quiet"], threads),
            "onnxruntime": of_peer("onnxruntime"), "openvino": of_peer("openvino")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--peer-worker", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer_worker:
        return peer_worker(*args.peer_worker)

    rows, figures = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for name in args.models:
            file, data, preprocess = MODELS[name]
            float_path, int8_path = harness.shared(file), pathlib.Path(folder, f"{name}_int8.onnx")
            run_process([NARROW, "quantize", float_path, "-o", int8_path, "--method", "static", "--data", harness.shared(data),
                         "--preprocess", preprocess, "--samples", "50", "--quiet"])
            for threads in args.threads:
                for form, path in [("f32", float_path), ("int8", int8_path)]:
                    results = interleaved(args.rounds, **measures(path, threads, args.seconds))
                    ms = {who: median(values) for who, values in results.items()}
                    best = min(ms["onnxruntime"], ms["openvino"])
                    figures[f"{name}/{form}/{threads}"] = {**ms, "all": results}
                    rows.append([name, form, threads, *(f"{ms[w]:.3f}" for w in ("narrow", "onnxruntime", "openvino")),
                                 f"{ms['narrow'] / best:.2f}"])
    text = table(["model", "form", "threads", "narrow, ms", "ONNX Runtime, ms", "OpenVINO, ms", "narrow / best peer"], rows)
    write_results("runtime_peers", "Latency of one run: narrow, ONNX Runtime, OpenVINO", "benchmarks/runtime_peers.py",
                  {"latency_ms": figures}, text)


if __name__ == "__main__":
    main()
