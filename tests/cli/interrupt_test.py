#!/usr/bin/env python3
"""An interrupted run says so once, ends with 130 and leaves nothing behind. usage: interrupt_test.py NARROW"""
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import fixtures


def interrupt(narrow, folder, number):
    # Reading the data from a pipe that never ends keeps the run alive until it is interrupted.
    process = subprocess.Popen([narrow, "bench", "cnn.onnx", "--seconds", "60"], cwd=folder, stderr=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    time.sleep(1.0)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130, (process.returncode, err)
    assert err.count("interrupted") == 1, err
    assert out == "", out


def truncate_while_mapped(narrow, folder):
    """A file that shrinks while it is mapped: a message and code 3, not a crash."""
    source = folder / "big.npy"
    count = 200_000
    source.write_bytes(fixtures.npy("<f4", [count, 1, 8, 8], b"\0" * (count * 64 * 4)))
    process = subprocess.Popen([narrow, "evaluate", "cnn.onnx", "--data", "big.npy", "--threads", "1"], cwd=folder,
                               stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    time.sleep(0.5)
    os.truncate(source, 4096)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 3, (process.returncode, err)
    assert "became shorter" in err, err


def main():
    narrow = str(pathlib.Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        fixtures.write_all(folder)
        before = sorted(os.listdir(folder))
        interrupt(narrow, folder, signal.SIGINT)
        interrupt(narrow, folder, signal.SIGTERM)
        assert sorted(os.listdir(folder)) == before, os.listdir(folder)
        truncate_while_mapped(narrow, folder)
    print("ok")


if __name__ == "__main__":
    main()
