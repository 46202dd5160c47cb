"""The demo model end to end: what narrow reports about its INT8 form is what ONNX Runtime and OpenVINO find."""
import pathlib
import tempfile

import harness
from harness import PEERS, TESTDATA, check, check_close, check_model, narrow, top1


def main():
    folder = TESTDATA / "shapes"
    images, labels = harness.shapes("test")
    with tempfile.TemporaryDirectory() as work:
        quantized = pathlib.Path(work, "shapes_int8.onnx")
        narrow("quantize", folder / "shapes.onnx", "-o", quantized, "--method", "static", "--data", folder / "calibration.npz")
        check_model(quantized)
        check(quantized.stat().st_size <= 0.35 * (folder / "shapes.onnx").stat().st_size, "the file did not shrink")
        reported = {}
        for name, path in [("float", folder / "shapes.onnx"), ("int8", quantized)]:
            reported[name] = narrow("evaluate", path, "--data", folder / "test.npz", "--metric", "top1", "--json")["top1"]
            for peer in PEERS:
                check_close(f"{name} top-1 in {peer.name}", top1(peer(path), images, labels), reported[name], 0.2)
        check(reported["float"] >= 90, "the float model lost its accuracy")
        check(reported["int8"] >= reported["float"] - 1, f"INT8 lost more than a point: {reported}")


main()
