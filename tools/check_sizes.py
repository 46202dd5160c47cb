#!/usr/bin/env python3
"""No source file is longer than 800 lines, unless it is a table of data named here."""
import pathlib
import sys

LIMIT = 800
FOLDERS = ["include", "cli", "src", "tests", "fuzz", "benchmarks", "examples", "tools", "cmake", "scripts"]
SUFFIXES = {".h", ".cc", ".inc", ".py", ".cmake", ".proto", ".sh", ""}
DATA_TABLES = {"src/tokenizers/unicode_tables.cc"}


def too_long(root):
    for folder in FOLDERS:
        for file in sorted((root / folder).rglob("*")):
            name = str(file.relative_to(root))
            if file.is_file() and file.suffix in SUFFIXES and "__pycache__" not in name and name not in DATA_TABLES:
                lines = file.read_text(errors="replace").count("\n")
                if lines > LIMIT:
                    yield f"{name}: {lines} lines, at most {LIMIT}. Split it by what it is about."


if __name__ == "__main__":
    problems = list(too_long(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()))
    print("\n".join(problems) if problems else "sizes: clean")
    sys.exit(1 if problems else 0)
