"""Weight-only models in ONNX Runtime and OpenVINO: both forms open there and compute what narrow computes, with the weights
that the codes stand for; the loss falls with the bits."""
import pathlib
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from harness import OnnxRuntime, OpenVino, check, check_model, narrow, run_narrow, sqnr_db


def network(path):
    """MatMul on rank 3, Gelu by parts, Gemm with both orientations: a feed-forward block."""
    rng = np.random.default_rng(7)
    def weight(name, *shape):
        return numpy_helper.from_array((rng.standard_normal(shape) * 0.05).astype(np.float32), name)
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["h1"], "up"),
        helper.make_node("Sigmoid", ["h1"], ["s1"], "gate"),
        helper.make_node("Mul", ["h1", "s1"], ["a1"], "silu"),
        helper.make_node("MatMul", ["a1", "w2"], ["h2"], "down"),
        helper.make_node("Reshape", ["h2", "shape"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "w3", "b3"], ["h3"], "gemm_transposed", transB=1),
        helper.make_node("Gemm", ["h3", "w4", "b4"], ["y"], "gemm", alpha=0.5, beta=2.0),
    ]
    graph = helper.make_graph(
        nodes, "block", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 5, 192])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [10, 48])],
        [weight("w1", 192, 320), weight("w2", 320, 192), weight("w3", 96, 192), weight("b3", 96), weight("w4", 96, 48), weight("b4", 48),
         numpy_helper.from_array(np.array([10, 192]), "shape")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def main():
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        original = work / "float.onnx"
        network(original)
        x = np.random.default_rng(1).standard_normal((2, 5, 192)).astype(np.float32)
        exact = OnnxRuntime(original).run(x)[0]
        for form in ("qdq", "qoperator"):
            losses = []
            for bits, group in ((4, 32), (4, 64), (4, 0), (8, 64)):
                made = work / f"{form}_{bits}_{group}.onnx"
                recipe = work / "recipe.toml"
                recipe.write_text(f'method = "weight-only"\nform = "{form}"\nbits = {bits}\ngroup_size = {group}\n')
                narrow("quantize", original, "-o", made, "--recipe", recipe)
                if form == "qdq":
                    check_model(made)
                mine = run_narrow(made, {"x": x}, ["y"])[0]
                check(made.stat().st_size < (0.35 if bits == 4 else 0.6) * original.stat().st_size, f"{made.name} is not small")
                # Optimized, ONNX Runtime takes DequantizeLinear and MatMul together and rounds the inputs to 8 bits.
                peers = [("onnxruntime", OnnxRuntime(made, optimized=False), 60), ("onnxruntime, optimized", OnnxRuntime(made), 35)]
                if form == "qdq":
                    peers.append(("openvino", OpenVino(made), 35))  # as does OpenVINO
                for name, peer, least in peers:
                    found = peer.run(x)[0]
                    agreement = sqnr_db(mine, found)
                    print(f"{made.name} in {name}: {agreement:.1f} dB from narrow, {sqnr_db(exact, found):.1f} dB from the float model", flush=True)
                    check(agreement > least, f"{made.name} in {name} differs from narrow")
                losses.append(sqnr_db(exact, mine))
            check(losses[0] > losses[1] > losses[2] and losses[3] > losses[0] + 18, f"{form}: {losses}")
            check(losses[2] > 12, f"{form}: {losses}")


if __name__ == "__main__":
    main()
