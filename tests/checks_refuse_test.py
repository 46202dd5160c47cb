#!/usr/bin/env python3
"""The checks under tools/ must be able to fail: each gets a small tree with one planted fault and has to name it."""
import pathlib
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(sys.argv[1]).resolve()
LAYERS = "base:\ngraph: base\nruntime: base graph\n"
ARCHITECTURE = "- `src/base/`: a\n- `src/graph/`: b\n- `src/runtime/`: c\n"
CLEAN = {
    "src/LAYERS": LAYERS,
    "src/base/a.h": "#include <vector>\n",
    "src/graph/g.h": '#include "base/a.h"\n#include "narrow/result.h"\n',
    "src/runtime/r.cc": '#include "graph/g.h"\n',
    "cli/main.cc": '#include "narrow/result.h"\n',
    "ARCHITECTURE.md": ARCHITECTURE,
    "README.md": "```sh\nscripts/demo\n```\n[map](ARCHITECTURE.md)\n",
    "scripts/demo": "",
}

# check, planted file, its text, what the check must say
FAULTS = [
    ("layers", "src/graph/g.h", '#include "runtime/r.h"\n', "'graph' may not use 'runtime'"),
    ("layers", "src/base/a.h", '# include "graph/g.h"\n', "'base' may not use 'graph'"),
    ("layers", "src/runtime/r.cc", '#include "narrow/model.h"\n', "only api may use"),
    ("layers", "src/other/o.cc", "", "has no row in src/LAYERS"),
    ("layers", "cli/main.cc", '#include "graph/g.h"\n', "cli sees include/narrow only"),
    ("layers", "src/LAYERS", "base: graph\ngraph: base\n", "a cycle or a typo"),
    ("sizes", "src/base/long.cc", "// line\n" * 801, "801 lines, at most 800"),
    ("docs", "ARCHITECTURE.md", "- `src/base/`: a\n- `src/graph/`: b\n", "no line for src/runtime/"),
    ("docs", "ARCHITECTURE.md", ARCHITECTURE + "- `src/gone/`: d\n", "src/gone/, which does not exist"),
    ("docs", "README.md", "```sh\nscripts/missing now\n```\n", "tells to run scripts/missing"),
    ("docs", "README.md", "[map](NOWHERE.md)\n", "links to NOWHERE.md"),
    ("docs", "README.md", "look at /" + "home/me/model.onnx\n", "a path of one machine"),
]


def run(check, files):
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = pathlib.Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return subprocess.run([sys.executable, SOURCE / "tools" / f"check_{check}.py", folder], capture_output=True, text=True)


def main():
    failed = 0
    for check in ["layers", "sizes", "docs"]:
        done = run(check, CLEAN)
        if done.returncode != 0:
            failed += 1
            print(f"check_{check} refuses a clean tree: {done.stdout}{done.stderr}")
    for check, name, text, expected in FAULTS:
        done = run(check, {**CLEAN, name: text})
        if done.returncode == 0 or expected not in done.stdout + done.stderr:
            failed += 1
            print(f"check_{check} did not say \"{expected}\" about {name}: {done.returncode} {done.stdout}{done.stderr}")
    print(f"{len(FAULTS)} planted faults, {failed} failures")
    sys.exit(1 if failed else 0)


main()
