#!/usr/bin/env python3
"""One language model through one peer's quantizer: what benchmarks/peers_language.py runs in a process of its own.

    peers_quantize.py PEER METHOD MODEL OUT TOKENS.npy --bits 4 --group-size 128 [--symmetric]

TOKENS.npy holds the calibration sequences, [sequences, length]. OUT becomes a folder of the float weights that the peer's codes
stand for, so that whatever evaluates it sees the same graph; the last line printed is JSON: the quantizer's own seconds, CPU
seconds and peak memory.
"""
import argparse
import json
import os
import pathlib
import resource
import shutil
import time

import numpy
import torch


def load(path, dtype=torch.float32):
    from transformers import AutoModelForCausalLM
    return AutoModelForCausalLM.from_pretrained(path, dtype=dtype)


def linears(model):
    return {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and name != "lm_head"}


def save(source, out, weights):
    """The checkpoint `source` with these weights in place of its own, f32."""
    from safetensors.torch import load_file, save_file
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for file in pathlib.Path(source).glob("*.safetensors"):
        tensors.update(load_file(file))
    tensors = {name: weights.get(name, tensor).to(torch.float32).contiguous() for name, tensor in tensors.items()}
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    for file in pathlib.Path(source).glob("*.json"):
        if "index" not in file.name:
            shutil.copy(file, out)


def llmcompressor(options, tokens):
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.lifecycle.forward import fake_quantize
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import GPTQModifier, QuantizationModifier
    from transformers import AutoTokenizer
    model = load(options.model, torch.bfloat16 if options.speed_only else torch.float32)
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(num_bits=options.bits, type="int", strategy="group", group_size=options.group_size, symmetric=options.symmetric,
                                                                             **({"actorder": "static"} if options.method == "gptq-ordered" else {})))
    common = dict(config_groups={"group_0": scheme}, ignore=["lm_head"])
    if options.method == "awq":
        from llmcompressor.modifiers.transform.awq import AWQModifier
        torch.Tensor.pin_memory = lambda self, *_: self  # there is no device to pin it for
        recipe = [AWQModifier(), QuantizationModifier(**common)]
    else:
        recipe = GPTQModifier(**common) if options.method.startswith("gptq") else QuantizationModifier(**common)
    data = Dataset.from_dict({"input_ids": tokens.tolist(), "attention_mask": numpy.ones_like(tokens).tolist()})
    clock = start()
    oneshot(model=model, processor=AutoTokenizer.from_pretrained(options.tokenizer or options.model), dataset=data, recipe=recipe, max_seq_length=tokens.shape[1], num_calibration_samples=len(tokens),
            pipeline="sequential")
    used = stop(clock)
    weights = {}
    with torch.no_grad():
        for name, tensor in model.state_dict().items():  # AWQ moves factors into norms
            if name.endswith(".weight"):
                weights[name] = tensor
        for name, module in linears(model).items():
            if hasattr(module, "weight_scale"):
                weights[name + ".weight"] = fake_quantize(module.weight, module.weight_scale, getattr(module, "weight_zero_point", None), module.quantization_scheme.weights, getattr(module, "weight_g_idx", None))
    return weights, used


def gptqmodel(options, tokens):
    os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")  # on two cores it asks itself for more threads than it allows
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")  # compiling its kernels takes minutes
    from gptqmodel import BACKEND, GPTQModel, QuantizeConfig
    config = dict(bits=options.bits, group_size=options.group_size, sym=options.symmetric)
    if options.method == "awq":
        config["quant_method"] = "awq"
        config["format"] = "gemm"
    else:
        config["desc_act"] = options.method == "gptq-ordered"
    model = GPTQModel.load(options.model, QuantizeConfig(**config), backend=BACKEND.TORCH, device="cpu")
    data = [{"input_ids": row.tolist(), "attention_mask": [1] * len(row)} for row in tokens]
    clock = start()
    model.quantize(data, batch_size=1)
    used = stop(clock)
    model.save(str(options.out))  # narrow reads it as it is
    return None, used


def auto_round(options, tokens):
    from auto_round import AutoRound
    from transformers import AutoTokenizer
    model = load(options.model)
    data = torch.utils.data.DataLoader([{"input_ids": torch.tensor(row), "attention_mask": torch.ones(len(row), dtype=torch.int64)} for row in tokens.astype(numpy.int64)], batch_size=1)
    rounder = AutoRound(model, AutoTokenizer.from_pretrained(options.tokenizer or options.model), bits=options.bits, group_size=options.group_size, sym=options.symmetric, dataset=data, seqlen=tokens.shape[1],
                        nsamples=len(tokens), iters=100, device_map="cpu", enable_torch_compile=False, amp=False)
    clock = start()
    result = rounder.quantize()
    used = stop(clock)
    made = result[0] if isinstance(result, tuple) else rounder.model
    return {name: tensor for name, tensor in made.state_dict().items() if name.endswith(".weight")}, used


def hqq(options, tokens):
    from hqq.core.quantize import Quantizer
    model = load(options.model)
    weights, clock = {}, start()
    for name, module in linears(model).items():
        q, meta = Quantizer.quantize(module.weight.data.float(), nbits=options.bits, group_size=options.group_size, axis=1, optimize=True, device="cpu", compute_dtype=torch.float32, bitpack=False)
        weights[name + ".weight"] = Quantizer.dequantize(q, meta).reshape(module.weight.shape)
    return weights, stop(clock)


def autoawq(options, tokens):
    """Its quantizer itself: the package's front end stands still at an older transformers, its search of scales and ranges does not."""
    import warnings
    warnings.simplefilter("ignore")
    from awq.models.llama import LlamaAWQForCausalLM
    from awq.quantize import quantizer as search
    model = load(options.model).eval()

    class Blocks(LlamaAWQForCausalLM):
        model_type = "llama"

        def __init__(self):
            torch.nn.Module.__init__(self)

    class Quantizer(search.AwqQuantizer):
        def init_quant(self, n_samples=128, max_seq_len=512):
            ids = torch.tensor(tokens.astype(numpy.int64))
            with torch.no_grad():
                inputs, positions = self.model.model.embed_tokens(ids), torch.arange(ids.shape[1])[None]
                mask = torch.full((ids.shape[1], ids.shape[1]), torch.finfo(torch.float32).min).triu(1)[None, None]
                rotary = self.model.model.rotary_emb(inputs, positions)
            return self.model.model.layers, {"attention_mask": mask, "position_ids": positions, "position_embeddings": rotary}, inputs

        def _compute_best_scale(self, x, w_mean, x_mean, module, *others, **named):
            # On a CPU its saved weights are the weights themselves, and every candidate would stay in them.
            own = module.state_dict
            module.state_dict = lambda: {name: tensor.clone() for name, tensor in own().items()}
            try:
                return super()._compute_best_scale(x, w_mean, x_mean, module, *others, **named)
            finally:
                del module.state_dict

    search.get_best_device = lambda: "cpu"
    from awq.quantize import scale
    scale.get_best_device = search.get_best_device
    clock = start()
    quantizer = Quantizer(Blocks(), model, None, options.bits, options.group_size, not options.symmetric, "gemm", None, None, None, duo_scaling=True, export_compatible=True, n_parallel_calib_samples=8)
    quantizer.quantize()
    used = stop(clock)
    weights = {name: tensor for name, tensor in model.state_dict().items() if name.endswith(".weight")}  # scales have moved into norms
    for name, module in linears(model).items():
        weights[name + ".weight"] = quantizer.pseudo_quantize_tensor(module.weight.data)[0]
    return weights, used


def start():
    return time.perf_counter(), time.process_time()


def stop(clock):
    return {"seconds": time.perf_counter() - clock[0], "cpu_seconds": time.process_time() - clock[1]}


PEERS = {"llm-compressor": llmcompressor, "GPTQModel": gptqmodel, "auto-round": auto_round, "hqq": hqq, "AutoAWQ": autoawq}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("method")
    parser.add_argument("model")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("tokens")
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--group-size", type=int, default=128)
    parser.add_argument("--symmetric", action="store_true")
    parser.add_argument("--tokenizer", help="where the model has none")
    parser.add_argument("--speed-only", action="store_true", help="in the checkpoint's own 16 bits; nothing is written")
    options = parser.parse_args()
    weights, used = PEERS[options.peer](options, numpy.load(options.tokens))
    if weights is not None and not options.speed_only:
        save(options.model, options.out, weights)
    print(json.dumps({**used, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


if __name__ == "__main__":
    main()
