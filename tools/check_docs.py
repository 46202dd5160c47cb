#!/usr/bin/env python3
"""The documents name what is there: ARCHITECTURE.md has a line for each folder of src/ and for no other, the commands and
relative links of the documents exist, and no document names a path of somebody's machine."""
import pathlib
import re
import sys

# "- `src/graph/`: …" or "| `src/graph/` | …"
FOLDER_LINE = re.compile(r"^[-|]\s*`src/([a-z_]+)/`", re.M)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")
FENCED = re.compile(r"^```(?:sh|bash)\n(.*?)^```", re.M | re.S)
COMMAND = re.compile(r"^(?:\$ )?((?:\./)?(?:scripts|tools|benchmarks|tests)/[\w./-]+)", re.M)
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|opt|home|root|Users)/")


def documents(root):
    return sorted([*root.glob("*.md"), *(root / "docs").rglob("*.md"), *(root / "testdata").rglob("*.md"),
                   *(root / "benchmarks").rglob("*.md"), *(root / "examples").rglob("*.md")])


def problems(root):
    described = FOLDER_LINE.findall((root / "ARCHITECTURE.md").read_text())
    present = sorted(f.name for f in (root / "src").iterdir() if f.is_dir())
    planned = re.findall(r"^([a-z_]+):", (root / "src" / "LAYERS").read_text(), re.M)
    for folder in present:
        if folder not in described:
            yield f"ARCHITECTURE.md has no line for src/{folder}/"
    for folder in described:
        if folder not in present and folder not in planned:
            yield f"ARCHITECTURE.md names src/{folder}/, which does not exist"
    for document in documents(root):
        name, text = document.relative_to(root), document.read_text()
        for link in LINK.findall(text):
            if not (document.parent / link).exists():
                yield f"{name} links to {link}, which does not exist"
        for block in FENCED.findall(text):
            for command in COMMAND.findall(block):
                if not (root / command).is_file():
                    yield f"{name} tells to run {command}, which does not exist"
        for match in MACHINE_PATH.finditer(text):
            yield f"{name} names a path of one machine: {text[match.start():match.start() + 30].splitlines()[0]}"


if __name__ == "__main__":
    found = list(problems(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()))
    print("\n".join(found) if found else "docs: clean")
    sys.exit(1 if found else 0)
