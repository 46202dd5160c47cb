#!/usr/bin/env python3
"""narrow beside ONNX Runtime's quantizer on SqueezeNet 1.1, in one run.

200 images, entropy ranges, QDQ, per-channel weights; both start from the same JPEG files and run as processes of their own,
in turn. Then both outputs in ONNX Runtime: latency on one thread (in turn) and top-1 on the other 300 images, on ten crops of
each of them (four corners and the centre, mirrored too: 3,000 decisions) and on all 500.

    NARROW_DATA=… <python of the peers> benchmarks/quantize_squeezenet.py [--rounds 3]
"""
import argparse
import json
import pathlib
import shutil
import sys
import tempfile
import time

import numpy as np
from common import NARROW, harness, interleaved, median, run_process, table, write_results


def quantize_with_ort(model, folder, out):
    """Run in a process of its own: ONNX Runtime's documented way, with the types it recommends on x86 (u8 activations, s8
    weights; its default of s8 activations runs three times slower)."""
    from onnxruntime.quantization import (CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType,
                                          quantize_static)
    from onnxruntime.quantization.shape_inference import quant_pre_process
    from PIL import Image

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.files = iter(sorted(pathlib.Path(folder, "images").iterdir()))

        def get_next(self):
            file = next(self.files, None)
            return None if file is None else {"data": harness.caffe_bgr(Image.open(file).convert("RGB"))[None]}

    begin = time.perf_counter()
    prepared = str(out) + ".prepared.onnx"
    quant_pre_process(str(model), prepared)
    quantize_static(prepared, str(out), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                    calibrate_method=CalibrationMethod.Entropy)
    print(json.dumps({"inside_seconds": time.perf_counter() - begin}))


def split_images(work):
    """Every image whose index is 0 or 2 modulo 5 calibrates (200 of 500, without labels), the other 300 test."""
    folder = harness.shared("imagenet")
    rows = [r for r in (folder / "labels.tsv").read_text().splitlines() if r and not r.startswith("#")]
    chosen = [index % 5 in (0, 2) for index in range(len(rows))]
    (work / "calibration" / "images").mkdir(parents=True)
    for row, calibrates in zip(rows, chosen):
        if calibrates:
            shutil.copy(folder / row.split("\t")[0], work / "calibration" / "images")
    return np.array(chosen)


def ten_crops(image, size=227, resize=256):
    from PIL import Image
    scale = resize / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.BILINEAR)
    pixels = np.asarray(image, np.float32)[:, :, ::-1] - np.array([104, 117, 123], np.float32)
    right, bottom = image.width - size, image.height - size
    for x, y in ((0, 0), (right, 0), (0, bottom), (right, bottom), (right // 2, bottom // 2)):
        crop = pixels[y:y + size, x:x + size]
        for view in (crop, crop[:, ::-1]):
            yield np.ascontiguousarray(view.transpose(2, 0, 1))[None]


def decisions_on_ten_crops(models, calibrates):
    """{name: [the class of each crop]} of the images that were not calibrated on, and their labels."""
    from PIL import Image
    folder = harness.shared("imagenet")
    rows = [r.split("\t") for r in (folder / "labels.tsv").read_text().splitlines() if r and not r.startswith("#")]
    chosen, labels = {name: [] for name in models}, []
    for row, skip in zip(rows, calibrates):
        if skip:
            continue
        for crop in ten_crops(Image.open(folder / row[0]).convert("RGB")):
            labels.append(int(row[1]))
            for name, model in models.items():
                chosen[name].append(int(model.run(crop)[0].reshape(-1).argmax()))
    return {name: np.array(c) for name, c in chosen.items()}, np.array(labels)


def latencies(models, image, runs=200):
    """{name: [ms of each run]}, one thread, the models in turn. Time of the thread, not of the clock on the wall, so that
    other work on the machine weighs little."""
    times = {name: [] for name in models}
    for at in range(runs + 20):
        for name, model in models.items():
            begin = time.thread_time()
            model.run(image)
            if at >= 20:
                times[name].append((time.thread_time() - begin) * 1e3)
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ort-worker", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.ort_worker:
        return quantize_with_ort(*args.ort_worker)

    model = harness.shared("vision/squeezenet1.1/squeezenet1.1.onnx")
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        calibrates = split_images(work)
        ours, theirs = work / "narrow.onnx", work / "ort.onnx"
        quantized = interleaved(
            args.rounds,
            narrow=lambda: run_process([NARROW, "quantize", model, "-o", ours, "--method", "static", "--observer", "entropy",
                                        "--data", work / "calibration", "--preprocess", "caffe-bgr-227", "--quiet"]),
            ort=lambda: run_process([sys.executable, __file__, "--ort-worker", model, work / "calibration", theirs]))

        models = {"float": harness.OnnxRuntime(model), "narrow": harness.OnnxRuntime(ours), "ort": harness.OnnxRuntime(theirs)}
        images, labels = harness.imagenet_caffe()
        times = latencies(models, images[:1])
        on_crops, crop_labels = decisions_on_ten_crops(models, calibrates)
        figures, expected = {}, None
        for name, session in models.items():
            path = {"float": model, "narrow": ours, "ort": theirs}[name]
            chosen = np.array([session.run(image[None])[0].reshape(-1).argmax() for image in images])
            expected = chosen if expected is None else expected
            right = chosen == labels
            figures[name] = {"size_bytes": path.stat().st_size, "latency_ms_p50": median(times[name]),
                             "latency_ms_p95": float(np.percentile(times[name], 95)),
                             "top1_other_300": 100 * right[~calibrates].mean(), "top1_all_500": 100 * right.mean(),
                             "top1_ten_crops": 100 * (on_crops[name] == crop_labels).mean(),
                             "agreement_ten_crops": 100 * (on_crops[name] == on_crops["float"]).mean(),
                             "agreement_other_300": 100 * (chosen == expected)[~calibrates].mean()}
            if name in quantized:
                figures[name] |= {"seconds": median([r["seconds"] for r in quantized[name]]),
                                  "cpu_seconds": median([r["cpu_seconds"] for r in quantized[name]]),
                                  "peak_mb": median([r["peak_mb"] for r in quantized[name]]),
                                  "all_seconds": [r["seconds"] for r in quantized[name]]}
        figures["ort"]["inside_seconds"] = median(
            [json.loads(r["output"].strip().splitlines()[-1])["inside_seconds"] for r in quantized["ort"]])

    n, o = figures["narrow"], figures["ort"]
    ratios = {"time": o["seconds"] / n["seconds"], "cpu_time": o["cpu_seconds"] / n["cpu_seconds"],
              "peak_memory": o["peak_mb"] / n["peak_mb"],
              "latency": o["latency_ms_p50"] / n["latency_ms_p50"], "top1_other_300": n["top1_other_300"] - o["top1_other_300"],
              "top1_ten_crops": n["top1_ten_crops"] - o["top1_ten_crops"]}
    # Of paired decisions: the standard error of the difference of the two shares.
    apart = (on_crops["narrow"] == crop_labels).astype(float) - (on_crops["ort"] == crop_labels)
    ratios["top1_ten_crops_error"] = 100 * apart.reshape(-1, 10).mean(1).std() / np.sqrt(len(apart) / 10)
    rows = [[name, *(f"{f[k]:.2f}" if k in f else "" for k in ("seconds", "cpu_seconds")),
             f"{f['peak_mb']:.0f}" if "peak_mb" in f else "",
             f"{f['size_bytes'] / 1e6:.2f}", f"{f['latency_ms_p50']:.2f}", f"{f['top1_other_300']:.2f}",
             f"{f['top1_all_500']:.2f}", f"{f['agreement_other_300']:.2f}", f"{f['top1_ten_crops']:.2f}", f"{f['agreement_ten_crops']:.2f}"] for name, f in figures.items()]
    text = table(["model", "time to make, s", "CPU time, s", "peak memory, MB", "file, MB", "latency in ONNX Runtime, 1 thread, ms",
                  "top-1, other 300, %", "top-1, all 500, %", "agreement with float, other 300, %",
                  "top-1, ten crops of the other 300, %", "agreement, ten crops, %"], rows)
    text += (f"\n\nnarrow needs 1/{ratios['time']:.1f} of the time (1/{ratios['cpu_time']:.1f} of the CPU time) and "
             f"1/{ratios['peak_memory']:.1f} of the peak memory of ONNX Runtime's quantizer (of its "
             f"{o['seconds']:.1f} s, {o['inside_seconds']:.1f} s are its work and the rest is starting Python). On the ten crops narrow's top-1 differs from ONNX Runtime's by {ratios['top1_ten_crops']:+.2f} points, standard error {ratios['top1_ten_crops_error']:.2f}. "
             f"Medians of {args.rounds} round(s) in turn; 200 images, entropy, QDQ, per-channel weights.")
    write_results("quantize_squeezenet", "Quantizing SqueezeNet 1.1: narrow beside ONNX Runtime",
                  "benchmarks/quantize_squeezenet.py", {"models": figures, "ratios": ratios}, text)


if __name__ == "__main__":
    main()
