"""`python -m benchmarks.plots FILE.json … [--into FOLDER]`: an SVG for each benchmark, of what `--json` wrote.

A bar is the ratio of a row, its whisker the spread, the line at 1 the limit. Texts are texts, all can be read on light
and dark pages alike, and the same files give the same bytes. docs/performance.md shows those of its folder.
"""

import argparse
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmarks.measured import Row
from benchmarks.report import number, read

FOLDER: Final = Path(__file__).parents[1] / "docs" / "performance"
# Each at a contrast of 3 or more to white and to a dark page.
_INK: Final = "#767676"
_RATE: Final = "#3d7ec4"
_COST: Final = "#1f8a70"
_LIMIT: Final = "#d9661f"
_STYLE: Final = {
    "svg.hashsalt": "lastseen",
    "svg.fonttype": "none",
    "font.size": 9,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK),
}
_WIDTH: Final = 10.0
_MARGIN: Final = 0.8
_LINE: Final = 0.16
_LETTERS: Final = 56
_LINEAR: Final = 8.0
"""The largest ratio up to which the axis is linear."""
_NEVER: Final = {"Date": None, "Creator": None}


@dataclass(frozen=True, slots=True)
class Plot:
    """What is drawn of one benchmark."""

    name: str
    rows: Sequence[Row]
    machine: dict[str, object]


def main() -> None:
    """Draw what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plots", description="Bars of the ratios, as SVG.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.json", help="what `python -m benchmarks` wrote")
    parser.add_argument("--into", type=Path, default=FOLDER, metavar="FOLDER", help="default: docs/performance")
    arguments = parser.parse_args()
    drawn = plots(arguments.files)
    for plot in drawn:
        path = arguments.into / f"{plot.name}.svg"
        draw(plot, path)
        print(path)
    if arguments.into == FOLDER:
        page = FOLDER.with_suffix(".md")
        page.write_text(shown(page.read_text(), [plot.name for plot in drawn]))


def plots(files: Iterable[Path]) -> list[Plot]:
    """The benchmarks of these files by name; of one that several have, the latest run."""
    found: dict[str, Plot] = {}
    for file in files:
        rows, machine = read(file)
        for name in {row.benchmark for row in rows}:
            plot = Plot(name, [row for row in rows if row.benchmark == name], machine)
            if name not in found or str(found[name].machine["at"]) <= str(machine["at"]):
                found[name] = plot
    return [found[name] for name in sorted(found)]


def draw(plot: Plot, path: Path) -> None:
    """Write one SVG."""
    labels = [_label(plot, row) for row in plot.rows]
    lines = sum(_room(label) for label in labels)
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(_WIDTH, _MARGIN + _LINE * lines), layout="constrained")
        _bars(figure, plot, labels)
        figure.savefig(path, format="svg", transparent=True, metadata={"Title": plot.name, **_NEVER})


def shown(page: str, names: Iterable[str]) -> str:
    """The page with each plot beneath the paragraph that begins with its name in bold; one that it has stays there."""
    paragraphs = page.split("\n\n")
    for name in names:
        begins = re.compile(rf"\*\*([\w-]+, )*{name}[.,]")
        at = next((number for number, text in enumerate(paragraphs) if begins.match(text)), None)
        if at is not None and f"(performance/{name}.svg)" not in page:
            paragraphs.insert(at + 1, f"![{name}: its ratios as bars](performance/{name}.svg)")
    return "\n\n".join(paragraphs)


def _bars(figure: Figure, plot: Plot, labels: Sequence[str]) -> None:
    axes = figure.subplots()
    # The first at the top; a label of more lines takes more room.
    places, down = [], 0.0
    for label in labels:
        room = _room(label)
        places.append(-(down + room / 2))
        down += room
    start = 0
    if max(row.spread[1] for row in plot.rows) > _LINEAR:
        # Such an axis has no 0: bars begin at the line.
        start = 1
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.barh(
        places,
        [row.ratio - start for row in plot.rows],
        left=start,
        height=1.4,
        alpha=0.6,
        color=[_RATE if _is_rate(row) else _COST for row in plot.rows],
        xerr=[[row.ratio - row.spread[0] for row in plot.rows], [row.spread[1] - row.ratio for row in plot.rows]],
        error_kw={"ecolor": _INK, "capsize": 3, "elinewidth": 1},
    )
    axes.axvline(1, color=_LIMIT, linewidth=1.5)
    axes.set_ylim(-down, 0)
    axes.set_yticks(places, labels)
    figures = axes.secondary_yaxis("right")
    figures.set_yticks(places, [_figures(row) for row in plot.rows])
    for side in (axes, figures):
        side.tick_params(axis="y", length=0)
        side.spines[:].set_visible(False)
    axes.set_xlabel("\n".join(_notes(plot)), loc="left")


def _room(label: str) -> float:
    """The height of a row, in lines of text."""
    return max(2, label.count("\n") + 1) + 0.8


def _label(plot: Plot, row: Row) -> str:
    texts = (row.measured,) if _common_limit(plot) else (row.measured, f"to {row.limit}")
    return "\n".join(textwrap.fill(text, _LETTERS, break_on_hyphens=False) for text in texts)


def _figures(row: Row) -> str:
    low, high = row.spread
    return f"{row.ratio:.2f} ({low:.2f}–{high:.2f})\n{number(row.figure)} {row.unit}"


def _notes(plot: Plot) -> Iterable[str]:
    limit = _common_limit(plot)
    better = [
        word
        for word, wanted in (("blue: more is better", True), ("green: less is better", False))
        if any(_is_rate(row) is wanted for row in plot.rows)
    ]
    yield from textwrap.wrap(f"ratio to {limit or 'the limit or peer'} (the line); {', '.join(better)}", 2 * _LETTERS)
    machine = plot.machine
    pairs = max(len(row.pairs) for row in plot.rows)
    yield f"{machine['at']!s:.10}, {machine['cores']} cores, load {machine['load_before']} before it, n = {pairs}"


def _common_limit(plot: Plot) -> str | None:
    limits = {row.limit for row in plot.rows}
    return limits.pop() if len(limits) == 1 else None


def _is_rate(row: Row) -> bool:
    return "/" in row.unit


if __name__ == "__main__":
    main()
