"""GGUF files written here, read by transformers, by the gguf package and, where it is installed, by llama.cpp.

Small models of random weights, one a family: what transformers computes from the file in f32 is what it computes from the
Hugging Face folder, to the last bit. Every block type: gguf decodes it to values near the weights.
"""
import os
import pathlib
import subprocess
import tempfile

from harness import SOURCE, check, shared, skip

try:
    import accelerate  # noqa: F401 transformers wants it for GGUF
    import gguf
    import numpy as np
    import torch
    import transformers
    from safetensors import safe_open
except ImportError as missing:
    skip(f"{missing.name} is not installed")

transformers.logging.set_verbosity_error()
TOOL = pathlib.Path(os.environ.get("NARROW_BIN") or SOURCE / "build" / "dev" / "bin" / "narrow").with_name("write_gguf")
SIZES = dict(vocab_size=96, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=128, bos_token_id=1, eos_token_id=2, pad_token_id=0)
EXPERTS = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=48)
FAMILIES = {
    "llama": transformers.LlamaConfig(**SIZES),
    "qwen2": transformers.Qwen2Config(**SIZES),
    "qwen3": transformers.Qwen3Config(**SIZES, head_dim=16),
    "qwen2_moe": transformers.Qwen2MoeConfig(**SIZES, **EXPERTS, shared_expert_intermediate_size=96, norm_topk_prob=False),
    "qwen3_moe": transformers.Qwen3MoeConfig(**SIZES, **EXPERTS, head_dim=16, norm_topk_prob=True),
    "gemma2": transformers.Gemma2Config(**SIZES, head_dim=16, query_pre_attn_scalar=16, sliding_window=64),
    "gemma3": transformers.Gemma3TextConfig(**SIZES, head_dim=16, query_pre_attn_scalar=16, sliding_window=64),
    "phi3": transformers.Phi3Config(**SIZES),
}
# The relative error of an encoded matrix, at most.
TYPES = {"F16": 1e-3, "Q4_0": 0.1, "Q4_1": 0.09, "Q5_0": 0.05, "Q5_1": 0.045, "Q8_0": 0.006, "Q4_K_S": 0.08, "Q4_K_M": 0.08, "Q5_K_M": 0.04, "Q6_K": 0.02}


def write(model, path, kind):
    subprocess.run([TOOL, model, path, kind], check=True)


@torch.no_grad()
def check_families(folder):
    torch.manual_seed(0)
    tokens = torch.arange(3, 40)[None]
    for name, config in FAMILIES.items():
        model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
        for weight in model.parameters():
            weight.normal_(0, 0.1 if weight.dim() > 1 else 0.3)
        model.save_pretrained(f"{folder}/{name}")
        write(f"{folder}/{name}", f"{folder}/{name}/model.gguf", "F32")
        again = transformers.AutoModelForCausalLM.from_pretrained(f"{folder}/{name}", gguf_file="model.gguf", config=config, dtype=torch.float32).eval()
        expected, found = model(tokens).logits, again(tokens).logits
        print(f"{name}: largest difference of logits {(expected - found).abs().max():.2e}")
        # Norms of Gemma are stored plus one.
        check(torch.allclose(expected, found, rtol=0, atol=1e-5 if "gemma" in name else 0), f"{name}: logits differ")


def check_types(folder):
    model = shared("llm/llama7m")
    weights = safe_open(model / "model.safetensors", "np")
    expected = weights.get_tensor("model.layers.2.mlp.up_proj.weight").astype(np.float32)
    for kind, most in TYPES.items():
        path = f"{folder}/{kind}.gguf"
        write(model, path, kind)
        reader = gguf.GGUFReader(path)
        tensor = next(t for t in reader.tensors if t.name == "blk.2.ffn_up.weight")
        found = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        error = float(np.sqrt(((found - expected) ** 2).mean() / (expected ** 2).mean()))
        print(f"{kind}: relative error {error:.4f}, at most {most}")
        check(error <= most, f"{kind}: relative error {error}")


def check_llama_cpp(folder):
    try:
        import llama_cpp
    except ImportError:
        print("llama_cpp is not installed: its part is left out")
        return
    model = shared("llm/llama7m")
    reference = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    text = (shared("text/wikitext-2/test_first_half.txt")).read_text()[:600]
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        expected = reference(torch.tensor([ids])).logits[0].numpy()
    for kind, most in {"F32": 0.01, "Q8_0": 0.08}.items():
        path = f"{folder}/llama-{kind}.gguf"
        write(model, path, kind)
        llama = llama_cpp.Llama(path, n_ctx=512, logits_all=True, verbose=False)
        check(llama.tokenize(text.encode(), add_bos=False) == ids, "llama.cpp reads the text as other tokens")
        llama.eval(ids)
        found = np.array(llama.scores[:len(ids)])
        error = float(np.sqrt(((found - expected) ** 2).mean() / expected.var()))
        print(f"llama.cpp, {kind}: relative error of logits {error:.5f}, at most {most}")
        check(error <= most, f"llama.cpp, {kind}: logits differ by {error}")


with tempfile.TemporaryDirectory() as scratch:
    check_families(scratch)
    check_types(scratch)
    check_llama_cpp(scratch)
