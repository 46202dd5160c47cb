"""Runs conformance_runner over the archive of ONNX's backend test data: run_archive.py RUNNER SOURCE_FOLDER BUILD_FOLDER

The archive is unpacked once into the build folder, and again when it changes. Ends with 77 (skipped) where the shared
data is not there.
"""

import os
import pathlib
import shutil
import subprocess
import sys

ARCHIVE = "conformance/onnx_backend_test_data.tar.zst"


def unpacked(archive: pathlib.Path, build: pathlib.Path) -> pathlib.Path:
    folder = build / "onnx_backend_test_data"
    stamp = build / "onnx_backend_test_data.stamp"
    status = archive.stat()
    wanted = f"{archive} {status.st_size} {status.st_mtime_ns}"
    if stamp.exists() and stamp.read_text() == wanted:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    subprocess.run(["tar", "--zstd", "-xf", archive, "-C", folder], check=True)
    stamp.write_text(wanted)
    return folder


def main() -> int:
    runner, source, build = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    data = pathlib.Path(os.environ.get("NARROW_DATA") or source.parent / "shared" / "data")
    archive = data / ARCHIVE
    if not archive.exists():
        print(f"skipped: shared data not found ({ARCHIVE})")
        return 77
    folder = unpacked(archive, build)
    expected = source / "tests" / "conformance" / "expected_failures.tsv"
    jobs = str(os.cpu_count() or 1)
    return subprocess.run([runner, folder, "--expected", expected, "--jobs", jobs] + sys.argv[4:]).returncode


if __name__ == "__main__":
    sys.exit(main())
