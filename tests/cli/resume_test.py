"""A language model whose quantization is killed ten times and resumed comes out as the same bytes as without; one of a family
that narrow does not know is rounded by the names of its weights, and not run.

usage: resume_test.py <narrow>
"""
import json
import pathlib
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time

LAYERS, HIDDEN, INTERMEDIATE, VOCABULARY, KILLS = 6, 192, 384, 512, 10


def weights(draw, count):
    """bf16 numbers of a size that a trained model's have."""
    signs_and_exponents = bytes(draw.choice((0x3C, 0xBC, 0x3D, 0xBD)) for _ in range(256))
    out = bytearray(2 * count)
    out[0::2] = draw.randbytes(count)
    out[1::2] = draw.randbytes(count).translate(signs_and_exponents)
    return bytes(out)


def make_model(folder):
    draw = random.Random(1)
    shapes = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN), "lm_head.weight": (VOCABULARY, HIDDEN), "model.norm.weight": (HIDDEN,)}
    for i in range(LAYERS):
        layer = f"model.layers.{i}."
        shapes |= {layer + "input_layernorm.weight": (HIDDEN,), layer + "post_attention_layernorm.weight": (HIDDEN,)}
        shapes |= {layer + f"self_attn.{name}_proj.weight": (HIDDEN, HIDDEN) for name in "qkvo"}
        shapes |= {layer + f"mlp.{name}_proj.weight": (INTERMEDIATE, HIDDEN) for name in ("gate", "up")}
        shapes[layer + "mlp.down_proj.weight"] = (HIDDEN, INTERMEDIATE)
    header, data = {}, b""
    for name, shape in shapes.items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        values = weights(draw, count) if len(shape) > 1 else struct.pack("<H", 0x3F80) * count
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    (folder / "config.json").write_text(json.dumps({
        "model_type": "llama", "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": 4, "num_key_value_heads": 4,
        "intermediate_size": INTERMEDIATE, "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "hidden_act": "silu"}))
    (folder / "tokens.bin").write_bytes(b"".join(struct.pack("<H", draw.randrange(VOCABULARY)) for _ in range(20000)))


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def main(binary):
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        model = place / "model"
        model.mkdir()
        make_model(model)

        def command(out, *more):
            return [binary, "quantize", str(model), "-o", str(out), "--method", "awq-gptq", "--data", str(model / "tokens.bin"), "--context", "128", "--samples", "64", "--group-size", "64", "--quiet", *more]

        start = time.monotonic()
        subprocess.run(command(place / "whole"), check=True, stdout=subprocess.DEVNULL)
        whole = time.monotonic() - start
        draw = random.Random(2)

        def kill_and_resume(out, *more):
            kills = 0
            for _ in range(KILLS):
                process = subprocess.Popen(command(out, "--resume", *more), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                time.sleep(draw.random() * whole * 0.2)
                if process.poll() is None:
                    process.kill()
                    kills += 1
                process.wait()
                if out.exists():  # also by a process killed right behind its last step
                    break
            tidied = process.returncode == 0
            if not out.exists():
                subprocess.run(command(out, "--resume", *more), check=True, stdout=subprocess.DEVNULL)
                tidied = True
            print(f"{kills} kills of a run of {whole:.1f} s {' '.join(more)}")
            assert kills > 0
            assert contents(out) == contents(place / "whole"), "the output is not whole, or differs"
            left = [path.name for path in place.iterdir() if path.name not in ("model", "whole") and path != out]
            assert left == [] or not tidied, f"unfinished work was left behind: {left}"
            for name in [out.name, *left]:
                shutil.rmtree(place / name)

        kill_and_resume(place / "resumed")
        # With calibration tokens in temporary files, which die with their process.
        refused = subprocess.run(command(place / "small", "--max-memory", "1M"), capture_output=True, text=True)
        assert refused.returncode != 0, "a megabyte was enough"
        least = int(re.search(r"needs up to (\d+) bytes of memory with all calibration tokens spilled", refused.stderr)[1])
        kill_and_resume(place / "spilled", "--max-memory", str(least))

        # The journal of another job is not taken up.
        process = subprocess.Popen(command(place / "other"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(whole * 0.5)
        process.kill()
        process.wait()
        if (place / "other.partial").exists():
            done = subprocess.run(command(place / "other", "--resume", "--bits", "3"), capture_output=True, text=True)
            assert done.returncode == 2 and "another run" in done.stderr, done.stderr

        # What a budget of bits was spent on is not measured again.
        budget = ("--bits-per-weight", "3.7")
        start = time.monotonic()
        subprocess.run(command(place / "mixed", *budget), check=True, stdout=subprocess.DEVNULL)
        whole = time.monotonic() - start
        process = subprocess.Popen(command(place / "mixed again", *budget), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20 * whole
        while process.poll() is None and not (place / "mixed again.partial" / "block_00001.safetensors").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
        process.wait()
        assert (place / "mixed again.partial" / "budget.toml").exists(), "the budget was not kept"
        done = subprocess.run([part for part in command(place / "mixed again", "--resume", *budget) if part != "--quiet"], check=True, capture_output=True, text=True)
        assert "measuring" not in done.stderr, done.stderr
        assert contents(place / "mixed again") == contents(place / "mixed"), "the resumed mixture differs"

        # A family that is not known.
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps(config | {"model_type": "unheard"}))
        done = subprocess.run([binary, "evaluate", str(model), "--data", str(model / "tokens.bin")], capture_output=True, text=True)
        assert done.returncode == 4 and "'unheard'" in done.stderr and "rounding" in done.stderr, done.stderr
        done = subprocess.run(command(place / "unheard"), capture_output=True, text=True)
        assert done.returncode == 4 and "'unheard'" in done.stderr, done.stderr
        for name in ("unheard", "known"):
            (model / "config.json").write_text(json.dumps(config | {"model_type": {"known": "llama"}.get(name, name)}))
            subprocess.run([binary, "quantize", str(model), "-o", str(place / name), "--method", "rounding", "--group-size", "64", "--quiet"], check=True, stdout=subprocess.DEVNULL)
        tensors = [path / "model.safetensors" for path in (place / "unheard", place / "known")]
        assert tensors[0].read_bytes() == tensors[1].read_bytes(), "rounded by names it is something else"


main(sys.argv[1])
