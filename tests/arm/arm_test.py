#!/usr/bin/env python3
"""Builds the integer kernels and their tests for 64-bit ARM and runs them in an emulator, on a processor with dotprod
alone and on one with i8mm too.

    arm_test.py SOURCE BUILD [CXX [EMULATOR]]

Needs Debian's g++-aarch64-linux-gnu, qemu-user and libgtest-dev; says "skipped: …" where they are not there.
"""
import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys

GTEST = pathlib.Path("/usr/src/googletest/googletest")
FOLDERS = ["gemm_s8", "conv_s8"]                      # sources and tests
EXTRA = ["src/base/cpu.cc", "src/base/thread_pool.cc", "src/kernels/codes/codes.cc", "src/kernels/codes/reference.cc"]
# What must have run on each emulated processor.
PROCESSORS = {"cortex-a76": "gemm_s8 neon dot", "max": "gemm_s8 neon i8mm"}


def main() -> int:
    source, build = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    compiler = shutil.which(sys.argv[3] if len(sys.argv) > 3 else "aarch64-linux-gnu-g++")
    emulator = shutil.which(sys.argv[4] if len(sys.argv) > 4 else "qemu-aarch64")
    if compiler is None or emulator is None or not GTEST.is_dir():
        print("skipped: install g++-aarch64-linux-gnu, qemu-user and libgtest-dev to test the ARM kernels")
        return 0
    build.mkdir(parents=True, exist_ok=True)
    sources = [source / name for name in EXTRA]
    for folder in FOLDERS:
        sources += [f for f in sorted((source / "src/kernels" / folder).glob("*.cc")) if "_avx" not in f.name]
    sources += [GTEST / "src/gtest-all.cc", source / "tests/arm/main.cc"]
    flags = ["-std=c++20", "-O2", "-ffp-contract=off", "-Wall", f"-I{source / 'src'}", f"-I{source / 'include'}", f"-I{GTEST / 'include'}", f"-I{GTEST}"]

    def compile_one(file: pathlib.Path) -> pathlib.Path:
        made = build / (file.parent.name + "_" + file.stem + ".o")
        extra = ["-march=armv8.2-a+dotprod"] if file.stem.endswith("_neon") else []
        subprocess.run([compiler, *flags, *extra, "-c", str(file), "-o", str(made)], check=True)
        return made

    with concurrent.futures.ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        objects = list(pool.map(compile_one, sources))
    program = build / "kernels_arm_test"
    subprocess.run([compiler, "-static", "-pthread", *map(str, objects), "-o", str(program)], check=True)
    for processor, kernel in PROCESSORS.items():
        print(f"== {processor}", flush=True)
        ran = subprocess.run([emulator, "-cpu", processor, str(program)], stdout=subprocess.PIPE, text=True)
        print(ran.stdout)
        if ran.returncode != 0:
            return 1
        if f"fastest: {kernel}" not in ran.stdout:
            print(f"expected the kernel '{kernel}' to be chosen")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
