#!/usr/bin/env python3
"""One run of each model: narrow, ONNX Runtime and OpenVINO, float and INT8, in turn, on pinned cores.

The INT8 files are narrow's, one for each runtime's target; every tool runs the form that is made for it, with the same input.
A figure is the median over rounds of each process's median; memory is a process's peak, for the peers (who need Python)
less what the interpreter held before it imported them.

    NARROW_DATA=… <python of the peers> benchmarks/peers/speed.py [--zoo FOLDER] [--models squeezenet1.1 …] [--threads 1 2] [--rounds 5]
"""
import argparse
import dataclasses
import json
import pathlib
import sys
import tempfile
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from common import NARROW, find_key, harness, interleaved, median, run_process, table, write_results  # noqa: E402

TOOLS = ("narrow", "onnxruntime", "openvino")


@dataclasses.dataclass
class Case:
    entry: str
    methods: tuple = ("static",)
    length: int = 0             # of a sentence


CASES = {
    "squeezenet1.1": Case("squeezenet1.1"),
    "resnet20": Case("resnet20"),
    "yolox_nano": Case("yolox_nano"),
    "ultraface": Case("ultraface"),
    "mobilenet_v2": Case("mobilenet_v2"),
    "minilm 16": Case("minilm", ("static", "dynamic"), 16),
    "minilm 128": Case("minilm", ("static", "dynamic"), 128),
    "dtln_1": Case("dtln_1", ("dynamic",)),
    "dtln_2": Case("dtln_2", ("dynamic",)),
    "silero": Case("silero", ("dynamic",)),
}


def peak_mb():
    """Of this process's memory since its program started (ru_maxrss also counts the program that started it)."""
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024


def peer_worker(kind, path, data, threads, seconds):
    """Run in a process of its own: the median latency of one peer, in ms, and its memory beyond the interpreter's."""
    with np.load(data) as file:
        feeds = {name: file[name] for name in file.files}
    before = peak_mb()
    begin = time.perf_counter()
    model = {"onnxruntime": harness.OnnxRuntime, "openvino": harness.OpenVino}[kind](path, threads=int(threads))
    model.run(**feeds)
    first = time.perf_counter() - begin
    times, stop = [], time.perf_counter() + float(seconds)
    while len(times) < 20 or time.perf_counter() < stop:
        begin = time.perf_counter()
        model.run(**feeds)
        times.append((time.perf_counter() - begin) * 1e3)
    print(json.dumps({"latency_ms_p50": median(times[len(times) // 10:]), "start_ms": first * 1e3,
                      "memory_mb": peak_mb() - before}))


def measure(command, threads):
    try:
        output = run_process(command, cores=range(threads))["output"]
    except RuntimeError as error:
        return {"latency_ms_p50": float("nan"), "error": str(error)[-300:]}
    found = json.loads(output[output.index("{"):])
    bytes_held = find_key(found, "peak_memory_bytes")
    return {"latency_ms_p50": find_key(found, "latency_ms_p50"),
            "memory_mb": bytes_held / 2**20 if bytes_held else find_key(found, "memory_mb")}


def measures(paths, data, batch, threads, seconds):
    """paths: tool to file; data: one input as the peers feed it; batch: the same as `narrow bench --data` reads it."""
    def of_peer(kind):
        return lambda: measure([sys.executable, __file__, "--peer-worker", kind, paths[kind], data, threads, seconds], threads)

    narrow = [NARROW, "bench", paths["narrow"], "--threads", threads, "--seconds", seconds, "--data", batch, "--preprocess", "none",
              "--json", "--quiet"]
    return {"narrow": lambda: measure(narrow, threads), **{kind: of_peer(kind) for kind in TOOLS[1:]}}


def input_of(entry, case, work):
    """(for the peers, for narrow): files of one sample."""
    if case.length:
        ids = np.random.default_rng(5).integers(1000, 30000, (1, case.length))
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    else:
        feeds = entry.samples(count=1)[0][0]
    peers, own = work / "peers.npz", work / "narrow.npz"
    np.savez(peers, **feeds)
    np.savez(own, **({name: values[None] for name, values in feeds.items()} if entry.recurrent else feeds))
    return peers, own


def quantized(entry, method, target, work):
    path = work / f"{entry.name}_{method}_{target}.onnx"
    if not path.exists():
        data = ["--data", entry.data, *entry.options] if method == "static" else []
        run_process([NARROW, "quantize", entry.model, "-o", path, "--method", method, "--target", target, "--eval-samples", 8,
                     "--max-drop", "100%", "--quiet", *data])
    return path


def memory_of(results):
    return max((r.get("memory_mb") or float("nan") for r in results), default=float("nan"))


def geometric_mean(values):
    values = [v for v in values if np.isfinite(v)]
    return float(np.exp(np.mean(np.log(values)))) if values else float("nan")


def summary(figures, threads):
    """Geometric means over the models of one number of threads; MiniLM by its faster method for each tool."""
    best = {}
    for key, figure in figures.items():
        name, form, count = key.split("/")
        if int(count) == threads:
            kind = "f32" if form == "f32" else "int8"
            known = best.setdefault(name, {}).setdefault(kind, {tool: np.inf for tool in TOOLS})
            for tool in TOOLS:
                known[tool] = np.fmin(known[tool], figure["ms"][tool])
    peer = lambda ms: np.fmin(ms["onnxruntime"], ms["openvino"])
    pairs = [forms for forms in best.values() if {"f32", "int8"} <= forms.keys()]
    return {"int8: best peer / narrow": geometric_mean([peer(f["int8"]) / f["int8"]["narrow"] for f in pairs]),
            "f32: best peer / narrow": geometric_mean([peer(f["f32"]) / f["f32"]["narrow"] for f in pairs]),
            "narrow: f32 / int8": geometric_mean([f["f32"]["narrow"] / f["int8"]["narrow"] for f in pairs]),
            "int8 slower than the best peer": [name for name, f in best.items() if "int8" in f and f["int8"]["narrow"] > peer(f["int8"])]}


def main():
    import zoo  # a worker does without its imports

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", help="where the models are kept (default: a temporary folder)")
    parser.add_argument("--models", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--forms", nargs="+", default=["f32", "int8"], choices=["f32", "int8"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--keep", action="store_true", help="print only, leave benchmarks/results as it is")
    args = parser.parse_args()

    rows, figures = [], {}
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        for name in args.models:
            case = CASES[name]
            entry = zoo.entry(args.zoo or work, case.entry)
            data, batch = input_of(entry, case, work)
            for form in [f for f in ("f32", *case.methods) if ("f32" if f == "f32" else "int8") in args.forms]:
                target = {"narrow": "onnxruntime", "onnxruntime": "onnxruntime", "openvino": "openvino"}
                paths = {tool: entry.model if form == "f32" else quantized(entry, form, target[tool], work) for tool in TOOLS}
                for threads in args.threads:
                    results = interleaved(args.rounds, **measures(paths, data, batch, threads, args.seconds))
                    ms = {tool: median([r["latency_ms_p50"] for r in all_of]) for tool, all_of in results.items()}
                    memory = {tool: memory_of(all_of) for tool, all_of in results.items()}
                    best = np.fmin(ms["onnxruntime"], ms["openvino"])
                    figures[f"{name}/{form}/{threads}"] = {"ms": ms, "memory_mb": memory, "all": results}
                    rows.append([name, form, threads, *(f"{ms[t]:.3f}" for t in TOOLS), f"{best / ms['narrow']:.2f}",
                                 *(f"{memory[t]:.0f}" for t in TOOLS)])
                    print(rows[-1], flush=True)
    text = table(["model", "form", "threads", *(f"{t}, ms" for t in TOOLS), "best peer / narrow", *(f"{t}, MB" for t in TOOLS)], rows)
    for threads in args.threads:
        text += f"\n\n{threads} threads, geometric means: " + ", ".join(
            f"{what} {value:.2f}" if isinstance(value, float) else f"{what}: {', '.join(value) or 'none'}"
            for what, value in summary(figures, threads).items())
    if args.keep:
        print(text)
    else:
        write_results("speed", "One run: narrow, ONNX Runtime, OpenVINO", "benchmarks/peers/speed.py", figures, text)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peer-worker"]:
        peer_worker(*sys.argv[2:])
    else:
        main()
