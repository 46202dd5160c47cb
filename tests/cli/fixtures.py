"""Small models and data for the command-line tests, written with the standard library alone.

cnn.onnx: input x[N,1,8,8] -> Conv 4x3x3 -> Relu -> GlobalAveragePool -> Flatten -> Gemm -> y[N,3]. The convolution answers
to horizontal, vertical and diagonal edges, so the three classes of data.npz can be told apart.
"""
import pathlib
import random
import struct
import sys
import zipfile

FLOAT, INT64 = 1, 7


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field, value):
    return varint(field << 3) + varint(value)


def block(field, payload):
    payload = payload.encode() if isinstance(payload, str) else payload
    return varint(field << 3 | 2) + varint(len(payload)) + payload


def tensor(name, dims, values, dtype=FLOAT):
    code = {FLOAT: "f", INT64: "q"}[dtype]
    raw = struct.pack(f"<{len(values)}{code}", *values)
    return b"".join(number(1, d) for d in dims) + number(2, dtype) + block(8, name) + block(9, raw)


def ints_attribute(name, values):
    return block(1, name) + b"".join(number(8, v) for v in values) + number(20, 7)


def int_attribute(name, value):
    return block(1, name) + number(3, value) + number(20, 2)


def node(op_type, name, inputs, outputs, attributes=()):
    return (b"".join(block(1, i) for i in inputs) + b"".join(block(2, o) for o in outputs) + block(3, name)
            + block(4, op_type) + b"".join(block(5, a) for a in attributes))


def value_info(name, dims):
    shape = b"".join(block(1, block(2, d) if isinstance(d, str) else number(1, d)) for d in dims)
    return block(1, name) + block(2, block(1, number(1, FLOAT) + block(2, shape)))


def model(nodes, initializers, inputs, outputs):
    graph = (b"".join(block(1, n) for n in nodes) + block(2, "test") + b"".join(block(5, t) for t in initializers)
             + b"".join(block(11, v) for v in inputs) + b"".join(block(12, v) for v in outputs))
    return number(1, 8) + block(2, "fixtures") + block(7, graph) + block(8, block(1, "") + number(2, 13))


EDGES = [[-1, -1, -1, 0, 0, 0, 1, 1, 1], [-1, 0, 1, -1, 0, 1, -1, 0, 1], [0, 1, 1, -1, 0, 1, -1, -1, 0],
         [1, 1, 1, 0, 0, 0, -1, -1, -1]]
CLASSIFY = [1, 0, 0, 1, 0, 1, 0, 0, 0, -0.4, 1.3, 0]


def cnn(hostile=False):
    conv = "<script>alert(1)</script>\x1b[31m" if hostile else "conv"
    scale = random.Random(7)
    weights = [w * scale.uniform(0.7, 1.3) for edge in EDGES for w in edge]
    nodes = [node("Conv", conv, ["x", "w", "b"], ["c"], [ints_attribute("pads", [1, 1, 1, 1])]),
             node("Relu", "relu", ["c"], ["r"]),
             node("GlobalAveragePool", "pool", ["r"], ["p"]),
             node("Flatten", "flatten", ["p"], ["f"]),
             node("Gemm", "fc", ["f", "g", "h"], ["y"], [int_attribute("transB", 1)])]
    initializers = [tensor("w", [4, 1, 3, 3], weights), tensor("b", [4], [0.01, -0.02, 0.03, 0.0]),
                    tensor("g", [3, 4], CLASSIFY), tensor("h", [3], [0.0, 0.0, 0.0])]
    return model(nodes, initializers, [value_info("x", ["N", 1, 8, 8])], [value_info("y", ["N", 3])])


def long_input():
    """A convolution over five steps of an input whose length the model leaves open."""
    return model([node("Conv", "steps", ["x", "w"], ["y"])], [tensor("w", [2, 1, 5], [0.1] * 10)], [value_info("x", [1, 1, "length"])],
                 [value_info("y", [1, 2, "rest"])])


def with_data_file(location):
    """One MatMul whose weights lie in another file."""
    entry = lambda key, value: block(13, block(1, key) + block(2, value))
    weights = (number(1, 4) + number(1, 3) + number(2, FLOAT) + block(8, "w") + entry("location", location) + number(14, 1))
    return model([node("MatMul", "fc", ["x", "w"], ["y"])], [weights], [value_info("x", [1, 4])], [value_info("y", [1, 3])])


def npy(descr, shape, payload):
    header = repr({"descr": descr, "fortran_order": False, "shape": tuple(shape)})
    header += " " * (63 - (len(header) + 10) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + payload


def float_npy(shape, values):
    return npy("<f4", shape, struct.pack(f"<{len(values)}f", *values))


def picture(kind, rng):
    pixels = []
    at = rng.randint(2, 5)
    for y in range(8):
        for x in range(8):
            side = {0: y >= at, 1: x >= at, 2: x > y}[kind]
            pixels.append((1.0 if side else -1.0) + rng.gauss(0, 0.15))
    return pixels


def write_all(folder):
    folder = pathlib.Path(folder)
    rng = random.Random(1)
    count = 60
    labels = [i % 3 for i in range(count)]
    pixels = [p for label in labels for p in picture(label, rng)]
    (folder / "cnn.onnx").write_bytes(cnn())
    (folder / "hostile.onnx").write_bytes(cnn(hostile=True))
    (folder / "long_input.onnx").write_bytes(long_input())
    (folder / "data_file.onnx").write_bytes(with_data_file("weights.onnx.data"))
    (folder / "weights.onnx.data").write_bytes(struct.pack("<12f", *range(12)))
    (folder / "x.npy").write_bytes(float_npy([1, 1, 8, 8], pixels[:64]))
    (folder / "nan.npy").write_bytes(float_npy([1, 1, 8, 8], [float("nan")] * 64))
    (folder / "wrong.npy").write_bytes(float_npy([1, 1, 7, 7], pixels[:49]))
    (folder / "unlabelled.npy").write_bytes(float_npy([count, 1, 8, 8], pixels))
    for name, given in (("data.npz", labels), ("shuffled.npz", [(label + 1) % 3 for label in labels])):
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr("x.npy", float_npy([count, 1, 8, 8], pixels))
            archive.writestr("labels.npy", npy("<i8", [count], struct.pack(f"<{count}q", *given)))
    (folder / "truncated.onnx").write_bytes(cnn()[:300])
    (folder / "garbage.onnx").write_bytes(bytes(rng.randrange(256) for _ in range(500)))
    (folder / "empty.onnx").write_bytes(b"")


if __name__ == "__main__":
    write_all(sys.argv[1])
