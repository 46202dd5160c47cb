#!/usr/bin/env python3
"""What each method costs a language model in perplexity, and itself in time and memory: llama7m and stories260K of the shared data.

llama7m is calibrated on 128 sequences of 256 tokens of WikiText-2's validation text and judged on the first half of its test text;
stories260K likewise on samples of TinyStories; both in windows of 256 tokens. Its hidden size is 64 and its inner one 172: a
group is never longer than a row, and a row's last group is shorter where groups do not divide it. Other formats than float refuse that, so its
figures are those of the float weights that the codes stand for. Beside them, where NARROW_LARGE_MODEL names a checkpoint,
the time and memory of rounding it to 4 bits. Rows that earlier runs measured stay, so that the tables can be filled part by part.

    NARROW_DATA=… <python of the peers> benchmarks/quantize_language.py [--bits 4 3] [--group-sizes 128 64 32]
"""
import argparse
import json
import os
import pathlib
import shutil
import tempfile

from common import NARROW, RESULTS, harness, run_process, table, write_results

METHODS = ("rounding", "rounding-mse", "gptq", "awq", "awq-gptq", "hqq", "nf4")
CONTEXT, SEQUENCES = 256, 128
MODELS = {"llama7m": ("llm/llama7m", "text/wikitext-2/valid.txt", "text/wikitext-2/test_first_half.txt"),
          "stories260K": ("llm/stories260K/hf", "text/tinystories_sample.txt", "text/tinystories_valid_sample.txt")}


def perplexity(model, text):
    return json.loads(run_process([NARROW, "evaluate", model, "--metric", "perplexity", "--data", text, "--context", CONTEXT, "--json", "--quiet"])["output"])["perplexity"]


def measure(name, options, figures, out, done):
    model, calibration, text = map(harness.shared, MODELS[name])
    own = figures.setdefault(name, {"runs": []})
    own["float"] = perplexity(model, text)
    for bits in options.bits:
        for group in options.group_sizes:
            for method in METHODS:
                if method == "nf4" and (bits != 4 or group != 64):
                    continue  # blocks of 64, whatever the groups are
                made = run_process([NARROW, "quantize", model, "-o", out, "--method", method, "--bits", bits, "--group-size", group, "--data", calibration, "--context", CONTEXT,
                                    "--samples", SEQUENCES, "--format", "float", "--quiet"])
                row = {"method": method, "bits": bits, "group_size": group, "perplexity": perplexity(out, text), "cpu_seconds": made["cpu_seconds"], "peak_mb": made["peak_mb"]}
                shutil.rmtree(out)
                own["runs"] = [old for old in own["runs"] if any(old[key] != row[key] for key in ("method", "bits", "group_size"))] + [row]
                print(name, row, flush=True)
                done()


def report(name, figures):
    base, runs, rows = figures["float"], figures["runs"], []
    for run in sorted(runs, key=lambda run: (-run["bits"], -run["group_size"], METHODS.index(run["method"]))):
        rounding = next((r["perplexity"] for r in runs if r["method"] == "rounding" and (r["bits"], r["group_size"]) == (run["bits"], run["group_size"])), None)
        won = "" if rounding is None else f"{100 * (rounding - run['perplexity']) / (rounding - base):.0f} %"
        rows.append([run["method"], run["bits"], run["group_size"], f"{run['perplexity']:.3f}", f"{run['perplexity'] - base:+.3f}", won, f"{run['cpu_seconds']:.1f} s", f"{run['peak_mb']:.0f} MB"])
    return f"## {name}: {base:.3f} as float\n\n" + table(["method", "bits", "group", "perplexity", "over float", "of rounding's loss won back", "CPU time", "peak memory"], rows)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bits", type=int, nargs="+", default=[4, 3])
    parser.add_argument("--group-sizes", type=int, nargs="+", default=[128, 64, 32])
    parser.add_argument("--models", nargs="*", choices=MODELS, default=list(MODELS))
    options = parser.parse_args()
    kept = RESULTS / "quantize_language.json"
    figures = json.loads(kept.read_text()) if kept.exists() else {}
    figures.pop("machine", None)

    def write():
        text = "\n\n".join(report(name, figures[name]) for name in MODELS if name in figures)
        if "large" in figures:
            found = figures["large"]
            text += f"\n\nRounding a checkpoint of {found['bytes'] / 1e9:.2f} GB to 4 bits: {found['seconds']:.1f} s, {found['peak_mb']:.0f} MB resident."
        write_results("quantize_language", "Methods of language models", "benchmarks/quantize_language.py", figures, text)

    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out"
        for name in options.models:
            measure(name, options, figures, out, write)
        large = os.environ.get("NARROW_LARGE_MODEL")
        if large:
            made = run_process([NARROW, "quantize", large, "-o", out, "--method", "rounding", "--quiet"])
            figures["large"] = {"seconds": made["seconds"], "cpu_seconds": made["cpu_seconds"], "peak_mb": made["peak_mb"], "bytes": sum(f.stat().st_size for f in pathlib.Path(large).glob("*.safetensors"))}
        write()


if __name__ == "__main__":
    main()
