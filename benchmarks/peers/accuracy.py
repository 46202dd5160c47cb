#!/usr/bin/env python3
"""What INT8 costs each model: narrow's `--method auto --max-drop 0.5%`, ONNX Runtime's quantize_static by its four methods,
NNCF's quantize and quantize_with_accuracy_control; all in ONNX Runtime, on the same samples.

    NARROW_DATA=… <python with nncf, onnx, onnxruntime> benchmarks/peers/accuracy.py ZOO [--models resnet20 …] [--tools narrow …] [--keep]

ZOO is the folder of benchmarks/peers/zoo.py. Of a model's samples one part is given to every tool, the rest is the test that no
tool sees. narrow gets the part as it is, and calibrates on every second of its samples; the others calibrate on the same ones, and
NNCF's accuracy control validates on those between. ONNX Runtime's best method is chosen on the test itself. --keep reads what an
earlier run found about models and tools that are not named.
"""
import argparse
import json
import pathlib
import signal
import sys
import tempfile
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from common import NARROW, RESULTS, harness, run_process, table, write_results  # noqa: E402
from zoo import entry, sentence_pairs, shared  # noqa: E402

MAX_DROP = 0.5
METHODS = ("MinMax", "Entropy", "Percentile", "Distribution")
# Samples given to the tools, of all.
GIVEN = {"squeezenet1.1": 200, "mobilenet_v2": 200, "vww": 200, "resnet20": 500, "resnet44": 500, "yolox_nano": 40, "ultraface": 100, "kws": 132,
         "minilm": 500, "dtln_1": 50, "dtln_2": 50, "silero": 50}
MEASURES = {"squeezenet1.1": "top1", "mobilenet_v2": "top1", "resnet20": "top1", "resnet44": "top1", "vww": "class", "kws": "class", "minilm": "spearman"}
UNITS = {"top1": "points of top-1", "class": "% of classes", "spearman": "points of Spearman", "noise": "% noise"}


class Samples:
    """Feeds with their batch axis, and labels or scores of pairs where there are any."""

    def __init__(self, feeds, labels=None, pairs=False):
        self.feeds, self.labels, self.pairs = feeds, labels, pairs

    def every_second(self, first):
        if not self.pairs:
            return Samples(self.feeds[first::2], None if self.labels is None else self.labels[first::2])
        chosen = range(first, len(self.labels), 2)
        return Samples([self.feeds[2 * i + j] for i in chosen for j in (0, 1)], self.labels[first::2], True)


def split(model, folder):
    """(given, test, the file that holds `given`)."""
    order = np.random.default_rng(5)
    if model.metric == "spearman":
        rows = shared("text/stsb/sts-dev.csv").read_text().splitlines()
        rows = [rows[i] for i in order.permutation(len(rows))]
        parts = []
        for name, part in (("given", rows[:GIVEN[model.name]]), ("test", rows[GIVEN[model.name]:])):
            file = folder / f"{name}.csv"
            file.write_text("\n".join(part) + "\n")
            parts.append((Samples(*sentence_pairs(model.model.parent / "tokenizer.json", file), True), file))
        return parts[0][0], parts[1][0], parts[0][1]
    arrays = {}
    for file in (model.data, model.test):
        with np.load(file) as stored:
            for name in stored.files:
                arrays.setdefault(name, []).append(stored[name])
    arrays = {name: np.concatenate(parts) for name, parts in arrays.items()}
    shuffled = order.permutation(len(next(iter(arrays.values()))))
    given, rest = shuffled[:GIVEN[model.name]], shuffled[GIVEN[model.name]:]
    np.savez(folder / "given.npz", **{name: values[given] for name, values in arrays.items()})
    labels = arrays.pop("labels", None)
    feed = lambda at: {name: np.asarray(values[at]) if model.recurrent else values[at:at + 1] for name, values in arrays.items()}
    make = lambda which: Samples([feed(at) for at in which], None if labels is None else labels[which])
    return make(given), make(rest), folder / "given.npz"


def outputs_of(path, samples):
    session = harness.OnnxRuntime(path)
    return [session.run(**feed) for feed in samples.feeds]


def ranks(values):
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def embedding(feed, outputs):
    mask = feed["attention_mask"][..., None].astype(np.float64)
    return (outputs[0] * mask).sum(1)[0] / mask.sum()


def spearman(samples, outputs):
    vectors = [embedding(feed, found) for feed, found in zip(samples.feeds, outputs)]
    near = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(vectors[::2], vectors[1::2])]
    return 100 * np.corrcoef(ranks(near), ranks(samples.labels))[0, 1]


def noise(reference, outputs):
    """Noise over signal of each output, their mean."""
    shares = []
    for i in range(len(reference[0])):
        expected = [np.asarray(found[i], np.float64) for found in reference]
        wrong = sum(np.square(np.nan_to_num(np.asarray(found[i], np.float64)) - e).sum() for e, found in zip(expected, outputs))
        shares.append(wrong / max(sum(np.square(e).sum() for e in expected), 1e-30))
    return float(np.mean(shares))


def loss(measure, samples, reference, outputs):
    best = lambda found: np.asarray(found[0]).reshape(-1).argmax()
    if measure == "top1":
        right = lambda results: np.mean([best(found) == label for found, label in zip(results, samples.labels)])
        return 100 * float(right(reference) - right(outputs))
    if measure == "class":
        return 100 * float(np.mean([best(a) != best(b) for a, b in zip(reference, outputs)]))
    if measure == "spearman":
        return float(spearman(samples, reference) - spearman(samples, outputs))
    return 100 * noise(reference, outputs)


# Each tool as a process of its own: what it takes and whether it can is part of the answer.

PATIENCE = 1200  # seconds


def load_for_peers(path):
    """The model, lifted to the first operator set with scales a channel: neither peer does that by itself."""
    import onnx
    from onnx import version_converter
    model = onnx.load(str(path))
    version = next(used.version for used in model.opset_import if used.domain in ("", "ai.onnx"))
    return model if version >= 13 else version_converter.convert_version(model, 13)


def by_onnxruntime(model, given, out, method):
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self, feeds):
            self.feeds = iter(feeds)

        def get_next(self):
            return next(self.feeds, None)

    lifted, prepared = out.with_suffix(".lifted.onnx"), out.with_suffix(".prepared.onnx")
    onnx.save(load_for_peers(model.model), str(lifted))
    try:
        quant_pre_process(str(lifted), str(prepared), skip_symbolic_shape=True)
    except Exception:  # some graphs do not pass: then as it is
        prepared = lifted
    quantize_static(str(prepared), str(out), Reader(given.every_second(0).feeds), quant_format=QuantFormat.QDQ, per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, calibrate_method=CalibrationMethod[method])


def by_nncf(model, given, out, controlled):
    import nncf
    import onnx
    calibration, validation = given.every_second(0), given.every_second(1)
    loaded = load_for_peers(model.model)
    options = {"model_type": nncf.ModelType.TRANSFORMER} if model.transformer else {}
    if not controlled:
        onnx.save(nncf.quantize(loaded, nncf.Dataset(calibration.feeds), subset_size=len(calibration.feeds), **options), str(out))
        return
    measure = MEASURES.get(model.name, "noise")
    reference = outputs_of(str(model.model), validation)
    items = list(range(len(validation.labels) if validation.pairs else len(validation.feeds)))
    part = lambda at: Samples([validation.feeds[2 * at + j] for j in (0, 1)] if validation.pairs else [validation.feeds[at]],
                              None if validation.labels is None else validation.labels[at:at + 1], validation.pairs)

    def validate(candidate, chosen):
        chosen = [int(at) for at in chosen]
        session = harness.OnnxRuntime(candidate.SerializeToString()) if hasattr(candidate, "SerializeToString") else None
        run = (lambda feed: session.run(**feed)) if session else (lambda feed: candidate(feed))
        pieces = [part(at) for at in chosen]
        whole = Samples([feed for piece in pieces for feed in piece.feeds], validation.labels[chosen] if validation.labels is not None else None, validation.pairs)
        known = [reference[2 * at + j] for at in chosen for j in (0, 1)] if validation.pairs else [reference[at] for at in chosen]
        found = [run(feed) for feed in whole.feeds]
        found = [list(one.values()) if isinstance(one, dict) else one for one in found]
        each = [1 - noise([a], [b]) for a, b in zip(known, found)]
        if validation.pairs:
            each = [min(each[i:i + 2]) for i in range(0, len(each), 2)]
        if measure == "spearman":
            return spearman(whole, found) / 100, each
        if measure == "top1":
            each = [float(np.asarray(one[0]).reshape(-1).argmax() == label) for one, label in zip(found, whole.labels)]
            return float(np.mean(each)), each
        return 1 - loss(measure, whole, known, found) / 100, each

    made = nncf.quantize_with_accuracy_control(
        loaded, nncf.Dataset(calibration.feeds), nncf.Dataset(items, lambda at: at), validate, subset_size=len(calibration.feeds),
        max_drop=MAX_DROP / 100, drop_type=nncf.DropType.ABSOLUTE, **options)
    onnx.save(made, str(out))


def worker(zoo, name, tool, out):
    def late(*_):
        raise TimeoutError(f"not done after {PATIENCE // 60} minutes")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(PATIENCE)
    model = entry(zoo, name)
    with tempfile.TemporaryDirectory() as folder:
        given, _, _ = split(model, pathlib.Path(folder))
    if tool.startswith("onnxruntime"):
        by_onnxruntime(model, given, out, tool.split()[1])
    else:
        by_nncf(model, given, out, tool.endswith("controlled"))


def by_narrow(model, data, out):
    process = harness.narrow_process("quantize", model.model, "-o", out, "--method", "auto", "--max-drop", f"{MAX_DROP}%", "--data", data, "--threads", 1, "--json", "--quiet", *model.options)
    if process.returncode not in (0, 5):
        raise RuntimeError(process.stderr[-500:])
    found = json.loads(process.stdout)
    return {"exit": process.returncode, "verdict": found["verdict"]["summary"] if "verdict" in found else "",
            "chosen": next((attempt["name"] for attempt in found.get("attempts", []) if attempt.get("chosen")), "")}


TOOLS = ["narrow", *(f"onnxruntime {method}" for method in METHODS), "nncf", "nncf controlled"]


def measure_model(zoo, name, tools, kept):
    model = entry(zoo, name)
    measure = MEASURES.get(name, "noise")
    figures = {**kept, "measure": measure}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        _, test, data = split(model, folder)
        reference = outputs_of(model.model, test)
        figures["test_samples"] = len(test.labels) if test.labels is not None else len(test.feeds)
        for tool in tools:
            out = folder / f"{tool.replace(' ', '_')}.onnx"
            begin = time.perf_counter()
            try:
                if tool == "narrow":
                    result = by_narrow(model, data, out)
                else:
                    used = run_process([sys.executable, __file__, zoo, "--worker", name, tool, out])
                    result = {"cpu_seconds": used["cpu_seconds"], "peak_mb": used["peak_mb"]}
                result["seconds"] = time.perf_counter() - begin
                outputs = outputs_of(out, test)
                result["loss"] = loss(measure, test, reference, outputs)
                result["sqnr_db"] = float(-10 * np.log10(max(noise(reference, outputs), 1e-12)))
                result["bytes"] = out.stat().st_size
            except Exception as error:
                lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
                result = {"failed": lines[-1].replace(f"{folder}/", "")[:200]}
            figures[tool] = result
            print(name, tool, result, flush=True)
    return figures


def best_onnxruntime(figures):
    found = [(figures[f"onnxruntime {method}"]["loss"], method) for method in METHODS if "loss" in figures.get(f"onnxruntime {method}", {})]
    return min(found) if found else (None, "")


def nearness(models):
    near = lambda figures, *tools: max((figures[t]["sqnr_db"] for t in tools if "sqnr_db" in figures.get(t, {})), default=None)
    columns = [("narrow",), tuple(f"onnxruntime {method}" for method in METHODS), ("nncf",), ("nncf controlled",)]
    return [[name, *("–" if near(figures, *tools) is None else f"{near(figures, *tools):.1f}" for tools in columns)] for name, figures in models.items()]


def text_of(models):
    shown = lambda value: "–" if value is None else f"{value:.3f}" if abs(value) < 0.1 else f"{value:.2f}"
    lost = lambda figures, tool: figures.get(tool, {}).get("loss")
    rows = []
    for name, figures in models.items():
        ours = figures.get("narrow", {})
        best, method = best_onnxruntime(figures)
        rows.append([name, UNITS[figures["measure"]], figures["test_samples"], f"{shown(ours.get('loss'))} ({ours.get('chosen', '')})",
                     f"{shown(best)} {method}", shown(lost(figures, "nncf")), shown(lost(figures, "nncf controlled")), "yes" if ours.get("exit") == 0 else "no"])
    columns = {"ONNX Runtime, best of four": lambda f: best_onnxruntime(f)[0], "NNCF quantize": lambda f: lost(f, "nncf"),
               "NNCF quantize_with_accuracy_control": lambda f: lost(f, "nncf controlled")}
    means = []
    for tool, value in columns.items():
        both = [(lost(f, "narrow"), value(f)) for f in models.values() if lost(f, "narrow") is not None and value(f) is not None]
        if both:
            ours, theirs = np.array(both).T
            means.append([tool, len(both), f"{ours.mean():.3f}", f"{theirs.mean():.3f}", f"{np.maximum(ours, 0).mean():.3f}", f"{np.maximum(theirs, 0).mean():.3f}"])
    failed = [f"- {name}, {tool}: {result['failed']}" for name, figures in models.items() for tool, result in figures.items()
              if isinstance(result, dict) and "failed" in result]
    return "\n\n".join([
        "Loss on samples that no tool saw, all files run by ONNX Runtime; lower is better, below 0 the quantized model did better than float; –: not measured, or failed (below). "
        "`auto` met its target (on its own held-out part of what it was given): last column.",
        table(["model", "loss in", "test samples", "narrow auto 0.5 %", "ONNX Runtime, best of four", "NNCF quantize", "NNCF accuracy control", "target met"], rows),
        "Means over the models that both tools quantize:",
        table(["beside", "models", "narrow", "the other", "narrow, gains as 0", "the other, gains as 0"], means),
        "A class that turns in one of 300 samples is a third of a point: nearness to the float model is told more finely by the outputs' SQNR in dB on the same samples "
        "(ONNX Runtime: the best of four; accuracy control may leave all in float):",
        table(["model", "narrow auto", "ONNX Runtime", "NNCF quantize", "NNCF accuracy control"], nearness(models)),
        "Not quantized, or not opened by ONNX Runtime:\n\n" + "\n".join(failed)])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("zoo")
    parser.add_argument("--models", nargs="+", default=list(GIVEN))
    parser.add_argument("--tools", nargs="+", default=TOOLS)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--worker", nargs=3)
    options = parser.parse_args()
    if options.worker:
        return worker(options.zoo, *options.worker[:2], pathlib.Path(options.worker[2]))
    # Nothing is measured with `--keep --models none`: the table is written again.
    options.models = [name for name in options.models if name != "none"]
    kept = json.loads((RESULTS / "accuracy.json").read_text())["models"] if options.keep and (RESULTS / "accuracy.json").exists() else {}
    for name in options.models:
        kept[name] = measure_model(options.zoo, name, options.tools, kept.get(name, {}))
        write(kept)
    write(kept)


def write(kept):
    models = {known: kept[known] for known in GIVEN if known in kept}
    write_results("accuracy", "Accuracy of INT8 beside ONNX Runtime and NNCF", "benchmarks/peers/accuracy.py ZOO", {"models": models}, text_of(models))


if __name__ == "__main__":
    main()
