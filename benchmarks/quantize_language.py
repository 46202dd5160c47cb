#!/usr/bin/env python3
"""What each method costs a language model in perplexity, and itself in time and memory: llama7m of the shared data.

Calibrated on 128 sequences of 256 tokens of WikiText-2's validation text, judged on the first half of its test text in windows of
256 tokens. Beside them, where NARROW_LARGE_MODEL names a checkpoint, the time and memory of rounding it to 4 bits.

    NARROW_DATA=… <python of the peers> benchmarks/quantize_language.py [--bits 4 3] [--group-sizes 128]
"""
import argparse
import json
import os
import pathlib
import shutil
import tempfile

from common import NARROW, harness, run_process, table, write_results

METHODS = {4: ("rounding", "rounding-mse", "gptq", "awq", "awq-gptq", "hqq", "nf4"), 3: ("rounding", "rounding-mse", "gptq", "awq", "awq-gptq", "hqq")}
CONTEXT, SEQUENCES = 256, 128


def perplexity(model):
    text = harness.shared("text/wikitext-2/test_first_half.txt")
    return json.loads(run_process([NARROW, "evaluate", model, "--data", text, "--context", CONTEXT, "--json", "--quiet"])["output"])["perplexity"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bits", type=int, nargs="+", default=[4, 3])
    parser.add_argument("--group-sizes", type=int, nargs="+", default=[128])
    options = parser.parse_args()
    model, text = harness.shared("llm/llama7m"), harness.shared("text/wikitext-2/valid.txt")
    base = perplexity(model)
    figures, rows = {"float": base, "runs": []}, []
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out"
        for bits in options.bits:
            for group in options.group_sizes:
                rounding = None
                for method in METHODS[bits]:
                    made = run_process([NARROW, "quantize", model, "-o", out, "--method", method, "--bits", bits, "--group-size", group, "--data", text, "--context", CONTEXT,
                                        "--samples", SEQUENCES, "--quiet"])
                    found = perplexity(out)
                    shutil.rmtree(out)
                    rounding = found if rounding is None else rounding
                    closed = 100 * (rounding - found) / (rounding - base)
                    figures["runs"].append({"method": method, "bits": bits, "group_size": group, "perplexity": found, "seconds": made["seconds"], "peak_mb": made["peak_mb"]})
                    rows.append([method, bits, group, f"{found:.3f}", f"+{found - base:.3f}", f"{closed:.0f} %", f"{made['seconds']:.1f} s", f"{made['peak_mb']:.0f} MB"])
                    print(rows[-1], flush=True)
        text = f"Perplexity of the float model: {base:.3f}.\n\n"
        text += table(["method", "bits", "group", "perplexity", "over float", "of rounding's loss won back", "time", "peak memory"], rows)
        large = os.environ.get("NARROW_LARGE_MODEL")
        if large:
            made = run_process([NARROW, "quantize", large, "-o", out, "--method", "rounding", "--quiet"])
            figures["large"] = {"seconds": made["seconds"], "peak_mb": made["peak_mb"], "bytes": sum(f.stat().st_size for f in pathlib.Path(large).glob("*.safetensors"))}
            text += f"\n\nRounding a checkpoint of {figures['large']['bytes'] / 1e9:.2f} GB to 4 bits: {made['seconds']:.1f} s, {made['peak_mb']:.0f} MB resident."
    write_results("quantize_language", "Methods of language models", "benchmarks/quantize_language.py", figures, text)


if __name__ == "__main__":
    main()
