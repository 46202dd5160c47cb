"""What `narrow quantize` writes of llama7m is opened by its readers and has the perplexity that narrow says it has.

compressed-tensors (4, 3 and 8 bits, symmetric; W8A8 with inputs rounded by token and by one scale; all mixed; asymmetric
dequantized on loading) and bitsandbytes NF4 and LLM.int8 by transformers; ONNX by
ONNX Runtime, whole and with its cache; GPTQ (v1, v2) and AWQ by GPTQModel's CPU kernels. What a reader is not installed for is said and left out. (GGUF: gguf_peer.py.)
"""
import os
import pathlib
import tempfile

import numpy as np

from harness import check, check_model, narrow, shared, skip

MODEL, TEXT, CALIBRATION = shared("llm/llama7m"), shared("text/wikitext-2/test_first_half.txt"), shared("text/wikitext-2/valid.txt")
CONTEXT, WINDOWS, TOLERANCE = 256, 16, 0.005


def has(module):
    try:
        __import__(module)
        return True
    except ImportError:
        return False


def tokens():
    import tokenizers
    ids = tokenizers.Tokenizer.from_file(str(MODEL / "tokenizer.json")).encode(TEXT.read_text()).ids
    return np.asarray(ids[: CONTEXT * WINDOWS], np.int64).reshape(WINDOWS, CONTEXT)


def perplexity(logits, windows):
    logits = np.asarray(logits, np.float64)[:, :-1]
    logits = logits - logits.max(-1, keepdims=True)
    likelihood = np.take_along_axis(logits, windows[:, 1:, None], -1)[..., 0] - np.log(np.exp(logits).sum(-1))
    return float(np.exp(-likelihood.mean()))


def own(path):
    return narrow("evaluate", path, "--data", TEXT, "--tokenizer", MODEL / "tokenizer.json", "--context", CONTEXT, "--samples", WINDOWS, "--json", "--quiet")["perplexity"]


def compare(what, found, expected):
    print(f"{what}: {found:.4f}, narrow says {expected:.4f}")
    check(abs(found - expected) <= TOLERANCE * expected, f"{what}: the reader has {found}, narrow {expected}")


def by_transformers(folder, windows, dequantize=False):
    import torch
    import transformers
    transformers.logging.set_verbosity_error()
    extra = {"quantization_config": transformers.CompressedTensorsConfig(dequantize=True)} if dequantize else {}
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **extra).eval()
    with torch.no_grad():
        return perplexity(model(torch.from_numpy(windows)).logits.numpy(), windows)


def by_gptqmodel(folder, windows, kernel):
    os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")     # on two cores it asks itself for more threads than it allows
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")       # compiling its kernels takes minutes, running them seconds
    import torch
    from gptqmodel import BACKEND, GPTQModel
    model = GPTQModel.load(str(folder), backend=getattr(BACKEND, kernel), device="cpu").model
    with torch.no_grad():
        return perplexity(model(torch.from_numpy(windows)).logits.float().numpy(), windows)


def by_onnxruntime(path, windows):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    session = onnxruntime.InferenceSession(str(path), options)
    pasts = {i.name: i.shape for i in session.get_inputs() if i.name.startswith("past")}
    names = [o.name for o in session.get_outputs()]

    def run(ids, first, past):
        feeds = {"input_ids": ids, "position_ids": np.broadcast_to(np.arange(first, first + ids.shape[1]), ids.shape).astype(np.int64)}
        feeds.update({name: past[name] if past else np.zeros((len(ids), shape[1], 0, shape[3]), np.float32) for name, shape in pasts.items()})
        outputs = dict(zip(names, session.run(None, feeds)))
        return outputs["logits"], {name.replace("present", "past_key_values"): value for name, value in outputs.items() if name.startswith("present")}

    whole, _ = run(windows, 0, None)
    head, cache = run(windows[:, :100], 0, None)
    tail, _ = run(windows[:, 100:], 100, cache)
    error = np.abs(np.concatenate([head, tail], 1) - whole).max() / np.abs(whole).max()
    check(error < 1e-4, f"{path.name}: with its cache it gives something else: {error}")
    return perplexity(whole, windows)


def main():
    windows = tokens()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)

        def quantize(name, *options):
            narrow("quantize", MODEL, "-o", folder / name, *options, "--quiet")
            return folder / name

        for form in ("onnx", "onnx-qdq"):
            path = quantize(f"{form}.onnx", "--method", "rounding", "--group-size", "32", "--format", form)
            check_model(path)
            same = quantize(f"{form}-twin", "--method", "rounding", "--group-size", "32")
            compare(form, by_onnxruntime(path, windows), own(same))
        path = quantize("nf4.onnx", "--method", "nf4", "--format", "onnx")
        nf4 = quantize("nf4", "--method", "nf4")
        compare("MatMulBnb4", by_onnxruntime(path, windows), own(nf4))
        if not has("transformers") or not has("compressed_tensors"):
            print("transformers with compressed-tensors is not installed: left out")
        else:
            for options in (("--bits", "4"), ("--bits", "3", "--group-size", "32"), ("--bits", "8", "--group-size", "0")):
                path = quantize("ct" + "".join(options), "--method", "rounding", "--symmetric", *options)
                compare("compressed-tensors " + " ".join(options), by_transformers(path, windows), own(path))
            data = ("--data", CALIBRATION, "--context", "256", "--samples", "16")
            for kind in ("dynamic", "static"):
                path = quantize(kind, "--method", "smooth-quant", "--activations", kind, *data)
                compare(f"compressed-tensors W8A8, {kind}", by_transformers(path, windows), own(path))
            recipe = folder / "mixed.toml"
            recipe.write_text('method = "gptq"\nsymmetric_weights = true\n[[rule]]\nname = "*.down_proj"\nmethod = "smooth-quant"\n[[rule]]\nname = "*.q_proj"\nbits = 8\n')
            path = quantize("mixed", "--recipe", recipe, *data)
            compare("compressed-tensors, 4 and 8 bits and W8A8 in one file", by_transformers(path, windows), own(path))
            path = quantize("asymmetric", "--method", "gptq", *data)
            compare("compressed-tensors, asymmetric, dequantized", by_transformers(path, windows, True), own(path))
        if not has("transformers") or not has("bitsandbytes"):
            print("transformers with bitsandbytes is not installed: left out")
        else:
            compare("bitsandbytes NF4", by_transformers(nf4, windows), own(nf4))
            int8 = quantize("int8", "--method", "llm-int8")
            compare("bitsandbytes LLM.int8", by_transformers(int8, windows), own(int8))
        if not has("gptqmodel"):
            print("GPTQModel is not installed: left out")
        else:
            for form, kernel, options in (("gptq", "TORCH", ["--symmetric"]), ("gptq", "TORCH", ["--symmetric", "--bits", "8"]), ("gptq_v2", "TORCH", []), ("gptq_v2", "TORCH", ["--bits", "2", "--group-size", "32"]),
                                          ("awq", "TORCH_AWQ", [])):
                path = quantize(form + "".join(options), "--method", "rounding", "--format", form, *options)
                compare(" ".join([form, *options]), by_gptqmodel(path, windows, kernel), own(path))


if not has("tokenizers"):
    skip("the tokenizers package is not installed")
main()
