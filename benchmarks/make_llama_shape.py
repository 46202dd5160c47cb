#!/usr/bin/env python3
"""A Llama checkpoint of any shape with random bf16 weights, for measuring time and memory: nothing sensible comes out of it.

    <python with numpy> benchmarks/make_llama_shape.py OUT [--shape 1.1b | 7b] [--layers N] [--shard-gb 5]

Written tensor by tensor, so that a large one needs little memory. `tokens.npy` beside it holds token ids to calibrate on.
"""
import argparse
import json
import pathlib
import struct

import numpy

SHAPES = {
    "1.1b": dict(hidden_size=2048, intermediate_size=5632, num_hidden_layers=22, num_attention_heads=32, num_key_value_heads=4),
    "7b": dict(hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=32),
}
VOCABULARY, TOKENS = 32000, 65536


def tensors(config):
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    keys = hidden // config["num_attention_heads"] * config["num_key_value_heads"]
    yield "model.embed_tokens.weight", (VOCABULARY, hidden)
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        for name, shape in (("self_attn.q_proj", (hidden, hidden)), ("self_attn.k_proj", (keys, hidden)), ("self_attn.v_proj", (keys, hidden)),
                            ("self_attn.o_proj", (hidden, hidden)), ("mlp.gate_proj", (inner, hidden)), ("mlp.up_proj", (inner, hidden)),
                            ("mlp.down_proj", (hidden, inner)), ("input_layernorm", (hidden,)), ("post_attention_layernorm", (hidden,))):
            yield f"{at}{name}.weight", shape
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (VOCABULARY, hidden)


def bfloat16(values):
    return (values.view(numpy.uint32) + 0x8000 >> 16).astype(numpy.uint16)


def write_shard(path, names, generator):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in names:
        size = 2 * int(numpy.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, shape in names:
            if len(shape) == 1:
                file.write(bfloat16(numpy.ones(shape, numpy.float32)).tobytes())
                continue
            for row in range(0, shape[0], 1024):
                part = generator.standard_normal((min(1024, shape[0] - row), shape[1]), numpy.float32)
                part *= 0.02
                file.write(bfloat16(part).tobytes())
    return at


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--shape", choices=SHAPES, default="1.1b")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--shard-gb", type=float, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    config = dict(SHAPES[options.shape])
    config["num_hidden_layers"] = options.layers or config["num_hidden_layers"]
    config.update(architectures=["LlamaForCausalLM"], model_type="llama", hidden_act="silu", max_position_embeddings=2048, rms_norm_eps=1e-5, rope_theta=10000.0,
                  vocab_size=VOCABULARY, tie_word_embeddings=False, torch_dtype="bfloat16", bos_token_id=1, eos_token_id=2)
    options.out.mkdir(parents=True)
    (options.out / "config.json").write_text(json.dumps(config, indent=1))
    shards, size = [[]], 0
    for name, shape in tensors(config):
        bytes_of = 2 * int(numpy.prod(shape))
        if shards[-1] and size + bytes_of > options.shard_gb * 1e9:
            shards.append([])
            size = 0
        shards[-1].append((name, shape))
        size += bytes_of
    generator, total, places = numpy.random.default_rng(options.seed), 0, {}
    for i, names in enumerate(shards):
        file = "model.safetensors" if len(shards) == 1 else f"model-{i + 1:05}-of-{len(shards):05}.safetensors"
        total += write_shard(options.out / file, names, generator)
        places.update({name: file for name, _ in names})
    if len(shards) > 1:
        (options.out / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": places}))
    numpy.save(options.out / "tokens.npy", generator.integers(3, VOCABULARY, TOKENS, numpy.int32))
    print(f"{options.out}: {total / 1e9:.2f} GB in {len(shards)} files")


if __name__ == "__main__":
    main()
