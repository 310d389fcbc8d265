"""The programs in C of the benchmarks, made when they are needed: what must not be the bottleneck is not Python."""

import functools
import shutil
import subprocess
import sys
from pathlib import Path


@functools.cache
def compiled(name: str, folder: Path) -> Path | None:
    """The program `name`.c beside this file, compiled into `folder`; None where there is no compiler, or no Linux."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or not sys.platform.startswith("linux"):
        return None
    program = folder / name
    source = Path(__file__).with_name(f"{name}.c")
    subprocess.run((compiler, "-O2", "-o", program, source), check=True)
    return program
