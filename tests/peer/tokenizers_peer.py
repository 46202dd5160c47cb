"""Token ids, type ids, masks and decoded texts equal those of the `tokenizers` package.

The WordPiece vocabulary comes from the shared GGUF file, the others from the shared tokenizer.json files and from
tokenizer_cases.py; with NARROW_MINILM (a folder written by export_minilm.py) its tokenizer.json is compared as well.
"""
import json
import os
import pathlib
import random
import struct
import subprocess
import tempfile

from harness import SOURCE, check, shared, skip

LINES = 10_000


def tokenize(path, frames, *options):
    """Lines that the test program prints for frames of bytes."""
    binary = pathlib.Path(os.environ.get("NARROW_BIN") or SOURCE / "build" / "dev" / "bin" / "narrow").with_name("tokenize")
    data = b"".join(struct.pack("<I", len(frame)) + frame for frame in frames)
    done = subprocess.run([binary, *options, path], input=data, capture_output=True)
    check(done.returncode == 0, f"{path}: {done.stderr.decode()}")
    return done.stdout.decode().splitlines()


def encode(path, texts):
    """[ids, type ids, mask] of each text (or pair of texts, or bytes) as narrow's own tokenizer makes them."""
    pair = isinstance(texts[0], tuple)
    parts = [part if isinstance(part, bytes) else part.encode() for text in texts for part in (text if pair else (text,))]
    lines = tokenize(path, parts, *(["--pair"] if pair else []))
    check(len(lines) == len(texts), f"{len(lines)} answers to {len(texts)} texts")
    return [[[int(x) for x in row.split()] for row in line.split("|")] if line != "error" else None for line in lines]


def decode(path, rows, mode):
    """The text of each row of ids."""
    frames = [struct.pack(f"<{len(row)}I", *row) for row in rows]
    return [bytes.fromhex(line).decode() for line in tokenize(path, frames, mode)]


def gguf_tokens(path):
    """tokenizer.ggml.tokens of a GGUF file."""
    data, at = path.read_bytes(), 8
    sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

    def number(form):
        nonlocal at
        value = struct.unpack_from(form, data, at)[0]
        at += struct.calcsize(form)
        return value

    def text():
        nonlocal at
        size = number("<Q")
        at += size
        return data[at - size:at].decode()

    def value(kind):
        nonlocal at
        if kind == 8:
            return text()
        if kind == 9:
            inner = number("<I")
            return [value(inner) for _ in range(number("<Q"))]
        at += sizes[kind]
        return None

    number("<Q")
    for _ in range(number("<Q")):
        name = text()
        found = value(number("<I"))
        if name == "tokenizer.ggml.tokens":
            return found
    raise AssertionError(f"{path}: no tokens")


def bert_json(tokens):
    """A tokenizer.json of a vocabulary whose word beginnings are marked, as GGUF keeps it."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {}
    for at, token in enumerate(tokens):
        reserved = token.startswith("[") and token.endswith("]")
        vocabulary[token if reserved else token[1:] if token.startswith("\u2581") else "##" + token] = at
    row = lambda content: {"id": vocabulary[content], "content": content, "single_word": False, "lstrip": False,
                           "rstrip": False, "normalized": False, "special": True}
    token = lambda content: {"SpecialToken": {"id": content, "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": i}} for i, name in enumerate("AB"))
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [row(t) for t in special],
            "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                           "strip_accents": None, "lowercase": True},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {"type": "TemplateProcessing",
                               "single": [token("[CLS]"), first, token("[SEP]")],
                               "pair": [token("[CLS]"), first, token("[SEP]"), second,
                                        {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
                               "special_tokens": {t: {"id": t, "ids": [vocabulary[t]], "tokens": [t]}
                                                  for t in ("[CLS]", "[SEP]")}},
            "decoder": None,
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                      "max_input_chars_per_word": 100, "vocab": vocabulary}}


def shared_token_tests(path, source, before=1, after=1):
    """A file of texts and the ids that they have, without so many special ones before and after them."""
    texts = source.with_name(source.name + ".inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    wanted = source.with_name(source.name + ".out").read_text().splitlines()
    texts = texts[:len(wanted)]
    for text, line, (ids, _, _) in zip(texts, wanted, encode(path, texts)):
        found = ids[before:len(ids) - after]
        check(found == [int(x) for x in line.split()], f"{text!r}: {found}, expected {line}")
    print(f"{source.name}: {len(texts)} token tests equal")


BLOCKS = [(0x20, 0x7E), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x4FF), (0x590, 0x5FF), (0x600, 0x6FF),
          (0x900, 0x97F), (0xE00, 0xE7F), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1E00, 0x1FFF), (0x2000, 0x206F),
          (0x2100, 0x214F), (0x3000, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0xFE00, 0xFFEF),
          (0x1F300, 0x1FAFF), (0x20000, 0x2A6DF), (0, 0x10FFFF)]
WORDS = ("the quick Brown FOX naïve façade Größe Straße İstanbul ΑΘΗΝΑ Ὀδυσσεύς Москва Ёлка שָׁלוֹם مرحبا नमस्ते สวัสดี 東京 한국어 "
         "ﬁne e\u0301te\u0301 q\u0307\u0323 [MASK] [CLS] [SEP][PAD] ##ing can't U.S.A. 3.14 $5 x²  \t \r\n \u200b \ufeff \u00ad 😀👍🏽 "
         "internationalization " + "a" * 101 + " " + "b" * 100).split(" ")


def character(randomly):
    low, high = randomly.choice(BLOCKS)
    at = randomly.randint(low, high)
    return " " if 0xD800 <= at <= 0xDFFF else chr(at)


def random_lines(count):
    randomly = random.Random(7)
    corpora = [shared(name).read_text().splitlines() for name in ("text/wikitext-2/valid.txt", "text/tinyshakespeare.txt")]
    for at in range(count):
        if at % 3 == 0:
            yield randomly.choice(randomly.choice(corpora))
        elif at % 3 == 1:
            yield "".join(character(randomly) for _ in range(randomly.randint(0, 60)))
        else:
            yield "".join(randomly.choice(WORDS) + randomly.choice(["", " ", " ", character(randomly)])
                          for _ in range(randomly.randint(1, 12)))


def compare(path, what, lines, pairs=0):
    peer = tokenizers.Tokenizer.from_file(str(path))
    for texts in (lines, list(zip(lines[:pairs], lines[pairs:]))) if pairs else (lines,):
        # A batch is padded to its longest text; here each text is its own.
        theirs = [peer.encode(*(text if pairs and isinstance(text, tuple) else (text,))) for text in texts] if peer.padding else peer.encode_batch(texts)
        for text, ours, expected in zip(texts, encode(path, texts), theirs):
            check(ours == [expected.ids, expected.type_ids, expected.attention_mask],
                  f"{what}: {text!r}\n{ours}\n{expected.ids}\n{expected.tokens}")
    return [encoding.ids for encoding in peer.encode_batch(lines)]


def compare_decoding(path, what, rows, streams=True):
    peer = tokenizers.Tokenizer.from_file(str(path))
    randomly = random.Random(3)
    size = peer.get_vocab_size()
    rows = rows + [[randomly.randrange(size + 2) for _ in range(randomly.randint(0, 12))] for _ in range(len(rows) // 2)]
    for mode, skip_special in (("--decode", True), ("--decode-all", False)):
        theirs = peer.decode_batch(rows, skip_special_tokens=skip_special)
        for row, ours, expected in zip(rows, decode(path, rows, mode), theirs):
            check(ours == expected, f"{what}: {row}\n{ours!r}\n{expected!r}")
    if streams:  # of ids that a text gave: a byte that makes what came before it malformed changes text already given
        rows = rows[:len(rows) * 2 // 3]
        for row, ours, whole in zip(rows, decode(path, rows, "--stream"), decode(path, rows, "--decode-all")):
            check(ours == whole, f"{what}, one by one: {row}\n{ours!r}\n{whole!r}")


def charsmap():
    """SentencePiece's table of characters, from a model made here; nothing where that package is missing."""
    try:
        import sentencepiece
    except ImportError:
        return None
    from sentencepiece_model import charsmap_of, trained_model
    return charsmap_of(trained_model(sentencepiece, model_type="unigram", normalization_rule_name="nmt_nfkc"))


def variants(plain):
    """The same vocabulary under other settings."""
    yield "as BERT uncased", plain
    cased = json.loads(json.dumps(plain))
    cased["normalizer"].update(lowercase=False, handle_chinese_chars=False)
    cased["post_processor"] = {"type": "BertProcessing", "sep": ["[SEP]", 102], "cls": ["[CLS]", 101]}
    cased["truncation"] = {"direction": "Left", "max_length": 9, "strategy": "LongestFirst", "stride": 0}
    cased["padding"] = {"strategy": "BatchLongest", "direction": "Left", "pad_to_multiple_of": 8, "pad_id": 0,
                        "pad_type_id": 1, "pad_token": "[PAD]"}
    yield "cased, cut on the left, padded on the left", cased
    added = json.loads(json.dumps(plain))
    flags = [("naïve", True, False, False, True), ("fox", False, True, True, True), ("東京", False, False, True, False),
             ("the", True, True, False, False), ("Ёл", False, False, False, True), ("can't", False, True, False, False)]
    for at, (content, single, left, right, normalized) in enumerate(flags):
        added["added_tokens"].append({"id": 30522 + at, "content": content, "single_word": single, "lstrip": left,
                                      "rstrip": right, "normalized": normalized, "special": False})
    added["model"]["max_input_chars_per_word"] = 8
    added["post_processor"] = None
    yield "added tokens, short words, no template", added


def everything():
    """A text around every seventh character that there is."""
    return ["a" + chr(c) + "b" for c in range(0, 0x110000, 7) if not 0xD800 <= c <= 0xDFFF]


def main():
    source = shared("tokenizers/gguf/ggml-vocab-bert-bge.gguf")
    lines = list(random_lines(LINES))
    texts = [shared(name).read_text()[:300_000] for name in ("text/tinyshakespeare.txt", "text/wikitext-2/valid.txt")]
    english = [line for text in texts for line in text.splitlines()[:6000]]
    corpus = english + lines[1:3000:3]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "tokenizer.json"
        plain = bert_json(gguf_tokens(source))
        path.write_text(json.dumps(plain))
        shared_token_tests(path, source)
        for what, content in variants(plain):
            path.write_text(json.dumps(content))
            compare(path, what, lines + everything(), pairs=2000)
            print(f"{what}: equal")
        if os.environ.get("NARROW_MINILM"):
            compare(pathlib.Path(os.environ["NARROW_MINILM"]) / "tokenizer.json", "MiniLM", lines, pairs=2000)
        for name in ("llm/llama7m", "tokenizers/gpt2", "tokenizers/phi3"):
            rows = compare(shared(name) / "tokenizer.json", name, lines + everything() + texts, pairs=2000)
            compare_decoding(shared(name) / "tokenizer.json", name, rows[:LINES])
            print(f"{name}: equal")

        def whole(what, made, decoding=True):
            made.save(str(path))
            rows = compare(path, what, lines + texts, pairs=2000)
            if decoding:
                compare_decoding(path, what, rows[:LINES // 4])
            print(f"{what}: {len(lines)} lines equal")

        for what, made in cases.byte_level(corpus):
            whole(what, made)
        for what, made in cases.sentencepiece_like(corpus):
            whole(what, made)
        table = charsmap()
        for what, made in cases.unigram(english, table) if table else ():
            whole(what, made)
        few = lines[:1000]
        for what, made in cases.added_tokens(few):
            made.save(str(path))
            compare(path, what, few, pairs=300)
        for part in cases.pre_tokenizer_parts():
            cases.spelling(few, None, part).save(str(path))
            compare(path, repr(part), few)
        for part in cases.NORMALIZERS:
            cases.spelling(few, part).save(str(path))
            compare(path, repr(part), few)
        print(f"every pre-tokenizer and normalizer: {len(few)} lines equal")
        blocks = (range(0x3400), range(0x9FF0, 0xAC00), range(0xD7A0, 0xD800), range(0xE000, 0x20000), range(0x20000, 0x110000, 37))
        sweep = "".join(chr(c) for block in blocks for c in block)
        for pattern in cases.PATTERNS:
            cases.spelling(few, None, pre_tokenizers.Split(Regex(pattern), "isolated")).save(str(path))
            compare(path, pattern, few + [sweep])
        print(f"{len(cases.PATTERNS)} patterns: {len(few)} lines and every character equal")


if __name__ == "__main__":
    try:
        import tokenizers
        from tokenizers import Regex, pre_tokenizers
    except ImportError:
        skip("the Python of NARROW_PEERS has no `tokenizers`")
    import tokenizer_cases as cases
    main()
