#!/usr/bin/env python3
"""The time of GPTQ on a Llama shape of 1.1 B parameters beside llm-compressor's, in turn on the same machine.

    NARROW_QUANTIZERS=<python with llm-compressor> <python with numpy> benchmarks/gptq_time.py [--layers 2] [--rounds 2] [--shape 1.1b]

Random bf16 weights, 16 sequences of 512 tokens, 4 bits, groups of 128, symmetric, columns in order of activations: the same work for
both. All blocks are alike, so a few stand for all. narrow's time is the whole process, from mapped file to written checkpoint;
the peer's is its quantizer alone, without loading and without writing.
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import sys
import tempfile

import numpy

from calibration_tokens import draw_sequences
from common import NARROW, SOURCE, interleaved, run_process, table, write_results

SAMPLES, LENGTH = 16, 512


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", default="1.1b")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--tokenizer", required=True, help="any tokenizer's folder: llm-compressor asks for one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        model, out = folder / "model", folder / "out"
        run_process([sys.executable, SOURCE / "benchmarks" / "make_llama_shape.py", model, "--shape", options.shape, "--layers", options.layers])
        tokens = folder / "tokens.npy"
        numpy.save(tokens, draw_sequences(numpy.load(model / "tokens.npy").tolist(), SAMPLES, LENGTH, 0))

        def narrow():
            made = run_process([NARROW, "quantize", model, "-o", out, "--method", "gptq", "--symmetric", "--group-size", 128, "--data", model / "tokens.npy", "--context", LENGTH, "--samples", SAMPLES, "--quiet"])
            shutil.rmtree(out)
            return made

        def peer():
            made = run_process([os.environ["NARROW_QUANTIZERS"], SOURCE / "benchmarks" / "peers_quantize.py", "llm-compressor", "gptq-ordered", model, out, tokens, "--symmetric", "--speed-only",
                                "--tokenizer", options.tokenizer])
            return {**json.loads(made["output"].strip().splitlines()[-1]), "process_seconds": made["seconds"]}

        rounds = interleaved(options.rounds, narrow=narrow, llm_compressor=peer)
    figures = {"shape": options.shape, "layers": options.layers, "rounds": {name: [{key: run[key] for key in ("seconds", "cpu_seconds", "peak_mb")} for run in runs] for name, runs in rounds.items()}}
    middle = {name: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for name, runs in figures["rounds"].items()}
    ratio = {key: statistics.median(a[key] / b[key] for a, b in zip(figures["rounds"]["narrow"], figures["rounds"]["llm_compressor"])) for key in ("seconds", "cpu_seconds")}
    figures["ratio"] = ratio
    rows = [[name, f"{m['seconds']:.1f} s", f"{m['cpu_seconds']:.1f} s", f"{m['peak_mb']:.0f} MB"] for name, m in middle.items()]
    text = table(["", "time", "CPU time", "peak memory"], rows) + f"\n\nnarrow takes {ratio['seconds']:.2f} of the peer's time, {ratio['cpu_seconds']:.2f} of its CPU time ({options.layers} blocks of the {options.shape} shape, {options.rounds} rounds in turn)."
    write_results("gptq_time", "Time of GPTQ beside llm-compressor", "benchmarks/gptq_time.py", figures, text)


if __name__ == "__main__":
    main()
