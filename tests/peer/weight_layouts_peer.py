"""Weights of few bits, packed here, read by compressed-tensors and bitsandbytes: equal to the last bit.

GPTQ and AWQ have no reader that installs for a CPU alone; their definitions are checked word by word in the unit tests.
"""
import collections
import os
import pathlib
import subprocess
import tempfile

from harness import SOURCE, check, skip

try:
    import bitsandbytes.functional as bnb
    import torch
    from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
    from safetensors.torch import load_file
except ImportError as missing:
    skip(f"{missing.name} is not installed")


def packed_layers():
    narrow = pathlib.Path(os.environ.get("NARROW_BIN") or SOURCE / "build" / "dev" / "bin" / "narrow")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([narrow.parent / "pack_weights", f"{folder}/w.safetensors"], check=True)
        layers = collections.defaultdict(dict)
        for name, tensor in load_file(f"{folder}/w.safetensors").items():
            layer, suffix = name.split(".", 1)
            layers[layer][suffix] = tensor
        return layers


def pack_quantized(layer, bits, group):
    rows, columns = layer["weight_shape"].tolist()
    codes = unpack_from_int32(layer["weight_packed"], bits, torch.Size([rows, columns])).float()
    scale = layer["weight_scale"].float()
    group_of = layer.get("weight_g_idx", torch.arange(columns) // group).long()
    zero = torch.zeros_like(scale)
    if "weight_zero_point" in layer:
        zero = unpack_from_int32(layer["weight_zero_point"], bits, scale.shape, packed_dim=0).float()
    return (codes - zero[:, group_of]) * scale[:, group_of]


def bitsandbytes(layer, bits, group):
    state = bnb.QuantState.from_dict({k: v for k, v in layer.items() if k.startswith("weight.")}, device="cpu")
    return bnb.dequantize_4bit(layer["weight"], state)


READERS = {"pack-quantized": pack_quantized, "bitsandbytes": bitsandbytes,
           "int-quantized": lambda layer, bits, group: layer["weight"].float() * layer["weight_scale"],
           "llm-int8": lambda layer, bits, group: bnb.int8_vectorwise_dequant(layer["weight"], layer["SCB"])}

seen = collections.Counter()
for name, layer in packed_layers().items():
    layout = name.rsplit("_", 1)[0]
    if layout not in READERS:
        continue
    expected = layer.pop("expected")
    found = READERS[layout](layer, *layer.pop("about").tolist())
    # bitsandbytes multiplies by a rounded 1/127.
    check(torch.allclose(found, expected, rtol=3e-7 if layout == "llm-int8" else 0, atol=0), f"{name}: differs by {(found - expected).abs().max()}")
    seen[layout] += 1
print(dict(seen))
check(set(seen) == set(READERS) and seen["pack-quantized"] > 40, f"too few layers: {seen}")
