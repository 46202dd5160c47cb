"""Language models of every family that narrow knows give the perplexity that transformers gives, on random weights.

Needs torch and transformers; skipped where the Python of the peers has none. By hand: language_models_peer.py [family …]
"""
import pathlib
import sys
import tempfile

import numpy as np

from harness import check, narrow, skip

try:
    import torch
    import transformers as t
except ImportError:
    skip("torch and transformers are not installed")
t.logging.set_verbosity_error()

VOCABULARY, CONTEXT, TOKENS, TOLERANCE = 97, 40, 400, 1e-4
SIZES = dict(vocab_size=VOCABULARY, hidden_size=48, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2, intermediate_size=80,
             max_position_embeddings=128, bos_token_id=1, eos_token_id=2)
NEOX = dict(vocab_size=VOCABULARY, hidden_size=48, num_hidden_layers=3, num_attention_heads=3, intermediate_size=80, max_position_embeddings=128, bos_token_id=1, eos_token_id=2)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=32)
LONG = dict(rope_type="longrope", short_factor=[1.0, 1.1, 1.2, 1.3], long_factor=[1.5, 2.0, 3.0, 4.0])

FAMILIES = {
    "llama": lambda: t.LlamaConfig(**SIZES),
    "llama with angles of Llama 3 and biases": lambda: t.LlamaConfig(**SIZES, rope_theta=5e5, rope_scaling=LLAMA3, attention_bias=True, mlp_bias=True),
    "llama with linear angles and a tied head": lambda: t.LlamaConfig(**SIZES, rope_scaling=dict(rope_type="linear", factor=2.0), head_dim=16, tie_word_embeddings=True),
    "llama with YaRN": lambda: t.LlamaConfig(**SIZES, rope_scaling=YARN),
    "mistral": lambda: t.MistralConfig(**SIZES, sliding_window=7),
    "qwen2": lambda: t.Qwen2Config(**SIZES),
    "qwen2 with a window": lambda: t.Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=5, max_window_layers=1),
    "qwen3": lambda: t.Qwen3Config(**SIZES, head_dim=16),
    "qwen2_moe": lambda: t.Qwen2MoeConfig(**SIZES, num_experts=6, num_experts_per_tok=2, moe_intermediate_size=32, shared_expert_intermediate_size=40, mlp_only_layers=[1]),
    "qwen3_moe": lambda: t.Qwen3MoeConfig(**SIZES, num_experts=6, num_experts_per_tok=2, moe_intermediate_size=32, head_dim=16, norm_topk_prob=True),
    "mixtral": lambda: t.MixtralConfig(**SIZES, num_local_experts=4, num_experts_per_tok=2),
    "phi3": lambda: t.Phi3Config(**SIZES, pad_token_id=0, original_max_position_embeddings=128),
    "phi3 with LongRoPE": lambda: t.Phi3Config(**SIZES, pad_token_id=0, original_max_position_embeddings=64, rope_scaling=LONG),
    "gemma": lambda: t.GemmaConfig(**SIZES, head_dim=16),
    "gemma2": lambda: t.Gemma2Config(**SIZES, head_dim=16, sliding_window=6, query_pre_attn_scalar=24),
    "gemma3_text": lambda: t.Gemma3TextConfig(**{**SIZES, "num_hidden_layers": 7}, head_dim=16, sliding_window=6, query_pre_attn_scalar=24),
    "olmo": lambda: t.OlmoConfig(**SIZES, clip_qkv=0.05),
    "olmo2": lambda: t.Olmo2Config(**SIZES),
    "gpt2": lambda: t.GPT2Config(vocab_size=VOCABULARY, n_embd=48, n_layer=3, n_head=6, n_positions=128, bos_token_id=1, eos_token_id=2),
    "gpt_neox": lambda: t.GPTNeoXConfig(**NEOX, rotary_pct=0.25),
    "gpt_neox in sequence": lambda: t.GPTNeoXConfig(**NEOX, rotary_pct=1.0, use_parallel_residual=False),
}


def perplexity(model, ids):
    windows = torch.from_numpy(ids[: len(ids) // CONTEXT * CONTEXT].reshape(-1, CONTEXT))
    with torch.no_grad():
        logits = model(windows).logits.double()
    return torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, VOCABULARY), windows[:, 1:].reshape(-1)).exp().item()


def main(only):
    torch.manual_seed(0)
    ids = np.random.default_rng(0).integers(0, VOCABULARY, TOKENS)
    known = {entry["name"] for entry in narrow("list", "architectures", "--json")}
    met = set()
    for name, make in FAMILIES.items():
        if only and name not in only:
            continue
        config = make()
        model = t.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
        for parameter in model.parameters():  # norms that are not one, biases that are not zero
            parameter.data += 0.1 * torch.randn_like(parameter)
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            model.save_pretrained(folder / "model")
            np.save(folder / "tokens.npy", ids)
            found = narrow("evaluate", folder / "model", "--data", folder / "tokens.npy", "--context", CONTEXT, "--json", "--quiet")["perplexity"]
            expected = perplexity(model, ids)
            print(f"{name}: {found:.5f}, transformers {expected:.5f}")
            check(abs(found - expected) <= TOLERANCE * expected, f"{name}: perplexity {found}, transformers has {expected}")
            narrow("quantize", folder / "model", "-o", folder / "quantized", "--method", "gptq", "--group-size", "8", "--data", folder / "tokens.npy", "--context", "32", "--samples", "8", "--quiet")
            again = narrow("evaluate", folder / "quantized", "--data", folder / "tokens.npy", "--context", CONTEXT, "--json", "--quiet")["perplexity"]
            check(abs(np.log(again / expected)) < 0.5, f"{name}: quantized to 4 bits its perplexity is {again}, {expected} before")
        met.add(config.model_type)
    known -= {"bert", "roberta", "xlm-roberta", "distilbert", "mpnet"}  # encoders_peer.py
    check(only or met >= known, f"families without a model here: {sorted(known - met)}")


main(sys.argv[1:])
