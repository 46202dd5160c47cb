#!/usr/bin/env python3
"""What a budget of bits a weight, spent layer by layer, buys over the same bits everywhere: llama7m of the shared data.

Uniform widths in groups of 128 and 32, and for each of their sizes (scales and zero points counted) and some between them the
mixture that `--bits-per-weight` chooses. Calibrated and judged as in quantize_language.py.

    NARROW_DATA=… <python of the peers> benchmarks/quantize_budget.py [--methods gptq rounding-mse]
"""
import argparse
import json
import pathlib
import shutil
import tempfile

from common import NARROW, harness, run_process, table, write_results
from quantize_language import CONTEXT, SEQUENCES, perplexity

UNIFORM = [(bits, group) for bits in (3, 4) for group in (128, 32)]
BETWEEN = (3.5, 4.0)


def bits_a_weight(bits, group):
    return bits + (16 + bits) / group


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--methods", nargs="+", default=["gptq", "rounding"])
    options = parser.parse_args()
    model, text = harness.shared("llm/llama7m"), harness.shared("text/wikitext-2/valid.txt")
    base = perplexity(model)
    figures, rows = {"float": base, "runs": []}, []
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out"

        def run(method, what, *settings):
            made = run_process([NARROW, "quantize", model, "-o", out, "--method", method, *settings, "--data", text, "--context", CONTEXT, "--samples", SEQUENCES, "--quiet", "--json"])
            report, found = json.loads(made["output"]), perplexity(out)
            shutil.rmtree(out)
            budget = report["bits_per_weight"]
            bits = budget["used"] if budget else what
            figures["runs"].append({"method": method, "settings": [str(s) for s in settings], "bits_per_weight": bits, "perplexity": found, "seconds": made["seconds"], "peak_mb": made["peak_mb"],
                                    "expected_loss": budget and budget["expected_loss"], "linears": {entry["name"]: [entry["bits"], entry["group_size"]] for entry in report["linears"]} if budget else None})
            print(method, settings, f"{bits:.3f} {found:.3f}", flush=True)
            return bits, found

        for method in options.methods:
            uniform = {(bits, group): run(method, bits_a_weight(bits, group), "--bits", bits, "--group-size", group) for bits, group in UNIFORM}
            sizes = sorted({round(bits, 4) for bits, _ in uniform.values()} | set(BETWEEN))
            mixed = {size: run(method, None, "--bits-per-weight", size) for size in sizes}
            for size in sizes:
                same = [(key, found) for key, (bits, found) in uniform.items() if round(bits, 4) == size]
                name, found = (f"{same[0][0][0]} bits, groups of {same[0][0][1]}", same[0][1]) if same else ("", None)
                rows.append([method, f"{size:.3f}", name, f"+{found - base:.3f}" if same else "", f"+{mixed[size][1] - base:.3f}",
                             f"{100 * (1 - (mixed[size][1] - base) / (found - base)):.0f} %" if same else ""])
    text = f"Perplexity of the float model: {base:.3f}; what each run adds to it.\n\n"
    text += table(["method", "bits a weight", "uniform", "adds", "mixed adds", "less"], rows)
    write_results("quantize_budget", "Bits chosen layer by layer", "benchmarks/quantize_budget.py", figures, text)


if __name__ == "__main__":
    main()
