"""Every com.microsoft operator that narrow runs gives on random models of one node what ONNX Runtime's CPU provider gives.

What ONNX Runtime refuses is not compared; a table row must be compared often enough all the same. The same models with
something wrong in them (attributes of any size, inputs left out or of other shapes) end in a result or in an error.
By hand, with names of rows and how often: contrib_operators_peer.py attention multi_head_attention 200
"""
import pathlib
import sys
import tempfile
import zlib

import numpy as np
import onnx
from onnx import helper, numpy_helper

import contrib_cases
import contrib_quantized_cases
from harness import OnnxRuntime, check, narrow, run_narrow

TABLES = [contrib_cases.CASES, contrib_quantized_cases.CASES]
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


def difference(expected, found):
    check(expected.shape == found.shape, f"shape {found.shape}, expected {expected.shape}")
    check(expected.dtype == found.dtype, f"type {found.dtype}, expected {expected.dtype}")
    if expected.size == 0:
        return 0.0
    expected, found = expected.astype(np.float64), found.astype(np.float64)
    check(bool((np.isnan(expected) == np.isnan(found)).all()), "NaN in different places")
    equal = expected == found  # infinities too
    top = np.nanmax(np.abs(expected[np.isfinite(expected)]), initial=1e-6)
    return float(np.nanmax(np.where(equal, 0, np.abs(expected - found))) / top)


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
    found = run_narrow(path, feeds, names)
    worst = 0.0
    for name, e, f in zip(names, expected, found):
        part = case.compared.get(int(name[1:]), ...)
        check(e.shape == f.shape, f"{name} has shape {f.shape}, expected {e.shape}")
        if e.dtype.kind in "iu" and e.size:
            check(e.dtype == f.dtype, f"{name} is {f.dtype}, expected {e.dtype}")
            worst = max(worst, np.abs(e[part].astype(np.int64) - f[part].astype(np.int64)).max() / case.codes)
        else:
            worst = max(worst, difference(e[part], f[part]) / case.tolerance)
    return worst, ""


HOSTILE = [0, -1, 1, 3, 7, 2**31 - 1, 2**31, 2**62, -2**63, 2**63 - 1]


def spoil(case, r):
    """Changes one thing."""
    what = r.integers(4)
    if what == 0 and case.attributes:
        name = str(r.choice(sorted(case.attributes)))
        value = case.attributes[name]
        if isinstance(value, float):
            case.attributes[name] = float(r.choice([0.0, -1.0, np.inf, -np.inf, np.nan, 1e38]))
        elif isinstance(value, list):
            case.attributes[name] = (value + value if r.random() < 0.3 else value[1:] if r.random() < 0.3 else [type(value[0])(r.choice(HOSTILE[:5])) for _ in value])
        elif isinstance(value, int):
            case.attributes[name] = HOSTILE[r.integers(len(HOSTILE))]
        else:
            case.attributes[name] = "none"
    elif what == 1 and len(case.inputs) > 1:
        at = int(r.integers(len(case.inputs)))
        case.inputs[at] = None if at not in case.constants else case.inputs[at]
    else:
        given = [i for i, x in enumerate(case.inputs) if x is not None]
        if not given:
            return case
        at = int(r.choice(given))
        x = case.inputs[at]
        if what == 2 and x.ndim > 0:
            shape = list(x.shape)
            shape[r.integers(len(shape))] = int(r.choice([0, 1, 2, 3, 9]))
            x = np.resize(x, shape).astype(x.dtype) if x.size else np.zeros(shape, x.dtype)
        elif np.issubdtype(x.dtype, np.integer):
            limits = np.iinfo(x.dtype)
            x = np.full_like(x, r.choice([limits.min, -1, 0, 5, limits.max]))
        else:
            x = x.reshape((1,) + x.shape) if r.random() < 0.5 else x.reshape(-1) if r.random() < 0.5 else x.astype(r.choice([np.float16, np.float64, np.int32]))
        case.inputs[at] = x
    return contrib_cases.trimmed(case)


def survive(case, r, folder):
    """narrow answers; 2, 3 and 4 are its ways to say no."""
    for _ in range(int(r.integers(1, 4))):
        case = spoil(case, r)
    model, feeds = model_of(case)
    path = pathlib.Path(folder, "one.onnx")
    onnx.save(model, path)
    arguments = ["run", path, "--quiet"]
    for name, array in feeds.items():
        np.save(f"{folder}/{name}.npy", array)
        arguments += ["--input", f"{name}={folder}/{name}.npy"]
    narrow(*arguments, exit_code=(0, 2, 3, 4))


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
            r = np.random.default_rng([zlib.crc32(make.__name__.encode()), seed])
            case = make(r) if seed % 6 != 5 else contrib_cases.halved(make(r))
            with tempfile.TemporaryDirectory() as folder:
                try:
                    found, refusal = compare(case, folder)
                except AssertionError as error:
                    failed.append(f"{make.__name__} {seed}")
                    print(f"{make.__name__} {seed}: {describe(case)}\n    {str(error)[-300:]}", flush=True)
                    continue
                try:
                    spoiled = make(r)
                    survive(spoiled, r, folder)
                except AssertionError as error:
                    failed.append(f"{make.__name__} {seed} spoiled")
                    print(f"{make.__name__} {seed}: {describe(spoiled)}\n    {str(error)[-300:]}", flush=True)
            if found is None:
                refusals[refusal] = refusals.get(refusal, 0) + 1
                continue
            compared, worst = compared + 1, max(worst, found)
            if found > 1:
                failed.append(f"{make.__name__} {seed}")
                print(f"{make.__name__} {seed}: {describe(case)}\n    differs by {found:.2e} times what is allowed", flush=True)
        print(f"{make.__name__}: {compared} of {times} compared, largest difference {worst:.2e} of what is allowed", flush=True)
        for refusal, count in refusals.items():
            print(f"    ONNX Runtime refuses {count}: {refusal}")
        if compared < times / 3:
            failed.append(f"{make.__name__} (only {compared} compared)")
    check(not failed, f"differ from ONNX Runtime: {', '.join(failed)}")


if __name__ == "__main__":
    main()
