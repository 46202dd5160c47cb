#!/usr/bin/env python3
"""What the techniques of static INT8 are worth: signal to noise at the outputs with and without bias correction, by observer.

Models from the shared data, 24 to 100 calibration samples; judged on samples that were not calibrated on (ResNet-20 and MNIST:
on 1,000 of the set, of which 100 were), in narrow, against the float model.

    NARROW_DATA=… <python of the peers> benchmarks/static_techniques.py
"""
import json
import pathlib
import tempfile

import numpy as np
from common import NARROW, harness, run_process, table, write_results

import quantized_detectors_peer as detectors
from quantized_models_peer import CIFAR, MNIST

OBSERVERS = ("min_max", "percentile", "entropy", "mse")
RECIPE = 'method = "static"\nbias_correction = {}\n'


def models(work):
    """(name, file, calibration options, test options)"""
    for name, path, inputs in (("YOLOX-nano", "vision/yolox_nano/yolox_nano.onnx", detectors.bgr(416)),
                               ("UltraFace", "vision/ultraface/version-RFB-320.onnx", detectors.ultraface_input),
                               ("YuNet", "vision/yunet/yunet_n_320_320.onnx", detectors.bgr(320)),
                               ("basic_pitch", "audio/basic_pitch/nmp.onnx", detectors.pitch_input)):
        images = inputs(48)
        calibration, test = work / f"{name}.npy", work / f"{name}_test.npy"
        np.save(calibration, images[::2])
        np.save(test, images[1::4])
        yield name, path, ["--data", calibration, "--preprocess", "none"], ["--data", test, "--preprocess", "none"]
    for name, path, data, preprocess in (("ResNet-20", "vision/cifar10_resnet_pt/resnet20_cifar10.onnx", "cifar10/test_2000.bin", CIFAR),
                                         ("MNIST", "vision/mnist_cnn/mnist.onnx", "mnist", MNIST),
                                         ("SqueezeNet 1.1", "vision/squeezenet1.1/squeezenet1.1.onnx", "imagenet", "caffe-bgr-227")):
        options = ["--data", harness.shared(data), "--preprocess", preprocess]
        yield name, path, [*options, "--samples", 100], [*options, "--samples", 300 if data == "imagenet" else 1000]


def main():
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        for name, path, calibration, test in models(work):
            original, made, recipe = harness.shared(path), work / "made.onnx", work / "recipe.toml"
            for observer in OBSERVERS:
                for corrected in (False, True):
                    recipe.write_text(RECIPE.format(str(corrected).lower()))
                    run_process([NARROW, "quantize", original, "-o", made, "--recipe", recipe, "--observer", observer, *calibration,
                                 "--eval-samples", 1, "--max-drop", "100%", "--quiet"])
                    found = run_process([NARROW, "evaluate", made, *test, "--reference", original, "--metric", "sqnr", "--json", "--quiet"])
                    figures.setdefault(name, {}).setdefault(observer, []).append(json.loads(found["output"])["sqnr_db"])
            print(name, figures[name], flush=True)
    rows = [[name, *(f"{off:.1f} → {on:.1f}" for off, on in by_observer.values())] for name, by_observer in figures.items()]
    gains = [on - off for by_observer in figures.values() for off, on in by_observer.values()]
    text = table(["SQNR at the outputs, dB, without → with bias correction", *OBSERVERS], rows)
    text += f"\n\nGain of bias correction: mean {np.mean(gains):.2f} dB, least {min(gains):.2f}, largest {max(gains):.2f}."
    write_results("static_techniques", "Techniques of static INT8", "benchmarks/static_techniques.py", {"sqnr_db": figures}, text)


if __name__ == "__main__":
    main()
