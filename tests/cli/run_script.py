#!/usr/bin/env python3
"""Runs command-line test scripts: usage run_script.py NARROW SCRIPT...

Each script gets an empty folder with the files of fixtures.py. Its lines:
    $ COMMAND        run by bash in that folder; `narrow` is the program under test
    ? CODE           its exit code (0 when not said)
    > REGEX          some line of its standard output matches
    2> REGEX         some line of its standard error matches
    !> REGEX         no line of its standard output matches
    !2> REGEX        no line of its standard error matches
    = COUNT >2       that many lines in all on standard error
    # …              a comment
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import fixtures


class Case:
    def __init__(self, line, command):
        self.line, self.command, self.code, self.checks = line, command, 0, []


def parse(path):
    cases = []
    for number, text in enumerate(path.read_text().splitlines(), 1):
        if not text.strip() or text.startswith("#"):
            continue
        mark, _, rest = text.partition(" ")
        if mark == "$":
            cases.append(Case(number, rest))
        elif mark == "?":
            cases[-1].code = int(rest)
        elif mark in {">", "2>", "!>", "!2>", "="}:
            cases[-1].checks.append((number, mark, rest))
        else:
            sys.exit(f"{path}:{number}: cannot read '{text}'")
    return cases


def problems_of(case, result):
    found = []
    if result.returncode != case.code:
        found.append(f"line {case.line}: exit code {result.returncode}, expected {case.code}")
    for line, mark, rest in case.checks:
        if mark == "=":
            count = len(result.stderr.splitlines())
            if count != int(rest.split()[0]):
                found.append(f"line {line}: {count} lines on standard error, expected {rest}")
            continue
        text = result.stderr if "2" in mark else result.stdout
        matched = any(re.search(rest, each) for each in text.splitlines())
        if matched == mark.startswith("!"):
            found.append(f"line {line}: {'a' if matched else 'no'} line matches {rest!r}")
    return found


def run(narrow, path):
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        fixtures.write_all(folder)
        links = pathlib.Path(folder) / ".bin"
        links.mkdir()
        (links / "narrow").symlink_to(narrow)
        environment = dict(os.environ, PATH=f"{links}:{os.environ['PATH']}", TESTS=str(path.parent.resolve()))
        for case in parse(path):
            result = subprocess.run(["bash", "-c", case.command], cwd=folder, env=environment, capture_output=True,
                                    text=True, errors="replace", timeout=120)
            found = problems_of(case, result)
            if found:
                failed.append(f"{path.name}: $ {case.command}\n  " + "\n  ".join(found)
                              + f"\n--- stdout\n{result.stdout}--- stderr\n{result.stderr}---")
    return failed


def main():
    narrow = pathlib.Path(sys.argv[1]).resolve()
    failed = [text for path in sys.argv[2:] for text in run(narrow, pathlib.Path(path))]
    print("\n".join(failed) if failed else "ok")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
