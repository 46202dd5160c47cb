#!/usr/bin/env python3
"""What each technique of static INT8 is worth by itself: signal to noise at the outputs, on samples not calibrated on.

    NARROW_DATA=… <python of the peers> benchmarks/techniques.py ZOO [MODEL …]

ZOO is the folder of benchmarks/peers/zoo.py. The base is min_max with bias correction; every row adds one thing to it.
"""
import json
import pathlib
import sys
import tempfile

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "peers"))
from common import NARROW, run_process, table, write_results  # noqa: E402
from zoo import entry  # noqa: E402

TECHNIQUES = {
    "min_max, without bias correction": "bias_correction = false",
    "min_max (base)": "",
    "observer percentile": 'observer = "percentile"',
    "observer entropy": 'observer = "entropy"',
    "observer mse": 'observer = "mse"',
    "equalization, high biases absorbed": "equalization = true",
    "smoothing 0.5": "smoothing = 0.5",
    "2 % of channels split": "split_channels = 0.02",
    "rounding gptq": 'rounding = "gptq"',
    "rounding adaptive": 'rounding = "adaptive"',
    "first and last layer float": "keep_first_last = true",
    "mixed, 1 % noise": 'method = "mixed"\nnoise_budget = 0.01',
}
MODELS = ("resnet20", "resnet44", "vww", "kws", "ultraface", "mobilenet_v2", "silero")


def main():
    zoo, names = sys.argv[1], sys.argv[2:] or MODELS
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        made, recipe = pathlib.Path(folder, "made.onnx"), pathlib.Path(folder, "recipe.toml")
        for name in names:
            model = entry(zoo, name)
            for technique, lines in TECHNIQUES.items():
                recipe.write_text(lines if "method" in lines else f'method = "static"\n{lines}\n')
                options = [*model.options, "--quiet"]
                run_process([NARROW, "quantize", model.model, "-o", made, "--recipe", recipe, "--data", model.data, "--eval-samples", 1,
                             "--max-drop", "100%", *options])
                found = run_process([NARROW, "evaluate", made, "--data", model.test, "--samples", 100, "--reference", model.model,
                                     "--metric", "sqnr", "--json", *options])
                figures.setdefault(technique, {})[name] = {"sqnr_db": json.loads(found["output"])["sqnr_db"], "bytes": made.stat().st_size}
                print(name, technique, figures[technique][name], flush=True)
    base = figures["min_max (base)"]
    rows = [[technique, *(f"{by_model[name]['sqnr_db']:.1f}" for name in names),
             f"{np.mean([by_model[name]['sqnr_db'] - base[name]['sqnr_db'] for name in names]):+.2f}"] for technique, by_model in figures.items()]
    write_results("techniques", "Techniques of static INT8, one by one", "benchmarks/techniques.py", {"techniques": figures},
                  table(["SQNR at the outputs, dB", *names, "mean gain"], rows))


if __name__ == "__main__":
    main()
