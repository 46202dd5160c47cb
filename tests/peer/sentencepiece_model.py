"""Makes SentencePiece models of the shared texts, and takes them apart."""
import io

from harness import shared


def trained_model(sentencepiece, **options):
    """A serialized model of 1,000 pieces."""
    made = io.BytesIO()
    lines = [line for name in ("text/tinyshakespeare.txt", "text/wikitext-2/valid.txt")
             for line in shared(name).read_text().splitlines()[:4000] if line.strip()]
    options = {"vocab_size": 1000, "minloglevel": 2, "num_threads": 1, "character_coverage": 0.9995, **options}
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=made, **options)
    return made.getvalue()


def fields(message):
    """(number, value) of a protocol buffers message; bytes of nested ones."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        tag = varint()
        kind = tag & 7
        if kind == 0:
            yield tag >> 3, varint()
            continue
        size = {1: 8, 5: 4}[kind] if kind != 2 else varint()
        yield tag >> 3, message[at:at + size]
        at += size


def charsmap_of(model):
    normalizer = dict(fields(model))[3]
    return dict(fields(normalizer)).get(2, b"")
