"""Every com.microsoft operator that narrow runs gives on random models of one node what ONNX Runtime's CPU provider gives.

What ONNX Runtime refuses is not compared; a table row must be compared often enough all the same. By hand, with names of
rows and how often: contrib_operators_peer.py attention multi_head_attention 200
"""
import pathlib
import sys
import tempfile
import zlib

import numpy as np
import onnx
from onnx import helper, numpy_helper

import contrib_cases
from harness import OnnxRuntime, check, narrow

TABLES = [contrib_cases.CASES]
TIMES = 24


def model_of(case):
    """The model, and what is fed to it by name."""
    names = [None if x is None else f"x{i}" for i, x in enumerate(case.inputs)]
    outputs = [f"y{i}" if wanted else "" for i, wanted in enumerate(case.outputs)]
    while not outputs[-1]:
        outputs.pop()
    node = helper.make_node(case.op, [n or "" for n in names], outputs, name="n", domain=case.domain, **case.attributes)
    feeds = {n: x for i, (n, x) in enumerate(zip(names, case.inputs)) if n and i not in case.constants}
    given = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape) for n, x in feeds.items()]
    results = [onnx.ValueInfoProto(name=n) for n in outputs if n]
    held = [numpy_helper.from_array(case.inputs[i], names[i]) for i in case.constants]
    graph = helper.make_graph([node], "one", given, results, held)
    opsets = [helper.make_opsetid("", case.opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9), feeds


def run_narrow(path, feeds, names, folder):
    arguments = ["run", path, "--quiet"]
    for name, array in feeds.items():
        np.save(f"{folder}/{name}.npy", array)
        arguments += ["--input", f"{name}={folder}/{name}.npy"]
    for name in names:
        arguments += ["--output", f"{name}={folder}/{name}.npy"]
    narrow(*arguments)
    return [np.load(f"{folder}/{name}.npy") for name in names]


def difference(expected, found):
    check(expected.shape == found.shape, f"shape {found.shape}, expected {expected.shape}")
    check(expected.dtype == found.dtype, f"type {found.dtype}, expected {expected.dtype}")
    if expected.size == 0:
        return 0.0
    expected, found = expected.astype(np.float64), found.astype(np.float64)
    check(bool((np.isnan(expected) == np.isnan(found)).all()), "NaN in different places")
    return float(np.nanmax(np.abs(expected - found)) / max(np.nanmax(np.abs(expected)), 1e-6))


def compare(case, folder):
    """The largest difference over its tolerance, or None where ONNX Runtime refuses the model."""
    model, feeds = model_of(case)
    path = pathlib.Path(folder, "one.onnx")
    onnx.save(model, path)
    try:
        runtime = OnnxRuntime(path, optimized=False)
        names = [o.name for o in runtime.session.get_outputs()]
        expected = runtime.session.run(names, feeds)
    except Exception as error:
        return None, str(error).splitlines()[0][-160:]
    found = run_narrow(path, feeds, names, folder)
    worst = 0.0
    for name, e, f in zip(names, expected, found):
        part = case.compared.get(int(name[1:]), ...)
        check(e.shape == f.shape, f"{name} has shape {f.shape}, expected {e.shape}")
        worst = max(worst, difference(e[part], f[part]) / case.tolerance)
    return worst, ""


def describe(case):
    shapes = ", ".join("-" if x is None else f"{x.dtype}{list(x.shape)}" for x in case.inputs)
    return f"{case.op}({shapes}) {case.attributes} outputs {case.outputs}"


def main():
    wanted = [a for a in sys.argv[1:] if not a.isdigit()]
    times = next((int(a) for a in sys.argv[1:] if a.isdigit()), TIMES)
    failed = []
    for make in (row for table in TABLES for row in table):
        if wanted and make.__name__ not in wanted:
            continue
        compared, worst, refusals = 0, 0.0, {}
        for seed in range(times):
            case = make(np.random.default_rng([zlib.crc32(make.__name__.encode()), seed]))
            with tempfile.TemporaryDirectory() as folder:
                try:
                    found, refusal = compare(case, folder)
                except AssertionError as error:
                    failed.append(f"{make.__name__} {seed}")
                    print(f"{make.__name__} {seed}: {describe(case)}\n    {str(error)[-300:]}", flush=True)
                    continue
            if found is None:
                refusals[refusal] = refusals.get(refusal, 0) + 1
                continue
            compared, worst = compared + 1, max(worst, found)
            if found > 1:
                failed.append(f"{make.__name__} {seed}")
                print(f"{make.__name__} {seed}: {describe(case)}\n    differs by {found * case.tolerance:.2e}", flush=True)
        print(f"{make.__name__}: {compared} of {times} compared, largest difference {worst:.2e} of what is allowed", flush=True)
        for refusal, count in refusals.items():
            print(f"    ONNX Runtime refuses {count}: {refusal}")
        if compared < times / 3:
            failed.append(f"{make.__name__} (only {compared} compared)")
    check(not failed, f"differ from ONNX Runtime: {', '.join(failed)}")


if __name__ == "__main__":
    main()
