"""Ids of tokenizer.model, and texts from ids, equal those of the `sentencepiece` package; the token tests of GGUF files."""
import pathlib
import random
import tempfile

import tokenizers_peer as common
from harness import check, shared, skip
from sentencepiece_model import trained_model

LINES = 10_000

# What the trainer is told for each model.
MODELS = {
    "Unigram, nmt_nfkc": {"model_type": "unigram"},
    "Unigram, bytes": {"model_type": "unigram", "byte_fallback": True, "vocab_size": 1400},
    "Unigram, nfkc_cf, a user's pieces": {"model_type": "unigram", "normalization_rule_name": "nfkc_cf",
                                           "user_defined_symbols": ["<mask>", "th", "東京", " x"]},
    "BPE, identity": {"model_type": "bpe", "normalization_rule_name": "identity"},
    "BPE, as Llama": {"model_type": "bpe", "normalization_rule_name": "identity", "byte_fallback": True, "vocab_size": 1400,
                      "remove_extra_whitespaces": False, "split_digits": True, "allow_whitespace_only_pieces": True},
    "BPE, a user's pieces": {"model_type": "bpe", "user_defined_symbols": ["<mask>", "th", "東京", "in"]},
    "BPE, no dummy prefix": {"model_type": "bpe", "add_dummy_prefix": False},
    "BPE, blanks as suffixes": {"model_type": "bpe", "treat_whitespace_as_suffix": True},
    "Unigram, blanks as suffixes": {"model_type": "unigram", "treat_whitespace_as_suffix": True},
    "BPE across words": {"model_type": "bpe", "split_by_whitespace": False, "vocab_size": 800},
}


def malformed(randomly, line):
    data = bytearray(line.encode())
    for _ in range(randomly.randint(1, 4)):
        data.insert(randomly.randint(0, len(data)), randomly.choice([0x80, 0xC3, 0xE4, 0xF0, 0xFF, 0xED, 0xC0]))
    return bytes(data)


def compare(path, what, texts):
    peer = sentencepiece.SentencePieceProcessor(model_file=str(path))
    special = [id for id in (peer.bos_id(), peer.eos_id()) if id >= 0]
    rows = []
    for text, ours in zip(texts, common.encode(path, texts)):
        expected = peer.encode(text)
        rows.append(expected)
        ours = ours[0]
        ours = ours[1:] if ours[:1] == special[:1] else ours  # what sentencepiece leaves to the caller
        check(ours == expected, f"{what}: {text!r}\n{ours}\n{expected}\n{peer.id_to_piece(expected)}")
    randomly = random.Random(5)
    size = peer.get_piece_size()
    rows += [[randomly.randrange(size) for _ in range(randomly.randint(0, 12))] for _ in range(len(rows) // 4)]
    for row, ours in zip(rows, common.decode(path, rows, "--decode-all")):
        check(ours == peer.decode(row), f"{what}: {row}\n{ours!r}\n{peer.decode(row)!r}\n{[peer.id_to_piece(i) for i in row]}")
    print(f"{what}: {len(texts)} texts equal, {len(rows)} decoded")


def main():
    lines = list(common.random_lines(LINES))
    randomly = random.Random(11)
    lines += [" " * n + "a" + " " * m + "b" + " " * n for n in range(4) for m in range(4)]
    lines += [malformed(randomly, line) for line in lines[:500]]
    whole = [shared("text/tinyshakespeare.txt").read_text()[:200_000]]
    for name in ("tokenizers/llama2/tokenizer.model", "llm/stories260K/hf/tokenizer.model"):
        compare(shared(name), name, lines + whole)
    # The same vocabularies in llama2.c's form give the same ids where the text is well formed.
    for other, name in (("tokenizers/llama2/tokenizer.bin", "tokenizers/llama2/tokenizer.model"),
                        ("llm/stories260K/llama2c/tok512.bin", "llm/stories260K/hf/tokenizer.model")):
        texts = [line for line in lines if isinstance(line, str) and line]
        equal = sum(a == b for a, b in zip(common.encode(shared(other), texts), common.encode(shared(name), texts)))
        print(f"{other}: {equal} of {len(texts)} texts as {name}")
        check(equal == len(texts), f"{other} differs from {name}")
    for name, before, after in (("gpt-2", 0, 0), ("llama-spm", 1, 0), ("phi-3", 1, 0), ("bert-bge", 1, 1)):
        path = shared(f"tokenizers/gguf/ggml-vocab-{name}.gguf")
        common.shared_token_tests(path, path, before, after)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "tokenizer.model"
        for what, options in MODELS.items():
            path.write_bytes(trained_model(sentencepiece, **options))
            compare(path, what, lines)


if __name__ == "__main__":
    try:
        import sentencepiece
    except ImportError:
        skip("the Python of NARROW_PEERS has no `sentencepiece`")
    main()
