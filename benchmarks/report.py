"""The table, the file and the machine that the figures are of."""

import json
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.measured import Pair, Row


def machine() -> dict[str, object]:
    """What the figures depend on, the load that others make included."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "kind": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def show(rows: Sequence[Row], on: dict[str, object]) -> None:
    """Print one table. A ratio is ours over the limit: rates at best 1 or more, times at best 1 or less."""
    table = Table(caption=", ".join(f"{name} {value}" for name, value in on.items()), caption_justify="left")
    for name in ("benchmark", "measured", "limit or peer of the same run"):
        table.add_column(name, overflow="fold")
    for name in ("figure", "limit", "ratio", "spread", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    last = ""
    for row in rows:
        low, high = row.spread
        if last and row.benchmark != last:
            table.add_section()
        table.add_row(
            row.benchmark if row.benchmark != last else "",
            row.measured,
            row.limit,
            f"{number(row.figure)} {row.unit}",
            number(row.limit_figure),
            f"{row.ratio:.2f}",
            f"{low:.2f}-{high:.2f}",
            str(len(row.pairs)),
        )
        last = row.benchmark
    Console(width=None if Console().is_terminal else 190).print(table)


def write(path: Path, rows: Sequence[Row], on: dict[str, object]) -> None:
    """Write the same as JSON, with each repetition."""
    path.write_text(json.dumps({"machine": on, "rows": [row.as_json() for row in rows]}, indent=2) + "\n")


def read(path: Path) -> tuple[list[Row], dict[str, object]]:
    """What `write` wrote. Raises OSError, ValueError, KeyError or TypeError where it is another file."""
    written = json.loads(path.read_text())
    rows = [
        Row(row["benchmark"], row["measured"], row["unit"], row["limit"], [Pair(*pair) for pair in row["pairs"]])
        for row in written["rows"]
    ]
    return rows, written["machine"]


def number(value: float) -> str:
    """A figure as it is shown."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
