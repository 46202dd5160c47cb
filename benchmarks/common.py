"""What the benchmarks share: processes with their time and peak memory, interleaving, results as JSON and as a table."""
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

SOURCE = pathlib.Path(__file__).resolve().parents[1]
RESULTS = SOURCE / "benchmarks" / "results"
sys.path.insert(0, str(SOURCE / "tests" / "peer"))

import harness  # noqa: E402  (the data, the preprocessing and the runtimes are those of the peer tests)

NARROW = pathlib.Path(os.environ.get("NARROW_BIN") or SOURCE / "build" / "release" / "bin" / "narrow")


def run_process(command, cores=None):
    """{'seconds', 'cpu_seconds', 'peak_mb', 'output'} of one process from start to exit; raises when it fails."""
    if cores is not None:
        command = ["taskset", "-c", ",".join(map(str, cores)), *command]
    begin = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = process.stdout.read().decode(errors="replace")
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))} exited {process.returncode}:\n{output[-3000:]}")
    return {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024, "output": output}


def interleaved(rounds, **measures):
    """Calls each measure once a round, in turn; {name: [result of each round]}."""
    results = {name: [] for name in measures}
    for index in range(rounds):
        for name, measure in measures.items():
            results[name].append(measure())
            print(f"round {index + 1}/{rounds} {name}", flush=True)
    return results


def median(values):
    return statistics.median(values)


def find_key(tree, key):
    """The first value under `key` in a parsed JSON tree."""
    if isinstance(tree, dict):
        if key in tree:
            return tree[key]
        tree = list(tree.values())
    if isinstance(tree, list):
        for part in tree:
            found = find_key(part, key)
            if found is not None:
                return found
    return None


def machine():
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")
    flags = next((line for line in open("/proc/cpuinfo") if line.startswith("flags")), "")
    return {"cpu": model, "cores": os.cpu_count(), "avx512_vnni": "avx512_vnni" in flags, "system": platform.platform(),
            "load_at_start": os.getloadavg()[0]}


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def write_results(name, title, command, figures, text):
    RESULTS.mkdir(parents=True, exist_ok=True)
    figures = {"machine": machine(), **figures}
    (RESULTS / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n")
    where = figures["machine"]
    (RESULTS / f"{name}.md").write_text(
        f"# {title}\n\nMade by `{command}` on {where['cpu']}, {where['cores']} cores.\n\n{text}\n")
    print(text)
