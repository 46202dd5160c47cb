"""Tokenizers to compare: as the families of models have them, trained here on the shared texts, and one for each part."""
import json

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
         r"|\s+(?!\S)|\s+")
GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK = [r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+",
            r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
            r"|\s*[\r\n]+|\s+(?!\S)|\s+"]
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
CL100K = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]"
          r"|\s+(?!\S)|\s")

# Patterns that only the translation from Ruby's syntax gets right. (\X and the emoji properties are those of Unicode 14.)
PATTERNS = [r"\s", r"\S+", r"\d+", r"\w+", r"\W", r"\h+", r"\p{L}+", r"\P{L}", r"\p{^N}+", r"\p{Lu}\p{Ll}*", r"\p{M}",
            r"[[:punct:]]", r"\p{Punct}", r"[[:alpha:]&&[^a-m]]+", r"[a-z&&[^aeiou]]+", r"[^[:space:][:upper:]]+", r"\bt\w*",
            r"\Bo\B", r"[\p{Han}\p{Hiragana}\p{Katakana}]+", r"\p{Letter}\p{Decimal_Number}*", r"(?i)THE|q(?i)UICK|fox",
            r"^.", r".$", r"(?m:a.)+", r"\x{4e00}|\u00e9|\x41", r"[\S\n]+", r"[^\S ]", r"o{1,2}+", r"a{,2}b", r"a{b", r"\R",
            r"[]a]", r"[a\-z]", r"[\]\\]", r"(?<=t)h", r"(?<!t)h", r"(?:a|(b))(?:\1|c)?", r"x*", r"[^\P{L}]+", r"[[:^digit:]]+",
            r"[\d\-x]", r"\p{Cn}", r"\p{C}", r"[[:graph:]]+", r"[[:print:]]+", r"[[:lower:]]+", r"\p{Alnum}+",
            r"[[:word:]]+", GPT4O, BLOOM, CL100K, LLAMA3, QWEN2, *DEEPSEEK]

NORMALIZERS = [normalizers.NFC(), normalizers.NFD(), normalizers.NFKC(), normalizers.NFKD(), normalizers.Lowercase(),
               normalizers.Strip(), normalizers.Strip(left=True, right=False), normalizers.Strip(left=False, right=True),
               normalizers.StripAccents(), normalizers.Nmt(), normalizers.Prepend("▁"), normalizers.Replace("th", "<TH>"),
               normalizers.Replace(Regex(r"\s{2,}"), "_"), normalizers.Replace(Regex("a*"), "-"), normalizers.ByteLevel(),
               normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]),
               normalizers.BertNormalizer(lowercase=False, strip_accents=True)]

BEHAVIORS = ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]


def pre_tokenizer_parts():
    yield from (pre_tokenizers.ByteLevel(add_prefix_space=a, use_regex=b) for a in (False, True) for b in (False, True))
    yield from (pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split) for scheme in ("always", "first", "never")
                for split in (False, True))
    yield from (pre_tokenizers.Split(pattern, behavior, invert) for behavior in BEHAVIORS for invert in (False, True)
                for pattern in (" ", Regex(r"\p{L}+|o"), Regex(r"a*")))
    yield from (pre_tokenizers.Punctuation(behavior) for behavior in BEHAVIORS)
    yield from (pre_tokenizers.Digits(individual_digits=value) for value in (False, True))
    yield from (pre_tokenizers.Whitespace(), pre_tokenizers.WhitespaceSplit(), pre_tokenizers.BertPreTokenizer(),
                pre_tokenizers.CharDelimiterSplit("e"), pre_tokenizers.FixedLength(length=3), pre_tokenizers.UnicodeScripts())
    yield pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="first")])
    yield pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(p), "isolated") for p in DEEPSEEK])


def spelling(lines, normalizer=None, pre_tokenizer=None, added=()):
    """A tokenizer that shows every character and every end of a word in its ids."""
    characters = {c for line in lines for c in (normalizer.normalize_str(line) if normalizer else line)}
    characters |= set(" ▁-_<>THĠĊ") | {chr(c) for c in range(0x21, 0x144)}
    vocabulary = {"<unk>": 0}
    for c in sorted(characters):
        vocabulary.setdefault(c, len(vocabulary))
        vocabulary.setdefault(c + "</w>", len(vocabulary))
    made = tokenizers.Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", end_of_word_suffix="</w>"))
    if normalizer:
        made.normalizer = normalizer
    if pre_tokenizer:
        made.pre_tokenizer = pre_tokenizer
    made.add_tokens(list(added))
    return made


def trained_bpe(texts, pre_tokenizer, size=3000, normalizer=None, alphabet=(), special=(), **options):
    made = tokenizers.Tokenizer(models.BPE(**options))
    made.pre_tokenizer = pre_tokenizer
    if normalizer:
        made.normalizer = normalizer
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=list(special), initial_alphabet=list(alphabet), show_progress=False)
    made.train_from_iterator(texts, trainer)
    return made


def byte_level(texts):
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    for name, pattern, normalizer in (("Llama 3", LLAMA3, None), ("Qwen 2", QWEN2, normalizers.NFC()), ("GPT-4o", GPT4O, None),
                                      ("cl100k", CL100K, None), ("Bloom", BLOOM, None)):
        split = pre_tokenizers.Split(Regex(pattern), "isolated")
        made = trained_bpe(texts, pre_tokenizers.Sequence([split, plain]), normalizer=normalizer, alphabet=alphabet,
                           special=["<|begin|>", "<|end|>"], ignore_merges=name == "Llama 3")
        made.decoder = decoders.ByteLevel()
        template = processors.TemplateProcessing(single="<|begin|> $A", pair="<|begin|> $A <|begin|> $B:1",
                                                 special_tokens=[("<|begin|>", 0)])
        made.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
        yield name, made
    whole = trained_bpe(texts, pre_tokenizers.Split(Regex(LLAMA3), "removed", invert=True), normalizer=normalizers.ByteLevel(),
                        alphabet=alphabet)
    whole.decoder = decoders.ByteLevel()
    yield "bytes by the normalizer", whole
    roberta = trained_bpe(texts, pre_tokenizers.ByteLevel(add_prefix_space=True), alphabet=alphabet, special=["<s>", "</s>", "<mask>"])
    roberta.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    roberta.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    roberta.decoder = decoders.ByteLevel()
    yield "RoBERTa", roberta


def sentencepiece_like(texts):
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    for scheme in ("always", "first", "never"):
        for fuse in (False, True):
            made = trained_bpe(texts, pre_tokenizers.Metaspace(prepend_scheme=scheme, split=True), special=special,
                               unk_token="<unk>", fuse_unk=fuse, byte_fallback=fuse)
            made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=fuse)
            made.decoder = decoder if fuse else decoders.Metaspace(prepend_scheme=scheme)
            yield f"Metaspace {scheme}, unknown {'as bytes' if fuse else 'apart'}", made
    suffixed = trained_bpe(texts, pre_tokenizers.BertPreTokenizer(), unk_token="<unk>", end_of_word_suffix="</w>",
                           special=["<unk>"])
    suffixed.decoder = decoders.BPEDecoder()
    yield "words with a suffix", suffixed
    words = {word: at for at, word in enumerate(dict.fromkeys(["<unk>", *" ".join(texts[:2000]).split()]))}
    whole = tokenizers.Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    whole.pre_tokenizer = pre_tokenizers.Whitespace()
    yield "words as they are", whole


def unigram(texts, charsmap):
    """charsmap: the precompiled normalization of a SentencePiece model."""
    special = ["<unk>", "<s>", "</s>"]

    def train(pre_tokenizer, normalizer):
        made = tokenizers.Tokenizer(models.Unigram())
        made.normalizer, made.pre_tokenizer = normalizer, pre_tokenizer
        made.train_from_iterator(texts, trainers.UnigramTrainer(vocab_size=3000, special_tokens=special, unk_token="<unk>",
                                                                show_progress=False))
        return made

    precompiled = normalizers.Precompiled(charsmap)
    t5 = train(pre_tokenizers.Metaspace(prepend_scheme="always"), precompiled)
    t5.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 2)])
    t5.decoder = decoders.Metaspace()
    yield "T5", t5
    roberta = train(pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]), precompiled)
    roberta.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    roberta.decoder = decoders.Metaspace()
    yield "XLM-RoBERTa", roberta
    albert = normalizers.Sequence([normalizers.Replace("``", '"'), normalizers.Replace("''", '"'), normalizers.NFKD(),
                                   normalizers.StripAccents(), normalizers.Lowercase(), precompiled,
                                   normalizers.Replace(Regex(" {2,}"), " ")])
    yield "ALBERT", train(pre_tokenizers.Metaspace(), albert)
    stripped = normalizers.Sequence([precompiled, normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), "▁")])
    yield "stripped on the right", train(pre_tokenizers.Metaspace(prepend_scheme="first", split=False), stripped)
    content = json.loads(t5.to_str())
    content["model"]["byte_fallback"] = True
    for byte in range(256):
        content["model"]["vocab"].append([f"<0x{byte:02X}>", 0.0])
    content["decoder"] = json.loads(decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()]).__getstate__())
    yield "T5 with bytes", tokenizers.Tokenizer.from_str(json.dumps(content))


def added_tokens(lines):
    """Added tokens of every kind around words."""
    tokens = [AddedToken("fox", single_word=True), AddedToken("東京", lstrip=True), AddedToken("the", rstrip=True, normalized=False),
              AddedToken("  ", normalized=True), AddedToken("<|x|>", special=True), AddedToken("naïve", normalized=True)]
    yield "added tokens, first word", spelling(lines, None, pre_tokenizers.Metaspace(prepend_scheme="first"), tokens)
    yield "added tokens, normalized", spelling(lines, normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]),
                                               pre_tokenizers.Metaspace(prepend_scheme="first"), tokens)
    # The peer panics where blanks that an added token takes along are stripped too.
    tokens = [token for token in tokens if not (token.lstrip or token.rstrip or token.content.isspace())]
    yield "added tokens, stripped", spelling(lines, normalizers.Strip(), pre_tokenizers.Metaspace(prepend_scheme="first"), tokens)
