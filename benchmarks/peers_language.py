#!/usr/bin/env python3
"""Each method on llama7m beside the same method of other quantizers: the same calibration sequences, judged by the same evaluation.

    NARROW_DATA=… NARROW_QUANTIZERS=<python with the peers' packages> <python with tokenizers> benchmarks/peers_language.py
        [--bits 4 3] [--samples 32] [--windows 400] [--only llm-compressor:gptq …] [--timeout 1800]

Each peer runs in a process of its own (benchmarks/peers_quantize.py) and leaves float weights, or a checkpoint that narrow reads; what
fails or does not end in time is reported as such. Rows of earlier runs are kept, so that peers can be added one at a time.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import numpy

from calibration_tokens import draw_sequences
from common import NARROW, RESULTS, SOURCE, harness, run_process, table, write_results

CONTEXT, GROUP = 256, 128
OURS = ("rounding", "gptq", "awq", "awq-gptq", "hqq")
# Peer and its method; which of ours it is.
PEERS = {"llm-compressor:gptq": "gptq", "llm-compressor:gptq-ordered": "gptq", "GPTQModel:gptq": "gptq", "GPTQModel:gptq-ordered": "gptq", "AutoAWQ:awq": "awq", "llm-compressor:awq": "awq",
         "GPTQModel:awq": "awq", "hqq:hqq": "hqq", "auto-round:auto-round": "awq-gptq"}


class Judge:
    def __init__(self, options, folder):
        self.model, self.text = harness.shared("llm/llama7m"), harness.shared("text/wikitext-2/test_first_half.txt")
        self.calibration, self.options, self.folder = harness.shared("text/wikitext-2/valid.txt"), options, pathlib.Path(folder)
        self.tokens = self.folder / "tokens.npy"
        import tokenizers
        ids = tokenizers.Tokenizer.from_file(str(pathlib.Path(self.model) / "tokenizer.json")).encode(pathlib.Path(self.calibration).read_text()).ids
        numpy.save(self.tokens, draw_sequences(ids, options.samples, CONTEXT, 0))

    def perplexity(self, model):
        return json.loads(run_process([NARROW, "evaluate", model, "--metric", "perplexity", "--data", self.text, "--context", CONTEXT, "--samples", self.options.windows, "--json", "--quiet"])["output"])["perplexity"]

    def ours(self, method, bits):
        out = self.folder / "out"
        used = run_process([NARROW, "quantize", self.model, "-o", out, "--method", method, "--bits", bits, "--group-size", GROUP, "--data", self.calibration, "--context", CONTEXT,
                            "--samples", self.options.samples, "--format", "float", "--quiet"])
        return self.judged(out, used)

    def peer(self, name, bits):
        out = self.folder / "out"
        command = [os.environ["NARROW_QUANTIZERS"], SOURCE / "benchmarks" / "peers_quantize.py", *name.split(":"), self.model, out, self.tokens, "--bits", bits, "--group-size", GROUP]
        try:
            done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=self.options.timeout, text=True, errors="replace", env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
        except subprocess.TimeoutExpired:
            return {"failed": f"did not end within {self.options.timeout} s"}
        if done.returncode != 0:
            print(done.stdout[-3000:], flush=True)
            return {"failed": done.stdout.strip().splitlines()[-1][:200]}
        return self.judged(out, json.loads(done.stdout.strip().splitlines()[-1]))

    def judged(self, out, used):
        try:
            return {"perplexity": self.perplexity(out), "cpu_seconds": used["cpu_seconds"], "peak_mb": used["peak_mb"]}
        finally:
            shutil.rmtree(out, ignore_errors=True)


def report(figures):
    rows = []
    for bits, made in sorted(figures["bits"].items(), reverse=True):
        for peer, found in made["peers"].items():
            own = made["narrow"].get(PEERS[peer])
            if own is None:
                continue
            loss = own["perplexity"] - figures["float"]
            if "failed" in found:
                rows.append([peer.replace(":", ", "), PEERS[peer], bits, found["failed"], f"{loss:+.3f}", "", "", ""])
                continue
            theirs = found["perplexity"] - figures["float"]
            rows.append([peer.replace(":", ", "), PEERS[peer], bits, f"{theirs:+.3f}", f"{loss:+.3f}", "yes" if loss <= theirs else "**no**", f"{found['cpu_seconds']:.0f} s / {own['cpu_seconds']:.0f} s",
                         f"{found['peak_mb']:.0f} MB / {own['peak_mb']:.0f} MB"])
    return (f"llama7m, groups of {GROUP}, {figures['samples']} sequences of {CONTEXT} tokens, the same for all; the first {figures['windows']} windows of the text, {figures['float']:.3f} as float. What is added to it:\n\n"
            + table(["peer, its method", "ours", "bits", "peer", "narrow", "no worse", "CPU time, peer / narrow", "peak memory"], rows))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bits", type=int, nargs="+", default=[4, 3])
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--windows", type=int, default=400)
    parser.add_argument("--only", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--again", action="store_true", help="measure narrow's methods again, too")
    parser.add_argument("--timeout", type=int, default=1800)
    options = parser.parse_args()
    kept = RESULTS / "peers_language.json"
    figures = json.loads(kept.read_text()) if kept.exists() else {}
    if (figures.get("samples"), figures.get("windows")) != (options.samples, options.windows):
        figures = {"samples": options.samples, "windows": options.windows, "bits": {}}
    figures.pop("machine", None)
    with tempfile.TemporaryDirectory() as folder:
        judge = Judge(options, folder)
        figures.setdefault("float", judge.perplexity(judge.model))
        for bits in options.bits:
            made = figures["bits"].setdefault(str(bits), {"narrow": {}, "peers": {}})
            for method in OURS:
                if options.again or method not in made["narrow"]:
                    made["narrow"][method] = judge.ours(method, bits)
                    print(bits, method, made["narrow"][method], flush=True)
            for name in options.only:
                made["peers"][name] = judge.peer(name, bits)
                print(bits, name, made["peers"][name], flush=True)
                write_results("peers_language", "Methods of language models beside other quantizers", "benchmarks/peers_language.py", figures, report(figures))
    write_results("peers_language", "Methods of language models beside other quantizers", "benchmarks/peers_language.py", figures, report(figures))


if __name__ == "__main__":
    main()
