#!/usr/bin/env python3
"""Holds the tree to src/LAYERS: no folder includes one that its row does not list, and the rows have no cycle."""
import pathlib
import re
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.M)
# Public headers of plain types that every folder may use.
SHARED = {"narrow/result.h", "narrow/figures.h", "narrow/kernel_text.h", "narrow/progress.h"}


def read_layers(path):
    allowed = {}
    for line in path.read_text().splitlines():
        line = line.split("#")[0].strip()
        if line:
            folder, _, rest = line.partition(":")
            for name in rest.split():
                if name not in allowed:
                    sys.exit(f"src/LAYERS: '{folder}' may use '{name}', which is not listed above it: a cycle or a typo")
            allowed[folder.strip()] = set(rest.split())
    return allowed


def violations(root):
    allowed = read_layers(root / "src" / "LAYERS")
    found = []
    for file in sorted((root / "src").rglob("*")):
        if file.suffix not in {".h", ".cc", ".inc"}:
            continue
        folder = file.relative_to(root / "src").parts[0]
        if folder not in allowed:
            found.append(f"{file.relative_to(root)}: folder '{folder}' has no row in src/LAYERS")
            continue
        is_test = file.stem.endswith("_test")
        for include in INCLUDE.findall(file.read_text(errors="replace")):
            target = include.split("/")[0]
            if include in SHARED or (target == "narrow" and folder == "api"):
                continue
            if target == "narrow":
                found.append(f"{file.relative_to(root)} includes {include}: only api may use this public header")
            elif target in allowed and target != folder and target not in allowed[folder]:
                found.append(f"{file.relative_to(root)} includes {include}: '{folder}' may not use '{target}'")
            elif target not in allowed and not is_test and "/" not in include:
                found.append(f"{file.relative_to(root)} includes {include}: write it from src/ (\"folder/file.h\")")
    for file in sorted((root / "cli").rglob("*")):
        if file.suffix in {".h", ".cc"}:
            for include in INCLUDE.findall(file.read_text()):
                if include.split("/")[0] in allowed:
                    found.append(f"{file.relative_to(root)} includes {include}: cli sees include/narrow only")
    return found


if __name__ == "__main__":
    problems = violations(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve())
    print("\n".join(problems) if problems else "layers: clean")
    sys.exit(1 if problems else 0)
