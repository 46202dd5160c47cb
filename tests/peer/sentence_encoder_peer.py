"""A sentence encoder end to end: MiniLM as both exporters of torch write it, judged on STS-B (dev).

Needs NARROW_MINILM, a folder that export_minilm.py filled. For each export: the float model runs as ONNX Runtime does,
`narrow quantize` by the static and by the dynamic method with nothing but their data, the files pass the ONNX checker, and
Spearman's correlation on all 1,500 pairs falls by at most 0.5 points, in narrow and in ONNX Runtime. The figures of
ONNX Runtime's own quantizer are printed beside them.
"""
import os
import pathlib
import sys
import tempfile

import numpy as np

import tokenizers_peer
from harness import OnnxRuntime, check, check_close, check_model, narrow, shared, skip

FLOAT_SPEARMAN = 86.72  # of the same weights in torch
MOST_LOST = 0.5
LENGTHS = ((1, 1), (1, 7), (1, 33), (1, 128), (3, 5), (2, 64))


def ranks(values):
    values = np.asarray(values, np.float64)
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + 1 + last) / 2)[which]


def spearman(scores, similarities):
    return 100 * np.corrcoef(ranks(scores), ranks(similarities))[0, 1]


class Benchmark:
    """The sentence pairs, tokenized by narrow, whose ids tokenizers_peer.py compares with the peer's."""

    def __init__(self, tokenizer):
        rows = [line.split("\t") for line in shared("text/stsb/sts-dev.csv").read_text().splitlines()]
        self.scores = [float(row[4]) for row in rows]
        self.sentences = [text for row in rows for text in row[5:7]]
        self.inputs = []
        for ids, types, mask in tokenizers_peer.encode(tokenizer, self.sentences):
            count = sum(mask)  # the file asks for padding; sentences keep their own length here
            row = lambda values: np.array([values[:count]], np.int64)
            self.inputs.append({"input_ids": row(ids), "attention_mask": row(mask), "token_type_ids": row(types)})

    def judge(self, path):
        model = OnnxRuntime(path)
        vectors = [model.run(**feed)[0][0].mean(0) for feed in self.inputs]
        vectors = [v / np.linalg.norm(v) for v in vectors]
        return spearman(self.scores, [float(a @ b) for a, b in zip(vectors[::2], vectors[1::2])])

    def calibration(self, count):
        import onnxruntime.quantization as quantization

        class Reader(quantization.CalibrationDataReader):
            def __init__(self, feeds):
                self.feeds = iter(feeds)

            def get_next(self):
                return next(self.feeds, None)

        return Reader(self.inputs[::len(self.inputs) // count][:count])


def cosine(a, b):
    return float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))


def run_alike(path, folder, reference=None):
    """Both runtimes on random tokens of several batch sizes and lengths, padded rows among them.

    Codes that fall to the other side of a half lead integers apart, as they do ONNX Runtime with and without its
    optimizations (to a cosine of 0.992); so a quantized model is held to its distance from the float model, `reference`.
    """
    session = OnnxRuntime(path)
    original = OnnxRuntime(reference) if reference else None
    randomly = np.random.default_rng(3)
    for at, (batch, length) in enumerate(LENGTHS):
        ids = randomly.integers(1000, 30000, (batch, length))
        mask = np.ones_like(ids)
        mask[-1, (length + 1) // 2 + 1:] = 0
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": randomly.integers(0, 2, (batch, length))}
        arguments = []
        for name, array in feed.items():
            np.save(folder / f"{name}.npy", array)
            arguments += ["--input", f"{name}={folder / name}.npy"]
        narrow("run", path, *arguments, "--output-dir", folder / "out")
        found = np.load(next((folder / "out").glob("*.npy")))
        expected = session.run(**feed)[0]
        error = np.abs(found - expected).max()
        if original is None:
            check(error <= 1e-4, f"{path.name}, batch {batch}, length {length}: {error} apart from ONNX Runtime")
        else:
            kept = mask[..., None]
            truth = original.run(**feed)[0] * kept
            ours, theirs = cosine(found * kept, truth), cosine(expected * kept, truth)
            check(ours > 0.95 and abs(ours - theirs) < 0.005,
                  f"{path.name}, batch {batch}, length {length}: cosine with float {ours}, in ONNX Runtime {theirs}")
            check(cosine(found, expected) > 0.98, f"{path.name}, batch {batch}, length {length}: far from ONNX Runtime")
        print(f"{path.name} [{batch}, {length}]: at most {error:.2g} from ONNX Runtime")


def peer_figures(benchmark, path, folder):
    import onnxruntime.quantization as quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process
    prepared, out = folder / "prepared.onnx", folder / "peer.onnx"
    try:
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
    except Exception as error:  # its failure is a figure too
        print(f"ONNX Runtime's quantizer, {path.name}: not prepared ({error})")
        prepared = path
    for what, make in (
            ("dynamic", lambda: quantization.quantize_dynamic(str(prepared), str(out))),
            ("static min-max, 100 sentences", lambda: quantization.quantize_static(
                str(prepared), str(out), benchmark.calibration(100), per_channel=True))):
        try:
            make()
            print(f"ONNX Runtime's quantizer, {path.name}, {what}: {benchmark.judge(out):.2f}, {out.stat().st_size / 1e6:.1f} MB")
        except Exception as error:
            print(f"ONNX Runtime's quantizer, {path.name}, {what}: failed ({str(error)[:200]})")


def main():
    models = os.environ.get("NARROW_MINILM")
    if not models:
        skip("NARROW_MINILM does not name a folder that export_minilm.py filled")
    models = pathlib.Path(models)
    data = shared("text/stsb/sts-dev.csv")
    benchmark = Benchmark(models / "tokenizer.json")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for name in ("torchscript", "dynamo"):
            path = models / f"{name}.onnx"
            run_alike(path, folder)
            before = narrow("evaluate", path, "--data", data, "--metric", "spearman", "--json")["spearman"]
            check_close(f"{name}, float, narrow", before, FLOAT_SPEARMAN, 0.05)
            check_close(f"{name}, float, ONNX Runtime", benchmark.judge(path), before, 0.05)
            for method in ("static", "dynamic"):
                out = folder / f"{name}.{method}.onnx"
                given = ["--data", data, "--tokenizer", models / "tokenizer.json"]
                narrow("quantize", path, "-o", out, "--method", method, *(given if method == "static" else []))
                check_model(out)
                run_alike(out, folder, reference=path)
                ours = narrow("evaluate", out, *given, "--json")["spearman"]
                theirs = benchmark.judge(out)
                size = out.stat().st_size
                print(f"{name}, {method}: narrow {ours:.2f}, ONNX Runtime {theirs:.2f}, float {before:.2f}; {size / 1e6:.1f} MB")
                for what, after in (("narrow", ours), ("ONNX Runtime", theirs)):
                    check(before - after <= MOST_LOST, f"{name}, {method}, in {what}: {before:.2f} fell to {after:.2f}")
                check(size < 0.3 * path.stat().st_size, f"{name}, {method}: {size} bytes")
            if "--peers" in sys.argv:
                peer_figures(benchmark, path, folder)


if __name__ == "__main__":
    main()
